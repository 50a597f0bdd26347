//! The connection pool.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{Connection, PgConnection, PgPool};

use super::url::{self, Place, UnusableUrl};
use super::{opening, outdated, relay, silence};

/// A connection that cannot be had in this time is an outage, which the caller waits out in its own way.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was given up has this long to say that it still lives; else it would keep its place in the pool for ever.
const SAYS_SO_WITHIN: Duration = Duration::from_secs(2);

/// Reads a `postgres://` URL, and what the variables of the environment that libpq knows add to it.
///
/// Another machine is reached encrypted, unless `sslmode=disable` is said there. With `pgbouncer=true` among its parameters it
/// leads through a relay of this process ([`relay`]) to a pooler that lends its connections for a transaction at a time.
///
/// # Errors
/// When it is none, or asks for what is not done, or the relay cannot lead there.
pub fn connect_options(url: &str) -> Result<PgConnectOptions, UnusableUrl> {
    let said = url::read(url, |name| std::env::var(name).ok())?;
    if said.is_pooled { relayed(&said.options) } else { Ok(said.options) }
}

fn relayed(options: &PgConnectOptions) -> Result<PgConnectOptions, UnusableUrl> {
    match (Place::of(options), options.get_ssl_mode()) {
        (Place::Socket, _) => Err(UnusableUrl::because(
            "with pgbouncer=true it has to name a host and a port, not a Unix socket",
        )),
        (_, PgSslMode::Disable) | (Place::Here, PgSslMode::Allow | PgSslMode::Prefer) => {
            let port = relay::port_to(options.get_host(), options.get_port())?;
            Ok(options.clone().host(relay::HOST).port(port).ssl_mode(PgSslMode::Disable))
        }
        _ => Err(UnusableUrl::because(
            "with pgbouncer=true nothing is encrypted on the way to the pooler: have it on this machine and let it encrypt, or \
             say sslmode=disable",
        )),
    }
}

/// A pool of at most `size` connections, opened when they are needed: it comes up while the database is down.
#[must_use]
pub fn pool(options: PgConnectOptions, size: u32) -> PgPool {
    settings(size).connect_lazy_with(options)
}

/// The same for what is not all transactions of ours, which ask for what they need by themselves: its connections are set up
/// for it once.
#[must_use]
pub fn pool_set_up(options: PgConnectOptions, size: u32) -> PgPool {
    // Behind a pooler a setting would be left with whoever has that connection next.
    if relay::leads(&options) {
        return pool(options, size);
    }
    settings(size)
        .after_connect(|connection, _| Box::pin(opening::set_up(connection)))
        .connect_lazy_with(options)
}

fn settings(size: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .before_acquire(|_, connection| Box::pin(async move { Ok(!outdated::is_outdated(connection.age)) }))
        .after_release(|connection, _| {
            Box::pin(async move {
                if !silence::fell_silent() {
                    return Ok(true);
                }
                let lives = tokio::time::timeout(SAYS_SO_WITHIN, connection.ping()).await;
                // As an error, it is dropped without a goodbye, which might not come to an end either.
                lives.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut)).map(|()| true)
            })
        })
}

/// An error of this pool, in the words of whoever refused the connection: as long as that passes, a pool tries again, and says
/// at the end only that its time was over.
pub(super) async fn in_full(pool: &PgPool, error: sqlx::Error) -> sqlx::Error {
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return error;
    }
    let options = pool.connect_options();
    match tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&options)).await {
        Ok(Err(refused)) => refused,
        // It is others of this process that have all connections.
        Ok(Ok(connection)) => {
            drop(connection);
            error
        }
        Err(late) => sqlx::Error::Io(late.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::connect_options;

    #[test]
    fn the_relay_does_not_lead_where_it_cannot() {
        for url in [
            "postgres:///name?host=/run/postgresql&pgbouncer=true",
            "postgres://pooler:6432/name?pgbouncer=true",
            "postgres://pooler:6432/name?sslmode=prefer&pgbouncer=true",
            "postgres://pooler:6432/name?sslmode=require&pgbouncer=true",
            "postgres://127.0.0.1:6432/name?sslmode=require&pgbouncer=true",
            "postgres://pooler:6432/name?sslmode=verify-full&pgbouncer=true",
        ] {
            assert!(connect_options(url).is_err(), "{url}");
        }
        let options = connect_options("postgres://pooler:6432/name?sslmode=disable&pgbouncer=true").unwrap();
        assert_eq!(options.get_host(), "127.0.0.1");
        assert_ne!(options.get_port(), 6432);
        let again = connect_options("postgres://pooler:6432/other?sslmode=disable&pgbouncer=true").unwrap();
        assert_eq!(again.get_port(), options.get_port(), "one relay to each pooler");
        let here = connect_options("postgres://localhost:6432/name?pgbouncer=true").unwrap();
        assert_ne!(here.get_port(), options.get_port());
    }
}
