//! Producers at the same time: who waits for whom, and who does not.

use std::sync::Arc;

use seatkeeper_jobs::{Outcome, Receipt};
use serde_json::json;
use sqlx::Connection;
use tokio::sync::Barrier;
use uuid::Uuid;

use super::{enroll, stored};
use crate::support::TestDb;
use crate::support::plain_sql::{Ask, Door, pid, run_on, send_many};

/// Two producers that send the same IDs in opposite order, again and again, at the same time. Nobody is the victim of
/// a deadlock: the rows are inserted in the order of their IDs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrays_sent_crosswise_do_not_deadlock() {
    const ROUNDS: usize = 60;
    let db = TestDb::new().await;
    let rounds: Vec<Vec<Ask>> = (0..ROUNDS)
        .map(|_| {
            let ids = (1..=60).map(|user| (Uuid::new_v4(), user));
            ids.map(|(id, user)| Ask::new(id, "enroll", json!({"user_id": user, "semester_id": 1}))).collect()
        })
        .collect();
    let start = Arc::new(Barrier::new(2));
    let producer = |is_reversed: bool| {
        let (pool, start, rounds) = (db.pool.clone(), start.clone(), rounds.clone());
        tokio::spawn(async move {
            let mut connection = pool.acquire().await.unwrap();
            let mut first = 0;
            for mut asks in rounds {
                if is_reversed {
                    asks.reverse();
                }
                start.wait().await;
                let receipts = send_many(&mut connection, &asks).await.unwrap();
                first += receipts.iter().filter(|receipt| !receipt.duplicate).count();
            }
            first
        })
    };
    let (one, other) = (producer(false), producer(true));
    let (one, other) = (one.await.unwrap(), other.await.unwrap());
    assert_eq!(one + other, ROUNDS * 60, "each ID was new to exactly one of them");
    assert_eq!(stored(&db).await, i64::try_from(ROUNDS * 60).unwrap());
    let victims: i64 =
        db.value("select deadlocks from pg_stat_database where datname = current_database()").await;
    assert_eq!(victims, 0);
}

/// The overlap is made certain: the second array waits in the middle of the first, which then goes on to what the
/// second has inserted already if it does not go by the order of the IDs.
#[tokio::test]
async fn an_array_waits_before_it_holds_what_the_other_still_needs() {
    let db = TestDb::new().await;
    let ids: Vec<Uuid> = (1..=9_u128).map(Uuid::from_u128).collect();
    let ask = |id: &Uuid| Ask::new(*id, "enroll", json!({"user_id": 7, "semester_id": 1}));

    // The transaction of the first has asked for the smallest; the second, in reverse, waits for that one.
    let mut first = db.pool.begin().await.unwrap();
    let holder = pid(&mut first).await;
    send_many(&mut first, &[ask(&ids[0])]).await.unwrap();
    let pool = db.pool.clone();
    let reversed: Vec<Ask> = ids.iter().rev().map(ask).collect();
    let second = tokio::spawn(async move {
        let mut connection = pool.acquire().await.unwrap();
        send_many(&mut connection, &reversed).await
    });
    db.until_blocked_by(holder).await;
    // It waits for the smallest and holds nothing yet, so the first can have all the others.
    run_on(&mut first, "set local lock_timeout = '2s'").await;
    let rest: Vec<Ask> = ids.iter().skip(1).map(ask).collect();
    send_many(&mut first, &rest).await.unwrap();
    first.commit().await.unwrap();
    let receipts = second.await.unwrap().unwrap();
    assert!(receipts.len() == 9 && receipts.iter().all(|receipt| receipt.duplicate));
}

/// Sends the same request while the transaction of the first is open; ends the first; gives what the second got.
async fn overtaken(db: &TestDb, door: Door, first_commits: bool) -> Receipt {
    let (id, job) = (Uuid::now_v7(), enroll(7));
    let mut first = db.pool.begin().await.unwrap();
    let holder = pid(&mut first).await;
    assert!(!Door::Sql.send(&mut first, id, &job).await.unwrap().duplicate);
    let pool = db.pool.clone();
    let second = tokio::spawn(async move {
        let mut connection = pool.acquire().await.unwrap();
        door.send(&mut connection, id, &job).await
    });
    db.until_blocked_by(holder).await;
    assert!(!second.is_finished());
    if first_commits {
        first.commit().await.unwrap();
    } else {
        first.rollback().await.unwrap();
    }
    second.await.unwrap().unwrap()
}

