//! One look at the schedule: what is due, is not being done, and is not waiting to be done, is pushed.

use sqlx::PgPool;

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
        return transaction.commit().await;
    }
    // Again, with the lock: what was due a moment ago may have been done meanwhile.
    let Some(due) = schedule::due(&mut transaction, chore).await? else {
        return transaction.commit().await;
    };
    let latest: Option<(String, String, bool)> = sqlx::query_as(
        "-- chores.latest_step
         select id, status, status in ('Queued', 'Running') and done_at is null
                and lock_at > clock_timestamp() - $3::interval
         from apalis.jobs
         where job_type = $1 and starts_with(idempotency_key, $2)
         order by length(idempotency_key) desc, idempotency_key desc
         limit 1",
    )
    .bind(QUEUE)
    .bind(Task::slot_key(chore, due.slot))
    .bind(CLAIMED_IN_VAIN)
    .fetch_optional(&mut *transaction)
    .await?;
    let step = match latest {
        None => Some(0),
        Some((_, _, true)) => None,
        Some((_, status, false)) if status == "Pending" => None,
        Some((id, status, false)) => {
            if status == "Queued" || status == "Running" {
                // apalis would hand it out again in some minutes.
                sqlx::query("-- chores.give_up\nupdate apalis.jobs set status = 'Killed', done_at = clock_timestamp() where id = $1")
                    .bind(&id)
                    .execute(&mut *transaction)
                    .await?;
                tracing::warn!(chore = chore.as_str(), slot = %due.slot, "a chore was left in the middle; it is done again");
            }
            next_step(&mut transaction, chore, due.slot).await?
        }
    };
    if let Some(step) = step
        && storage::push(&mut transaction, Task { chore, slot: due.slot, step }, 0.0).await?
    {
        tracing::info!(chore = chore.as_str(), slot = %due.slot, step, "due");
    }
    transaction.commit().await
}

/// The step after the latest one that our keys tell of.
async fn next_step(
    connection: &mut sqlx::PgConnection,
    chore: Schedule,
    slot: chrono::DateTime<chrono::Utc>,
) -> sqlx::Result<Option<u32>> {
    let prefix = Task::slot_key(chore, slot);
    let keys: Vec<String> = sqlx::query_scalar(
        "-- chores.steps
         select idempotency_key from apalis.jobs where job_type = $1 and starts_with(idempotency_key, $2)",
    )
    .bind(QUEUE)
    .bind(&prefix)
    .fetch_all(connection)
    .await?;
    let latest = keys.iter().filter_map(|key| key.strip_prefix(&prefix)?.parse::<u32>().ok()).max();
    Ok(Some(latest.map_or(0, |step| step.saturating_add(1))))
}
