//! One look at the schedule: what is due, is not being done, and is not waiting to be done, is pushed.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};

use super::storage::{self, QUEUE, Task};
use crate::postgres;
use crate::schedule::{self, Schedule};

/// A task that was claimed this long ago, while nobody is at the chore, was claimed by a worker that is gone.
const CLAIMED_IN_VAIN: &str = "5 seconds";

/// Looks at every schedule. Any number of replicas may do so at once: one of them pushes.
///
/// # Errors
/// When the database cannot be reached, or refuses.
pub async fn tick(pool: &PgPool) -> sqlx::Result<()> {
    storage::sweep(pool).await?;
    for schedule in Schedule::ALL {
        look(pool, schedule).await?;
    }
    Ok(())
}

async fn look(pool: &PgPool, chore: Schedule) -> sqlx::Result<()> {
    let mut transaction = postgres::begin_chore(pool).await?;
    if schedule::due(&mut transaction, chore).await?.is_none() {
        return transaction.commit().await;
    }
    if !storage::try_lock(&mut transaction, chore).await? {
        // Somebody is at it, or is just looking.
        return transaction.rollback().await;
    }
    // Again, with the lock: what was due a moment ago may have been done meanwhile.
    let Some(due) = schedule::due(&mut transaction, chore).await? else {
        return transaction.commit().await;
    };
    let step = match latest_step(&mut transaction, chore, due.slot).await? {
        None => 0,
        // It waits, or a worker has just claimed it and is about to take the lock.
        Some(Step { status, claimed_lately, .. }) if status == "Pending" || claimed_lately => {
            return transaction.commit().await;
        }
        Some(Step { id, number, status, .. }) => {
            if status == "Queued" || status == "Running" {
                // apalis would hand it out again in some minutes.
                sqlx::query("-- chores.give_up\nupdate apalis.jobs set status = 'Killed', done_at = clock_timestamp() where id = $1")
                    .bind(&id)
                    .execute(&mut *transaction)
                    .await?;
                tracing::warn!(chore = chore.as_str(), slot = %due.slot, "a chore was left in the middle; it is done again");
            }
            number.saturating_add(1)
        }
    };
    if storage::push(&mut transaction, Task { chore, slot: due.slot, step }, 0.0).await? {
        tracing::info!(chore = chore.as_str(), slot = %due.slot, step, "due");
    }
    transaction.commit().await
}

/// A task of a slot, as the queue has it.
struct Step {
    id: String,
    number: u32,
    status: String,
    claimed_lately: bool,
}

async fn latest_step(
    connection: &mut PgConnection,
    chore: Schedule,
    slot: DateTime<Utc>,
) -> sqlx::Result<Option<Step>> {
    let prefix = Task::slot_key(chore, slot);
    let rows: Vec<(String, String, String, bool)> = sqlx::query_as(
        "-- chores.steps
         select id, idempotency_key, status,
                coalesce(status in ('Queued', 'Running') and done_at is null
                         and lock_at > clock_timestamp() - $3::interval, false)
         from apalis.jobs where job_type = $1 and starts_with(idempotency_key, $2)",
    )
    .bind(QUEUE)
    .bind(&prefix)
    .bind(CLAIMED_IN_VAIN)
    .fetch_all(connection)
    .await?;
    let steps = rows.into_iter().filter_map(|(id, key, status, claimed_lately)| {
        let number = key.strip_prefix(&prefix)?.parse().ok()?;
        Some(Step { id, number, status, claimed_lately })
    });
    Ok(steps.max_by_key(|step| step.number))
}
