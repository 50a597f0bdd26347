//! Sending again: one effect, and the answer of the first, whenever, however and by however many it is sent.

mod after;
mod executed_twice;
mod while_it_runs;

use std::time::Duration;

use seatkeeper::batch::{Limits, Turn};
use seatkeeper::postgres::Timeouts;
use seatkeeper_jobs::{Job, Receipt, SemesterId, UserId};
use seatkeeper_jobs::{
    enroll::Enroll, grant_credits::Amount, grant_credits::GrantCredits, unenroll::Unenroll,
};
use sqlx::{Postgres, Transaction};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::plain_sql::{Door, pid, run_on};

const USER: i64 = 7;
const SEMESTER: i64 = 3;
const COST: i64 = 10;
const CREDITS: i64 = 100;

fn user(number: i64) -> UserId {
    UserId::new(number).unwrap()
}

fn semester(number: i64) -> SemesterId {
    SemesterId::new(number).unwrap()
}

fn enroll() -> Job {
    Enroll { user_id: user(USER), semester_id: semester(SEMESTER) }.into()
}

fn unenroll() -> Job {
    Unenroll { user_id: user(USER), semester_id: semester(SEMESTER), enrollment_id: None }.into()
}

fn grant(amount: i64) -> Job {
    GrantCredits { user_id: user(USER), amount: Amount::new(amount).unwrap(), note: None }.into()
}

/// The same ID with something else: another payload, another kind.
fn others() -> [Job; 3] {
    [
        Enroll { user_id: user(USER + 1), semester_id: semester(SEMESTER) }.into(),
        Enroll { user_id: user(USER), semester_id: semester(SEMESTER + 1) }.into(),
        unenroll(),
    ]
}

/// Two open semesters, ten users, each with credits.
async fn seeded() -> TestDb {
    let db = TestDb::new().await;
    db.users(10).await;
    db.semester(SEMESTER, Some(5), COST).await;
    db.semester(SEMESTER + 1, Some(5), COST).await;
    for number in 1..=10 {
        let amount = Amount::new(CREDITS).unwrap();
        db.ask(Uuid::now_v7(), GrantCredits { user_id: user(number), amount, note: None }).await;
    }
    db.drain().await;
    db
}

/// Sends again through every door; each gets this receipt, as a duplicate, and anything else a conflict.
async fn assert_replayed(db: &TestDb, id: Uuid, job: &Job, receipt: &Receipt) {
    let mut connection = db.pool.acquire().await.unwrap();
    for door in Door::ALL {
        let again = door.send(&mut connection, id, job).await.unwrap();
        assert_eq!(again, Receipt { duplicate: true, ..receipt.clone() }, "{door:?}");
        for other in others().iter().filter(|other| *other != job) {
            let refusal = door.send(&mut connection, id, other).await.unwrap_err();
            assert_eq!(refusal.what(), ("RC409", id.to_string().as_str()), "{door:?} {other:?}");
        }
    }
}

/// The effects of enrollments in the database: rows, places, ledger, credits. `places` were taken by the user.
async fn assert_effects(db: &TestDb, id: Uuid, places: i64) {
    let counts: Vec<i64> = db
        .value(&format!(
            "select array[
                 (select count(*) from seatkeeper.enrollments where request_id = '{id}' and is_active),
                 (select count(*) from seatkeeper.enrollments),
                 (select sum(enrolled_count) from seatkeeper.semesters),
                 (select count(*) from seatkeeper.credit_transactions where request_id = '{id}'),
                 (select count(*) from seatkeeper.credit_transactions where transaction_type <> 'PURCHASE'),
                 (select {CREDITS} - credit_balance from seatkeeper.users where user_id = {USER}),
                 (select count(*) from seatkeeper.requests where request_id = '{id}')]::bigint[]"
        ))
        .await;
    assert_eq!(counts, [places, places, places, places, places, places * COST, 1]);
    db.assert_sound().await;
}

/// A lock on the user's row, which a batch about the user waits for inside its transaction.
async fn hold_user(db: &TestDb) -> (Transaction<'static, Postgres>, i32) {
    let mut holder = db.pool.begin().await.unwrap();
    run_on(&mut holder, &format!("select from seatkeeper.users where user_id = {USER} for no key update"))
        .await;
    let number = pid(&mut holder).await;
    (holder, number)
}

/// Makes every batch wait at its commit, with everything written, for an advisory lock of the test.
async fn hold_commits(db: &TestDb) -> (Transaction<'static, Postgres>, i32) {
    db.run(
        "create function public.wait_at_commit() returns trigger language plpgsql as $$
         begin perform pg_advisory_xact_lock(42); return null; end $$;
         create constraint trigger wait_at_commit after update on seatkeeper.requests
             deferrable initially deferred for each row execute function public.wait_at_commit()",
    )
    .await;
    let mut holder = db.pool.begin().await.unwrap();
    run_on(&mut holder, "select pg_advisory_xact_lock(42)").await;
    let number = pid(&mut holder).await;
    (holder, number)
}

/// One turn of a worker that waits for locks as long as it takes.
fn patient_turn(db: &TestDb) -> JoinHandle<Turn> {
    let minute = Duration::from_secs(60);
    let timeouts = Timeouts { statement: minute, lock: minute, idle: minute };
    let mut worker = db.worker_on(timeouts, Limits::default());
    tokio::spawn(async move { worker.turn().await })
}
