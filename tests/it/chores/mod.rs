//! Chores: each slot is run once, never over itself, and again when it was left in the middle.

mod bad_rows;
mod crash;
mod flood;
mod once;
mod retention;
mod rights;
mod statistics;

use seatkeeper::schedule::{self, Plan, Timetable};
use sqlx::{Postgres, Transaction};

use crate::support::plain_sql::pid;
use crate::support::{Process, TestDb, until};

/// The plan that `run` has by default.
pub fn plan() -> Plan {
    Plan {
        roll_call: Timetable::new("0 0 8 * * Mon", "UTC").unwrap(),
        critical_checks: Timetable::new("0 0 * * * *", "UTC").unwrap(),
        retain: None,
    }
}

/// Lets a schedule have been there for this long, with no slot run.
pub async fn since(db: &TestDb, schedule: &str, age: &str) {
    db.run(&format!(
        "update seatkeeper.schedules set since = clock_timestamp() - interval '{age}', last_slot = null, last_finished_at = null
         where schedule = '{schedule}'"
    ))
    .await;
}

/// A database on which last Monday's roll call is due, and nothing else.
async fn roll_call_due() -> TestDb {
    let db = TestDb::new().await;
    schedule::keep(&db.pool, &plan()).await.unwrap();
    since(&db, "roll_call", "8 days").await;
    db
}

/// A process that does nothing but chores.
fn chores_only(db: &TestDb) -> Process {
    Process::run(&db.url, &["--no-http", "--no-worker"])
}

/// Finished runs of the roll call's latest slot, and of all its slots.
async fn runs(db: &TestDb) -> (i64, i64) {
    let latest = db
        .value(
            "select count(*) from seatkeeper.invariant_runs r join seatkeeper.schedules s using (schedule)
             where schedule = 'roll_call' and r.slot = s.last_slot and r.finished_at is not null",
        )
        .await;
    let all = db.value("select count(*) from seatkeeper.invariant_runs where schedule = 'roll_call'").await;
    (latest, all)
}

/// Awaits that the roll call of the due slot has been run, and that it was run once.
async fn called_once(db: &TestDb) {
    until("the slot has been run", async || runs(db).await.0 == 1).await;
    assert_eq!(runs(db).await, (1, 1));
}

/// Keeps every roll call from getting further, until it is dropped or rolled back.
async fn slow_down(db: &TestDb) -> (Transaction<'static, Postgres>, i32) {
    let mut transaction = db.pool.begin().await.unwrap();
    sqlx::query("lock table seatkeeper.enrollments in access exclusive mode")
        .execute(&mut *transaction)
        .await
        .unwrap();
    let holder = pid(&mut transaction).await;
    (transaction, holder)
}

/// How many are at a chore, as the lock says.
async fn at_it(db: &TestDb) -> i64 {
    db.value(
        "select count(*) from pg_locks l join pg_class c on c.oid = l.relation
         where c.relname like 'lock\\_%' and l.granted and l.mode = 'ShareUpdateExclusiveLock'
             and l.database = (select oid from pg_database where datname = current_database())",
    )
    .await
}
