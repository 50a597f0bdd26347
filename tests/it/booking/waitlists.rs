//! Who gets a place, and who waits: order, capacity, overlaps.

use seatkeeper::batch::Turn;
use seatkeeper_jobs::Reason;
use serde_json::json;
use uuid::Uuid;

use super::{
    applied, book, booked, bookings, cancel, cancel_by_id, enroll_all, fills, refused, session, stage,
    unenroll,
};

#[tokio::test]
async fn places_go_in_order_of_arrival_and_then_one_waits() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 2).await;
    let first = applied(&db, book(3, 1)).await;
    assert_eq!(first["status"], "CONFIRMED");
    assert_eq!(first["waitlist_position"], json!(null));
    assert_eq!(first["superseded_bookings"], json!([]));
    booked(&db, 1, 1).await;
    let third = applied(&db, book(2, 1)).await;
    assert_eq!((&third["status"], &third["waitlist_position"]), (&json!("WAITLISTED"), &json!(1)));
    assert_eq!(applied(&db, book(4, 1)).await["waitlist_position"], json!(2));
    assert_eq!(bookings(&db, 1).await, "3 CONFIRMED, 1 CONFIRMED, 2 WAITLISTED, 4 WAITLISTED");

    assert_eq!(refused(&db, book(3, 1)).await, Reason::AlreadyBooked);
    assert_eq!(refused(&db, book(4, 1)).await, Reason::AlreadyBooked);
    assert_eq!(refused(&db, book(1, 99)).await, Reason::SessionNotFound);
    assert_eq!(refused(&db, book(99, 1)).await, Reason::UserNotFound);
    db.assert_sound().await;
}

#[tokio::test]
async fn a_place_given_back_goes_to_whoever_waited_longest() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 1).await;
    let mut ids = Vec::new();
    for user in 1..=4 {
        ids.push(booked(&db, user, 1).await);
    }
    let given_back = applied(&db, cancel(1, 1)).await;
    assert_eq!(given_back, json!({"booking_id": ids[0], "promoted_bookings": [ids[1]]}));
    let given_back = applied(&db, cancel_by_id(2, ids[1])).await;
    assert_eq!(given_back, json!({"booking_id": ids[1], "promoted_bookings": [ids[2]]}));
    assert_eq!(
        bookings(&db, 1).await,
        "1 CANCELLED requested, 2 CANCELLED requested, 3 CONFIRMED, 4 WAITLISTED"
    );
    let promoted: bool = db
        .value(&format!(
            "select promoted_at = (select finished_at from seatkeeper.requests order by answer_seq desc limit 1)
             from seatkeeper.bookings where booking_id = {}",
            ids[2]
        ))
        .await;
    assert!(promoted);

    // Booking again makes a new booking at the end of the queue.
    let again = applied(&db, book(1, 1)).await;
    assert_eq!((&again["status"], &again["waitlist_position"]), (&json!("WAITLISTED"), &json!(2)));
    assert!(fills(&db).await.is_empty(), "every fill had a request that caused it");
    db.assert_sound().await;
}

#[tokio::test]
async fn giving_up_a_wait_frees_nothing_and_blocks_nobody() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 1).await;
    let mut ids = Vec::new();
    for user in 1..=4 {
        ids.push(booked(&db, user, 1).await);
    }
    assert_eq!(applied(&db, cancel(2, 1)).await["promoted_bookings"], json!([]));
    assert_eq!(applied(&db, cancel(1, 1)).await["promoted_bookings"], json!([ids[2]]));
    assert_eq!(refused(&db, cancel(2, 1)).await, Reason::AlreadyCancelled);
    assert_eq!(refused(&db, cancel_by_id(2, ids[1])).await, Reason::AlreadyCancelled);
    // Another user's booking is not found, whether it is there or not.
    assert_eq!(refused(&db, cancel_by_id(1, ids[3])).await, Reason::BookingNotFound);
    assert_eq!(refused(&db, cancel_by_id(1, i64::MAX)).await, Reason::BookingNotFound);
    assert_eq!(refused(&db, cancel(1, 99)).await, Reason::BookingNotFound);
    db.run("insert into seatkeeper.users (user_id) values (5)").await;
    assert_eq!(refused(&db, cancel(5, 1)).await, Reason::BookingNotFound);
    db.assert_sound().await;
}

