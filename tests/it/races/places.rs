//! RACE-B03, RACE-B06, RACE-10 and places at the same time: sessions under the hands of owners, and of other lanes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seatkeeper::batch::{Limits, Turn};
use seatkeeper_jobs::{Outcome, Reason, Status};
use serde_json::json;
use uuid::Uuid;

use super::{APPLIED, answer, answered, batches_wait, hold, patient, patient_with, refused, start};
use crate::booking::{applied, book, booked, bookings, cancel, enroll_all, session, stage};
use crate::support::{TestDb, until};

const JOINING: i64 = 60;

/// Red without: tickets from a sequence, in `prefetch.draw`. (Without the lane lock, that of the session keeps the order.)
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn race_b03_those_who_join_at_once_wait_in_the_order_in_which_they_came() {
    let db = stage(JOINING + 1).await;
    session(&db, 1, 1, 48, 1).await;
    booked(&db, JOINING + 1, 1).await;
    let all_asked = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for _ in 0..4 {
        let mut worker = patient_with(&db, Limits { batch: 3, ..Limits::default() });
        let all_asked = all_asked.clone();
        workers.push(tokio::spawn(async move {
            let mut answered = 0;
            loop {
                // Before the turn: only what was asked by then is what it has looked for.
                let is_last = all_asked.load(Ordering::SeqCst);
                match worker.turn().await {
                    Turn::Answered(report) => answered += report.told.len(),
                    Turn::Idle if is_last => return answered,
                    _ => tokio::task::yield_now().await,
                }
            }
        }));
    }
    // Several producers, each with users of their own; every third gives up again at once.
    let mut producers = Vec::new();
    for producer in 0..4 {
        let pool = db.pool.clone();
        producers.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for user in (1..=JOINING).filter(|user| user % 4 == producer) {
                let mut connection = pool.acquire().await.unwrap();
                let mut jobs: Vec<seatkeeper_jobs::Job> = vec![book(user, 1).into()];
                if user % 3 == 0 {
                    jobs.push(cancel(user, 1).into());
                }
                for job in jobs {
                    let id = Uuid::now_v7();
                    let request = seatkeeper_jobs::Request::new(id, job);
                    seatkeeper_jobs::postgres::enqueue(&mut connection, &request).await.unwrap();
                    ids.push(id);
                }
            }
            ids
        }));
    }
    let mut ids = Vec::new();
    for producer in producers {
        ids.extend(producer.await.unwrap());
    }
    all_asked.store(true, Ordering::SeqCst);
    let mut worked = 0;
    for worker in workers {
        worked += usize::from(worker.await.unwrap() > 0);
    }
    assert!(worked > 1, "the workers did not overlap");
    for id in ids {
        let receipt = db.receipt(id).await;
        assert_eq!(
            (receipt.status, receipt.outcome, receipt.attempts),
            (Status::Done, Some(Outcome::Applied), 1),
            "{receipt:?}"
        );
    }
    let orders: (bool, i64, i64) = sqlx::query_as(
        "select array_agg(b.user_id order by b.waitlist_ticket) = array_agg(b.user_id order by r.answer_seq),
                count(distinct b.waitlist_ticket), count(*)
         from seatkeeper.bookings b join seatkeeper.requests r using (request_id)",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(orders, (true, JOINING + 1, JOINING + 1));
    // And so they are served.
    let waiting: Vec<i64> = db
        .value("select array_agg(user_id order by waitlist_ticket) from seatkeeper.bookings where status = 'WAITLISTED'")
        .await;
    db.run("update seatkeeper.sessions set capacity = 11").await;
    db.drain().await;
    let promoted: Vec<i64> = db
        .value("select array_agg(user_id) from seatkeeper.bookings where status = 'CONFIRMED' and promoted_at is not null")
        .await;
    let promoted: BTreeSet<i64> = promoted.into_iter().collect();
    assert_eq!(promoted, waiting[..10].iter().copied().collect());
    db.assert_sound().await;
}

/// A request that waits for a session in which an owner is at work; then the owner commits.
async fn while_changed(db: &TestDb, change: &str, job: impl Into<seatkeeper_jobs::Job>) -> Uuid {
    let owner = hold(db, change).await;
    let id = Uuid::now_v7();
    db.ask(id, job).await;
    let turn = start(patient(db));
    batches_wait(db, 1).await;
    owner.commit().await.unwrap();
    answered(turn).await;
    id
}

