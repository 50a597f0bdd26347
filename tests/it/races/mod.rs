//! The race register: each race with real concurrent connections, and proof that the overlap happened.
//!
//! A worker is held in the middle of its batch by a row lock of the test's own; that it waits there is seen in
//! `pg_stat_activity` before anything else is done. Each test names the guard without which it is red; the script
//! `scripts/mutants` takes the guards away one by one and shows it.

mod booking;
mod changes;
mod crosswise;
mod enrolling;
mod outsiders;
mod places;
mod spending;

use std::time::Duration;

use seatkeeper::batch::{Limits, Report, Turn, Worker};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Outcome, Reason};
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{PATIENCE, TestDb, until};

fn enroll(user: i64, semester: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: semester.try_into().unwrap() }
}

fn unenroll(user: i64, semester: i64) -> Unenroll {
    let (user_id, semester_id) = (user.try_into().unwrap(), semester.try_into().unwrap());
    Unenroll { user_id, semester_id, enrollment_id: None }
}

async fn fund(db: &TestDb, users: impl IntoIterator<Item = i64>, amount: i64) {
    for user in users {
        let amount = Amount::new(amount).unwrap();
        db.ask(Uuid::now_v7(), GrantCredits { user_id: user.try_into().unwrap(), amount, note: None }).await;
    }
    db.drain().await;
}

/// A worker that waits for locks as long as the test likes.
fn patient(db: &TestDb) -> Worker {
    patient_with(db, Limits::default())
}

/// The same with limits: where it waits for ever, PostgreSQL finds a deadlock and counts it.
fn patient_with(db: &TestDb, limits: Limits) -> Worker {
    let timeouts = Timeouts { lock: PATIENCE, idle: PATIENCE, ..Timeouts::default() };
    Worker::new(Transactions::new(db.pool.clone(), timeouts), limits)
}

/// Runs SQL in a transaction that stays open, and with it the row locks that it took.
async fn hold(db: &TestDb, sql: &str) -> Transaction<'static, Postgres> {
    let mut transaction = db.pool.begin().await.unwrap();
    sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
    transaction
}

/// A turn that runs beside the test.
fn start(mut worker: Worker) -> JoinHandle<Turn> {
    tokio::spawn(async move { worker.turn().await })
}

/// Awaits that this many batches wait for a lock, in the middle of their transactions.
async fn batches_wait(db: &TestDb, count: i64) {
    until("batches that wait for a row lock", async || {
        let waiting: i64 = db
            .value(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock' and query ~ 'prefetch.lock_users|places.lock_sessions'",
            )
            .await;
        waiting == count
    })
    .await;
}

/// The turn got its batch through at the first try: no rollback, no guard that had to help.
async fn answered(turn: JoinHandle<Turn>) -> Report {
    match tokio::time::timeout(PATIENCE, turn).await.unwrap().unwrap() {
        Turn::Answered(report) => report,
        other => panic!("not answered at the first try: {other:?}"),
    }
}

/// Outcome and reason of an answered request.
async fn answer(db: &TestDb, id: Uuid) -> (Outcome, Option<Reason>) {
    let receipt = db.receipt(id).await;
    (receipt.outcome.unwrap_or_else(|| panic!("not answered: {receipt:?}")), receipt.reason)
}

const APPLIED: (Outcome, Option<Reason>) = (Outcome::Applied, None);

const fn refused(reason: Reason) -> (Outcome, Option<Reason>) {
    (Outcome::Refused, Some(reason))
}

/// Long enough for a worker to run into its own lock timeout, if it waited where it must not.
const A_MOMENT: Duration = Duration::from_secs(20);

/// A turn of a second worker that must not wait for the first.
async fn second_turn(db: &TestDb) -> Turn {
    tokio::time::timeout(A_MOMENT, db.worker().turn()).await.expect("one worker waits for another")
}
