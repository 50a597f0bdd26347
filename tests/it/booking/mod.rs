//! Booking, end to end: places in sessions, waitlists that move, what owners change, and what becomes of it.

mod attendance;
mod cancelled_semesters;
mod leaving;
mod moved;
mod obstacles;
mod scale;
mod waitlists;

use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::record_attendance::{AttendanceStatus, RecordAttendance};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Outcome, Reason, Receipt};
use serde_json::Value;
use uuid::Uuid;

use crate::support::TestDb;

pub fn book(user: i64, session: i64) -> Book {
    Book { user_id: user.try_into().unwrap(), session_id: session.try_into().unwrap() }
}

pub fn cancel(user: i64, session: i64) -> CancelBooking {
    let which = Which::SessionId(session.try_into().unwrap());
    CancelBooking { user_id: user.try_into().unwrap(), which }
}

pub fn cancel_by_id(user: i64, booking: i64) -> CancelBooking {
    let which = Which::BookingId(booking.try_into().unwrap());
    CancelBooking { user_id: user.try_into().unwrap(), which }
}

pub fn attended(user: i64, session: i64, status: AttendanceStatus) -> RecordAttendance {
    RecordAttendance { user_id: user.try_into().unwrap(), session_id: session.try_into().unwrap(), status }
}

pub fn enroll(user: i64, semester: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: semester.try_into().unwrap() }
}

pub fn unenroll(user: i64, semester: i64) -> Unenroll {
    let (user_id, semester_id) = (user.try_into().unwrap(), semester.try_into().unwrap());
    Unenroll { user_id, semester_id, enrollment_id: None }
}

/// A database with these users, all enrolled in semester 1, which costs nothing.
pub async fn stage(users: i64) -> TestDb {
    let db = TestDb::new().await;
    db.users(users).await;
    db.semester(1, None, 0).await;
    enroll_all(&db, 1..=users, 1).await;
    db
}

pub async fn enroll_all(db: &TestDb, users: impl IntoIterator<Item = i64>, semester: i64) {
    for user in users {
        db.ask(Uuid::now_v7(), enroll(user, semester)).await;
    }
    db.drain().await;
}

/// Adds a session of an hour that starts in `hours`.
pub async fn session(db: &TestDb, id: i64, semester: i64, hours: i64, capacity: i32) {
    db.run(&format!(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values ({id}, {semester}, date_trunc('hour', now()) + interval '{hours} hours',
                 date_trunc('hour', now()) + interval '{} hours', {capacity})",
        hours + 1
    ))
    .await;
}

/// Asks and works until it is answered.
pub async fn answered(db: &TestDb, job: impl Into<Job>) -> Receipt {
    let id = Uuid::now_v7();
    db.ask(id, job).await;
    db.drain().await;
    db.receipt(id).await
}

/// The result of a request that was applied.
pub async fn applied(db: &TestDb, job: impl Into<Job>) -> Value {
    let receipt = answered(db, job).await;
    assert_eq!(receipt.outcome, Some(Outcome::Applied), "{receipt:?}");
    receipt.result.unwrap()
}

/// The reason of a request that was refused.
pub async fn refused(db: &TestDb, job: impl Into<Job>) -> Reason {
    let receipt = answered(db, job).await;
    assert_eq!(receipt.outcome, Some(Outcome::Refused), "{receipt:?}");
    receipt.reason.unwrap()
}

/// Books, and gives the booking's ID.
pub async fn booked(db: &TestDb, user: i64, session: i64) -> i64 {
    applied(db, book(user, session)).await["booking_id"].as_i64().unwrap()
}

/// The bookings of a session in the order of their tickets: `1 CONFIRMED, 2 WAITLISTED`.
pub async fn bookings(db: &TestDb, session: i64) -> String {
    db.value::<Option<String>>(&format!(
        "select string_agg(user_id || ' ' || status || coalesce(' ' || cancelled_because, ''), ', ' order by waitlist_ticket)
         from seatkeeper.bookings where session_id = {session}"
    ))
    .await
    .unwrap_or_default()
}

/// The fills that no request caused, in their order: `booking user session`.
pub async fn fills(db: &TestDb) -> Vec<String> {
    db.value(
        r#"select coalesce(array_agg(key || ' ' || (after ->> 'user_id') || ' ' || (after ->> 'session_id') order by change_seq), '{}')
           from seatkeeper.catalog_changes where "table" = 'bookings'"#,
    )
    .await
}
