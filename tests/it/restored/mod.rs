//! What becomes of a database that is dumped and restored, or upgraded: it is as sound as it was, whoever looks at it, and goes
//! on answering rightly. With PostgreSQL's own programs.

mod dumped;
mod upgraded;

use std::path::Path;
use std::process::Command;

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::invariants::{Selection, Status, Trigger, call_the_roll};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use crate::operate::cli;
use crate::support::{PATIENCE, assert_follows};

/// The doctor's word on a server of the tests, which does not sync.
const OF_THE_SERVER: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];

async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
}

async fn drain(pool: &PgPool) {
    let mut worker = Worker::new(Transactions::new(pool.clone(), Timeouts::default()), Limits::default());
    while !matches!(worker.turn().await, Turn::Idle) {}
}

/// A semester of its own, whose crowd buys, enrolls, books, waits, leaves and is seen to by its owner, all of it answered by a worker.
/// The last requests are not: they are still waiting.
async fn load(pool: &PgPool, semester: i64) {
    let ask = |kind: &str, payload: &str, users: &str| {
        format!(
            "select seatkeeper.enqueue(gen_random_uuid(), '{kind}', jsonb_build_object('user_id', u.id, {payload}))
             from generate_series({semester}001, {semester}040) u (id) where {users}"
        )
    };
    run(
        pool,
        &format!(
            "insert into seatkeeper.users (user_id) select generate_series({semester}001, {semester}040);
             insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost, enrollment_closes_at)
             values ({semester}, 'S{semester}', 'ENROLLMENT_OPEN', 30, 10, now() + interval '1 day');
             insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
             select {semester}0 + n, {semester}, now() + n * interval '9 days', now() + n * interval '9 days' + interval '1 hour', 10
             from generate_series(1, 3) n"
        ),
    )
    .await;
    let by_semester = format!("'semester_id', {semester}");
    run(pool, &ask("grant_credits", "'amount', 25", "true")).await;
    run(pool, &ask("enroll", &by_semester, "true")).await;
    for session in 1..=3 {
        run(pool, &ask("book", &format!("'session_id', {semester}0 + {session}"), "u.id % 3 <> 1")).await;
    }
    drain(pool).await;
    run(pool, &ask("cancel_booking", &format!("'session_id', {semester}0 + 1"), "u.id % 5 = 0")).await;
    run(pool, &ask("unenroll", &by_semester, "u.id % 7 = 0")).await;
    drain(pool).await;
    run(
        pool,
        &format!(
            "update seatkeeper.sessions set capacity = 15 where semester_id = {semester};
             update seatkeeper.semesters set name = 'again' where semester_id = {semester}"
        ),
    )
    .await;
    drain(pool).await;
    run(pool, &ask("enroll", &by_semester, "u.id % 7 = 0")).await;
}

/// Everybody who looks says that all is well; and what is asked from now on is answered by the rules.
async fn is_sound(url: &str, way: &str) {
    let report = doctor(url).await;
    let problems: Vec<&Value> = report
        .iter()
        .filter(|one| {
            one["level"] == "problem" && !OF_THE_SERVER.iter().any(|known| one["subject"] == *known)
        })
        .collect();
    assert!(problems.is_empty(), "{way}: {problems:#?}");
    for verb in ["check", "audit"] {
        let output = cli(url, &[verb]).await;
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{way}: {verb}: {told}");
    }
    let pool = pool(connect_options(url).unwrap(), 5);
    drain(&pool).await;
    load(&pool, 2).await;
    drain(&pool).await;
    let run = call_the_roll(&pool, &Selection::all(), Trigger::Manual, PATIENCE).await.unwrap();
    let unsound: Vec<_> = run.results.iter().filter(|outcome| outcome.status != Status::Holds).collect();
    assert!(unsound.is_empty(), "{way}: {unsound:#?}");
    assert_follows(&pool).await;
    let both: i64 = sqlx::query_scalar("select count(distinct semester_id) from seatkeeper.enrollments")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(both, 2, "{way}: what was there is there, and what came after it");
    pool.close().await;
}

async fn doctor(url: &str) -> Vec<Value> {
    let output = cli(url, &["doctor", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["findings"].as_array().unwrap().clone()
}

/// Runs a program of PostgreSQL to its end.
fn program(directory: &Path, name: &str, arguments: &[&str]) {
    finishes(Command::new(directory.join(name)).args(arguments));
}

fn finishes(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
