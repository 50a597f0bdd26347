//! Far more tasks than the storage has room for acknowledgements, and processes that come and go in the middle of them.
//!
//! apalis may leave a task that was fetched when its worker stopped, handed out to nobody for five minutes. No slot waits for it.

use seatkeeper::queue::chores::storage::{Task, push};
use seatkeeper::schedule::{self, Schedule};

use super::{called_once, chores_only, roll_call_due, runs, since, slow_down};
use crate::support::{TestDb, until};

const TASKS: u32 = 200;
const RESTARTS: usize = 15;

async fn waiting(db: &TestDb) -> i64 {
    db.value("select count(*) from apalis.jobs where status = 'Pending'").await
}

#[tokio::test]
async fn sigterm_with_200_tasks_waiting_and_15_restarts_leave_one_run_and_stand_in_no_slots_way() {
    let db = roll_call_due().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let slot = schedule::due(&mut connection, Schedule::RollCall).await.unwrap().unwrap().slot;
    for step in 0..TASKS {
        let task = Task { chore: Schedule::RollCall, slot, step };
        assert!(push(&mut connection, task, 0.0).await.unwrap());
    }
    let (slow, pid) = slow_down(&db).await;
    let mut process = chores_only(&db);
    db.until_blocked_by(pid).await;
    process.signal("TERM");
    process.await_log("stopping");
    slow.rollback().await.unwrap();
    assert_eq!(process.exit_code(), Some(0), "ends in time, whatever waits");
    called_once(&db).await;

    let mut stopped_in_the_middle = 0;
    for _ in 0..RESTARTS {
        let before = waiting(&db).await;
        let process = chores_only(&db);
        until("it has begun on what is left", async || before == 0 || waiting(&db).await < before).await;
        assert_eq!(process.terminate(), Some(0));
        stopped_in_the_middle += usize::from(waiting(&db).await > 0);
    }
    println!("{stopped_in_the_middle} of {RESTARTS} were stopped with tasks left");
    assert!(stopped_in_the_middle > RESTARTS / 2);
    let last = chores_only(&db);
    until("no task waits", async || waiting(&db).await == 0).await;
    let over = "select count(*) from apalis.jobs where status in ('Done', 'Killed')";
    println!("{} of {TASKS} tasks are over", db.value::<i64>(over).await);
    assert_eq!(runs(&db).await, (1, 1));

    since(&db, "critical_checks", "2 hours").await;
    until("the next slot is run all the same", async || {
        let run = "select count(*) from seatkeeper.invariant_runs where schedule = 'critical_checks' and finished_at is not null";
        db.value::<i64>(run).await == 1
    })
    .await;
    assert_eq!(last.terminate(), Some(0));
}
