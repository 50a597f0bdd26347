//! Sending many requests: in chunks, with patience, and every one that is not accepted is named.

use std::time::{Duration, Instant};

use seatkeeper::postgres::ErrorClass;
use seatkeeper_jobs::postgres::{EnqueueError, enqueue_many};
use seatkeeper_jobs::{Receipt, Request};
use sqlx::PgPool;
use uuid::Uuid;

use crate::cli::Failure;
use crate::cli::database::refusal;
use crate::cli::lines::BadLine;

/// Requests of one call. Each call is a transaction of its own.
pub const CHUNK: usize = 500;
/// How long a database that went away is tried again. Sending twice does no harm: the IDs are the same.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// With more conflicts than this in a chunk, its requests are sent one by one.
const CONFLICTS_OF_A_CHUNK: usize = 8;

/// A request and the line that it came from.
pub type Numbered = (u64, Request);

/// What came of a chunk.
#[derive(Debug, Default)]
pub struct Sent {
    /// Of those that are in, in their order.
    pub receipts: Vec<Receipt>,
    /// IDs that were used before for something else, with their lines.
    pub conflicts: Vec<(u64, Uuid)>,
    /// What this build takes for a request and the server does not.
    pub bad: Vec<BadLine>,
}

/// Sends a chunk. What conflicts is left out, the rest is in.
///
/// # Errors
/// When the database is away for too long, or refuses altogether. What was sent before is in.
pub async fn send(pool: &PgPool, mut chunk: Vec<Numbered>) -> Result<Sent, Failure> {
    let mut sent = Sent::default();
    while !chunk.is_empty() {
        match send_all(pool, &chunk).await? {
            Ok(receipts) => {
                sent.receipts = receipts;
                break;
            }
            Err(EnqueueError::Conflict(id)) if sent.conflicts.len() < CONFLICTS_OF_A_CHUNK => {
                // The last one of this ID: it conflicts with an earlier line, or with what the database has.
                let Some(at) = chunk.iter().rposition(|(_, request)| request.request_id() == id) else {
                    return Err(Failure::unable(format!("request {id} is in conflict and was never sent")));
                };
                let (line, _) = chunk.remove(at);
                sent.conflicts.push((line, id));
            }
            Err(_) => {
                send_one_by_one(pool, chunk, &mut sent).await?;
                break;
            }
        }
    }
    sent.conflicts.sort_unstable();
    Ok(sent)
}

async fn send_one_by_one(pool: &PgPool, chunk: Vec<Numbered>, sent: &mut Sent) -> Result<(), Failure> {
    for numbered in chunk {
        let line = numbered.0;
        match send_all(pool, std::slice::from_ref(&numbered)).await? {
            Ok(receipts) => sent.receipts.extend(receipts),
            Err(EnqueueError::Conflict(id)) => sent.conflicts.push((line, id)),
            Err(EnqueueError::Invalid { field, .. }) => {
                let problem = "not accepted by the server, which is of another version".to_owned();
                sent.bad.push(BadLine { line, field: Some(field), problem });
            }
            Err(error) => {
                return Err(Failure::unable(format!(
                    "{error}; what was sent before is in. Run the same command again later: what is in already counts as sent before"
                )));
            }
        }
    }
    Ok(())
}

/// Sends all or nothing, again and again while the database is away. The inner error is about the requests.
async fn send_all(pool: &PgPool, chunk: &[Numbered]) -> Result<Result<Vec<Receipt>, EnqueueError>, Failure> {
    let requests: Vec<Request> = chunk.iter().map(|(_, request)| request.clone()).collect();
    let (began, mut pause) = (Instant::now(), Duration::from_millis(100));
    loop {
        let answer = match pool.acquire().await {
            Ok(mut connection) => enqueue_many(&mut connection, &requests).await,
            Err(error) => Err(error.into()),
        };
        let error = match answer {
            Err(EnqueueError::Database(error)) => error,
            about_requests => return Ok(about_requests),
        };
        let worth_it = matches!(
            ErrorClass::of(&error),
            ErrorClass::Connection
                | ErrorClass::Deadlock
                | ErrorClass::Serialization
                | ErrorClass::LockTimeout
        );
        if !worth_it || began.elapsed() > PATIENCE {
            return Err(Failure::unable(format!(
                "{}; what was sent before is in. Run the same command again \
                 later: what is in already counts as sent before",
                refusal(&error)
            )));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
