//! Crashes: whatever dies in the middle of a batch, every request is answered once, and rightly.

#[cfg(feature = "failpoints")]
mod matrix;
mod signals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use seatkeeper::postgres::pool;
use sqlx::PgPool;

use crate::model::{Coverage, Load, scaled, seed};
use crate::support::{Process, TestDb, own_server, until};

/// Workers that are killed or stopped, one after the other.
const VICTIMS: u32 = 48;
/// Each so manieth is stopped, and goes on later.
const STOPPED: u32 = 3;
const RESTARTS: u32 = 4;
/// How long one in the middle of a batch is looked for before some worker is killed all the same.
const WATCHED: Duration = Duration::from_millis(500);

/// Starts the load beside the test.
fn start(load: &Arc<Load>) -> tokio::task::JoinHandle<()> {
    let load = load.clone();
    tokio::spawn(async move { load.run().await })
}

/// Everything is answered, once, and as the reference does.
async fn finish(load: &Arc<Load>, loading: tokio::task::JoinHandle<()>, workers: Vec<Process>) {
    loading.await.unwrap();
    load.answered().await;
    for worker in workers {
        assert_eq!(worker.terminate(), Some(0), "a worker was still at work, and ended well");
    }
    let (history, complaints) = load.check().await;
    let coverage = Coverage::of(&history);
    println!("{coverage}\n{:?}", load.tally.lock().unwrap());
    complaints.assert_none(load.seed);
    coverage.assert_most_occurred(load);
}

/// A worker process that can be told apart on the server, with batches of a size of its own.
struct Worker {
    name: String,
    process: Process,
}

impl Worker {
    fn start(url: &str, number: u32) -> Self {
        let name = format!("worker-{number}");
        let batch = ["1", "7", "500"][usize::try_from(number % 3).unwrap()];
        let flags = ["--no-http", "--batch", batch, "--idle-timeout", "300ms"];
        let process = Process::run(&format!("{url}&application_name={name}"), &flags);
        Self { name, process }
    }
}

/// Which workers are in the middle of a batch, and what it did last. (A chore's transaction may idle: a worker that is stopped in
/// one keeps it, but no lane. The begin of a batch is known by its timeout.)
async fn in_hand(look: &PgPool) -> BTreeMap<String, String> {
    sqlx::query_as::<_, (String, String)>(
        "select application_name,
                coalesce(substring(query from '-- ([a-z]+\\.[a-z_]+)'), lower(substring(query from '^\\w+')))
         from pg_stat_activity
         where application_name like 'worker-%' and backend_type = 'client backend' and xact_start is not null
           and query ~* '-- (claim|needs|places|prefetch|commit|retry)\\.|^commit|^begin .* idle_in_transaction_session_timeout = 300;'",
    )
    .fetch_all(look)
    .await
    .unwrap()
    .into_iter()
    .collect()
}

/// What became of the workers that were stopped.
#[derive(Debug, Default)]
struct Stops {
    /// All of them.
    stopped: u32,
    /// In the middle of a batch.
    at_work: u32,
    /// Gone on after the server had taken their lanes from them.
    too_late: u32,
    /// Gone on before that.
    in_time: u32,
}

