//! Retention: old requests go, and leave a tombstone behind by which sending them again is still recognised.
//!
//! Off unless it is asked for. Only what has its answer goes (`done`, `cancelled`); what failed stays until an
//! operator has looked at it. Effects stay: enrollments, bookings and the ledger are the books.
//!
//! Nothing on the hot path pays for it: there is no index by age. Once a day the table is read once, a stretch of pages at
//! a time, each in a transaction of its own.

use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::postgres;

/// The most requests that one transaction deletes.
const AT_MOST: i32 = 1_000;
/// Pages that one transaction reads: 8 MiB.
const PAGES: i64 = 1_024;
/// Between two transactions that deleted something, so that workers and WAL come first.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// How many requests are gone.
    pub requests: i64,
    /// Whether it came to the end of the table.
    pub complete: bool,
}

/// One pass over all requests: those that were finished more than `retain_seconds` ago go. It stops between two
/// transactions when it is told to.
///
/// # Errors
/// When the database cannot be reached, or refuses; what is gone so far is gone.
pub async fn retire(
    pool: &PgPool,
    retain_seconds: i64,
    shutdown: &CancellationToken,
) -> sqlx::Result<Retired> {
    let mut retired = Retired { requests: 0, complete: false };
    let mut page: i64 = 0;
    loop {
        if shutdown.is_cancelled() {
            return Ok(retired);
        }
        let mut transaction = postgres::begin_chore(pool).await?;
        let pages = sqlx::query_scalar!(
            r#"-- retention.pages
               select pg_relation_size('seatkeeper.requests') / current_setting('block_size')::bigint as "pages!""#
        )
        .fetch_one(&mut *transaction)
        .await?;
        if page >= pages {
            retired.complete = true;
            transaction.commit().await?;
            return Ok(retired);
        }
        let gone = sqlx::query_scalar!(
            r#"-- retention.retire
               select seatkeeper.retire_requests($1, $2, $3, $4) as "gone!""#,
            retain_seconds,
            page,
            page + PAGES,
            AT_MOST
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.commit().await?;
        retired.requests += i64::from(gone);
        if gone < AT_MOST {
            page += PAGES;
        }
        if gone > 0 {
            shutdown.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }
}
