//! Receipts: told as they come.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use seatkeeper::postgres::{ErrorClass, describe};
use seatkeeper_jobs::postgres::get_receipts;
use seatkeeper_jobs::{Outcome, Receipt, Status};
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use crate::cli::Failure;
use crate::cli::terminal::{print_json, print_line, say};

/// Receipts that are asked for at a time.
const CHUNK: usize = 500;
/// Pause after a round in which nothing was answered.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many were answered, and how.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Answered {
    pub applied: u64,
    pub refused: u64,
    pub failed: u64,
    pub cancelled: u64,
    /// Not answered yet.
    pub waiting: u64,
    /// Sent, and not there any more.
    pub gone: u64,
}

impl Answered {
    /// Whether any of them is bad news.
    pub const fn bad_news(&self) -> bool {
        self.refused > 0 || self.failed > 0 || self.cancelled > 0
    }

    fn count(&mut self, receipt: &Receipt) {
        match (receipt.status, receipt.outcome) {
            (Status::Done, Some(Outcome::Applied)) => self.applied += 1,
            (Status::Done, _) => self.refused += 1,
            (Status::Failed, _) => self.failed += 1,
            (Status::Cancelled, _) => self.cancelled += 1,
            (Status::Queued, _) => self.waiting += 1,
        }
    }
}

/// Prints a receipt in a line, for people or as JSON.
pub fn print_receipt(receipt: &Receipt, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(receipt);
    }
    let answer = receipt.outcome.map_or_else(|| receipt.status.to_string(), |outcome| outcome.to_string());
    let mut line = format!("{}  {:<17}  {answer}", receipt.request_id, receipt.kind.as_str());
    if let Some(reason) = receipt.reason {
        line.push_str(&format!(" {reason}"));
    }
    if let Some(result) = &receipt.result {
        line.push_str(&format!("  {result}"));
    }
    if receipt.duplicate {
        line.push_str("  (sent before)");
    }
    print_line(line);
    Ok(())
}

/// Waits for the receipts of these requests and prints each as it comes; at most until `timeout` has passed.
pub async fn await_all(
    pool: &PgPool,
    ids: Vec<Uuid>,
    timeout: Duration,
    json: bool,
    bar: &ProgressBar,
) -> Result<Answered, Failure> {
    let mut answered = Answered::default();
    let mut told = HashSet::new();
    // Each ID once, in their order: answers come about in that order too.
    let mut waiting: VecDeque<Uuid> = ids.into_iter().filter(|id| told.insert(*id)).collect();
    bar.set_length(waiting.len().try_into().unwrap_or(u64::MAX));
    bar.set_position(0);
    let (began, mut fruitless) = (Instant::now(), 0);
    while !waiting.is_empty() {
        let asked: Vec<Uuid> = waiting.drain(..waiting.len().min(CHUNK)).collect();
        let known = match receipts(pool, &asked).await {
            Ok(receipts) => Some(receipts),
            // They were in; whether the database is away for a moment does not matter.
            Err(error) if ErrorClass::of(&error) == ErrorClass::Connection && began.elapsed() < timeout => {
                tracing::debug!(error = %describe(&error), "receipts could not be read");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let is_known = known.is_some();
        let receipts = known.unwrap_or_default();
        let there = |id| !is_known || receipts.iter().any(|receipt| receipt.request_id == id);
        let mut done = HashSet::new();
        for lost in asked.iter().filter(|id| !there(**id)) {
            answered.gone += 1;
            done.insert(*lost);
            bar.suspend(|| say(format_args!("seatkeeper: request {lost} is gone from the database")));
        }
        for receipt in receipts.iter().filter(|receipt| receipt.status.is_final()) {
            answered.count(receipt);
            done.insert(receipt.request_id);
            bar.suspend(|| print_receipt(receipt, json))?;
        }
        bar.inc(done.len().try_into().unwrap_or_default());
        fruitless = if done.is_empty() { fruitless + asked.len() } else { 0 };
        waiting.extend(asked.into_iter().filter(|id| !done.contains(id)));
        if fruitless >= waiting.len() && !waiting.is_empty() {
            if began.elapsed() >= timeout {
                break;
            }
            fruitless = 0;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    answered.waiting = waiting.len().try_into().unwrap_or(u64::MAX);
    Ok(answered)
}

async fn receipts(pool: &PgPool, ids: &[Uuid]) -> sqlx::Result<Vec<Receipt>> {
    get_receipts(&mut *pool.acquire().await?, ids).await
}