impl Stops {
    /// Lets it go on: of those that have a batch in hand every other only after its lanes were taken from it.
    async fn go_on(&mut self, worker: &Worker, had_a_batch: bool, look: &PgPool) {
        if had_a_batch {
            if self.at_work.is_multiple_of(2) {
                until("the lanes of a stopped worker are free", async || {
                    !in_hand(look).await.contains_key(&worker.name)
                })
                .await;
            }
            self.at_work += 1;
            let is_late = !in_hand(look).await.contains_key(&worker.name);
            *(if is_late { &mut self.too_late } else { &mut self.in_time }) += 1;
        }
        self.stopped += 1;
        worker.process.signal("CONT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_stopped_workers_lose_nothing_and_answer_nothing_twice() {
    let db = TestDb::new().await;
    let load = Load::prepare(db.pool.clone(), seed(), scaled(6_000)).await;
    println!("seed {}", load.seed);
    let victims = scaled(VICTIMS);
    let mut rng = load.rng(2_000);
    let mut workers: Vec<Worker> = (0..3).map(|number| Worker::start(&db.url, number)).collect();
    for worker in &workers {
        worker.process.await_log("working");
    }
    let loading = start(&load);

    let mut killed: BTreeMap<String, u32> = BTreeMap::new();
    let mut stops = Stops::default();
    let mut stopped: Option<(Worker, bool)> = None;
    for number in 0..victims {
        let share = load.total / victims + u32::from(number < load.total % victims);
        // Producers aim at what they see; far ahead of the answers they would ask blindly.
        until("the workers keep up", async || load.left().await <= i64::from(share)).await;
        if let Some((worker, had_a_batch)) = stopped.take() {
            stops.go_on(&worker, had_a_batch, &db.pool).await;
            workers.push(worker);
        }
        load.allow(share);
        let is_stopped = number % STOPPED == STOPPED - 1;
        let mut victim = rng.random_range(0..workers.len());
        // At any moment, or as soon as one is seen at work; a share may be over before that.
        let at_once = !is_stopped && rng.random_bool(0.25);
        let watched = if at_once { Duration::ZERO } else { WATCHED };
        let began = Instant::now();
        while began.elapsed() < watched {
            let at_work = in_hand(&db.pool).await;
            if let Some(seen) = workers.iter().position(|worker| at_work.contains_key(&worker.name)) {
                victim = seen;
                break;
            }
        }
        let victim = workers.swap_remove(victim);
        // Stopped first, so that where it stood can be read; a stopped process dies of SIGKILL just so.
        victim.process.signal("STOP");
        let step = in_hand(&db.pool).await.remove(&victim.name);
        if is_stopped {
            stopped = Some((victim, step.is_some()));
        } else {
            if let Some(step) = step {
                *killed.entry(step).or_default() += 1;
            }
            victim.process.kill();
            workers.push(Worker::start(&db.url, number + 3));
        }
    }
    if let Some((worker, had_a_batch)) = stopped.take() {
        stops.go_on(&worker, had_a_batch, &db.pool).await;
        workers.push(worker);
    }

    let kills = victims - stops.stopped;
    let hits: u32 = killed.values().sum();
    println!("{kills} kills, {hits} in the middle of a batch: {killed:?}\n{stops:?}");
    finish(&load, loading, workers.into_iter().map(|worker| worker.process).collect()).await;
    assert!(kills >= 24 && hits >= kills / 4, "seed {}: only {hits} kills hit a batch", load.seed);
    let enough = stops.stopped >= victims / STOPPED && stops.at_work >= stops.stopped / 4;
    assert!(enough && stops.too_late > 0, "seed {}: {stops:?}", load.seed);
    db.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_crashes_under_load_loses_nothing_and_no_worker() {
    let mut server = own_server().await;
    let load = Load::prepare(server.pool(), seed(), scaled(5_000)).await;
    println!("seed {}", load.seed);
    let url = server.url();
    let workers = ["1", "7", "500"].map(|batch| Process::run(&url, &["--no-http", "--batch", batch]));
    for worker in &workers {
        worker.await_log("working");
    }
    let loading = start(&load);

    let look = pool(server.embedded.connect_options("postgres"), 1);
    let mut at_least = 0;
    let share = load.total / (RESTARTS + 1);
    for _ in 0..RESTARTS {
        load.allow(share);
        // Some way into the share, so that producers, owners and workers are at it.
        at_least += i64::from(share / 4);
        until("the load is on its way", async || answers(&look).await.is_some_and(|n| n >= at_least)).await;
        server.embedded.restart_immediate().await.unwrap();
        at_least = answers_now(&look).await;
    }
    load.allow(load.total - RESTARTS * share);

    finish(&load, loading, workers.into()).await;
    let tally = load.tally.lock().unwrap().clone();
    println!("{RESTARTS} restarts broke {} calls and {} changes", tally.broken, tally.changes_broken);
    // Whom a restart hits, a producer or an owner, is chance.
    let broken = tally.broken > 0 || tally.changes_broken > 0;
    assert!(RESTARTS >= 3 && broken, "seed {}: the restarts broke nothing", load.seed);
    load.pool.close().await;
    look.close().await;
    server.remove().await;
}

/// Answers so far; `None` when the server does not say.
async fn answers(look: &PgPool) -> Option<i64> {
    sqlx::query_scalar("select count(*) from seatkeeper.requests where status = 'done'")
        .fetch_one(look)
        .await
        .ok()
}

/// The same, as soon as the server is there.
async fn answers_now(look: &PgPool) -> i64 {
    let mut found = None;
    until("the server answers again", async || {
        found = answers(look).await;
        found.is_some()
    })
    .await;
    found.unwrap()
}