/// Red without: the row lock in `places.lock_sessions`.
#[tokio::test]
async fn race_b06_a_capacity_lowered_while_somebody_books_is_the_one_that_counts() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 2).await;
    booked(&db, 1, 1).await;
    let late = while_changed(&db, "update seatkeeper.sessions set capacity = 1", book(2, 1)).await;
    assert_eq!(db.receipt(late).await.result.unwrap()["status"], "WAITLISTED");
    // Raised: the waiter of before comes first, in the same commit.
    let third = while_changed(&db, "update seatkeeper.sessions set capacity = 2", book(3, 1)).await;
    assert_eq!(db.receipt(third).await.result.unwrap()["status"], "WAITLISTED");
    assert_eq!(bookings(&db, 1).await, "1 CONFIRMED, 2 CONFIRMED, 3 WAITLISTED");
    db.drain().await;
    db.assert_sound().await;
}

/// Red without: the row lock in `places.lock_sessions`; `trg_count_added_bookings`.
#[tokio::test]
async fn race_b06_a_row_inserted_by_hand_counts_like_any_other() {
    let db = stage(4).await;
    session(&db, 1, 1, 48, 1).await;
    let by_hand = |user: i64| {
        format!(
            "insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at)
             select {user}, session_id, 'CONFIRMED', starts_at, ends_at from seatkeeper.sessions"
        )
    };
    let late = while_changed(&db, &by_hand(1), book(2, 1)).await;
    assert_eq!(db.receipt(late).await.result.unwrap()["status"], "WAITLISTED");
    let full = sqlx::query(sqlx::AssertSqlSafe(by_hand(3))).execute(&db.pool).await.unwrap_err();
    assert_eq!(
        full.as_database_error().and_then(|error| error.constraint()),
        Some("chk_confirmed_within_capacity")
    );
    // Taken away by hand, and changed by hand.
    db.run("delete from seatkeeper.bookings where user_id = 1").await;
    assert_eq!(db.value::<i32>("select confirmed_count from seatkeeper.sessions").await, 0);
    db.run("update seatkeeper.bookings set status = 'CONFIRMED' where user_id = 2").await;
    assert_eq!(db.value::<i32>("select confirmed_count from seatkeeper.sessions").await, 1);
    db.assert_sound().await;
}

/// Red without: the row lock in `places.lock_sessions`.
#[tokio::test]
async fn race_10_a_session_moved_or_cancelled_while_a_request_waits_is_decided_as_it_is_then() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 1, 96, 1).await;
    booked(&db, 1, 2).await;
    let onto = "update seatkeeper.sessions s set starts_at = o.starts_at, ends_at = o.ends_at
                from seatkeeper.sessions o where s.session_id = 1 and o.session_id = 2";
    let moved = while_changed(&db, onto, book(1, 1)).await;
    assert_eq!(answer(&db, moved).await, refused(Reason::ScheduleConflict));
    let off = "update seatkeeper.sessions set status = 'CANCELLED' where session_id = 1";
    let cancelled = while_changed(&db, off, book(2, 1)).await;
    assert_eq!(answer(&db, cancelled).await, refused(Reason::SessionCancelled));
    let started =
        "update seatkeeper.sessions set starts_at = now() - interval '1 minute' where session_id = 2";
    let late = while_changed(&db, started, cancel(1, 2)).await;
    assert_eq!(answer(&db, late).await, refused(Reason::CancellationClosed));
    db.drain().await;
    db.assert_sound().await;
}

/// A stage with two lanes whose sessions 1 and 2 are at the same time.
async fn two_lanes(users: i64) -> TestDb {
    let db = stage(users).await;
    db.semester(2, None, 0).await;
    enroll_all(&db, 1..=users, 2).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 2, 48, 1).await;
    db
}

/// Both requests are in the middle of their batches, in a lane each, and wait for the same user.
async fn in_two_lanes(
    db: &TestDb,
    held: i64,
    one: impl Into<seatkeeper_jobs::Job>,
    two: impl Into<seatkeeper_jobs::Job>,
) -> [Uuid; 2] {
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let blocker = hold(db, &format!("select from seatkeeper.users where user_id = {held} for update")).await;
    db.ask(ids[0], one).await;
    let first = start(patient(db));
    batches_wait(db, 1).await;
    db.ask(ids[1], two).await;
    let second = start(patient(db));
    batches_wait(db, 2).await;
    blocker.rollback().await.unwrap();
    answered(first).await;
    answered(second).await;
    db.assert_sound().await;
    ids
}

