//! What dies in the middle of a chore leaves a slot that is run again, once, and soon.

use std::time::{Duration, Instant};

use seatkeeper::schedule;

use super::{at_it, called_once, chores_only, plan, roll_call_due, runs, slow_down};
use crate::support::{Process, own_server, until};

/// A slot that was left in the middle is taken up again within this; apalis alone would take five minutes.
const SOON: Duration = Duration::from_secs(25);

#[tokio::test]
async fn a_chore_killed_in_the_middle_is_run_again_by_another_process() {
    let db = roll_call_due().await;
    let (slow, pid) = slow_down(&db).await;
    let victim = chores_only(&db);
    db.until_blocked_by(pid).await;
    victim.kill();
    slow.rollback().await.unwrap();
    let killed = Instant::now();
    let other = chores_only(&db);
    called_once(&db).await;
    assert!(killed.elapsed() < SOON, "after {:?}", killed.elapsed());
    println!("killed in the middle of a chore: run again after {:?}", killed.elapsed());
    assert_eq!(other.terminate(), Some(0));
    assert_eq!(runs(&db).await, (1, 1));
    let left: i64 =
        db.value("select count(*) from apalis.jobs where status in ('Pending', 'Queued', 'Running')").await;
    assert_eq!(left, 0, "nothing is left to be handed out again");
}

#[tokio::test]
async fn a_replica_that_was_there_all_the_time_takes_over_from_one_that_was_killed() {
    let db = roll_call_due().await;
    let (slow, pid) = slow_down(&db).await;
    let victim = chores_only(&db);
    db.until_blocked_by(pid).await;
    let other = chores_only(&db);
    until("the other is there", async || db.value::<i64>("select count(*) from apalis.workers").await == 2)
        .await;
    victim.kill();
    let killed = Instant::now();
    other.await_log("a chore begins");
    assert_eq!(at_it(&db).await, 1);
    slow.rollback().await.unwrap();
    called_once(&db).await;
    assert!(killed.elapsed() < SOON, "after {:?}", killed.elapsed());
    assert_eq!(other.terminate(), Some(0));
}

#[tokio::test]
async fn killed_again_and_again_the_slot_is_run_once_in_the_end() {
    let db = roll_call_due().await;
    for _ in 0..3 {
        let (slow, pid) = slow_down(&db).await;
        let victim = chores_only(&db);
        db.until_blocked_by(pid).await;
        victim.kill();
        slow.rollback().await.unwrap();
        assert_eq!(runs(&db).await, (0, 0));
    }
    let last = chores_only(&db);
    called_once(&db).await;
    assert_eq!(last.terminate(), Some(0));
}

#[tokio::test]
async fn sigterm_finishes_the_chore_in_hand() {
    let db = roll_call_due().await;
    let (slow, pid) = slow_down(&db).await;
    let process = chores_only(&db);
    db.until_blocked_by(pid).await;
    process.signal("TERM");
    process.await_log("stopping");
    slow.rollback().await.unwrap();
    let mut process = process;
    assert_eq!(process.exit_code(), Some(0));
    assert_eq!(runs(&db).await, (1, 1));
}

#[tokio::test]
async fn sigterm_cuts_a_chore_that_outlasts_the_drain_and_its_slot_is_finished_later() {
    let db = roll_call_due().await;
    let (slow, pid) = slow_down(&db).await;
    let process = Process::run(&db.url, &["--no-http", "--no-worker", "--drain", "200ms"]);
    db.until_blocked_by(pid).await;
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(runs(&db).await, (0, 0));
    slow.rollback().await.unwrap();
    let next = chores_only(&db);
    called_once(&db).await;
    assert_eq!(next.terminate(), Some(0));
}

#[tokio::test]
async fn a_server_that_is_restarted_in_the_middle_of_a_chore_does_not_lose_the_slot() {
    let mut server = own_server().await;
    let pool = server.pool();
    schedule::keep(&pool, &plan()).await.unwrap();
    sqlx::query(
        "update seatkeeper.schedules set since = since - interval '8 days' where schedule = 'roll_call'",
    )
    .execute(&pool)
    .await
    .unwrap();
    let mut slow = pool.begin().await.unwrap();
    sqlx::query("lock table seatkeeper.enrollments in access exclusive mode")
        .execute(&mut *slow)
        .await
        .unwrap();
    let process = Process::run(&server.url(), &["--no-http", "--no-worker"]);
    process.await_log("a chore begins");
    until("the chore waits", async || {
        let waiting = "select count(*) from pg_locks where not granted and relation = 'seatkeeper.enrollments'::regclass";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&pool).await.unwrap() > 0
    })
    .await;
    drop(slow);
    pool.close().await;
    server.embedded.restart_immediate().await.unwrap();
    let pool = server.pool();
    until("the slot has been run", async || {
        let runs =
            "select count(*) from seatkeeper.invariant_runs r join seatkeeper.schedules s using (schedule)
                    where schedule = 'roll_call' and r.slot = s.last_slot";
        sqlx::query_scalar::<_, i64>(runs).fetch_one(&pool).await.unwrap_or_default() == 1
    })
    .await;
    assert_eq!(process.terminate(), Some(0));
    pool.close().await;
    server.remove().await;
}

#[tokio::test]
async fn a_lock_that_is_lost_lets_another_begin_and_the_slot_is_still_run_once() {
    let db = roll_call_due().await;
    let (slow, pid) = slow_down(&db).await;
    let process = chores_only(&db);
    db.until_blocked_by(pid).await;
    until("the connection that holds the lock is ended", async || {
        db.value::<bool>(
            "select coalesce(bool_or(pg_terminate_backend(pid)), false) from pg_locks l join pg_class c on c.oid = l.relation
             where c.relname like 'lock\\_%' and l.granted and l.mode = 'ShareUpdateExclusiveLock'
                 and l.database = (select oid from pg_database where datname = current_database())",
        )
        .await
    })
    .await;
    process.await_log("broken off");
    slow.rollback().await.unwrap();
    called_once(&db).await;
    assert_eq!(process.terminate(), Some(0));
}
