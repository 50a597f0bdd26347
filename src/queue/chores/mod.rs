//! Chores: work that may safely run twice, on a real apalis-postgres storage. Roll calls, retention, statistics.
//!
//! What makes a chore safe is not the queue but three facts of the database:
//!
//! - *Whether it is due* is computed from `seatkeeper.schedules` by whoever looks ([`crate::schedule::due`]), and a
//!   chore looks again when it starts. Its last transaction says that the slot has been run.
//! - *Never over itself*: a chore holds the lock of a table of its own for as long as it works. It goes with the
//!   connection: no lease, no heartbeat, nothing to clean up after a SIGKILL.
//! - *Again after a death*: every few seconds each replica looks for a slot that is due, that nobody is at and nothing
//!   waits for, and pushes the next step of it under a key that all of them agree on ([`tick()`]). apalis itself would
//!   notice after five minutes.
//!
//! So a task of apalis is a message: "do this step of that slot". Its handler never returns an error, since the
//! storage would run it again at once, without a pause; a retry is a new task with a later time, pushed in the
//! transaction that holds the lock. Deliberately absent: retries, priorities and results of apalis; LISTEN (an idle
//! worker polls, which also works behind `PgBouncer`).

mod handler;
mod poll;
pub mod storage;
mod tick;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::{BackendExt, WorkerBuilder};
use apalis_postgres::{Config, PostgresStorage};
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::postgres::{describe, note_unusable, retire_connections};
use crate::schedule::clock::Clock;
use crate::schedule::{self, Plan};
use handler::Chores;
use poll::Every;
pub use tick::tick;

/// Connections that the chores of one process need: two for each that runs, one to look, one for the storage.
pub const CONNECTIONS: u32 = 8;
/// Chores at once in one process; far fewer than the acknowledgements that the storage can hold (4 x its batch).
const AT_ONCE: usize = 3;
/// How often an idle worker looks for a chore.
const POLL: Duration = Duration::from_millis(500);
/// The pause before a worker that stopped is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// How chores are run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is on the schedule.
    pub plan: Plan,
    /// The longest that the check of one invariant may take.
    pub check_timeout: Duration,
    /// How long a shutdown waits for the chores in hand.
    pub drain: Duration,
}

/// Keeps the schedule and does its chores until `shutdown`.
///
/// # Errors
/// When the clock does not start.
pub async fn run(
    pool: PgPool,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<(), apalis::prelude::BoxDynError> {
    loop {
        match schedule::keep(&pool, &settings.plan).await {
            Ok(()) => break,
            Err(error) => {
                note_unusable(&error);
                tracing::warn!(error = %describe(&error), "the schedule could not be written down");
            }
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(RESTART_AFTER)).await.is_none() {
            return Ok(());
        }
    }
    let timetables: Vec<_> =
        settings.plan.timetables()?.into_iter().map(|(_, timetable)| timetable).collect();
    let look = Arc::new(Notify::new());
    let clock = Clock::start(&timetables, look.clone()).await?;
    // What fell due while nobody was there.
    look.notify_one();
    let chores = Arc::new(Chores::new(pool.clone(), settings.check_timeout, shutdown.clone()));
    tokio::join!(look_when_told(&pool, &look, &shutdown), work(&pool, &chores, settings.drain, &shutdown));
    clock.stop().await;
    Ok(())
}

async fn look_when_told(pool: &PgPool, look: &Notify, shutdown: &CancellationToken) {
    let mut away = false;
    while shutdown.run_until_cancelled(look.notified()).await.is_some() {
        // Told to stop, it does not wait for a connection that has fallen silent; what it was at is rolled back.
        let Some(looked) = shutdown.run_until_cancelled(tick(pool)).await else { return };
        if let Err(error) = &looked {
            note_unusable(error);
        }
        match looked {
            Ok(()) => away = false,
            Err(error) if away => tracing::debug!(error = %describe(&error), "could not look what is due"),
            Err(error) => {
                away = true;
                tracing::warn!(error = %describe(&error), "could not look what is due; trying again every few seconds");
            }
        }
    }
}

/// One worker after the other: any trouble with the database ends one, and so does a row that is none.
async fn work(pool: &PgPool, chores: &Arc<Chores>, drain: Duration, shutdown: &CancellationToken) {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    for restart in 0_u64.. {
        if let Err(error) = storage::sweep(pool).await {
            note_unusable(&error);
            tracing::debug!(error = %describe(&error), "the queue of chores could not be swept");
        }
        // A name is never used twice, by no process and no restart.
        let name = format!("chores-{}-{started}-{restart}", std::process::id());
        let config = Config::default().queue(storage::QUEUE).batch_size(2).lock_tasks(false);
        let worker = WorkerBuilder::new(name.as_str())
            .backend(
                PostgresStorage::<serde_json::Value>::new(pool)
                    .with_config(config)
                    .poll_with_strategy(Every::new(POLL)),
            )
            .data(chores.clone())
            .concurrency(AT_ONCE)
            .catch_panic()
            .build(handler::handle);
        let stop = shutdown.clone();
        // A task of its own: a panic of the storage must not end the process.
        let mut running = tokio::spawn(worker.run_until(async move {
            stop.cancelled().await;
            Ok::<(), apalis::prelude::WorkerError>(())
        }));
        let ended = tokio::select! {
            ended = &mut running => Some(ended),
            () = async { shutdown.cancelled().await; tokio::time::sleep(drain).await } => None,
        };
        match ended {
            None => {
                running.abort();
                tracing::warn!("a chore was cut; the next process takes it up again");
                return;
            }
            Some(_) if shutdown.is_cancelled() => return,
            Some(Ok(Ok(()))) => tracing::warn!("the chores' worker stopped; it is restarted"),
            Some(Ok(Err(error))) => tracing::warn!(%error, "the chores' worker stopped; it is restarted"),
            Some(Err(error)) => tracing::error!(%error, "the chores' worker died; it is restarted"),
        }
        // The storage does not say why. It may be that its schema has changed.
        retire_connections();
        if shutdown.run_until_cancelled(tokio::time::sleep(RESTART_AFTER)).await.is_none() {
            return;
        }
    }
}
