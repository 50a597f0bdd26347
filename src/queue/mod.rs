//! The runtime: apalis 1.0 runs the workers, restarts them, and stops them. Only this folder names apalis.
//!
//! Two kinds of work. Requests, here; and [`chores`], which may safely run twice.
//!
//! A task of our backend is no request but a *turn* at the queue: "there may be work". The handler makes batches for
//! about a second and returns, so that apalis's panic guard and its shutdown mean something; what is claimed,
//! decided and completed in a batch is one transaction of [`crate::batch`], and nothing depends on an
//! acknowledgement.
//!
//! Deliberately absent: timeouts of apalis (PostgreSQL's cut a statement, never a commit in between; what is given up is
//! a connection that has fallen silent, [`unless_given_up`]), its retries
//! (a batch that fails is rolled back and its requests are still in the queue), leases, heartbeats and rescuers
//! (locks are let go with the connection), and NOTIFY (it would cost the producers their group commit).

mod backend;
pub mod chores;
mod waker;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{BoxDynError, Data, Event, Monitor, WorkerBuilder, WorkerContext};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::batch::{self, Limits, Turn, Worker};
use crate::health::Health;
use crate::metrics::{self, RetryCause};
use crate::postgres::{Silence, Transactions, describe, note_unusable, unless_given_up};
use backend::Tick;
use waker::{Pace, Waker};

/// How the queue is worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Batches in parallel, each on a connection of its own; at least 1.
    pub workers: usize,
    /// What bounds each of them.
    pub limits: Limits,
    /// How often an idle worker looks for work: the latency of a lone request.
    pub poll: Duration,
    /// How long a shutdown waits for the batches in hand.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 2,
            limits: Limits::default(),
            poll: Duration::from_millis(20),
            drain: Duration::from_secs(20),
        }
    }
}

/// How long one turn makes batches before it returns to apalis.
const TURN: Duration = Duration::from_secs(1);
/// How often requests are looked for whose time has come, or whose kind was paused or resumed.
const SORT_OUT_EVERY: Duration = Duration::from_millis(100);

/// Works until `shutdown`: then the batches in hand are finished, and no more are claimed.
///
/// # Errors
/// When the supervisor itself cannot run.
pub async fn run(
    transactions: Transactions,
    settings: Settings,
    health: Health,
    shutdown: CancellationToken,
) -> Result<(), BoxDynError> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut monitor = Monitor::new();
    for number in 0..settings.workers.max(1) {
        let (transactions, health, shutdown) = (transactions.clone(), health.clone(), shutdown.clone());
        #[expect(clippy::expect_used, reason = "it fails only when a part is left out, at the first start")]
        let register = move |restart| {
            let pace = Arc::new(Pace::default());
            let waker = Waker::new(transactions.clone(), settings.poll, pace.clone(), health.clone());
            let worker = Turns {
                worker: Mutex::new(Worker::new(transactions.clone(), settings.limits)),
                transactions: transactions.clone(),
                pace,
                poll: settings.poll,
                health: health.clone(),
                shutdown: shutdown.clone(),
            };
            // A name is never used twice, by no process and no restart.
            WorkerBuilder::new(
                format!("requests-{}-{started}-{number}-{restart}", std::process::id()).as_str(),
            )
            .backend(backend::ticks(waker).expect("every part of the backend is given"))
            .data(Arc::new(worker))
            .concurrency(1)
            .catch_panic()
            .build(take_turn)
        };
        monitor = monitor.register(register);
    }
    let sorting = tokio::spawn(sort_out(transactions, health, shutdown.clone()));
    let outcome = monitor
        .on_event(|worker, event| {
            if let Event::Error(error) = event {
                tracing::error!(worker = worker.name(), %error, "a worker stopped; it is restarted");
            }
        })
        .should_restart(|_, _| true)
        .shutdown_timeout(settings.drain)
        .run_with_signal(async move {
            shutdown.cancelled().await;
            Ok(())
        })
        .await;
    sorting.await?;
    outcome.map_err(Into::into)
}

/// What the handler of one worker works with. Its tasks run one at a time.
struct Turns {
    worker: Mutex<Worker>,
    transactions: Transactions,
    pace: Arc<Pace>,
    poll: Duration,
    health: Health,
    shutdown: CancellationToken,
}

/// Makes batches for about a second, or until there is nothing to do. Never an error: apalis has nothing to retry.
async fn take_turn(_: Tick, turns: Data<Arc<Turns>>, context: WorkerContext) -> Result<(), BoxDynError> {
    let mut worker = turns.worker.lock().await;
    let began = Instant::now();
    while began.elapsed() < TURN && !context.is_shutting_down() && !turns.shutdown.is_cancelled() {
        let turn = match patiently(&turns.transactions, &turns.health, worker.turn()).await {
            Ok(turn) => turn,
            Err(silence) => {
                // What it had in hand is committed or rolled back; whoever claims next sees which.
                tracing::warn!(error = %silence, "a batch was given up");
                metrics::batch_retried(RetryCause::Connection);
                Turn::Away(turns.poll)
            }
        };
        match turn {
            Turn::Answered(_) => {
                turns.health.fit();
                turns.health.committed();
                turns.pace.progress();
            }
            Turn::Idle => {
                turns.health.fit();
                // What the waker saw may be of a kind that this build has no rule for: no reason to spin.
                turns.pace.wait(turns.poll);
                break;
            }
            Turn::Contended => {
                turns.health.fit();
                turns.pace.hold_up();
                break;
            }
            Turn::Again(pause) => tokio::time::sleep(pause).await,
            Turn::Away(pause) => {
                turns.health.lost();
                turns.pace.wait(pause);
                break;
            }
            Turn::Unfit(pause, obstacles) => {
                let obstacles = obstacles.join("; ");
                if turns.health.unfit(&obstacles) {
                    tracing::error!(%obstacles, "the database is not fit to be worked on; nothing is decided until it is");
                }
                turns.pace.wait(pause);
                break;
            }
        }
    }
    Ok(())
}

/// Work with the server that is given up when nothing is heard of it, unless it waits for a synchronous standby: then this process
/// is not ready, and says so.
async fn patiently<F: Future>(
    transactions: &Transactions,
    health: &Health,
    work: F,
) -> Result<F::Output, Silence> {
    let mut waited = false;
    let tell = |waiting| {
        waited = true;
        let why = format!("{waiting} commits wait for a synchronous standby");
        if health.waits(&why) {
            tracing::error!(waiting, "commits wait for a synchronous standby; this process waits with them");
        }
    };
    let outcome = unless_given_up(transactions.pool(), transactions.patience(), work, tell).await;
    if waited {
        health.committed();
    }
    outcome
}

/// Lets requests into the queue, and out of it, as their time and the pauses say.
async fn sort_out(transactions: Transactions, health: Health, shutdown: CancellationToken) {
    let mut every = tokio::time::interval(SORT_OUT_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(every.tick()).await.is_some() {
        loop {
            match patiently(&transactions, &health, batch::sort_out(&transactions)).await {
                Ok(Ok(0)) => break,
                Ok(Ok(moved)) => tracing::debug!(moved, "requests moved into or out of the queue"),
                Err(silence) => {
                    tracing::warn!(error = %silence, "the queue could not be sorted out");
                    break;
                }
                Ok(Err(error)) => {
                    note_unusable(&error);
                    tracing::debug!(error = %describe(&error), "the queue could not be sorted out");
                    break;
                }
            }
            if shutdown.is_cancelled() {
                return;
            }
        }
    }
}
