//! What becomes of bookings when their user leaves the semester.

use seatkeeper_jobs::Reason;
use serde_json::json;

use super::{
    answered, applied, book, booked, bookings, cancel, enroll, enroll_all, refused, session, stage, unenroll,
};

#[tokio::test]
async fn places_and_waits_go_with_the_enrollment_and_others_move_up() {
    let db = stage(4).await;
    for id in [2, 1, 3] {
        session(&db, id, 1, 48 + 2 * id, 1).await;
    }
    // User 1 has places in 1 and 2, and waits in 3; users 2 and 3 wait in both.
    let (here, there) = (booked(&db, 1, 1).await, booked(&db, 1, 2).await);
    let (mut waits_here, mut waits_there) = (Vec::new(), Vec::new());
    for user in [2, 3] {
        waits_there.push(booked(&db, user, 2).await);
        waits_here.push(booked(&db, user, 1).await);
    }
    booked(&db, 4, 3).await;
    let waiting = booked(&db, 1, 3).await;
    assert_eq!(refused(&db, book(9, 1)).await, Reason::UserNotFound);

    let left = applied(&db, unenroll(1, 1)).await;
    assert_eq!(left["cancelled_bookings"], json!([here, there, waiting]), "in the order of their sessions");
    assert_eq!(left["promoted_bookings"], json!([waits_here[0], waits_there[0]]));
    assert_eq!(bookings(&db, 1).await, "1 CANCELLED unenrolled, 2 CONFIRMED, 3 WAITLISTED");
    assert_eq!(bookings(&db, 3).await, "4 CONFIRMED, 1 CANCELLED unenrolled");
    assert_eq!(refused(&db, book(1, 1)).await, Reason::NotEnrolled);
    assert_eq!(refused(&db, cancel(1, 1)).await, Reason::AlreadyCancelled);
    // Enrolling again brings nothing back.
    applied(&db, enroll(1, 1)).await;
    assert_eq!(applied(&db, book(1, 1)).await["waitlist_position"], json!(2));
    db.assert_sound().await;
}

#[tokio::test]
async fn sessions_that_have_started_keep_their_bookings() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 1, 50, 1).await;
    for user in [1, 2] {
        booked(&db, user, 1).await;
    }
    let later = booked(&db, 1, 2).await;
    db.run("update seatkeeper.sessions set starts_at = now() - interval '1 hour', ends_at = now() where session_id = 1")
        .await;
    db.drain().await;
    let left = applied(&db, unenroll(1, 1)).await;
    assert_eq!((&left["cancelled_bookings"], &left["promoted_bookings"]), (&json!([later]), &json!([])));
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED, 2 WAITLISTED");
    db.assert_sound().await;
}

#[tokio::test]
async fn the_bookings_of_other_semesters_stay() {
    let db = stage(2).await;
    db.semester(2, None, 0).await;
    enroll_all(&db, [1], 2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 2, 50, 1).await;
    booked(&db, 1, 1).await;
    booked(&db, 1, 2).await;
    applied(&db, unenroll(1, 1)).await;
    assert_eq!(bookings(&db, 2).await, "1 CONFIRMED");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_user_who_leaves_and_books_in_the_same_batch_is_answered_in_order() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 1).await;
    let ids: Vec<_> = (0..5).map(|_| uuid::Uuid::now_v7()).collect();
    db.ask(ids[0], book(1, 1)).await;
    db.ask(ids[1], book(2, 1)).await;
    db.ask(ids[2], unenroll(1, 1)).await;
    db.ask(ids[3], book(1, 1)).await;
    db.ask(ids[4], cancel(2, 1)).await;
    db.drain().await;
    let left = db.receipt(ids[2]).await.result.unwrap();
    let (first, second) =
        (db.receipt(ids[0]).await.result.unwrap(), db.receipt(ids[1]).await.result.unwrap());
    assert_eq!(left["cancelled_bookings"], json!([first["booking_id"]]));
    assert_eq!(left["promoted_bookings"], json!([second["booking_id"]]));
    assert_eq!(db.receipt(ids[3]).await.reason, Some(Reason::NotEnrolled));
    assert_eq!(db.receipt(ids[4]).await.result.unwrap()["promoted_bookings"], json!([]));
    assert_eq!(answered(&db, unenroll(1, 1)).await.reason, Some(Reason::NotEnrolled));
    db.assert_sound().await;
}
