//! Waiting for answers.

use std::collections::HashMap;
use std::time::Duration;

use seatkeeper_jobs::{Receipt, postgres as door};
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

use crate::postgres::ErrorClass;

/// An answer is usually there in milliseconds; who waits longer is asked for less often.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What came of a wait.
#[derive(Debug, Default)]
pub struct Waited {
    /// The receipts of requests that came to an end, in the order in which they were seen to.
    pub finished: Vec<Receipt>,
    /// Still queued when the time was up.
    pub queued: Vec<Uuid>,
    /// Not known to the database: nothing was waited for then.
    pub unknown: Vec<Uuid>,
}

/// Waits until every request has come to an end, or until the time is up. A database that goes away meanwhile is
/// waited for as well.
///
/// # Errors
/// When the database cannot be asked for another reason than that it is away, or when it is away to the end.
pub async fn wait(
    pool: &PgPool,
    request_ids: &[Uuid],
    timeout: Duration,
    mut tell: impl FnMut(&Receipt),
) -> sqlx::Result<Waited> {
    let deadline = Instant::now().checked_add(timeout);
    let mut waited = Waited { queued: request_ids.to_vec(), ..Waited::default() };
    waited.queued.sort_unstable();
    waited.queued.dedup();
    let mut pause = SHORTEST_PAUSE;
    loop {
        match receipts(pool, &waited.queued).await {
            Ok(receipts) => {
                let mut receipts: HashMap<Uuid, Receipt> =
                    receipts.into_iter().map(|receipt| (receipt.request_id, receipt)).collect();
                waited.unknown =
                    waited.queued.iter().filter(|id| !receipts.contains_key(*id)).copied().collect();
                if !waited.unknown.is_empty() {
                    return Ok(waited);
                }
                receipts.retain(|_, receipt| receipt.status.is_final());
                waited.queued.retain(|id| !receipts.contains_key(id));
                for receipt in receipts.into_values() {
                    tell(&receipt);
                    waited.finished.push(receipt);
                }
                if waited.queued.is_empty() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(waited);
                }
            }
            Err(error) => {
                let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                if is_over || !matches!(ErrorClass::of(&error), ErrorClass::Connection) {
                    return Err(error);
                }
            }
        }
        // The last look is at the deadline, not a pause later.
        let next = Instant::now() + pause;
        tokio::time::sleep_until(deadline.map_or(next, |deadline| deadline.min(next))).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

async fn receipts(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Receipt>> {
    let mut connection = pool.acquire().await?;
    door::get_receipts(&mut connection, ids).await
}
