//! apalis-postgres as it comes: its defaults, but for the size of a batch and for how many jobs run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use apalis::layers::WorkerBuilderExt as _;
use apalis::prelude::{
    BackendExt as _, BoxDynError, Data, ParallelizeExt as _, Strategy, TaskSink as _, WorkerBuilder,
    WorkerError,
};
use apalis_postgres::{Config, PostgresStorage};
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::asks::{self, Ask};
use crate::{AT_ONCE, now};

const QUEUE: &str = "enroll";
/// An idle worker of apalis looks for jobs when somebody tells it to.
const POLL: Duration = Duration::from_millis(100);
/// How long everything may take, the acknowledgements included.
const PATIENCE: Duration = Duration::from_secs(300);

/// Makes apalis's schema.
pub async fn setup(pool: &PgPool) -> Result<()> {
    Ok(PostgresStorage::setup(pool).await?)
}

/// Asks by `push`, or, in batches, by `push_bulk`.
pub async fn enqueue(pool: &PgPool, batch: usize) -> Result<(f64, f64, usize)> {
    let storage = PostgresStorage::<Ask>::new(pool).with_config(Config::default().queue(QUEUE));
    asks::send(pool, batch, move |call| {
        let mut storage = storage.clone();
        async move {
            if batch == 1 {
                for ask in call {
                    storage.push(ask).await?;
                }
            } else {
                storage.push_bulk(call).await?;
            }
            Ok(())
        }
    })
    .await
}

struct Jobs {
    pool: PgPool,
    expected: usize,
    done: AtomicUsize,
    all_done: Notify,
}

/// Works off the queue until everything is answered and acknowledged; the end is the last answer.
pub async fn work(pool: &PgPool, batch: usize) -> Result<(f64, f64, usize)> {
    let expected = asks::all(pool).await?.len();
    let jobs =
        Arc::new(Jobs { pool: pool.clone(), expected, done: AtomicUsize::new(0), all_done: Notify::new() });
    asks::warm(pool, AT_ONCE).await?;
    let stop = Arc::new(Notify::new());
    let stopped = stop.clone();
    let worker = WorkerBuilder::new("peer")
        .backend(
            PostgresStorage::<Ask>::new(pool)
                .with_config(Config::default().queue(QUEUE).batch_size(batch))
                .poll_with_strategy(Strategy::new().interval(POLL)),
        )
        .data(jobs.clone())
        .concurrency(AT_ONCE)
        .parallelize(tokio::spawn)
        .build(handle);
    let began = now();
    let worker = tokio::spawn(worker.run_until(async move {
        stopped.notified().await;
        Ok::<_, WorkerError>(())
    }));
    tokio::time::timeout(PATIENCE, jobs.all_done.notified()).await.context("not everything was answered")?;
    let ended = now();
    tokio::time::timeout(PATIENCE, acknowledged(pool, expected))
        .await
        .context("not everything was acknowledged")??;
    stop.notify_one();
    worker.await??;
    Ok((began, ended, expected))
}

async fn handle(ask: Ask, jobs: Data<Arc<Jobs>>) -> Result<(), BoxDynError> {
    sqlx::query("select usual.enroll($1, $2, $3)")
        .bind(ask.id)
        .bind(ask.user_id)
        .bind(ask.semester_id)
        .execute(&jobs.pool)
        .await?;
    if jobs.done.fetch_add(1, Ordering::Relaxed) + 1 == jobs.expected {
        jobs.all_done.notify_one();
    }
    Ok(())
}

async fn acknowledged(pool: &PgPool, expected: usize) -> Result<()> {
    loop {
        let done: i64 = sqlx::query_scalar("select count(*) from apalis.jobs where status = 'Done'")
            .fetch_one(pool)
            .await?;
        if usize::try_from(done)? == expected {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}
