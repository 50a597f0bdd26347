//! Whether this process could reach the database lately.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than this without reaching the database, and the process is not ready.
const LATELY: Duration = Duration::from_secs(3);

/// Shared between the workers, who reach the database, and `/readyz`, which tells.
#[derive(Debug, Clone)]
pub struct Health {
    started: Instant,
    /// Milliseconds after `started`, plus one; 0 = never.
    reached: Arc<AtomicU64>,
}

impl Default for Health {
    fn default() -> Self {
        Self { started: Instant::now(), reached: Arc::default() }
    }
}

impl Health {
    /// The database has answered just now.
    pub fn reached(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.reached.store(now + 1, Ordering::Relaxed);
    }

    /// The database is known to be away.
    pub fn lost(&self) {
        self.reached.store(0, Ordering::Relaxed);
    }

    /// Whether the database has answered lately.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let reached = Duration::from_millis(self.reached.load(Ordering::Relaxed));
        reached > Duration::ZERO && self.started.elapsed().saturating_sub(reached) < LATELY
    }
}
