//! What is asked, and producers that ask for it at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{PRODUCERS, now};

/// A place in a semester for a user; also the payload of a job.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, sqlx::FromRow)]
pub struct Ask {
    pub id: Uuid,
    pub user_id: i64,
    pub semester_id: i64,
}

/// All that is asked, in its order.
pub async fn all(pool: &PgPool) -> Result<Vec<Ask>> {
    Ok(sqlx::query_as("select id, user_id, semester_id from peers.ask order by number")
        .fetch_all(pool)
        .await?)
}

/// Opens so many connections now, so that they are not opened while the clock runs.
pub async fn warm(pool: &PgPool, connections: usize) -> Result<()> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(pool.acquire().await?);
    }
    Ok(())
}

/// Sends everything, so many in a call, by [`PRODUCERS`] at a time. Gives the beginning, the end and the number.
pub async fn send<S, F>(pool: &PgPool, batch: usize, send: S) -> Result<(f64, f64, usize)>
where
    S: Fn(Vec<Ask>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let asks = all(pool).await?;
    let count = asks.len();
    let calls: Arc<Vec<Vec<Ask>>> = Arc::new(asks.chunks(batch).map(<[Ask]>::to_vec).collect());
    let next = Arc::new(AtomicUsize::new(0));
    warm(pool, PRODUCERS).await?;
    let began = now();
    let mut producers = JoinSet::new();
    for _ in 0..PRODUCERS {
        let (calls, next, send) = (calls.clone(), next.clone(), send.clone());
        producers.spawn(async move {
            while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                send(call.clone()).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(done) = producers.join_next().await {
        done??;
    }
    Ok((began, now(), count))
}
