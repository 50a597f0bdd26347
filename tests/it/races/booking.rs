//! RACE-B01 to RACE-B05, RACE-B07, RACE-08, RACE-09: one session, several at once.

use seatkeeper_jobs::Reason;
use seatkeeper_jobs::record_attendance::AttendanceStatus::{Late, Present};
use seatkeeper_jobs::{Job, Receipt};
use serde_json::json;
use uuid::Uuid;

use super::{APPLIED, answer, answered, batches_wait, hold, patient, refused, second_turn, start};
use crate::booking::{applied, attended, book, booked, bookings, cancel, session, stage, unenroll};
use crate::support::TestDb;
use seatkeeper::batch::Turn;

/// The first request waits in the middle of its batch, for a user whom the test holds; then the second comes, and a
/// second worker that could take it. Gives both receipts.
async fn at_once(db: &TestDb, held: i64, one: impl Into<Job>, two: impl Into<Job>) -> [Receipt; 2] {
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let blocker = hold(db, &format!("select from seatkeeper.users where user_id = {held} for update")).await;
    db.ask(ids[0], one).await;
    let first = start(patient(db));
    batches_wait(db, 1).await;
    db.ask(ids[1], two).await;
    let second = second_turn(db).await;
    assert!(matches!(second, Turn::Contended), "{second:?}");
    blocker.rollback().await.unwrap();
    answered(first).await;
    let rest = db.worker().turn().await;
    assert!(matches!(rest, Turn::Answered(_)), "{rest:?}");
    for id in ids {
        let receipt = db.receipt(id).await;
        assert_eq!(receipt.attempts, 1, "{receipt:?}");
    }
    db.assert_sound().await;
    [db.receipt(ids[0]).await, db.receipt(ids[1]).await]
}

fn result(receipt: &Receipt) -> &serde_json::Value {
    receipt.result.as_ref().unwrap_or_else(|| panic!("not applied: {receipt:?}"))
}

/// Red without: the lane lock; the look for a live booking in `decide/book.rs`.
#[tokio::test]
async fn race_b01_the_same_user_booking_a_session_twice_at_once_has_one_booking() {
    let db = stage(1).await;
    session(&db, 1, 1, 48, 5).await;
    let [one, two] = at_once(&db, 1, book(1, 1), book(1, 1)).await;
    assert_eq!(result(&one)["status"], "CONFIRMED");
    assert_eq!(two.reason, Some(Reason::AlreadyBooked));
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED");
}

/// Red without: the lane lock; the comparison with the capacity in `decide/fill.rs`.
#[tokio::test]
async fn race_b02_the_last_place_goes_to_one_and_the_other_waits() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 2).await;
    booked(&db, 1, 1).await;
    let [one, two] = at_once(&db, 2, book(2, 1), book(3, 1)).await;
    assert_eq!(result(&one)["status"], "CONFIRMED");
    assert_eq!(
        (&result(&two)["status"], &result(&two)["waitlist_position"]),
        (&json!("WAITLISTED"), &json!(1))
    );
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED, 2 CONFIRMED, 3 WAITLISTED");
}

/// Red without: the lane lock; the removal of who is promoted from the queue, in `Places::confirm`.
#[tokio::test]
async fn race_b04_two_places_given_back_at_once_go_to_two_waiters() {
    let db = stage(5).await;
    session(&db, 1, 1, 48, 2).await;
    let mut ids = Vec::new();
    for user in 1..=5 {
        ids.push(booked(&db, user, 1).await);
    }
    let [one, two] = at_once(&db, 1, cancel(1, 1), cancel(2, 1)).await;
    assert_eq!(result(&one)["promoted_bookings"], json!([ids[2]]));
    assert_eq!(result(&two)["promoted_bookings"], json!([ids[3]]));
    assert!(bookings(&db, 1).await.ends_with("3 CONFIRMED, 4 CONFIRMED, 5 WAITLISTED"));

    // And in one batch.
    let ids: Vec<Uuid> = (0..2).map(|_| Uuid::now_v7()).collect();
    db.ask(ids[0], cancel(3, 1)).await;
    db.ask(ids[1], cancel(4, 1)).await;
    db.drain().await;
    assert_eq!((answer(&db, ids[0]).await, answer(&db, ids[1]).await), (APPLIED, APPLIED));
    let live: String = db
        .value("select string_agg(user_id || ' ' || status, ', ') from seatkeeper.bookings where status <> 'CANCELLED'")
        .await;
    assert_eq!(live, "5 CONFIRMED");
    db.assert_sound().await;
}

/// Red without: the lane lock; the status that a cancelled booking gets in `Places::cancel`.
#[tokio::test]
async fn race_b05_a_booking_cancelled_twice_at_once_frees_one_place() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 2).await;
    let mut ids = Vec::new();
    for user in 1..=4 {
        ids.push(booked(&db, user, 1).await);
    }
    // The second of them twice more in its batch.
    let twice = Uuid::now_v7();
    db.ask(twice, book(1, 1)).await;
    let [one, two] = at_once(&db, 1, cancel(1, 1), cancel(1, 1)).await;
    assert_eq!(answer(&db, twice).await, refused(Reason::AlreadyBooked));
    assert_eq!(result(&one)["promoted_bookings"], json!([ids[2]]));
    assert_eq!(two.reason, Some(Reason::AlreadyCancelled));
    let (again, more) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(again, cancel(2, 1)).await;
    db.ask(more, cancel(2, 1)).await;
    db.drain().await;
    assert_eq!(
        (answer(&db, again).await, answer(&db, more).await),
        (APPLIED, refused(Reason::AlreadyCancelled))
    );
    assert!(bookings(&db, 1).await.ends_with("3 CONFIRMED, 4 CONFIRMED"));
    db.assert_sound().await;
}

