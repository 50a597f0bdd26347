//! When a worker is woken: as soon as there is work, but not by NOTIFY.
//!
//! PostgreSQL lets one committing notifier pass at a time, so a NOTIFY in the enqueueing transaction would cost the
//! producers their group commit. Instead an idle worker looks every few hundredths of a second whether anything is
//! ready (one probe of a partial index), and a busy one does not wait at all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::health::Health;
use crate::postgres::{Transactions, retire_connections, unless_silent};

/// The first pause when everything that is ready is held by others; it doubles while that lasts.
const SHORTEST_HOLD_UP: Duration = Duration::from_millis(2);

/// How long the worker should stay away after its last turn.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Duration>);

impl Pace {
    /// The last turn got somewhere: go on at once, without a look.
    pub(super) fn progress(&self) {
        self.set(|_| Duration::ZERO);
    }

    /// Others hold what is ready.
    pub(super) fn hold_up(&self) {
        self.set(|pause| (pause * 2).max(SHORTEST_HOLD_UP));
    }

    /// Nothing to do, or the database is away.
    pub(super) fn wait(&self, pause: Duration) {
        self.set(|_| pause);
    }

    fn set(&self, next: impl FnOnce(Duration) -> Duration) {
        let mut pause = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = next(*pause);
    }

    fn get(&self) -> Duration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until there may be work.
#[derive(Debug, Clone)]
pub(super) struct Waker {
    transactions: Transactions,
    poll: Duration,
    pace: Arc<Pace>,
    health: Health,
}

impl Waker {
    pub(super) const fn new(
        transactions: Transactions,
        poll: Duration,
        pace: Arc<Pace>,
        health: Health,
    ) -> Self {
        Self { transactions, poll, pace, health }
    }

    pub(super) async fn wait(&mut self) {
        let pause = self.pace.get();
        if pause.is_zero() {
            // Who got somewhere looks by the next claim, which knows from where on; the probe below reads, beside an old snapshot,
            // through all that was answered since.
            return;
        }
        // However long the hold-up, the worker looks as often as an idle one does; an outage sets its own pace.
        tokio::time::sleep(pause.min(self.poll.max(Duration::from_millis(500)))).await;
        loop {
            let look = sqlx::query_scalar!(
                // By the order of an index, not `exists`: among millions of answered requests that could be a scan.
                r#"-- queue.anything_ready
                   select case when not pg_catalog.pg_is_in_recovery() then (
                       (select r.seq from seatkeeper.requests r where r.status = 'queued' and r.hold is null
                           order by r.kind, r.seq limit 1) is not null
                       or (select m.mark_id from seatkeeper.fill_marks m where m.retry_at is null
                           order by m.semester_id, m.mark_id limit 1) is not null) end as ready"#
            )
            .persistent(false) // Planned anew: a plan from when the table was empty reads all of it.
            .fetch_one(self.transactions.pool());
            match unless_silent(self.transactions.patience(), look).await {
                // It shows what is ready, and lets nobody answer it. The address may lead elsewhere by now.
                Ok(Ok(None)) => {
                    self.health.lost();
                    retire_connections();
                    tracing::debug!("this connection leads to a standby, and is closed");
                }
                Ok(Ok(Some(ready))) => {
                    self.health.reached();
                    // Nor may it be said for ever that it is not fit, because nobody looks again.
                    if ready || self.health.is_unfit() {
                        return;
                    }
                }
                Err(silence) => {
                    self.health.lost();
                    tracing::warn!(error = %silence, "the queue could not be looked at");
                }
                Ok(Err(error)) => {
                    self.health.lost();
                    tracing::debug!(error = %crate::postgres::describe(&error), "the queue could not be looked at");
                }
            }
            tokio::time::sleep(self.poll).await;
        }
    }
}
