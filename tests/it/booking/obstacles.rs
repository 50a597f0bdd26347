//! What must not hold up others: somebody else's lock on a session, a fill that cannot be done, a session that is not
//! there yet, rows that break the rules.

use std::time::Duration;

use seatkeeper::batch::{Limits, Turn, sort_out};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::{Outcome, Reason, Status};
use serde_json::json;
use uuid::Uuid;

use super::{applied, book, booked, bookings, cancel, cancel_by_id, enroll_all, session, stage};
use crate::support::{TestDb, until};

async fn status(db: &TestDb, id: Uuid) -> Status {
    db.receipt(id).await.status
}

#[tokio::test]
async fn a_session_that_somebody_holds_delays_its_lane_and_no_other_one() {
    let db = stage(3).await;
    db.semester(2, None, 0).await;
    enroll_all(&db, 1..=3, 2).await;
    session(&db, 1, 1, 48, 5).await;
    session(&db, 2, 1, 50, 5).await;
    session(&db, 3, 2, 52, 5).await;
    let mut outsider = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.sessions where session_id = 1 for update")
        .execute(&mut *outsider)
        .await
        .unwrap();
    let ids: Vec<Uuid> = (0..4).map(|_| Uuid::now_v7()).collect();
    db.ask(ids[0], book(1, 2)).await;
    db.ask(ids[1], book(1, 1)).await;
    db.ask(ids[2], book(2, 2)).await;
    db.ask(ids[3], book(1, 3)).await;
    // A mark of the session that is held is nobody's obstacle either.
    db.run("insert into seatkeeper.fill_marks (semester_id, session_id) values (1, 1)").await;
    let timeouts = Timeouts { lock: Duration::from_millis(20), ..Timeouts::default() };
    let mut worker = db.worker_on(timeouts, Limits { caution: Duration::from_secs(60), ..Limits::default() });
    let mut turns = 0;
    while status(&db, ids[3]).await != Status::Done {
        worker.turn().await;
        turns += 1;
        assert!(turns < 10, "the other lane waits");
    }
    assert_eq!(status(&db, ids[0]).await, Status::Done, "it came before");
    assert_eq!(status(&db, ids[1]).await, Status::Queued);
    assert_eq!(status(&db, ids[2]).await, Status::Queued, "nobody overtakes in a lane");
    outsider.rollback().await.unwrap();
    db.drain().await;
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED");
    assert_eq!(bookings(&db, 2).await, "1 CONFIRMED, 2 CONFIRMED");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_waiter_whom_somebody_holds_delays_the_lane_of_the_session_and_no_other_one() {
    let db = stage(4).await;
    db.semester(2, None, 0).await;
    enroll_all(&db, 1..=3, 2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 2, 52, 5).await;
    for user in 1..=3 {
        booked(&db, user, 1).await;
    }
    let mut outsider = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.users where user_id = 2 for update")
        .execute(&mut *outsider)
        .await
        .unwrap();
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    db.ask(ids[0], cancel(1, 1)).await;
    db.ask(ids[1], book(4, 1)).await;
    db.ask(ids[2], book(1, 2)).await;
    let timeouts = Timeouts { lock: Duration::from_millis(20), ..Timeouts::default() };
    let mut worker = db.worker_on(timeouts, Limits { caution: Duration::from_secs(60), ..Limits::default() });
    let mut turns = 0;
    while status(&db, ids[2]).await != Status::Done {
        worker.turn().await;
        turns += 1;
        assert!(turns < 10, "the other lane waits");
    }
    assert_eq!(status(&db, ids[0]).await, Status::Queued, "whose turn it is cannot be said");
    assert_eq!(status(&db, ids[1]).await, Status::Queued);
    outsider.rollback().await.unwrap();
    db.drain().await;
    assert_eq!(bookings(&db, 1).await, "1 CANCELLED requested, 2 CONFIRMED, 3 WAITLISTED, 4 WAITLISTED");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_fill_that_fails_is_put_off_and_the_lane_goes_on() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 0).await;
    session(&db, 2, 1, 52, 5).await;
    booked(&db, 1, 1).await;
    db.run(
        "create function public.broken() returns trigger language plpgsql as $$ begin raise exception 'broken'; end $$;
         create trigger broken before update on seatkeeper.bookings for each row when (new.session_id = 1)
             execute function public.broken();
         update seatkeeper.sessions set capacity = 1 where session_id = 1",
    )
    .await;
    let ids: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for (id, user) in ids.iter().zip(2..) {
        db.ask(*id, book(user, 2)).await;
    }
    let limits = Limits { retry_after: Duration::from_millis(1), ..Limits::default() };
    let mut worker = db.worker_with(limits);
    while !matches!(worker.turn().await, Turn::Idle) {}
    for id in ids {
        assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    }
    let (attempts, error): (i32, String) =
        sqlx::query_as("select attempts, last_error from seatkeeper.fill_marks")
            .fetch_one(&db.pool)
            .await
            .unwrap();
    assert!(attempts >= 1 && error.contains("broken"), "{attempts} {error}");
    assert_eq!(bookings(&db, 1).await, "1 WAITLISTED");

    // Repaired, it is done without anybody asking.
    db.run("drop trigger broken on seatkeeper.bookings").await;
    let transactions = Transactions::new(db.pool.clone(), Timeouts::default());
    until("the mark is due again", async || sort_out(&transactions).await.unwrap() > 0).await;
    db.drain().await;
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_request_for_a_session_that_comes_later_is_decided_in_its_lane() {
    let db = stage(1).await;
    let (early, late) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(early, book(1, 7)).await;
    session(&db, 7, 1, 48, 1).await;
    db.drain().await;
    assert_eq!(db.receipt(early).await.result.unwrap()["status"], "CONFIRMED");
    let lane: Option<i64> =
        db.value(&format!("select semester_id from seatkeeper.requests where request_id = '{early}'")).await;
    assert_eq!(lane, Some(1));
    // The same for a booking that nobody could know.
    let guessed: i64 = db.value("select max(booking_id) + 2 from seatkeeper.bookings").await;
    db.ask(late, cancel_by_id(1, guessed)).await;
    db.drain().await;
    assert_eq!(db.receipt(late).await.reason, Some(Reason::BookingNotFound));
    db.assert_sound().await;
}

/// Red without: the look for another place in `decide/fill.rs`. (A state that only a hand can make.)
#[tokio::test]
async fn a_waiter_who_has_a_place_at_the_time_is_passed_over_and_others_are_served() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 1, 60, 5).await;
    let mut ids = Vec::new();
    for user in 1..=3 {
        ids.push(booked(&db, user, 1).await);
    }
    booked(&db, 2, 2).await;
    db.run(
        "update seatkeeper.bookings b set starts_at = s.starts_at, ends_at = s.ends_at
         from seatkeeper.sessions s where b.user_id = 2 and b.session_id = 2 and s.session_id = 1",
    )
    .await;
    assert_eq!(applied(&db, cancel(1, 1)).await["promoted_bookings"], json!([ids[2]]));
    assert_eq!(applied(&db, book(4, 1)).await["waitlist_position"], json!(2));
    let attempts: i32 = db.value("select max(attempts) from seatkeeper.requests").await;
    assert_eq!(attempts, 1, "nobody pays for it");
}

/// Red without: the comparison with the refusals of the kind in `batch/answers.rs`.
#[tokio::test]
async fn a_guard_that_fires_for_a_request_that_it_cannot_refuse_is_an_error() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 1).await;
    for user in 1..=2 {
        booked(&db, user, 1).await;
    }
    db.run(
        "create function public.broken() returns trigger language plpgsql as $$
         begin raise exclusion_violation using constraint = 'xcl_no_overlapping_confirmed_bookings'; end $$;
         create trigger broken before update on seatkeeper.bookings for each row when (new.status = 'CONFIRMED')
             execute function public.broken()",
    )
    .await;
    let id = Uuid::now_v7();
    db.ask(id, cancel(1, 1)).await;
    let mut worker = db.worker_with(Limits { attempts: 1, ..Limits::default() });
    while !matches!(worker.turn().await, Turn::Idle) {}
    let receipt = db.receipt(id).await;
    assert_eq!((receipt.status, receipt.reason), (Status::Failed, Some(Reason::AttemptsExhausted)));
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED, 2 WAITLISTED");
    db.assert_sound().await;
}
