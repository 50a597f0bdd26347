//! Whether this process could reach the database lately, and whether anything keeps it from working there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longer than this without reaching the database, and the process is not ready.
const LATELY: Duration = Duration::from_secs(3);

/// Shared between the workers, who reach the database, and `/readyz`, which tells.
#[derive(Debug, Clone)]
pub struct Health {
    started: Instant,
    /// Milliseconds after `started`, plus one; 0 = never.
    reached: Arc<AtomicU64>,
    hindrances: Arc<Mutex<Hindrances>>,
}

/// What is in the way although the database answers, in words.
#[derive(Debug, Default)]
struct Hindrances {
    unfit: Option<String>,
    waiting: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { started: Instant::now(), reached: Arc::default(), hindrances: Arc::default() }
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

    /// The database is there, and not fit to be worked on, until [`Self::fit`]. True when that is news.
    pub fn unfit(&self, why: &str) -> bool {
        self.change(|known| known.unfit.replace(why.to_owned()).as_deref() != Some(why))
    }

    /// Whether the database was found not to be fit, and nobody has found otherwise since.
    #[must_use]
    pub fn is_unfit(&self) -> bool {
        self.change(|known| known.unfit.is_some())
    }

    /// The database is fit to be worked on.
    pub fn fit(&self) {
        self.change(|known| known.unfit = None);
        self.reached();
    }

    /// Commits wait and nothing ends that from here, until [`Self::committed`]. True when that is news.
    pub fn waits(&self, why: &str) -> bool {
        self.change(|known| known.waiting.replace(why.to_owned()).is_none())
    }

    /// A commit came through.
    pub fn committed(&self) {
        self.change(|known| known.waiting = None);
    }

    fn change<T>(&self, change: impl FnOnce(&mut Hindrances) -> T) -> T {
        change(&mut self.hindrances.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why it is not ready, in words; `None` = it is: the database has answered lately, and nothing is in the way.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if let Some(why) = self.change(|known| known.unfit.clone().or_else(|| known.waiting.clone())) {
            return Some(why);
        }
        let reached = Duration::from_millis(self.reached.load(Ordering::Relaxed));
        let lately = reached > Duration::ZERO && self.started.elapsed().saturating_sub(reached) < LATELY;
        (!lately).then(|| "the database was not reached lately".to_owned())
    }
}
