//! Seatkeeper's doors, as a producer in Rust calls them without the client crate: the functions in SQL.

use anyhow::Result;
use serde_json::json;
use sqlx::PgPool;

use crate::asks::{self, Ask};

/// Asks by `enqueue`, or, in batches, by `enqueue_many`.
pub async fn enqueue(pool: &PgPool, batch: usize) -> Result<(f64, f64, usize)> {
    let to = pool.clone();
    asks::send(pool, batch, move |call| {
        let to = to.clone();
        async move {
            if batch == 1 {
                for ask in call {
                    sqlx::query("select request_id from seatkeeper.enqueue($1, 'enroll', $2)")
                        .bind(ask.id)
                        .bind(payload(&ask))
                        .fetch_one(&to)
                        .await?;
                }
            } else {
                let requests: Vec<_> = call
                    .iter()
                    .map(|ask| json!({"request_id": ask.id, "kind": "enroll", "payload": payload(ask)}))
                    .collect();
                sqlx::query("select request_id from seatkeeper.enqueue_many($1)")
                    .bind(json!(requests))
                    .fetch_all(&to)
                    .await?;
            }
            Ok(())
        }
    })
    .await
}

fn payload(ask: &Ask) -> serde_json::Value {
    json!({"user_id": ask.user_id, "semester_id": ask.semester_id})
}
