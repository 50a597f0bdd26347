//! What the rows are called in the database, and when two bookings overlap.

use chrono::TimeDelta;

use super::at;
use crate::decide::{Because, Booking, BookingStatus, SemesterStatus, TransactionType};

#[test]
fn every_status_is_found_by_its_name_and_by_no_other() {
    use SemesterStatus::{Cancelled, Completed, Draft, EnrollmentClosed, EnrollmentOpen, InProgress};
    let names = [
        (Draft, "DRAFT", false),
        (EnrollmentOpen, "ENROLLMENT_OPEN", true),
        (EnrollmentClosed, "ENROLLMENT_CLOSED", false),
        (InProgress, "IN_PROGRESS", true),
        (Completed, "COMPLETED", false),
        (Cancelled, "CANCELLED", false),
    ];
    for (status, name, open) in names {
        assert_eq!((status.as_str(), status.is_open()), (name, open));
        assert_eq!(SemesterStatus::from_name(name), Some(status));
    }
    assert_eq!(SemesterStatus::from_name("draft"), None);

    let names = [
        (BookingStatus::Confirmed, "CONFIRMED", true),
        (BookingStatus::Waitlisted, "WAITLISTED", true),
        (BookingStatus::Cancelled, "CANCELLED", false),
    ];
    for (status, name, live) in names {
        assert_eq!((status.as_str(), status.is_live()), (name, live));
        assert_eq!(BookingStatus::from_name(name), Some(status));
    }
    assert_eq!(BookingStatus::from_name(""), None);
}

#[test]
fn reasons_and_types_have_the_names_of_the_contract() {
    let because = [Because::Requested, Because::Unenrolled, Because::Superseded, Because::SemesterCancelled];
    assert_eq!(because.map(Because::as_str), ["requested", "unenrolled", "superseded", "semester_cancelled"]);
    let types = [
        TransactionType::TournamentEnrollment,
        TransactionType::TournamentUnenrollRefund,
        TransactionType::TournamentCancelRefund,
        TransactionType::Purchase,
        TransactionType::AdminAdjustment,
    ];
    assert_eq!(
        types.map(TransactionType::as_str),
        [
            "TOURNAMENT_ENROLLMENT",
            "TOURNAMENT_UNENROLL_REFUND",
            "TOURNAMENT_CANCEL_REFUND",
            "PURCHASE",
            "ADMIN_ADJUSTMENT"
        ]
    );
}

#[test]
fn bookings_overlap_when_a_moment_belongs_to_both() {
    let from_until = |from: i64, until: i64| Booking {
        booking_id: 1.try_into().unwrap(),
        user_id: 1.try_into().unwrap(),
        session_id: 1.try_into().unwrap(),
        status: BookingStatus::Confirmed,
        ticket: 1,
        starts_at: at(0) + TimeDelta::hours(from),
        ends_at: at(0) + TimeDelta::hours(until),
        made: None,
        promoted_at: None,
        cancelled: None,
    };
    let middle = from_until(10, 12);
    for (from, until, overlaps) in [
        (8, 10, false),
        (8, 11, true),
        (10, 12, true),
        (10, 11, true),
        (11, 12, true),
        (9, 13, true),
        (11, 14, true),
        (12, 14, false),
        (13, 14, false),
        (7, 8, false),
    ] {
        let other = from_until(from, until);
        assert_eq!((middle.overlaps(&other), other.overlaps(&middle)), (overlaps, overlaps), "{from}");
    }
}
