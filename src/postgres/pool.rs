//! The connection pool.

use std::str::FromStr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// A connection that cannot be had in this time is an outage, which the caller waits out in its own way.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads a `postgres://` URL.
///
/// # Errors
/// When it is none.
pub fn connect_options(url: &str) -> sqlx::Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url)?;
    // Names the program to whoever looks at pg_stat_activity; a name in the URL wins.
    Ok(if url.contains("application_name=") { options } else { options.application_name("seatkeeper") })
}

/// A pool of at most `size` connections, opened when they are needed: it comes up while the database is down.
#[must_use]
pub fn pool(options: PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new().max_connections(size).acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options)
}
