//! RACE-03, RACE-11: several lanes, the same users.

use std::collections::HashMap;

use seatkeeper::batch::{Limits, Turn};
use seatkeeper_jobs::{Outcome, Reason, Status};
use uuid::Uuid;

use super::{
    APPLIED, answer, answered, batches_wait, enroll, fund, hold, patient, patient_with, refused, start,
    unenroll,
};
use crate::support::TestDb;

/// Red without: the row lock in `prefetch.lock_users`; the comparison with the balance in `decide/enroll.rs`.
#[tokio::test]
async fn race_03_credits_for_one_buy_one_of_two_semesters_at_once() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 10).await;
    db.semester(2, None, 10).await;
    fund(&db, [1], 15).await;
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let blocker = hold(&db, "select from seatkeeper.users where user_id = 1 for update").await;
    db.ask(one, enroll(1, 1)).await;
    let first = start(patient(&db));
    batches_wait(&db, 1).await;
    // A lane each, both in the middle of their batches, both waiting for the same user.
    db.ask(two, enroll(1, 2)).await;
    let second = start(patient(&db));
    batches_wait(&db, 2).await;
    blocker.rollback().await.unwrap();
    answered(first).await;
    answered(second).await;

    let mut answers = [answer(&db, one).await, answer(&db, two).await];
    answers.sort_by_key(|(outcome, _)| *outcome == Outcome::Refused);
    assert_eq!(answers, [APPLIED, refused(Reason::InsufficientCredits)]);
    assert_eq!(db.value::<i64>("select credit_balance from seatkeeper.users").await, 5);
    db.assert_sound().await;
}

const PAIRS: i64 = 24;
const ROUNDS: usize = 12;

/// Red without: the ascending order in `prefetch.lock_users`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn race_11_users_who_swap_semesters_crosswise_are_all_answered_and_no_deadlock_surfaces() {
    let db = TestDb::new().await;
    let users = 2 * PAIRS;
    db.users(users).await;
    // A pair of semesters for each pair of users: as many lanes as users, so that workers meet on the users.
    for semester in 1..=users {
        db.semester(semester, None, 1).await;
    }
    fund(&db, 1..=users, 1_000).await;
    let mut ids = Vec::new();
    for round in 0..ROUNDS {
        for user in 1..=users {
            // Everybody moves between semesters of others, in both directions at once.
            let from = (user + i64::try_from(round).unwrap() * 7) % users + 1;
            let to = (user * 5 + i64::try_from(round).unwrap() * 3) % users + 1;
            for job in [enroll(user, from), enroll(user, to)] {
                let id = Uuid::now_v7();
                db.ask(id, job).await;
                ids.push(id);
            }
            let id = Uuid::now_v7();
            db.ask(id, unenroll(user, from)).await;
            ids.push(id);
        }
    }

    let workers = (0..4).map(|_| {
        let mut worker = patient_with(&db, Limits { batch: 37, ..Limits::default() });
        tokio::spawn(async move {
            let (mut answered, mut again) = (0, 0);
            loop {
                match worker.turn().await {
                    Turn::Answered(report) => answered += report.told.len(),
                    Turn::Idle => return (answered, again),
                    Turn::Contended => tokio::task::yield_now().await,
                    Turn::Again(_) | Turn::Away(_) | Turn::Unfit(..) => again += 1,
                }
            }
        })
    });
    let (mut answered, mut again, mut worked) = (0, 0, 0);
    for worker in workers.collect::<Vec<_>>() {
        let (a, b) = worker.await.unwrap();
        answered += a;
        again += b;
        worked += usize::from(a > 0);
    }
    println!("answered={answered} workers={worked} batches made again={again}");
    assert_eq!(answered, ids.len());
    assert!(worked > 1, "the workers did not overlap");

    let mut outcomes: HashMap<_, usize> = HashMap::new();
    for id in ids {
        let receipt = db.receipt(id).await;
        assert_eq!((receipt.status, receipt.attempts), (Status::Done, 1), "{receipt:?}");
        *outcomes.entry((receipt.outcome, receipt.reason)).or_default() += 1;
    }
    println!("{outcomes:?}");
    let deadlocks: i64 =
        db.value("select deadlocks from pg_stat_database where datname = current_database()").await;
    assert_eq!(deadlocks, 0, "users are locked in one order");
    db.assert_sound().await;
}
