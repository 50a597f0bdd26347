//! Rows in the queue of chores that are none: they stop nobody for good.

use seatkeeper::queue::chores::storage::QUEUE;

use super::{called_once, chores_only, roll_call_due};
use crate::support::{TestDb, until};

const ULID: &str = "01ARZ3NDEKTSV4RRFFQ69G5FA";

async fn put(db: &TestDb, id: &str, payload: &str, run_at: &str) {
    db.run(&format!(
        "insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority)
         values ('{id}', '{QUEUE}', convert_to('{payload}', 'UTF8'), 'Pending', 0, 25, {run_at}, 100)"
    ))
    .await;
}

#[tokio::test]
async fn rows_that_are_none_do_not_keep_the_roll_call_from_being_called() {
    let db = roll_call_due().await;
    let past = "clock_timestamp() - interval '1 day'";
    put(&db, "no-ulid", "{}", past).await;
    put(&db, &format!("{ULID}0"), "no JSON", past).await;
    put(&db, &format!("{ULID}1"), "{\"chore\": \"dance\"}", past).await;
    put(&db, &format!("{ULID}2"), "[]", past).await;
    put(&db, &format!("{ULID}3"), "{}", "'-infinity'").await;
    put(&db, &format!("{ULID}4"), "{}", "'1960-01-01'").await;
    // Of another queue: none of our business.
    db.run(
        "insert into apalis.jobs (id, job_type, job, run_at) values ('theirs', 'theirs', '', '-infinity')",
    )
    .await;
    let process = chores_only(&db);
    called_once(&db).await;
    let waiting = async || db.value::<i64>("select count(*) from apalis.jobs where status = 'Pending'").await;
    until("what is JSON has been looked at, what is none is gone", async || waiting().await == 1).await;
    assert_eq!(db.value::<i64>("select count(*) from apalis.jobs where id = 'theirs'").await, 1);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test]
async fn a_row_that_comes_while_the_worker_runs_is_removed_and_said_so() {
    let db = roll_call_due().await;
    let process = chores_only(&db);
    called_once(&db).await;
    put(&db, "no-ulid-either", "{}", "clock_timestamp() - interval '1 second'").await;
    put(&db, &format!("{ULID}5"), "no JSON", "clock_timestamp() - interval '1 second'").await;
    until("both are gone", async || {
        db.value::<i64>("select count(*) from apalis.jobs where status in ('Pending', 'Failed')").await == 0
    })
    .await;
    process.await_log("no-ulid-either");
    // And chores go on.
    super::since(&db, "critical_checks", "2 hours").await;
    until("the critical checks have been run", async || {
        db.value::<i64>("select count(*) from seatkeeper.invariant_runs where schedule = 'critical_checks'")
            .await
            == 1
    })
    .await;
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test]
async fn a_row_longer_than_any_task_is_removed_and_not_read() {
    let db = roll_call_due().await;
    let long = format!("{{\"chore\": \"{}\"}}", "x".repeat(10_000));
    put(&db, &format!("{ULID}6"), &long, "clock_timestamp() - interval '1 second'").await;
    let process = chores_only(&db);
    let told = process.await_log("is removed");
    assert!(told.contains(&format!("{ULID}6")), "{told}");
    called_once(&db).await;
    let left = format!("select count(*) from apalis.jobs where id = '{ULID}6'");
    assert_eq!(db.value::<i64>(&left).await, 0);
    assert_eq!(process.terminate(), Some(0));
}