#[tokio::test]
async fn a_concurrent_duplicate_waits_for_the_first_and_gets_its_receipt() {
    let db = TestDb::new().await;
    for (door, rows) in Door::ALL.into_iter().zip(1..) {
        assert!(overtaken(&db, door, true).await.duplicate, "{door:?}");
        assert_eq!(stored(&db).await, rows, "{door:?}");
    }
}

#[tokio::test]
async fn a_concurrent_duplicate_takes_the_place_of_a_first_that_is_rolled_back() {
    let db = TestDb::new().await;
    for (door, rows) in Door::ALL.into_iter().zip(1..) {
        assert!(!overtaken(&db, door, false).await.duplicate, "{door:?}");
        assert_eq!(stored(&db).await, rows, "{door:?}");
    }
}

#[tokio::test]
async fn in_repeatable_read_and_above_a_concurrent_duplicate_is_a_serialization_failure() {
    let db = TestDb::new().await;
    for door in Door::ALL {
        for level in ["repeatable read", "serializable"] {
            let (id, job) = (Uuid::now_v7(), enroll(7));
            let mut connection = db.pool.acquire().await.unwrap();
            let mut late = connection
                .begin_with(sqlx::AssertSqlSafe(format!("begin isolation level {level}")))
                .await
                .unwrap();
            run_on(&mut late, "select 1").await;
            // Its snapshot is taken; now the first comes and commits.
            db.ask(id, job.clone()).await;
            let refusal = door.send(&mut late, id, &job).await.unwrap_err();
            assert_eq!(refusal.code, "40001", "{door:?} {level}");
            late.rollback().await.unwrap();
            // Run again, as the guide says.
            let mut again = connection
                .begin_with(sqlx::AssertSqlSafe(format!("begin isolation level {level}")))
                .await
                .unwrap();
            assert!(door.send(&mut again, id, &job).await.unwrap().duplicate, "{door:?} {level}");
            again.commit().await.unwrap();
        }
    }
}

#[tokio::test]
async fn requests_with_other_ids_do_not_wait_for_each_other() {
    let db = TestDb::new().await;
    let mut open = Vec::new();
    for door in Door::ALL.into_iter().cycle().take(12) {
        let mut transaction = db.pool.begin().await.unwrap();
        run_on(&mut transaction, "set local lock_timeout = '50ms'").await;
        // The same user, the same semester: nothing of them is locked.
        door.send(&mut transaction, Uuid::new_v4(), &enroll(7)).await.unwrap();
        open.push(transaction);
    }
    for transaction in open {
        transaction.commit().await.unwrap();
    }
    assert_eq!(stored(&db).await, 12);
}