#[tokio::test]
async fn with_no_capacity_everybody_waits_until_there_is_some() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 0).await;
    for user in 1..=3 {
        booked(&db, user, 1).await;
    }
    assert_eq!(bookings(&db, 1).await, "1 WAITLISTED, 2 WAITLISTED, 3 WAITLISTED");
    // Nobody asks: the owner raises the capacity, and a worker fills.
    db.run("update seatkeeper.sessions set capacity = 2").await;
    db.drain().await;
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED, 2 CONFIRMED, 3 WAITLISTED");
    assert_eq!(fills(&db).await.len(), 2);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.fill_marks").await, 0);
    let refused =
        sqlx::query("update seatkeeper.sessions set capacity = 1").execute(&db.pool).await.unwrap_err();
    assert_eq!(
        refused.as_database_error().and_then(|error| error.constraint()),
        Some("chk_confirmed_within_capacity")
    );
    db.assert_sound().await;
}

#[tokio::test]
async fn a_fill_records_what_it_did_between_the_answers() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 0).await;
    let (first, second) = (booked(&db, 1, 1).await, booked(&db, 2, 1).await);
    db.run("update seatkeeper.sessions set capacity = 5").await;
    db.drain().await;
    let rows: Vec<(i64, serde_json::Value, serde_json::Value)> = sqlx::query_as(
        r#"select key, before, after from seatkeeper.catalog_changes
           where "table" = 'bookings' and statement_seq = change_seq order by change_seq"#,
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let image = |booking: i64, user: i64, status: &str| json!({"booking_id": booking, "user_id": user, "session_id": 1, "status": status});
    assert_eq!(
        rows,
        [
            (first, image(first, 1, "WAITLISTED"), image(first, 1, "CONFIRMED")),
            (second, image(second, 2, "WAITLISTED"), image(second, 2, "CONFIRMED")),
        ]
    );
    let same_instant: bool = db
        .value(
            r#"select bool_and(b.promoted_at = c.changed_at) and bool_and(s.last_decided_at >= c.changed_at)
               from seatkeeper.catalog_changes c join seatkeeper.bookings b on b.booking_id = c.key, seatkeeper.semesters s
               where c."table" = 'bookings'"#,
        )
        .await;
    assert!(same_instant);
    db.assert_sound().await;
}

#[tokio::test]
async fn nobody_is_in_two_places_at_once() {
    let db = stage(2).await;
    db.semester(2, None, 0).await;
    enroll_all(&db, 1..=2, 2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 2, 48, 5).await;
    // Touching ends do not overlap.
    session(&db, 3, 2, 49, 5).await;
    session(&db, 4, 2, 47, 5).await;
    booked(&db, 1, 1).await;
    assert_eq!(refused(&db, book(1, 2)).await, Reason::ScheduleConflict);
    assert_eq!(applied(&db, book(1, 3)).await["status"], "CONFIRMED");
    assert_eq!(applied(&db, book(1, 4)).await["status"], "CONFIRMED");
    // A wait is no place: it may overlap, until one of the two becomes one.
    let wait = booked(&db, 2, 1).await;
    let place = applied(&db, book(2, 2)).await;
    assert_eq!(place["status"], "CONFIRMED");
    assert_eq!(place["superseded_bookings"], json!([wait]));
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED, 2 CANCELLED superseded");
    db.assert_sound().await;
}

