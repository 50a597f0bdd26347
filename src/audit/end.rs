//! The state that came of it all.

use std::collections::BTreeMap;

use seatkeeper_jobs::{BookingId, EnrollmentId, SemesterId, SessionId, UserId};

use super::findings::{About, Audit, compare as compare_rows};
use super::history::History;
use super::rows::{Attendance, Booking, Enrollment, LedgerRow, Semester, Session, User};
use crate::decide::World;

/// Compares the rows that are stored with what the world has come to.
pub(super) fn compare(history: &History, world: World, audit: &mut Audit) {
    let found = &mut audit.findings;

    let mut users = BTreeMap::new();
    for &id in history.users.keys() {
        if let Ok(Some(user)) = world.user(id) {
            users.insert(id, User { is_active: user.is_active, balance: user.balance });
        }
    }
    let about = |id: UserId| About::User { user_id: id.get() };
    audit.users = compare_rows(&history.users, &users, about, found);

    let known = history.semesters.keys().filter_map(|&id| Some((id, world.semester(id).ok()??)));
    let semesters = known.map(|(id, semester)| (id, Semester::from(semester))).collect();
    let about = |id: SemesterId| About::Semester { semester_id: id.get() };
    compare_rows(&history.semesters, &semesters, about, found);

    let known = history.sessions.keys().filter_map(|&id| Some((id, world.session(id).ok()??)));
    let sessions = known.map(|(id, session)| (id, Session::from(session))).collect();
    let about = |id: SessionId| About::Session { session_id: id.get() };
    compare_rows(&history.sessions, &sessions, about, found);

    let changes = world.into_changes();
    let enrolled = changes.enrolled.into_iter();
    let enrollments = enrolled.map(|each| (each.enrollment_id, Enrollment::from(each))).collect();
    let about = |id: EnrollmentId| About::Enrollment { enrollment_id: id.get() };
    audit.enrollments = compare_rows(&history.enrollments, &enrollments, about, found);

    let ledger = changes.ledger.into_iter().map(LedgerRow::of).collect();
    let about = |(request, enrollment_id, transaction_id)| match request {
        Some(request_id) => About::Ledger { request_id, enrollment_id },
        None => About::Unasked { transaction_id },
    };
    audit.ledger = compare_rows(&history.ledger, &ledger, about, found);

    let booked = changes.booked.into_iter();
    let bookings = booked.map(|each| (each.booking_id, Booking::from(each))).collect();
    let about = |id: BookingId| About::Booking { booking_id: id.get() };
    audit.bookings = compare_rows(&history.bookings, &bookings, about, found);

    let recorded = changes.attendance.into_iter();
    let attendance = recorded.map(|each| (each.booking_id, Attendance::from(each))).collect();
    let about = |id: BookingId| About::Attendance { booking_id: id.get() };
    compare_rows(&history.attendance, &attendance, about, found);
}
