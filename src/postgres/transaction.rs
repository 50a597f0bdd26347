//! The one place that opens business transactions.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};

use super::opening;

/// How long PostgreSQL lets a business transaction wait, work and idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// One statement. A batch of hundreds takes milliseconds; whatever takes this long is cut off.
    pub statement: Duration,
    /// Waiting for one lock. Short, so that one locked user does not hold up the other lanes of a batch.
    pub lock: Duration,
    /// Between two statements. Frees the lanes of a worker that was stopped in the middle of a batch.
    pub idle: Duration,
}

impl Timeouts {
    /// How long a worker waits to hear anything from the server, which cuts a statement off much earlier.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.statement.saturating_mul(2)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(15),
            lock: Duration::from_millis(300),
            idle: Duration::from_secs(5),
        }
    }
}

/// Settings of a transaction in which the planner walks indexes, row by row, by generic plans.
///
/// A plan that was made while a table was empty, or on statistics of another time, must not read the whole of it a minute later. So
/// the statements that run under these settings are written such that one index alone serves each of them, whatever the sizes; the
/// forms that do it:
///
/// - `key = any (array[other.key])` to join a set to a table that is updated: by `=` the planner could walk the whole index of the
///   key as well, whose order it knows how to join by.
/// - `coalesce(status = 'queued', false)` beside such a look-up: by `status = 'queued'` every partial index of that condition would
///   do, walked from end to end.
/// - `order by` the column that only the right index has in order, since nothing may be sorted.
/// - A scalar subquery rather than `exists`, which may become a table of everything there is.
///
/// Generic plans also for the look-ups of foreign keys, thousands in a batch. What the planner then thinks the plans cost would set
/// off the compiler: `jit` is off.
pub const WALK_INDEXES: &str = "set local enable_seqscan = off; set local enable_bitmapscan = off; \
    set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_material = off; \
    set local enable_sort = off; set local plan_cache_mode = force_generic_plan; set local jit = off";

/// Begins a transaction of a chore, which is no business transaction: it locks no lane and no user.
///
/// It waits little for a lock, and may idle: one of a chore's transactions holds the chore's lock while the work is done
/// elsewhere. The keepalives let the server notice a process that vanished without a word, and free that lock.
///
/// # Errors
/// When no connection can be had.
pub async fn begin_chore(pool: &PgPool) -> sqlx::Result<Transaction<'static, Postgres>> {
    pool.begin_with(opening(
        "begin isolation level read committed read write; \
         set local statement_timeout = 60000; set local lock_timeout = 2000; \
         set local idle_in_transaction_session_timeout = 0; \
         set local tcp_user_timeout = 10000; set local tcp_keepalives_idle = 10; \
         set local tcp_keepalives_interval = 2; set local tcp_keepalives_count = 3",
    ))
    .await
}

/// Opens business transactions on a pool.
#[derive(Debug, Clone)]
pub struct Transactions {
    pool: PgPool,
    begin: String,
    patience: Duration,
}

impl Transactions {
    /// Business transactions on this pool, with these timeouts.
    ///
    /// The settings travel with `begin`, in one round trip, and are `local`: behind `PgBouncer` in transaction mode a
    /// session belongs to nobody. The isolation level is explicit, since under a `repeatable read` default a lane
    /// would be read as it was before its lock was had. The planner is told to [walk the indexes](WALK_INDEXES).
    /// The keepalives let the server notice a worker that vanished without a word, and free its lanes.
    #[must_use]
    pub fn new(pool: PgPool, timeouts: Timeouts) -> Self {
        let Timeouts { statement, lock, idle } = timeouts;
        let begin = format!(
            "begin isolation level read committed read write; \
             set local statement_timeout = {}; set local lock_timeout = {}; \
             set local idle_in_transaction_session_timeout = {}; \
             {WALK_INDEXES}; \
             set local tcp_user_timeout = 10000; set local tcp_keepalives_idle = 10; \
             set local tcp_keepalives_interval = 2; set local tcp_keepalives_count = 3",
            statement.as_millis(),
            lock.as_millis(),
            idle.as_millis()
        );
        Self { pool, begin: opening(&begin).0, patience: timeouts.patience() }
    }

    /// Begins one. Dropped without a commit, it is rolled back.
    ///
    /// # Errors
    /// When no connection can be had.
    pub async fn begin(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.pool.begin_with(AssertSqlSafe(self.begin.as_str())).await
    }

    /// How long to wait for a word of the server.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// The pool, for reads that are no part of a business transaction.
    #[must_use]
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }
}
