//! What producers get in a second: through the doors, beside an insert that does nothing else.

use std::sync::Arc;

use seatkeeper_jobs::Request;
use seatkeeper_jobs::postgres::{EnqueueError, enqueue, enqueue_many};
use serde::Serialize;
use sqlx::PgPool;

use super::asks::Ask;
use super::work::{Done, many};
use crate::cli::Failure;

/// Requests in one call of `enqueue_many`.
const BULK: usize = 100;

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// A row inserted into a table with nothing to it, 8 connections.
    TrivialInsert8,
    /// `enqueue`, 8 connections.
    Enqueue8,
    /// A row inserted into a table with nothing to it, 32 connections.
    TrivialInsert32,
    /// `enqueue_many` with a hundred requests, 8 connections.
    EnqueueMany8,
}

impl Door {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::TrivialInsert8, Self::Enqueue8, Self::TrivialInsert32, Self::EnqueueMany8];

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TrivialInsert8 => "a trivial insert, 8 connections",
            Self::Enqueue8 => "enqueue, 8 connections",
            Self::TrivialInsert32 => "a trivial insert, 32 connections",
            Self::EnqueueMany8 => "enqueue_many by hundreds, 8 connections",
        }
    }

    /// Sends all of it.
    pub async fn knock(self, pool: &PgPool, asks: Arc<Vec<Ask>>) -> Result<Done, Failure> {
        let count = asks.len();
        let requests: Arc<Vec<Request>> = Arc::new(
            asks.iter()
                .map(Ask::request)
                .collect::<Result<_, _>>()
                .map_err(|error| Failure::unable(error.to_string()))?,
        );
        match self {
            Self::TrivialInsert8 | Self::TrivialInsert32 => {
                let connections = if self == Self::TrivialInsert8 { 8 } else { 32 };
                many(pool, connections, count, |_, connection| {
                    Box::pin(async move {
                        sqlx::query("insert into usual.trivial (number) values (1)")
                            .execute(connection)
                            .await?;
                        Ok(())
                    })
                })
                .await?;
            }
            Self::Enqueue8 => {
                many(pool, 8, count, move |index, connection| {
                    let requests = requests.clone();
                    Box::pin(async move {
                        enqueue(connection, &requests[index]).await.map(drop).map_err(database)
                    })
                })
                .await?;
            }
            Self::EnqueueMany8 => {
                many(pool, 8, count.div_ceil(BULK), move |index, connection| {
                    let requests = requests.clone();
                    Box::pin(async move {
                        let chunk = &requests[index * BULK..count.min((index + 1) * BULK)];
                        enqueue_many(connection, chunk).await.map(drop).map_err(database)
                    })
                })
                .await?;
            }
        }
        Ok(Done { answered: count, batches: 0 })
    }
}

fn database(error: EnqueueError) -> sqlx::Error {
    match error {
        EnqueueError::Database(error) => error,
        other => sqlx::Error::Configuration(other.to_string().into()),
    }
}
