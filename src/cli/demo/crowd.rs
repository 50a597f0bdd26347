//! The crowd: many connections that play a script at the same time, and remember what they heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use seatkeeper_jobs::postgres::{EnqueueError, enqueue};
use seatkeeper_jobs::{Receipt, Request};
use sqlx::postgres::PgDatabaseError;
use sqlx::types::Json;
use sqlx::{ConnectOptions, PgConnection};
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::script::{Malformed, Script, Step};
use super::stage::Stage;
use crate::cli::Failure;

/// What one connection heard, in its order.
#[derive(Debug)]
pub enum Heard {
    /// A receipt for one of the script's requests.
    Receipt { receipt: Receipt, called: Instant, heard: Instant },
    /// The ID of another request was refused with RC409, or was not.
    Conflict { refused: bool },
    /// What is no request was refused with RC422 and the right field, or was not.
    Malformed { refused: bool },
}

/// The crowd while it is at it.
pub struct Crowd {
    producers: JoinSet<Result<Vec<Heard>, Failure>>,
    sent: Arc<AtomicUsize>,
    /// When the first request was about to be sent.
    pub began: Instant,
}

impl Crowd {
    /// Opens the connections, and lets all of them start at once.
    pub async fn set_off(stage: &Stage, script: &Arc<Script>, connections: usize) -> Result<Self, Failure> {
        let (next, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let start = Arc::new(Barrier::new(connections + 1));
        let mut producers = JoinSet::new();
        for _ in 0..connections {
            let mut connection = stage.connect_options().connect().await?;
            let (script, next, sent, start) = (script.clone(), next.clone(), sent.clone(), start.clone());
            producers.spawn(async move {
                start.wait().await;
                let mut heard = Vec::new();
                while let Some(step) = script.steps.get(next.fetch_add(1, Ordering::Relaxed)) {
                    take(&mut connection, &script, step, &mut heard).await?;
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                Ok(heard)
            });
        }
        start.wait().await;
        Ok(Self { producers, sent, began: Instant::now() })
    }

    /// How many steps of the script are done.
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// What all of them heard, once the script is done.
    pub async fn heard(mut self) -> Result<Vec<Heard>, Failure> {
        let mut all = Vec::new();
        while let Some(producer) = self.producers.join_next().await {
            all.extend(producer.map_err(|error| Failure::unable(format!("a producer died: {error}")))??);
        }
        Ok(all)
    }
}

async fn take(
    connection: &mut PgConnection,
    script: &Script,
    step: &Step,
    heard: &mut Vec<Heard>,
) -> Result<(), Failure> {
    match step {
        Step::Ask(_) | Step::InTurn(_) => {
            for ask in step.asks() {
                heard.push(send(connection, &script.asks[*ask]).await?);
            }
        }
        Step::AskThenConflict(ask, other) => {
            heard.push(send(connection, &script.asks[*ask]).await?);
            let answer = enqueue(connection, other).await;
            let refused = matches!(answer, Err(EnqueueError::Conflict(id)) if id == other.request_id());
            heard.push(Heard::Conflict { refused });
        }
        Step::Malformed(malformed) => {
            heard.push(Heard::Malformed { refused: is_refused(connection, malformed).await? });
        }
        Step::Places { session, places } => {
            sqlx::query!(
                "-- demo.places_by_their_owner
                 update seatkeeper.sessions set capacity = $2 where session_id = $1",
                session,
                places
            )
            .execute(connection)
            .await?;
        }
    }
    Ok(())
}

async fn send(connection: &mut PgConnection, request: &Request) -> Result<Heard, Failure> {
    let called = Instant::now();
    let receipt = enqueue(connection, request)
        .await
        .map_err(|error| Failure::unable(format!("a request of the crowd was not accepted: {error}")))?;
    Ok(Heard::Receipt { receipt, called, heard: Instant::now() })
}

async fn is_refused(connection: &mut PgConnection, malformed: &Malformed) -> Result<bool, Failure> {
    let answer = sqlx::query!(
        "-- demo.send_malformed
         select seatkeeper.enqueue($1, $2, $3) is null as receipt",
        Uuid::now_v7(),
        malformed.kind,
        Json(&malformed.payload) as _
    )
    .fetch_one(connection)
    .await;
    let Err(error) = answer else { return Ok(false) };
    match error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>()) {
        Some(refusal) => Ok(refusal.code() == "RC422" && refusal.detail() == Some(malformed.field)),
        None => Err(error.into()),
    }
}