#[tokio::test]
async fn of_two_waits_at_the_same_time_the_place_that_comes_first_is_kept() {
    let db = stage(4).await;
    db.semester(2, None, 0).await;
    enroll_all(&db, [3, 4], 2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 2, 48, 1).await;
    booked(&db, 1, 1).await;
    booked(&db, 4, 2).await;
    let here = booked(&db, 3, 1).await;
    booked(&db, 3, 2).await;
    booked(&db, 2, 1).await;
    assert_eq!(applied(&db, cancel(1, 1)).await["promoted_bookings"], json!([here]));
    assert_eq!(bookings(&db, 2).await, "4 CONFIRMED, 3 CANCELLED superseded");
    // The other one has nobody to give its place to, and says so.
    assert_eq!(applied(&db, cancel(4, 2)).await["promoted_bookings"], json!([]));
    db.assert_sound().await;
}

#[tokio::test]
async fn whoever_cannot_take_the_place_is_passed_over_and_stays() {
    let db = stage(5).await;
    session(&db, 1, 1, 48, 1).await;
    for user in 1..=4 {
        booked(&db, user, 1).await;
    }
    db.run("update seatkeeper.users set is_active = false where user_id in (2, 3)").await;
    db.drain().await;
    applied(&db, cancel(1, 1)).await;
    assert_eq!(bookings(&db, 1).await, "1 CANCELLED requested, 2 WAITLISTED, 3 WAITLISTED, 4 CONFIRMED");
    assert_eq!(refused(&db, book(2, 1)).await, Reason::UserInactive);
    // A free place beside somebody who cannot take it; as soon as they can, it is theirs.
    applied(&db, cancel(4, 1)).await;
    assert_eq!(fills(&db).await.len(), 0);
    db.run("update seatkeeper.users set is_active = true where user_id = 3").await;
    db.drain().await;
    assert!(bookings(&db, 1).await.contains("2 WAITLISTED, 3 CONFIRMED"), "{}", bookings(&db, 1).await);
    // Newcomers queue behind able waiters, and pass those who are not.
    db.run("update seatkeeper.sessions set capacity = 2").await;
    db.drain().await;
    assert_eq!(applied(&db, book(5, 1)).await["status"], "CONFIRMED");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_place_given_back_and_one_at_the_same_time_taken_in_one_batch() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 1, 48, 1).await;
    booked(&db, 1, 1).await;
    let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    db.ask(ids[0], book(1, 2)).await;
    db.ask(ids[1], cancel(1, 1)).await;
    db.ask(ids[2], book(1, 2)).await;
    db.ask(ids[3], book(2, 1)).await;
    let turn = db.worker().turn().await;
    assert!(matches!(&turn, Turn::Answered(report) if report.told.len() == 4), "at the first try: {turn:?}");
    assert_eq!(db.receipt(ids[0]).await.reason, Some(Reason::ScheduleConflict));
    assert_eq!(db.receipt(ids[2]).await.result.unwrap()["status"], "CONFIRMED");
    assert_eq!(db.receipt(ids[3]).await.result.unwrap()["status"], "CONFIRMED");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_whole_life_in_one_batch_leaves_the_rows_that_it_would_have_left_one_by_one() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 1).await;
    // 1 takes the place, 2 waits, 1 leaves, 2 moves up, 3 waits, 2 leaves the semester, 3 moves up.
    for job in
        [book(1, 1).into(), book(2, 1).into(), cancel(1, 1).into(), book(3, 1).into(), unenroll(2, 1).into()]
    {
        let job: seatkeeper_jobs::Job = job;
        db.ask(Uuid::now_v7(), job).await;
    }
    db.drain().await;
    assert_eq!(bookings(&db, 1).await, "1 CANCELLED requested, 2 CANCELLED unenrolled, 3 CONFIRMED");
    let promoted: i64 =
        db.value("select count(*) from seatkeeper.bookings where promoted_at is not null").await;
    assert_eq!(promoted, 2, "2 and 3 had waited");
    let batches: i64 = db
        .value("select count(distinct finished_at) from seatkeeper.requests where kind in ('book', 'cancel_booking')")
        .await;
    assert_eq!(batches, 1, "it was one batch");
    db.assert_sound().await;
}
