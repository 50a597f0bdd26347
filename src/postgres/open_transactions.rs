//! Transactions that somebody has open: what they can still see, vacuum does not clear away.

use std::time::Duration;

use sqlx::PgConnection;

/// A transaction of this database that has written something, or looks at an older state of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The process of the server; `None` when it was prepared (`prepare transaction`) and belongs to none.
    pub pid: Option<i32>,
    /// The account.
    pub user: String,
    /// What it calls itself; of a prepared one its name. Anybody's words.
    pub application: String,
    /// The same as long as it is the same transaction.
    pub identity: String,
    /// Since when it is open; `None` where this account may not see that (`pg_read_all_stats`).
    pub age: Option<Duration>,
    /// How many transactions have begun since.
    pub behind: i32,
    /// Whether it can have enqueued: it has written, and holds a lock on the requests.
    pub holds_a_number: bool,
}

/// The transactions of this database that are open, of others than this connection and of vacuum.
///
/// # Errors
/// When the database cannot be asked.
pub async fn open_transactions(connection: &mut PgConnection) -> sqlx::Result<Vec<OpenTransaction>> {
    let rows = sqlx::query!(
        r#"-- open_transactions.all
           with holder as (
               select k.virtualtransaction, min(k.pid) as pid,
                      min(case when k.locktype = 'transactionid' and k.granted and k.mode = 'ExclusiveLock'
                               then k.transactionid::text end) as id,
                      bool_or(k.locktype = 'relation' and k.relation = $1::text::regclass
                          and k.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
                          and k.mode not in ('AccessShareLock', 'RowShareLock')) as can_draw
               from pg_catalog.pg_locks k group by k.virtualtransaction
           )
           select a.pid, coalesce(a.usename::text, a.usesysid::text) as "user!", a.application_name as "application!",
                  coalesce('writes ' || a.backend_xid::text, 'reads ' || a.backend_xmin::text) as "identity!",
                  extract(epoch from clock_timestamp() - a.xact_start)::float8 as age,
                  pg_catalog.age(coalesce(a.backend_xid, a.backend_xmin)) as "behind!",
                  a.backend_xid is not null and exists (select from holder h where h.pid = a.pid and h.can_draw)
                      as "holds_a_number!"
           from pg_catalog.pg_stat_activity a
           -- A standby that tells what it still reads has no database. What has no account belongs to the server, which vacuums.
           where (a.datname = current_database() or a.datname is null) and a.usesysid is not null
             and (a.backend_xid is not null or a.backend_xmin is not null)
             and a.pid <> pg_catalog.pg_backend_pid() and a.query !~* '^\s*vacuum'
           union all
           select null, p.owner::text, p.gid, 'prepared ' || p.transaction::text,
                  extract(epoch from clock_timestamp() - p.prepared)::float8, pg_catalog.age(p.transaction),
                  exists (select from holder h where h.pid is null and h.id = p.transaction::text and h.can_draw)
           from pg_catalog.pg_prepared_xacts p where p.database = current_database()"#,
        "seatkeeper.requests"
    )
    .fetch_all(connection)
    .await?;
    let open = rows.into_iter().map(|row| OpenTransaction {
        pid: row.pid,
        user: row.user,
        application: row.application,
        identity: row.identity,
        age: row.age.map(|age| Duration::try_from_secs_f64(age).unwrap_or_default()),
        behind: row.behind,
        holds_a_number: row.holds_a_number,
    });
    Ok(open.collect())
}
