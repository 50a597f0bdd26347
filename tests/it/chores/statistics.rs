//! Statistics: tables of which the planner knows nothing are analyzed; and what is over is pruned.

use seatkeeper::queue::chores::storage::{QUEUE, prune};
use seatkeeper::statistics::refresh;

use crate::support::TestDb;

#[tokio::test]
async fn a_table_that_was_never_analyzed_is_and_then_left_alone() {
    let db = TestDb::new().await;
    db.users(100).await;
    let refreshed = refresh(&db.pool).await.unwrap();
    assert!(
        refreshed.iter().any(|table| table == "users") && refreshed.iter().any(|table| table == "requests")
    );
    let known: f32 =
        db.value("select reltuples from pg_class where oid = 'seatkeeper.users'::regclass").await;
    assert_eq!(known, 100.0);
    assert_eq!(refresh(&db.pool).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn an_owner_without_the_right_is_said_so_and_is_no_error() {
    let db = TestDb::new().await;
    // The function's owner is no longer the table's.
    db.run(
        "create role role_of_nobody;
         grant usage on schema seatkeeper to role_of_nobody;
         alter function seatkeeper.refresh_statistics(text) owner to role_of_nobody",
    )
    .await;
    assert_eq!(refresh(&db.pool).await.unwrap(), Vec::<String>::new());
    db.run("alter function seatkeeper.refresh_statistics(text) owner to current_user; drop owned by role_of_nobody; drop role role_of_nobody").await;
}

#[tokio::test]
async fn tasks_and_workers_that_have_been_over_for_a_week_are_pruned() {
    let db = TestDb::new().await;
    db.run(&format!(
        "insert into apalis.workers (id, worker_type, storage_name, last_seen) values
             ('gone', '{QUEUE}', 'x', now() - interval '8 days'), ('there', '{QUEUE}', 'x', now()),
             ('holds', '{QUEUE}', 'x', now() - interval '8 days'), ('theirs', 'theirs', 'x', now() - interval '8 days');
         insert into apalis.jobs (id, job_type, job, status, lock_by, lock_at, done_at) values
             ('old', '{QUEUE}', '', 'Done', 'gone', now() - interval '8 days', now() - interval '8 days'),
             ('new', '{QUEUE}', '', 'Done', 'there', now(), now()),
             ('left', '{QUEUE}', '', 'Queued', 'holds', now() - interval '8 days', null),
             ('theirs', 'theirs', '', 'Done', 'theirs', now() - interval '8 days', now() - interval '8 days')"
    ))
    .await;
    assert_eq!(prune(&db.pool).await.unwrap(), 1);
    let left: String = db.value("select string_agg(id, ' ' order by id) from apalis.jobs").await;
    assert_eq!(left, "left new theirs");
    let left: String = db.value("select string_agg(id, ' ' order by id) from apalis.workers").await;
    assert_eq!(left, "holds theirs there");
}