#[tokio::test]
async fn asking_never_waits_for_a_lock_on_the_catalog() {
    let db = TestDb::new().await;
    db.users(7).await;
    db.semester(1, None, 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (5, 1, '2999-01-01 10:00Z', '2999-01-01 11:00Z', 3);
         insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
         values (9, 7, 5, 'WAITLISTED', '2999-01-01 10:00Z', '2999-01-01 11:00Z')",
    )
    .await;
    let mut owner = db.pool.begin().await.unwrap();
    run_on(
        &mut owner,
        "select from seatkeeper.semesters for update; select from seatkeeper.sessions for update;
         select from seatkeeper.users for update; select from seatkeeper.bookings for update;
         update seatkeeper.sessions set capacity = 4; update seatkeeper.users set is_active = false;
         update seatkeeper.semesters set status = 'CANCELLED'",
    )
    .await;
    let payloads = [
        ("enroll", json!({"user_id": 7, "semester_id": 1})),
        ("unenroll", json!({"user_id": 7, "semester_id": 1})),
        ("book", json!({"user_id": 7, "session_id": 5})),
        ("cancel_booking", json!({"user_id": 7, "booking_id": 9})),
        ("cancel_booking", json!({"user_id": 7, "session_id": 5})),
        ("record_attendance", json!({"user_id": 7, "session_id": 5, "status": "present"})),
        ("cancel_semester", json!({"semester_id": 1})),
        ("grant_credits", json!({"user_id": 7, "amount": 5})),
    ];
    let mut producer = db.pool.begin().await.unwrap();
    // Would be cut off at once if it waited.
    run_on(&mut producer, "set local lock_timeout = '10ms'").await;
    for (kind, payload) in &payloads {
        Ask::new(Uuid::now_v7(), kind, payload).send(&mut producer).await.unwrap();
    }
    let asks: Vec<Ask> =
        payloads.iter().map(|(kind, payload)| Ask::new(Uuid::now_v7(), kind, payload)).collect();
    send_many(&mut producer, &asks).await.unwrap();
    let reads = "select seatkeeper.get_balance(7), seatkeeper.get_booking(9), seatkeeper.get_receipt(gen_random_uuid())";
    run_on(&mut producer, reads).await;
    producer.commit().await.unwrap();
    let laned: i64 = db.value("select count(*) from seatkeeper.requests where semester_id = 1").await;
    assert_eq!(laned, 14, "and each is in its lane, the grants excepted");
    // The catalog is as the owner still holds it.
    let untouched: bool = db.value("select status = 'ENROLLMENT_OPEN' from seatkeeper.semesters").await;
    assert!(untouched);
    owner.rollback().await.unwrap();
}

/// A committing notifier takes a lock of the whole server, so producers would commit one by one.
#[tokio::test]
async fn nothing_is_notified() {
    let db = TestDb::new().await;
    let notifying: Option<String> = db
        .value(
            r"select string_agg(proname, ', ') from pg_proc
              where pronamespace = 'seatkeeper'::regnamespace and prosrc ~* '\m(notify|pg_notify)\M'",
        )
        .await;
    assert_eq!(notifying, None);
}

/// What retention takes away while somebody asks again is there in one look, a row or a tombstone: never asked anew.
#[tokio::test]
async fn a_request_that_is_being_retired_is_not_asked_anew() {
    let db = TestDb::new().await;
    db.users(7).await;
    db.semester(1, None, 0).await;
    let asks: Vec<Ask> = (1..=2)
        .map(|user| Ask::new(Uuid::now_v7(), "enroll", json!({"user_id": user, "semester_id": 1})))
        .collect();
    let mut producer = db.pool.acquire().await.unwrap();
    send_many(&mut producer, &asks).await.unwrap();
    db.drain().await;

    let mut retention = db.pool.begin().await.unwrap();
    let holder = pid(&mut retention).await;
    run_on(
        &mut retention,
        "with gone as (delete from seatkeeper.requests returning *)
         insert into seatkeeper.request_tombstones
             (request_id, kind, payload_digest, status, outcome, attempts, enqueued_at, finished_at)
         select request_id, kind, sha256(convert_to(payload::text, 'UTF8')), status, outcome, attempts, enqueued_at, finished_at
         from gone",
    )
    .await;
    let pool = db.pool.clone();
    let mut again = tokio::spawn(async move {
        let one = asks[0].send(&mut producer).await.unwrap();
        let many = send_many(&mut producer, &asks[1..]).await.unwrap();
        [one].into_iter().chain(many).collect::<Vec<_>>()
    });
    // They are answered at once; whoever waits for the removal would find neither.
    let receipts = tokio::select! {
        receipts = &mut again => receipts.unwrap(),
        () = db.until_blocked_by(holder) => {
            retention.commit().await.unwrap();
            panic!("waited, and then: {:?}", again.await.unwrap());
        }
    };
    retention.commit().await.unwrap();
    assert!(
        receipts.iter().all(|receipt| receipt.duplicate && receipt.outcome == Some(Outcome::Applied)),
        "{receipts:?}"
    );
    assert_eq!(stored(&db).await, 0);
    let mut connection = pool.acquire().await.unwrap();
    let status: Vec<String> = sqlx::query_scalar("select status from seatkeeper.request_tombstones")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    assert_eq!(status, ["done", "done"]);
}
