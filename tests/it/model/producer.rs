//! A producer: asks through every door, sends again what it is not sure of, contradicts itself, changes its mind.

use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use seatkeeper::postgres::ErrorClass;
use seatkeeper_jobs::postgres::{self as door, EnqueueError};
use seatkeeper_jobs::{Receipt, Request};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::arrival::Ended;
use super::load::Load;
use super::{aim, asks};

pub struct Producer {
    load: Arc<Load>,
    rng: ChaCha8Rng,
    /// Calls that it still has to make.
    left: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// `enqueue`, with a commit of its own.
    Single,
    /// `enqueue_many`.
    Many,
    /// Several `enqueue` in one transaction.
    Transaction,
    /// The same, rolled back in the end.
    RolledBack,
}

/// A request with the tick before its call, and the receipt.
type Told = (Uuid, u64, Receipt);

impl Producer {
    pub const fn new(load: Arc<Load>, rng: ChaCha8Rng, left: u32) -> Self {
        Self { load, rng, left }
    }

    pub async fn run(mut self) {
        while self.left > 0 {
            let step = self.rng.random_range(0..100);
            let many = match step {
                0..50 => 1,
                50..62 => self.rng.random_range(2..=20),
                62..76 => self.rng.random_range(2..=6),
                _ => 1,
            };
            let calls = self.left.min(many);
            self.left -= calls;
            self.load.allowance.acquire_many(calls).await.unwrap().forget();
            self.load.lead.acquire_many(calls).await.unwrap().forget();
            match step {
                0..50 => self.ask(1, Door::Single).await,
                50..62 => self.ask(calls, Door::Many).await,
                62..72 => self.ask(calls, Door::Transaction).await,
                72..76 => self.ask(calls, Door::RolledBack).await,
                76..88 => self.ask_again().await,
                88..93 => self.ask_twice_at_once().await,
                _ => self.contradict().await,
            }
            self.load.asked.add_permits(usize::try_from(calls).unwrap());
        }
    }

    async fn draw(&mut self) -> Request {
        let drawn = asks::draw(&mut self.rng);
        // Gone before the answer when the server is; then it stays as it was drawn.
        let connection = &mut self.load.connection().await;
        let request = aim::at_something(&drawn, connection, &mut self.rng).await.unwrap_or(drawn);
        self.load.drawn.lock().unwrap().push(request.clone());
        request
    }

    async fn ask(&mut self, count: u32, door: Door) {
        let mut requests = Vec::new();
        for _ in 0..count {
            requests.push(self.draw().await);
        }
        if door == Door::Many && self.rng.random_bool(0.5) {
            requests.push(requests[0].clone());
            requests.extend(Load::pick(&self.load.drawn, &mut self.rng));
        }
        send(&self.load, &requests, door).await;
    }

    /// Sends something again: before, during or after its answer, or after a rollback.
    async fn ask_again(&mut self) {
        let Some(known) = Load::pick(&self.load.drawn, &mut self.rng) else { return };
        let again = if self.rng.random_bool(0.3) { asks::without_times(&known) } else { known };
        let door = if self.rng.random_bool(0.3) { Door::Many } else { Door::Single };
        send(&self.load, &[again], door).await;
    }

    async fn ask_twice_at_once(&mut self) {
        let request = [self.draw().await];
        tokio::join!(
            send(&self.load, &request, Door::Single),
            send(&self.load, &request, Door::Single),
            send(&self.load, &request, Door::Many),
        );
    }

    /// A known ID with something else: refused, and whatever is in the same call with it.
    async fn contradict(&mut self) {
        let Some(known) = Load::pick(&self.load.committed, &mut self.rng) else { return };
        let mut requests = vec![asks::contradiction(&known)];
        if self.rng.random_bool(0.3) {
            let id = asks::fresh_id(&mut self.rng);
            requests.insert(0, Request::new(id, asks::grant(1, 1_000_000)));
        }
        loop {
            let mut connection = self.load.connection().await;
            match door::enqueue_many(&mut connection, &requests).await {
                Err(EnqueueError::Conflict(id)) => {
                    assert_eq!(id, known.request_id());
                    return self.load.count(|tally| tally.conflicts += 1);
                }
                Err(EnqueueError::Database(error)) if is_passing(&error) => {}
                other => panic!("{known:?} was contradicted, and answered {other:?}"),
            }
        }
    }
}

/// Worth sending again with the same ID.
pub fn is_passing(error: &sqlx::Error) -> bool {
    matches!(ErrorClass::of(error), ErrorClass::Connection | ErrorClass::Deadlock | ErrorClass::Serialization)
}

/// Sends until it went through, with the same IDs, and notes every call.
async fn send(load: &Load, requests: &[Request], door: Door) {
    let mut broken = false;
    loop {
        let mut connection = load.connection().await;
        let began = load.journal.tick();
        match attempt(load, &mut connection, requests, door).await {
            Ok(_) if door == Door::RolledBack => {
                for request in requests {
                    load.journal.note(request.request_id(), began, Ended::RolledBack);
                }
                return load.count(|tally| tally.rolled_back += 1);
            }
            Ok(told) => {
                let committed = load.journal.tick();
                load.count(|tally| {
                    for (_, _, receipt) in told.iter().filter(|(_, _, receipt)| receipt.duplicate) {
                        tally.duplicates_before_answer += u32::from(receipt.outcome.is_none());
                        tally.duplicates_after_answer += u32::from(receipt.outcome.is_some());
                        tally.committed_unknowingly += u32::from(broken);
                    }
                });
                for (id, called, receipt) in told {
                    load.journal.note(id, called, Ended::Committed(Box::new(receipt), committed));
                }
                return load.committed.lock().unwrap().extend_from_slice(requests);
            }
            Err(EnqueueError::Database(error)) if is_passing(&error) => {
                broken = true;
                load.count(|tally| tally.broken += 1);
                for request in requests {
                    load.journal.note(request.request_id(), began, Ended::Broken);
                }
            }
            Err(error) => panic!("seed {}: {error} for {requests:?}", load.seed),
        }
    }
}

async fn attempt(
    load: &Load,
    connection: &mut PgConnection,
    requests: &[Request],
    door: Door,
) -> Result<Vec<Told>, EnqueueError> {
    let called = load.journal.tick();
    match door {
        Door::Single => {
            let receipt = door::enqueue(connection, &requests[0]).await?;
            Ok(vec![(receipt.request_id, called, receipt)])
        }
        Door::Many => {
            let receipts = door::enqueue_many(connection, requests).await?;
            Ok(receipts.into_iter().map(|receipt| (receipt.request_id, called, receipt)).collect())
        }
        Door::Transaction | Door::RolledBack => {
            let mut transaction = connection.begin().await?;
            let mut told = Vec::new();
            for request in requests {
                let called = load.journal.tick();
                let receipt = door::enqueue(&mut transaction, request).await?;
                told.push((receipt.request_id, called, receipt));
            }
            if door == Door::Transaction {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            Ok(told)
        }
    }
}
