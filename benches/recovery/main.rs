//! How long it takes until everything is answered after something died: one of two processes killed in the middle of a batch,
//! one stopped there, the server crashed. Under load, on a PostgreSQL of its own with its default durability; all times are
//! differences of the database's clock.
//!
//! `cargo bench --bench recovery [-- KILLS]`, 30 by default. Exit code 1 when the 99th percentile after a kill is not below
//! [`LIMIT`].
#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

mod load;
mod process;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{migrate, pool};
use sqlx::PgPool;

use load::Load;
use process::Worker;

/// The 99th percentile of the time until a request is answered after one of two processes was killed stays below this.
const LIMIT: Duration = Duration::from_secs(1);
/// Requests that arrive this soon after a kill count as well.
const AROUND: &str = "200 milliseconds";
const STOPS: usize = 3;
const RESTARTS: usize = 5;
/// How often the database is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Nothing measured here takes this long, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() {
    let kills: usize = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(30);
    let place = tempfile::tempdir().unwrap();
    process::open_to_all(place.path());
    let mut server = Embedded::start(Options::new(place.path())).await.unwrap();
    let look = pool(server.connect_options("postgres"), 20);
    migrate(&look).await.unwrap();
    let url = server.url("postgres");
    let load = Load::start(&look).await;
    let mut number = 0;
    let mut hire = || {
        number += 1;
        Worker::start(&url, number)
    };
    let mut workers = vec![hire(), hire()];

    let mut requests = Vec::new();
    let mut last = Vec::new();
    for _ in 0..kills {
        let (victim, died_at) = catch(&look, &mut workers).await;
        victim.kill();
        last.push(all_answered(&look, died_at).await);
        requests.extend(answered(&look, died_at).await);
        workers.push(hire());
    }
    println!("{kills} times one of two processes was killed in the middle of a batch, under load");
    print("each request that was not answered yet, or came just then", &mut requests);
    let request_p99 = percentile(&requests, 99);
    print("the last of those that were not answered yet, by kill", &mut last);
    let last_p99 = percentile(&last, 99);

    let mut stopped = Vec::new();
    for _ in 0..STOPS {
        let (victim, stopped_at) = catch(&look, &mut workers).await;
        stopped.push(all_answered(&look, stopped_at).await);
        // Its connection is gone; it makes a new one.
        victim.signal(nix::sys::signal::Signal::SIGCONT);
        workers.push(victim);
    }
    println!("{STOPS} times one was stopped in the middle of a batch (--idle-timeout is 5 s)");
    print("the last of those that were not answered yet, by stop", &mut stopped);

    let (mut ready, mut first) = (Vec::new(), Vec::new());
    for _ in 0..RESTARTS {
        let crashed_at = clock(&look).await;
        let began = Instant::now();
        server.restart_immediate().await.unwrap();
        ready.push(began.elapsed());
        first.push(first_answer(&look, crashed_at).await);
    }
    println!("{RESTARTS} times the server crashed and was started again (pg_ctl -m immediate restart)");
    print("from the crash until it takes connections", &mut ready);
    print("from its start until the first answer", &mut first);

    load.stop().await;
    until("everything is answered", async || queued(&look, Utc::now()).await == Some(0)).await;
    for worker in workers {
        worker.kill();
    }
    let audit = seatkeeper::audit::audit(&look).await.unwrap();
    println!("{} answers, audited: {} findings", audit.answers, audit.findings.len());
    assert!(audit.holds(), "{:?} {:?}", audit.not_covered, audit.findings.first());
    look.close().await;
    server.remove().await.unwrap();
    let holds = request_p99 < LIMIT && last_p99 < LIMIT;
    println!("after a kill, p99 below {LIMIT:?}: {}", if holds { "yes" } else { "NO" });
    if !holds {
        std::process::exit(1);
    }
}

/// Stops a process in the middle of a batch, and takes it out of the list; also says since when.
async fn catch(look: &PgPool, workers: &mut Vec<Worker>) -> (Worker, DateTime<Utc>) {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "nobody was ever seen in the middle of a batch");
        let Some(name) = at_work(look).await.pop() else { continue };
        let Some(seen) = workers.iter().position(|worker| worker.name == name) else { continue };
        workers[seen].signal(nix::sys::signal::Signal::SIGSTOP);
        let stopped_at = clock(look).await;
        if at_work(look).await.contains(&name) {
            return (workers.swap_remove(seen), stopped_at);
        }
        workers[seen].signal(nix::sys::signal::Signal::SIGCONT);
    }
}

/// Processes whose transaction has locked its lanes, and is not over.
async fn at_work(look: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select application_name from pg_stat_activity
         where application_name like 'worker-%' and xact_start is not null
           and query ~ '-- (claim\\.read_|claim\\.find_grants|needs|places|prefetch|commit)'",
    )
    .fetch_all(look)
    .await
    .unwrap()
}

/// Awaits that what had been asked by then is answered, for everybody to see; gives the time since.
async fn all_answered(look: &PgPool, since: DateTime<Utc>) -> Duration {
    until("what was asked is answered", async || queued(look, since).await == Some(0)).await;
    (clock(look).await - since).to_std().unwrap()
}

/// How many that had been asked by then have no answer yet.
async fn queued(look: &PgPool, asked_by: DateTime<Utc>) -> Option<i64> {
    sqlx::query_scalar(
        "select count(*) from seatkeeper.requests where status = 'queued' and enqueued_at <= $1",
    )
    .bind(asked_by)
    .fetch_one(look)
    .await
    .ok()
}

/// For each request without an answer at that time, or that came just after: how long it then waited.
async fn answered(look: &PgPool, since: DateTime<Utc>) -> Vec<Duration> {
    until("what was asked just then is answered", async || {
        let left = "select count(*) from seatkeeper.requests where status = 'queued' and enqueued_at <= $1 + $2::interval";
        let left = sqlx::query_scalar::<_, i64>(left).bind(since).bind(AROUND).fetch_one(look).await;
        let is_past = clock(look).await > since + Duration::from_millis(200);
        is_past && left.unwrap() == 0
    })
    .await;
    let seconds: Vec<f64> = sqlx::query_scalar(
        "select extract(epoch from finished_at - greatest(enqueued_at, $1))::float8 from seatkeeper.requests
         where enqueued_at <= $1 + $2::interval and finished_at > $1 and finished_at >= enqueued_at",
    )
    .bind(since)
    .bind(AROUND)
    .fetch_all(look)
    .await
    .unwrap();
    seconds.into_iter().map(Duration::from_secs_f64).collect()
}

/// From the start of the server until the first answer after the crash.
async fn first_answer(look: &PgPool, crashed_at: DateTime<Utc>) -> Duration {
    let mut seconds: Option<f64> = None;
    until("the first answer after the crash", async || {
        seconds = sqlx::query_scalar(
            "select extract(epoch from min(finished_at) - pg_postmaster_start_time())::float8 from seatkeeper.requests
             where finished_at > pg_postmaster_start_time() and finished_at > $1",
        )
        .bind(crashed_at)
        .fetch_one(look)
        .await
        .ok()
        .flatten();
        seconds.is_some()
    })
    .await;
    Duration::from_secs_f64(seconds.unwrap())
}

/// The database's clock.
async fn clock(look: &PgPool) -> DateTime<Utc> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(look).await.unwrap()
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "never came: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    // The nearest rank: of few values, the 99th percentile is the largest.
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent| percentile(times, percent).as_secs_f64() * 1_000.0;
    println!(
        "  {what:58} n {:6}  p50 {:7.1} ms  p99 {:7.1} ms  max {:7.1} ms",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}