/// Red without: reading what was recorded, in `batch/gather.rs`.
#[tokio::test]
async fn race_b07_attendance_recorded_twice_at_once_is_one_row() {
    let db = stage(1).await;
    session(&db, 1, 1, 48, 1).await;
    let id = booked(&db, 1, 1).await;
    db.run("update seatkeeper.sessions set starts_at = now() - interval '1 hour'").await;
    db.drain().await;
    let [one, two] = at_once(&db, 1, attended(1, 1, Present), attended(1, 1, Late)).await;
    assert_eq!(result(&one)["replaced"], json!(null));
    assert_eq!(result(&two)["replaced"], "present");
    let rows: Vec<(i64, String)> = sqlx::query_as("select booking_id, status from seatkeeper.attendance")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(rows, [(id, "late".to_owned())]);
}

/// Red without: the lane lock; the fill in `decide/cancel_booking.rs`.
#[tokio::test]
async fn race_08_a_place_given_back_while_others_book_goes_to_who_waited() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 1).await;
    booked(&db, 1, 1).await;
    let waiter = booked(&db, 2, 1).await;
    let [back, newcomer] = at_once(&db, 1, cancel(1, 1), book(3, 1)).await;
    assert_eq!(result(&back)["promoted_bookings"], json!([waiter]));
    assert_eq!(result(&newcomer)["status"], "WAITLISTED");
    // The other way round.
    let [newcomer, back] = at_once(&db, 4, book(4, 1), cancel(2, 1)).await;
    assert_eq!(result(&newcomer)["waitlist_position"], json!(2));
    assert_eq!(result(&back)["promoted_bookings"].as_array().map(Vec::len), Some(1));
    assert!(bookings(&db, 1).await.ends_with("3 CONFIRMED, 4 WAITLISTED"), "{}", bookings(&db, 1).await);
}

/// Red without: the lane lock; the look for the enrollment in `decide/book.rs`.
#[tokio::test]
async fn race_09_unenroll_and_book_end_as_one_after_the_other() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 1).await;
    let [left, late] = at_once(&db, 1, unenroll(1, 1), book(1, 1)).await;
    assert_eq!(result(&left)["cancelled_bookings"], json!([]));
    assert_eq!(late.reason, Some(Reason::NotEnrolled));
    let [early, left] = at_once(&db, 2, book(2, 1), unenroll(2, 1)).await;
    assert_eq!(result(&early)["status"], "CONFIRMED");
    assert_eq!(result(&left)["cancelled_bookings"], json!([result(&early)["booking_id"]]));
    assert_eq!(bookings(&db, 1).await, "2 CANCELLED unenrolled");
}

/// Red without: the lane lock; the cancellation of the bookings in `decide/unenroll.rs`.
#[tokio::test]
async fn race_09_unenroll_and_cancel_free_one_place() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 2).await;
    let mut ids = Vec::new();
    for user in 1..=4 {
        ids.push(booked(&db, user, 1).await);
    }
    let [left, cancelled] = at_once(&db, 1, unenroll(1, 1), cancel(1, 1)).await;
    assert_eq!(result(&left)["promoted_bookings"], json!([ids[2]]));
    assert_eq!(cancelled.reason, Some(Reason::AlreadyCancelled));
    let [cancelled, left] = at_once(&db, 2, cancel(2, 1), unenroll(2, 1)).await;
    assert_eq!(result(&cancelled)["promoted_bookings"], json!([ids[3]]));
    assert_eq!(result(&left)["cancelled_bookings"], json!([]));
    assert!(bookings(&db, 1).await.ends_with("3 CONFIRMED, 4 CONFIRMED"));
}

/// Red without: the lane lock; the look for the enrollment of a waiter in `decide/fill.rs`.
#[tokio::test]
async fn race_09_who_leaves_is_not_promoted() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 1).await;
    let mut ids = Vec::new();
    for user in 1..=3 {
        ids.push(booked(&db, user, 1).await);
    }
    let [left, back] = at_once(&db, 2, unenroll(2, 1), cancel(1, 1)).await;
    assert_eq!(result(&left)["promoted_bookings"], json!([]), "a wait frees no place");
    assert_eq!(result(&back)["promoted_bookings"], json!([ids[2]]));
    // The other way round: promoted first, and then gone, and the next one moves up.
    db.run("update seatkeeper.sessions set capacity = 1").await;
    applied(&db, book(1, 1)).await;
    let [back, left] = at_once(&db, 3, cancel(3, 1), unenroll(1, 1)).await;
    assert_eq!(result(&back)["promoted_bookings"].as_array().map(Vec::len), Some(1));
    assert_eq!(result(&left)["cancelled_bookings"], result(&back)["promoted_bookings"]);
    assert!(!bookings(&db, 1).await.contains("CONFIRMED"));
}
