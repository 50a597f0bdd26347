//! Replicas at work while the schema changes beneath them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seatkeeper::batch::{Limits, Worker};
use seatkeeper::postgres::{MIGRATOR, Timeouts, Transactions, connect_options, pool};
use seatkeeper_jobs::Job;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::unenroll::Unenroll;
use serde_json::Value;
use uuid::Uuid;

use super::apply_first;
use crate::support::http::{get, sample};
use crate::support::plain_sql::{pid, run_on};
use crate::support::{Process, TestDb, assert_follows, until, verb};

/// As a migration does that gives columns types with checks of their own: clients see no other type than before.
const ANOTHER_BALANCE: &str = "
    create domain seatkeeper.of_the_future as bigint check (value < 1000000000000);
    alter table seatkeeper.users alter credit_balance type seatkeeper.of_the_future";
const ANOTHER_EXPRESSION: &str = "
    create domain seatkeeper.of_the_future as text;
    alter table seatkeeper.schedules alter expression type seatkeeper.of_the_future";

/// The migrations 12 and 13 change what batches write to and read from. Those before them are older than what a batch asks.
const BEFORE: usize = 11;

fn enroll(user: i64) -> Job {
    Enroll { user_id: user.try_into().unwrap(), semester_id: 1.try_into().unwrap() }.into()
}

fn unenroll(user: i64) -> Job {
    Unenroll { user_id: user.try_into().unwrap(), semester_id: 1.try_into().unwrap(), enrollment_id: None }
        .into()
}

async fn charged(db: &TestDb) -> i64 {
    db.value("select count(*) from seatkeeper.requests where attempts > 1 or status = 'failed'").await
}

/// The replica answers these one by one: so many that each of its connections gets to know the statements of a batch.
async fn answers(db: &TestDb, users: RangeInclusive<i64>) {
    for user in users {
        let id = Uuid::now_v7();
        db.ask(id, enroll(user)).await;
        until("the request is answered", async || db.receipt(id).await.status.is_final()).await;
    }
}

#[tokio::test]
async fn a_replica_goes_on_when_a_column_gets_another_type() {
    let db = TestDb::new().await;
    db.users(40).await;
    db.semester(1, None, 0).await;
    // (Behind a pooler no connection remembers a statement.)
    let process = Process::run(&db.direct, &["--workers", "2", "--no-scheduler", "--listen", "127.0.0.1:0"]);
    let address = process.address();
    answers(&db, 1..=20).await;
    db.run(ANOTHER_BALANCE).await;
    answers(&db, 21..=40).await;

    let (_, text) = get(&address, "/metrics").await;
    let retries = |cause| sample(&text, "seatkeeper_batch_retries_total", &format!("cause=\"{cause}\""));
    let outdated = retries("connection").unwrap();
    assert!(outdated >= 1.0, "no connection was outdated");
    assert!(outdated <= 2.0, "each worker has met one, and then all were given up: {outdated}");
    assert_eq!(retries("guard"), Some(0.0), "and that was nobody's fault");
    assert_eq!(charged(&db).await, 0);
    assert_eq!(process.terminate(), Some(0));
    // (Not the invariants: to the guards' manifest this schema is a strange one.)
    assert_follows(&db.pool).await;
}

#[tokio::test]
async fn a_replica_is_scraped_again_when_a_column_gets_another_type() {
    let db = TestDb::new().await;
    // Nothing but the scrapes notices.
    let process = Process::run(&db.url, &["--no-worker", "--no-scheduler", "--listen", "127.0.0.1:0"]);
    let address = process.address();
    let booking_is_paused = async |paused: f64| {
        let (_, text) = get(&address, "/metrics").await;
        sample(&text, "seatkeeper_paused", "what=\"book\"") == Some(paused)
    };
    until("it is scraped", async || booking_is_paused(0.0).await).await;
    db.run(ANOTHER_EXPRESSION).await;
    db.run("insert into seatkeeper.pauses (kind, paused_by, reason) values ('book', 'the test', 'the test')")
        .await;
    until("it is scraped again", async || booking_is_paused(1.0).await).await;
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test]
async fn a_migration_that_meets_a_batch_crosswise_is_begun_again() {
    let db = TestDb::empty().await;
    apply_first(&db, BEFORE).await;
    db.semester(1, None, 0).await;
    let (mut batch, mut other) = (db.pool.begin().await.unwrap(), db.pool.begin().await.unwrap());
    run_on(&mut batch, "select from seatkeeper.semesters for no key update").await;
    run_on(&mut other, "lock table seatkeeper.sessions in row exclusive mode").await;
    let (of_batch, of_other) = (pid(&mut batch).await, pid(&mut other).await);

    let arguments = ["migrate", "up", "--json", "--database-url", &db.direct];
    let ((code, out, complaints), (), ()) = tokio::join!(
        verb(&arguments, b""),
        async {
            // It has locked the semesters against writers, and will want them whole.
            db.until_blocked_by(of_other).await;
            run_on(&mut batch, "update seatkeeper.semesters set enrolled_count = enrolled_count").await;
            batch.commit().await.unwrap();
        },
        async {
            let is_waiting = format!("select cardinality(pg_blocking_pids({of_batch})) > 0");
            until("the batch waits for the migration", async || db.value(&is_waiting).await).await;
            other.commit().await.unwrap();
        }
    );
    assert_eq!(code, 0, "{complaints}");
    let applied: Vec<i64> =
        serde_json::from_value(serde_json::from_str::<Value>(&out).unwrap()["applied"].clone()).unwrap();
    assert_eq!(applied, MIGRATOR.iter().skip(BEFORE).map(|migration| migration.version).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_migrations_are_applied_beside_workers_and_producers() {
    const USERS: i64 = 40;
    let db = Arc::new(TestDb::empty().await);
    apply_first(&db, BEFORE).await;
    db.users(USERS).await;
    db.semester(1, Some(30), 0).await;

    let over = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            // No more connections than they need: each of them knows the statements of a batch by heart.
            let connections = pool(connect_options(&db.url).unwrap(), 1);
            let transactions = Transactions::new(connections, Timeouts::default());
            let (mut worker, over) = (Worker::new(transactions, Limits::default()), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    // Whatever it came to: the next turn makes good what this one left.
                    worker.turn().await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let producers: Vec<_> = (0..2)
        .map(|producer| {
            let (db, over) = (db.clone(), over.clone());
            tokio::spawn(async move {
                for number in 0_i64.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let user = 1 + (number * 7 + producer) % USERS;
                    let job = if number / USERS % 2 == 0 { enroll(user) } else { unenroll(user) };
                    db.ask(Uuid::now_v7(), job).await;
                }
            })
        })
        .collect();
    let answered = async |db: Arc<TestDb>| {
        db.value::<i64>("select count(*) from seatkeeper.requests where status = 'done'").await
    };
    until("work is going on", async || answered(db.clone()).await > 200).await;

    let (code, _, complaints) = verb(&["migrate", "up", "--database-url", &db.url], b"").await;
    assert_eq!(code, 0, "{complaints}");
    let before = answered(db.clone()).await;
    until("work goes on", async || answered(db.clone()).await > before + 200).await;
    over.store(true, Ordering::Relaxed);
    for task in workers.into_iter().chain(producers) {
        task.await.unwrap();
    }
    db.drain().await;
    assert_eq!(charged(&db).await, 0, "no request is to blame for it");
    db.assert_follows().await;
}
