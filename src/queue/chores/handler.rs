//! One task: take the lock, look whether it is still due, do it, and say so, in the transaction that holds the lock.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{BoxDynError, Data};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::storage::{self, Task};
use crate::invariants::{Selection, Trigger, call_the_roll};
use crate::postgres::{self, ErrorClass, describe};
use crate::schedule::{self, Due, Schedule};
use crate::{retention, statistics};

/// The connection that holds the lock is looked at this often: when it is gone, somebody else may be at the chore.
const STILL_HELD_EVERY: Duration = Duration::from_secs(1);
/// And it has to answer within this.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// The longest pause before a chore that failed is tried again, in seconds.
const LONGEST_PAUSE: u32 = 60;

/// What the handlers work with.
pub(super) struct Chores {
    pool: PgPool,
    check_timeout: Duration,
    shutdown: CancellationToken,
}

/// How far a step came.
enum Progress {
    Finished,
    /// There is more to do.
    More,
}

/// Never an error: the storage would run the task again at once, and again.
pub(super) async fn handle(payload: serde_json::Value, chores: Data<Arc<Chores>>) -> Result<(), BoxDynError> {
    match serde_json::from_value::<Task>(payload) {
        Ok(task) => {
            if let Err(error) = chores.run(task).await {
                postgres::note_unusable(&error);
                tracing::warn!(
                    chore = task.chore.as_str(), slot = %task.slot, error = %describe(&error),
                    "a chore was broken off; it is taken up again"
                );
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a task in the queue of chores is none of ours, and is left undone")
        }
    }
    Ok(())
}

impl Chores {
    pub(super) const fn new(pool: PgPool, check_timeout: Duration, shutdown: CancellationToken) -> Self {
        Self { pool, check_timeout, shutdown }
    }

    /// Where it returns without a word, the next look finds out what is left to do.
    async fn run(&self, task: Task) -> sqlx::Result<()> {
        let mut held = postgres::begin_chore(&self.pool).await?;
        match storage::lock(&mut held, task.chore).await {
            Ok(()) => {}
            Err(error) if ErrorClass::of(&error) == ErrorClass::LockTimeout => return Ok(()),
            Err(error) => return Err(error),
        }
        let due = schedule::due(&mut held, task.chore).await?;
        let Some(due) = due.filter(|due| due.slot == task.slot) else {
            tracing::debug!(chore = task.chore.as_str(), slot = %task.slot, "not due any more");
            return held.commit().await;
        };
        tracing::info!(chore = task.chore.as_str(), slot = %task.slot, step = task.step, "a chore begins");

        let work = self.work(task.chore, due);
        tokio::pin!(work);
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                () = tokio::time::sleep(STILL_HELD_EVERY) => {
                    tokio::time::timeout(ANSWERS_WITHIN, sqlx::query("select 1").execute(&mut *held))
                        .await
                        .map_err(|_| sqlx::Error::WorkerCrashed)??;
                }
            }
        };
        match outcome {
            Ok(Progress::Finished) => {
                schedule::finish(&mut held, task.chore, task.slot).await?;
                held.commit().await?;
                tracing::info!(chore = task.chore.as_str(), slot = %task.slot, "a chore is done");
                return Ok(());
            }
            Ok(Progress::More) => {
                storage::push(&mut held, task.next(), 0.0).await?;
            }
            Err(error) => {
                postgres::note_unusable(&error);
                let pause = 2_u32.saturating_pow(task.step.min(16)).min(LONGEST_PAUSE);
                tracing::warn!(
                    chore = task.chore.as_str(), slot = %task.slot, error = %describe(&error),
                    "a chore failed; it is tried again in {pause} s"
                );
                storage::push(&mut held, task.next(), pause.into()).await?;
            }
        }
        held.commit().await
    }

    async fn work(&self, chore: Schedule, due: Due) -> sqlx::Result<Progress> {
        match chore {
            Schedule::RollCall => self.check(&Selection::all(), chore, due).await?,
            Schedule::CriticalChecks => self.check(&Selection::critical(), chore, due).await?,
            Schedule::Retention => {
                let Some(retain) = due.retain_seconds else { return Ok(Progress::Finished) };
                let retired = retention::retire(&self.pool, retain, &self.shutdown).await?;
                tracing::info!(retired = retired.requests, "old requests are gone");
                if !retired.complete {
                    return Ok(Progress::More);
                }
            }
            Schedule::Statistics => {
                statistics::refresh(&self.pool).await?;
                storage::prune(&self.pool).await?;
            }
        }
        Ok(Progress::Finished)
    }

    async fn check(&self, which: &Selection, chore: Schedule, due: Due) -> sqlx::Result<()> {
        let trigger = Trigger::Schedule { schedule: chore.as_str(), slot: due.slot };
        call_the_roll(&self.pool, which, trigger, self.check_timeout).await.map(|_| ())
    }
}
