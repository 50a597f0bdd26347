//! The connection pool.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{Connection, PgPool};

use super::{opening, outdated, relay, silence};

/// A connection that cannot be had in this time is an outage, which the caller waits out in its own way.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was given up has this long to say that it still lives; else it would keep its place in the pool for ever.
const SAYS_SO_WITHIN: Duration = Duration::from_secs(2);

/// Reads a `postgres://` URL.
///
/// With `pgbouncer=true` among its parameters it leads through a relay of this process ([`relay`]) to a pooler that lends
/// its connections for a transaction at a time.
///
/// # Errors
/// When it is none, or the relay cannot lead there.
pub fn connect_options(url: &str) -> sqlx::Result<PgConnectOptions> {
    let (url, is_pooled) = without_flag(url)?;
    let options = PgConnectOptions::from_str(&url)?;
    // Names the program to whoever looks at pg_stat_activity; a name in the URL wins.
    let options =
        if url.contains("application_name=") { options } else { options.application_name("seatkeeper") };
    if is_pooled { relayed(options) } else { Ok(options) }
}

/// The URL as sqlx knows it, and whether it leads to a pooler.
fn without_flag(url: &str) -> sqlx::Result<(String, bool)> {
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), false)) };
    let mut is_pooled = false;
    let mut kept = Vec::new();
    for parameter in query.split('&') {
        match parameter.strip_prefix("pgbouncer=") {
            Some("true") => is_pooled = true,
            Some("false") => is_pooled = false,
            Some(_) => return Err(unusable("pgbouncer is true or false")),
            None => kept.push(parameter),
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    Ok((format!("{base}{separator}{}", kept.join("&")), is_pooled))
}

fn relayed(options: PgConnectOptions) -> sqlx::Result<PgConnectOptions> {
    if options.get_socket().is_some() || options.get_host().starts_with('/') {
        return Err(unusable("with pgbouncer=true it has to name a host and a port, not a Unix socket"));
    }
    if !matches!(options.get_ssl_mode(), PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer) {
        return Err(unusable(
            "with pgbouncer=true nothing is encrypted on the way to the pooler; have it on this machine, and let it encrypt",
        ));
    }
    let port = relay::port_to(options.get_host(), options.get_port())?;
    Ok(options.host(relay::HOST).port(port).ssl_mode(PgSslMode::Disable))
}

fn unusable(why: &str) -> sqlx::Error {
    sqlx::Error::Configuration(why.into())
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

#[cfg(test)]
mod tests {
    use super::{connect_options, without_flag};

    #[test]
    fn the_flag_is_not_for_sqlx() {
        let read = |url| without_flag(url).unwrap();
        assert_eq!(read("postgres://host/name"), ("postgres://host/name".into(), false));
        assert_eq!(read("postgres://host/name?pgbouncer=true"), ("postgres://host/name".into(), true));
        assert_eq!(
            read("postgres://host/name?sslmode=disable&pgbouncer=true&user=a"),
            ("postgres://host/name?sslmode=disable&user=a".into(), true)
        );
        assert!(!read("postgres://host/name?a=b&pgbouncer=false").1);
        assert!(without_flag("postgres://host/name?pgbouncer=yes").is_err());
    }

    #[test]
    fn the_relay_does_not_lead_where_it_cannot() {
        for url in [
            "postgres:///name?host=/run/postgresql&pgbouncer=true",
            "postgres://pooler:6432/name?sslmode=require&pgbouncer=true",
            "postgres://pooler:6432/name?sslmode=verify-full&pgbouncer=true",
        ] {
            assert!(matches!(connect_options(url), Err(sqlx::Error::Configuration(_))), "{url}");
        }
        let options = connect_options("postgres://pooler:6432/name?pgbouncer=true").unwrap();
        assert_eq!(options.get_host(), "127.0.0.1");
        assert_ne!(options.get_port(), 6432);
        let again = connect_options("postgres://pooler:6432/other?pgbouncer=true").unwrap();
        assert_eq!(again.get_port(), options.get_port(), "one relay to each pooler");
    }
}
