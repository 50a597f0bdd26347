//! What a run sees: one moment, for all checks; and what it does when it cannot see.

use std::time::Duration;

use crate::support::TestDb;
use crate::support::plain_sql::pid;
use seatkeeper::invariants::{Outcome, Run, Selection, Status, Trigger, call_the_roll};

fn of<'a>(run: &'a Run, id: &str) -> &'a Outcome {
    run.results.iter().find(|outcome| outcome.invariant == id).unwrap()
}

/// Two active enrollments of one user, once the guard is gone.
const BREACH: &str = "insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
    values (1, 1, 'APPROVED', true), (1, 1, 'APPROVED', true)";

async fn unguarded() -> TestDb {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    db.run("drop index seatkeeper.uq_active_enrollment").await;
    db
}

#[tokio::test]
async fn what_is_committed_while_the_checks_run_is_seen_by_none_of_them() {
    let db = unguarded().await;
    // The first check is held up by whoever holds the table that it reads; the snapshot has been taken by then.
    let mut lock = db.pool.begin().await.unwrap();
    let holder = pid(&mut lock).await;
    sqlx::raw_sql("lock table seatkeeper.users in access exclusive mode").execute(&mut *lock).await.unwrap();
    let pool = db.pool.clone();
    let run = tokio::spawn(async move {
        let which = Selection::only(&["INV-02", "INV-04", "INV-06"]).unwrap();
        call_the_roll(&pool, &which, Trigger::Manual, super::runs::TIMEOUT).await.unwrap()
    });
    db.until_blocked_by(holder).await;
    // Breaks INV-04 and INV-06, which are looked at after that.
    db.run(&format!("alter table seatkeeper.enrollments disable trigger all; {BREACH}")).await;
    lock.commit().await.unwrap();
    let run = run.await.unwrap();
    for id in ["INV-02", "INV-04", "INV-06"] {
        assert_eq!(of(&run, id).status, Status::Holds, "{:?}", of(&run, id));
    }
    let run = db.roll_call(&[]).await;
    for id in ["INV-01", "INV-04", "INV-06"] {
        assert_eq!(of(&run, id).status, Status::Violated, "{:?}", of(&run, id));
    }
}

#[tokio::test]
async fn a_table_that_was_emptied_meanwhile_was_not_seen() {
    let db = unguarded().await;
    db.run(BREACH).await;
    let mut lock = db.pool.begin().await.unwrap();
    let holder = pid(&mut lock).await;
    sqlx::raw_sql("lock table seatkeeper.users in access exclusive mode").execute(&mut *lock).await.unwrap();
    let pool = db.pool.clone();
    let run = tokio::spawn(async move {
        let which = Selection::only(&["INV-02", "INV-04"]).unwrap();
        call_the_roll(&pool, &which, Trigger::Manual, super::runs::TIMEOUT).await.unwrap()
    });
    db.until_blocked_by(holder).await;
    // Rewritten: to a snapshot that is older it looks empty.
    db.run("alter table seatkeeper.enrollments alter column price_paid type numeric").await;
    lock.commit().await.unwrap();
    let run = run.await.unwrap();
    assert_eq!(of(&run, "INV-04").status, Status::Unknown, "{run:?}");
    assert!(of(&run, "INV-04").error.as_ref().unwrap().contains("rewritten"));
}

#[tokio::test]
async fn what_could_not_be_evaluated_is_unknown_and_the_others_go_on() {
    for (harm, why, unknown, known) in [
        ("alter table seatkeeper.users rename column credit_balance to balance", "42703", "INV-02", "INV-01"),
        ("alter table seatkeeper.attendance rename to presence", "42P01", "INV-B04", "INV-B01"),
        ("drop table seatkeeper.request_tombstones", "42P01", "INV-09", "INV-01"),
    ] {
        let db = unguarded().await;
        db.run(BREACH).await;
        db.run(harm).await;
        let run = db.roll_call(&[]).await;
        let outcome = of(&run, unknown);
        assert_eq!((outcome.status, outcome.violations), (Status::Unknown, None), "{harm}: {outcome:?}");
        assert!(outcome.error.as_ref().unwrap().contains(why), "{outcome:?}");
        assert_ne!(of(&run, known).status, Status::Unknown, "{:?}", of(&run, known));
        assert_eq!(of(&run, "INV-01").violations, Some(1), "the checks after and before it see the same");
    }
}

#[tokio::test]
async fn a_check_that_takes_too_long_is_unknown() {
    let db = unguarded().await;
    db.run(BREACH).await;
    let mut lock = db.pool.begin().await.unwrap();
    sqlx::raw_sql("lock table seatkeeper.users in access exclusive mode").execute(&mut *lock).await.unwrap();
    let which = Selection::only(&["INV-01", "INV-02", "INV-B01"]).unwrap();
    let soon = Duration::from_millis(300);
    let run = call_the_roll(&db.pool, &which, Trigger::Manual, soon).await.unwrap();
    assert_eq!(of(&run, "INV-01").violations, Some(1));
    let outcome = of(&run, "INV-02");
    assert_eq!(outcome.status, Status::Unknown, "{outcome:?}");
    assert!(outcome.error.as_ref().unwrap().contains("timeout"), "{outcome:?}");
    assert_eq!(of(&run, "INV-B01").status, Status::Holds);
    lock.rollback().await.unwrap();
    assert_eq!(db.found("INV-02").await.status, Status::Holds);
}

#[tokio::test]
async fn a_right_that_is_missing_is_unknown_and_a_connection_that_breaks_is_no_run() {
    let db = unguarded().await;
    db.run(
        "begin; select pg_advisory_xact_lock(77);
         do $$ begin create role role_of_roll_caller login; exception when duplicate_object then null; end $$; commit;
         grant usage on schema seatkeeper to role_of_roll_caller;
         grant select on all tables in schema seatkeeper to role_of_roll_caller;
         grant execute on function seatkeeper.record_check to role_of_roll_caller;
         revoke select on seatkeeper.users from role_of_roll_caller",
    )
    .await;
    // A role is set for a session, which a pooler has none of.
    let options: sqlx::postgres::PgConnectOptions = db.direct.parse().unwrap();
    let less = sqlx::postgres::PgPoolOptions::new()
        .max_connections(2)
        .after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::raw_sql("set role role_of_roll_caller").execute(connection).await.map(|_| ())
            })
        })
        .connect_with(options)
        .await
        .unwrap();
    let which = Selection::only(&["INV-01", "INV-02"]).unwrap();
    let run = call_the_roll(&less, &which, Trigger::Manual, super::runs::TIMEOUT).await.unwrap();
    assert_eq!(of(&run, "INV-01").status, Status::Holds);
    assert!(of(&run, "INV-02").error.as_ref().unwrap().contains("42501"), "{run:?}");

    let runs = "select count(*) from seatkeeper.invariant_runs";
    let before: i64 = db.value(runs).await;
    let mut lock = db.pool.begin().await.unwrap();
    let holder = pid(&mut lock).await;
    sqlx::raw_sql("lock table seatkeeper.enrollments in access exclusive mode")
        .execute(&mut *lock)
        .await
        .unwrap();
    let pool = db.pool.clone();
    let running = tokio::spawn(async move {
        call_the_roll(&pool, &Selection::all(), Trigger::Manual, super::runs::TIMEOUT).await
    });
    db.until_blocked_by(holder).await;
    db.run(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where {holder} = any (pg_blocking_pids(pid))"
    ))
    .await;
    assert!(running.await.unwrap().is_err());
    lock.rollback().await.unwrap();
    assert_eq!(db.value::<i64>(runs).await, before);
}
