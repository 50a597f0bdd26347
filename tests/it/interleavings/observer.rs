//! The third connection: what the server says about the sessions of the actors.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection};

use super::event::Row;

/// Tables whose rows are locked or changed, with a number that tells their rows apart. (To the ledger and to the record of
/// changes rows are only added.)
const KEYS: [(&str, &str); 8] = [
    ("users", "user_id"),
    ("semesters", "semester_id"),
    ("sessions", "session_id"),
    ("enrollments", "enrollment_id"),
    ("bookings", "booking_id"),
    ("attendance", "booking_id"),
    ("requests", "seq"),
    ("fill_marks", "mark_id"),
];

/// Looks on. It reads without locks, so nobody waits for it.
pub struct Observer {
    connection: PgConnection,
    locked_rows: String,
}

impl Observer {
    pub fn new(connection: PgConnection) -> Self {
        let each = KEYS.map(|(table, key)| {
            format!(
                "select '{table}', t.{key} from public.pgrowlocks('seatkeeper.{table}') l
                 join seatkeeper.{table} t on t.ctid = l.locked_row where $1 = any (l.pids)"
            )
        });
        Self { connection, locked_rows: each.join(" union all ") }
    }

    /// The actors among `pids` that keep this session waiting. Whoever else does (autovacuum) lets go without being asked.
    pub async fn blockers(&mut self, pid: i32, pids: &[i32]) -> BTreeSet<usize> {
        let blocking: Vec<i32> = sqlx::query_scalar("select unnest(pg_blocking_pids($1))")
            .bind(pid)
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        blocking.iter().filter_map(|pid| pids.iter().position(|known| known == pid)).collect()
    }

    /// The rows that the open transaction of this session has locked or changed.
    pub async fn locked_rows(&mut self, pid: i32) -> BTreeSet<Row> {
        let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(self.locked_rows.as_str()))
            .bind(pid)
            .fetch_all(&mut self.connection)
            .await
            .unwrap();
        rows.into_iter().collect()
    }

    /// The tables that it has written to.
    pub async fn written_tables(&mut self, pid: i32) -> BTreeSet<String> {
        let tables: Vec<String> = sqlx::query_scalar(
            "select c.relname::text from pg_locks l join pg_class c on c.oid = l.relation
             where l.pid = $1 and l.mode = 'RowExclusiveLock' and l.database = (select oid from pg_database where datname = current_database())
               and c.relkind = 'r' and c.relnamespace = 'seatkeeper'::regnamespace",
        )
        .bind(pid)
        .fetch_all(&mut self.connection)
        .await
        .unwrap();
        tables.into_iter().collect()
    }
}
