//! Which database this is, and how far along: what is remembered of one is worth nothing in another.
//!
//! A database can be another from one statement to the next without a word: behind a pooler or a proxy it is promoted, restored from
//! an older backup, or copied. What a worker remembers (floors of lanes, sequences that were found sound) then leads it to
//! answer out of turn, or to give numbers twice.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Where a transaction is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// What stays as long as it is the same database of the same server, and nobody has put other contents in its place.
    history: History,
    /// The first transaction that had not begun; never goes back.
    transactions: i64,
    /// The number that was drawn last for an arrival; never goes back.
    arrivals: i64,
    /// `origin`, unless triggers are silent.
    replication_role: String,
}

/// A database in the course of one life of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Its start tells servers apart, and the lives of one: no two are promoted, restored or copied within a microsecond.
    server_started_at: DateTime<Utc>,
    /// Another one, when a dump was restored under the same name.
    database: i64,
    /// Another one, when the table was emptied or made again.
    file_of_requests: Option<i64>,
}

impl Position {
    /// Asks where this transaction is.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn look(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let row = sqlx::query!(
            r#"-- history.look
               select pg_catalog.pg_postmaster_start_time() as "server_started_at!",
                      (select d.oid::bigint from pg_catalog.pg_database d where d.datname = current_database()) as "database!",
                      pg_catalog.pg_relation_filenode($1::text::regclass)::bigint as file_of_requests,
                      pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint as "transactions!",
                      (select s.last_value from seatkeeper.requests_seq_seq s) as "arrivals!",
                      pg_catalog.current_setting('session_replication_role') as "replication_role!""#,
            "seatkeeper.requests"
        )
        .fetch_one(connection)
        .await?;
        let history = History {
            server_started_at: row.server_started_at,
            database: row.database,
            file_of_requests: row.file_of_requests,
        };
        Ok(Self {
            history,
            transactions: row.transactions,
            arrivals: row.arrivals,
            replication_role: row.replication_role,
        })
    }

    /// Whether what was learned at that position is still true here.
    #[must_use]
    pub fn continues(&self, before: &Self) -> bool {
        self.history == before.history
            && self.transactions >= before.transactions
            && self.arrivals >= before.arrivals
            && self.replication_role == before.replication_role
    }

    /// Goes on to a later look of the same transaction, and never back.
    pub fn advance(&mut self, later: &Self) {
        self.transactions = self.transactions.max(later.transactions);
        self.arrivals = self.arrivals.max(later.arrivals);
    }
}
