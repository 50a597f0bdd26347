//! Who holds the locks that somebody waits for.

use std::fmt::{self, Display};

use sqlx::{AssertSqlSafe, PgConnection};

/// The most that are named.
const MOST: usize = 5;

/// Locks on the tables of ours and of the chores' storage, by others than this connection.
pub(super) const OF_TABLES: &str = "l.locktype = 'relation' and l.relation in (select c.oid from pg_catalog.pg_class c \
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname in ('seatkeeper', 'apalis'))";
/// The lock of whoever migrates.
pub(super) const OF_MIGRATIONS: &str = "l.locktype = 'relation' and l.mode in ('ShareUpdateExclusiveLock', 'ShareLock', \
    'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') and l.relation = (select c.oid from pg_catalog.pg_class c \
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = 'seatkeeper' and c.relname = '_sqlx_migrations')";
/// Advisory locks of a session or a transaction.
pub(super) const OF_ADVISORY: &str = "l.locktype = 'advisory'";

/// Those who hold a lock, as an operator finds them in `pg_stat_activity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holders(Vec<String>);

impl Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("nobody any more"),
            holders => f.write_str(&holders.join(", ")),
        }
    }
}

/// Asks who holds such locks in this database, the longest transactions first where this account may see that.
pub(super) async fn ask(connection: &mut PgConnection, whose: &'static str) -> sqlx::Result<Holders> {
    let query = format!(
        "-- holders.ask
         select case when l.pid is null then 'a prepared transaction'
                     else format('process %s of %s (%s)', l.pid, coalesce(max(a.usename), '?'), coalesce(max(a.application_name), '')) end
         from pg_catalog.pg_locks l
         left join pg_catalog.pg_stat_activity a on a.pid = l.pid
         where l.granted and l.pid is distinct from pg_catalog.pg_backend_pid()
           and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
           and {whose}
         group by l.pid order by min(a.xact_start) nulls last, l.pid limit {MOST}"
    );
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(connection).await.map(Holders)
}