/// Red without: the row lock on the users; the look for another place in `decide/book.rs`.
#[tokio::test]
async fn two_places_at_the_same_time_booked_at_once_are_one_place() {
    let db = two_lanes(1).await;
    let [one, two] = in_two_lanes(&db, 1, book(1, 1), book(1, 2)).await;
    let mut answers = [answer(&db, one).await, answer(&db, two).await];
    answers.sort_by_key(|(outcome, _)| *outcome == Outcome::Refused);
    assert_eq!(answers, [APPLIED, refused(Reason::ScheduleConflict)]);
}

/// Red without: reading the bookings after the users are locked; giving up waits in `World::confirm`.
#[tokio::test]
async fn a_wait_that_another_lane_gives_up_meanwhile_is_not_promoted() {
    let db = two_lanes(3).await;
    booked(&db, 1, 1).await;
    let wait = booked(&db, 2, 1).await;
    let next = booked(&db, 3, 1).await;
    // User 2 takes a place in the other lane while the place that they wait for comes free.
    let [place, back] = in_two_lanes(&db, 2, book(2, 2), cancel(1, 1)).await;
    let (place, back) = (db.receipt(place).await.result.unwrap(), db.receipt(back).await.result.unwrap());
    assert_eq!(place["status"], "CONFIRMED");
    assert_eq!(place["superseded_bookings"], json!([wait]));
    assert_eq!(back["promoted_bookings"], json!([next]));
}

/// Red without: the row lock on those who wait, in `batch/gather.rs`.
#[tokio::test]
async fn race_10_a_waiter_deactivated_meanwhile_is_passed_over() {
    let db = stage(3).await;
    session(&db, 1, 1, 48, 1).await;
    booked(&db, 1, 1).await;
    booked(&db, 2, 1).await;
    let next = booked(&db, 3, 1).await;
    let change = "update seatkeeper.users set is_active = false where user_id = 2";
    let back = while_changed(&db, change, cancel(1, 1)).await;
    assert_eq!(db.receipt(back).await.result.unwrap()["promoted_bookings"], json!([next]));
    assert_eq!(applied(&db, cancel(2, 1)).await["promoted_bookings"], json!([]));
    db.assert_sound().await;
}

/// Red without: the lock on the users concerned in `follow_sessions`.
#[tokio::test]
async fn race_10_a_move_waits_for_the_batches_that_its_users_are_in() {
    let db = two_lanes(3).await;
    db.run("update seatkeeper.sessions set starts_at = starts_at + interval '9 hours', ends_at = ends_at + interval '9 hours' where session_id = 2").await;
    booked(&db, 1, 1).await;
    let wait = booked(&db, 2, 1).await;
    // In lane 2 a batch has user 2, who takes a place there, and waits for user 3.
    let blocker = hold(&db, "select from seatkeeper.users where user_id = 3 for update").await;
    let (place, other) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(place, book(2, 2)).await;
    db.ask(other, cancel(3, 2)).await;
    let turn = start(patient(&db));
    batches_wait(&db, 1).await;
    // Meanwhile the session in which user 2 waits is moved onto that time.
    let pool = db.pool.clone();
    let owner = tokio::spawn(async move {
        let onto = "update seatkeeper.sessions s set starts_at = o.starts_at, ends_at = o.ends_at
                    from seatkeeper.sessions o where s.session_id = 1 and o.session_id = 2";
        sqlx::query(onto).execute(&pool).await.unwrap();
    });
    until("the owner waits for the batch", async || {
        let waiting = "select count(*) = 1 from pg_stat_activity where datname = current_database()
                       and wait_event_type = 'Lock' and query like 'update seatkeeper.sessions%'";
        owner.is_finished() || db.value::<bool>(waiting).await
    })
    .await;
    assert!(!owner.is_finished(), "the move did not wait");
    blocker.rollback().await.unwrap();
    answered(turn).await;
    owner.await.unwrap();

    let result = db.receipt(place).await.result.unwrap();
    assert_eq!((&result["status"], &result["superseded_bookings"]), (&json!("CONFIRMED"), &json!([])));
    let later: bool = db
        .value(&format!(
            "select (select max(change_seq) from seatkeeper.catalog_changes)
                  > (select answer_seq from seatkeeper.requests where request_id = '{place}')"
        ))
        .await;
    assert!(later, "the move was numbered after the answers that it had to wait for");
    let ended: String = db
        .value(&format!("select cancelled_because from seatkeeper.bookings where booking_id = {wait}"))
        .await;
    assert_eq!(ended, "superseded");
    db.assert_sound().await;
}
