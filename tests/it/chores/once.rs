//! Once per slot, however many look.

use seatkeeper::queue::chores::storage::{Task, push};
use seatkeeper::queue::chores::tick;
use seatkeeper::schedule::{self, Schedule};

use super::{at_it, called_once, chores_only, roll_call_due, runs, since, slow_down};
use crate::support::{Process, TestDb, until};

async fn tasks(db: &TestDb) -> i64 {
    db.value("select count(*) from apalis.jobs").await
}

#[tokio::test]
async fn thirty_that_look_at_once_push_one_task() {
    let db = roll_call_due().await;
    let looking = (0..30).map(|_| {
        let pool = db.pool.clone();
        tokio::spawn(async move { tick(&pool).await })
    });
    for look in futures::future::join_all(looking).await {
        look.unwrap().unwrap();
    }
    assert_eq!(tasks(&db).await, 1);
    // Whoever looks later finds it waiting.
    tick(&db.pool).await.unwrap();
    assert_eq!(tasks(&db).await, 1);
}

#[tokio::test]
async fn thirty_that_push_the_same_step_at_once_push_it_once() {
    let db = roll_call_due().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let slot = schedule::due(&mut connection, Schedule::RollCall).await.unwrap().unwrap().slot;
    let task = Task { chore: Schedule::RollCall, slot, step: 0 };
    let pushing = (0..30).map(|_| {
        let pool = db.pool.clone();
        tokio::spawn(async move { push(&mut pool.acquire().await.unwrap(), task, 0.0).await.unwrap() })
    });
    let pushed =
        futures::future::join_all(pushing).await.into_iter().filter(|pushed| *pushed.as_ref().unwrap());
    assert_eq!(pushed.count(), 1);
    assert_eq!(tasks(&db).await, 1);
}

#[tokio::test]
async fn a_slot_missed_during_a_downtime_is_caught_up_once_by_several_replicas() {
    let db = roll_call_due().await;
    // Three Mondays were missed: the check of the state of now answers for all of them.
    since(&db, "roll_call", "22 days").await;
    let replicas = [0, 1, 2].map(|_| chores_only(&db));
    called_once(&db).await;
    let (monday, recent): (bool, bool) = sqlx::query_as(
        "select extract(isodow from last_slot at time zone 'UTC') = 1 and (last_slot at time zone 'UTC')::time = '08:00',
                last_slot > clock_timestamp() - interval '7 days'
         from seatkeeper.schedules where schedule = 'roll_call'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert!(monday && recent);
    for replica in replicas {
        assert_eq!(replica.terminate(), Some(0));
    }
    assert_eq!(runs(&db).await, (1, 1));
}

#[tokio::test]
async fn a_fresh_database_does_not_pretend_that_last_monday_happened() {
    let db = TestDb::new().await;
    let process = Process::run(&db.url, &["--no-http"]);
    until("the schedule is written down", async || {
        db.value::<i64>("select count(*) from seatkeeper.schedules").await == 3
    })
    .await;
    tick(&db.pool).await.unwrap();
    assert_eq!(process.terminate(), Some(0));
    assert_eq!((runs(&db).await, tasks(&db).await), ((0, 0), 0));
}

#[tokio::test]
async fn a_slow_chore_is_never_run_over_itself() {
    let db = roll_call_due().await;
    let (slow, pid) = slow_down(&db).await;
    let replicas = [0, 1].map(|_| chores_only(&db));
    db.until_blocked_by(pid).await;
    // As if the task had been handed out again and again: each is a handler that wants to begin.
    let slot = "select slot from jsonb_to_record((select convert_from(job, 'UTF8')::jsonb from apalis.jobs limit 1)) as j (slot timestamptz)";
    let slot = db.value(slot).await;
    for step in 1..=4 {
        let task = Task { chore: Schedule::RollCall, slot, step };
        push(&mut db.pool.acquire().await.unwrap(), task, 0.0).await.unwrap();
    }
    until("all of them have been fetched", async || {
        assert_eq!(at_it(&db).await, 1);
        db.value::<i64>("select count(*) from apalis.jobs where status = 'Pending'").await == 0
    })
    .await;
    assert_eq!((at_it(&db).await, runs(&db).await), (1, (0, 0)));
    slow.rollback().await.unwrap();
    called_once(&db).await;
    for replica in replicas {
        assert_eq!(replica.terminate(), Some(0));
    }
    assert_eq!(runs(&db).await, (1, 1));
}
