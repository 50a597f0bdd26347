//! The audit: are the stored answers right, and does the present state follow from them?
//!
//! Every answer has its place in one order (`answer_seq`), and so have the recorded changes of the catalog and the fills that
//! no request caused. The [`audit`] executes all of them one at a time in that order through [`crate::decide`], the
//! very rules that the workers decide by, and compares: each answer, each fill, and in the end every balance, enrollment,
//! booking, attendance, ledger row, and what is counted on semesters and sessions. It knows no rule of its own.
//!
//! All that is read is of one moment, so that it can run beside the workers. It only reads, and row by row: what is held in
//! memory is the state that comes of it, not the history.
//!
//! What it cannot say:
//!
//! - An answer "there is no such …" is true of a moment: a row that is not there cannot be locked. It is accepted as long as
//!   no earlier answer has found the row. Additions of users are not recorded: a user is there from the first answer on that
//!   needs one.
//! - A position in a waitlist is a hint of the moment, and not compared.
//! - When exactly something was refused, between the answers before and after it in its semester: no row depends on it.
//! - It stops, and says so, where retention has removed answers that the rest depends on, and where the rules give no answer.

mod answer;
mod catalog;
mod end;
mod findings;
mod history;
mod numbers;
mod replay;
mod rows;

use sqlx::PgPool;

use crate::postgres::opening;

pub use findings::{About, Audit, Finding, KEPT, NotCovered};

/// Works everything out again and compares.
///
/// # Errors
/// When the database cannot be asked, or breaks off.
pub async fn audit(pool: &PgPool) -> sqlx::Result<Audit> {
    audit_watched(pool, |_| ()).await
}

/// The same, and says how far it is, now and then.
///
/// # Errors
/// As [`audit`].
pub async fn audit_watched(pool: &PgPool, mut watch: impl FnMut(Progress)) -> sqlx::Result<Audit> {
    // In one process of the server, interpreted and in bounded memory: the workers need the rest. How long it takes depends
    // on the history alone; a client that vanished gives the snapshot up soon.
    let mut snapshot = pool
        .begin_with(opening(
"begin isolation level repeatable read read only; set local search_path = pg_catalog; \
             set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 60000; \
             set local max_parallel_workers_per_gather = 0; set local jit = off; set local work_mem = '64MB'; \
             set local tcp_user_timeout = 10000; set local tcp_keepalives_idle = 10; \
             set local tcp_keepalives_interval = 2; set local tcp_keepalives_count = 3",
))
        .await?;
    let mut audit = replay::replay(&mut snapshot, &mut watch).await?;
    if history::was_rewritten(&mut snapshot, audit.files.take()).await? {
        let why = "a table was truncated or rewritten meanwhile, and looked empty: run it again".to_owned();
        audit.not_covered.get_or_insert(NotCovered { seq: None, why });
    }
    snapshot.rollback().await?;
    Ok(audit)
}

/// How far an audit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Answers, changes and fills are worked out again: so many of so many.
    Replaying {
        /// So far.
        done: u64,
        /// Altogether.
        total: u64,
    },
    /// So many rows of the tables are compared with what came of it, of at least so many.
    Comparing {
        /// So far.
        done: u64,
        /// As many as came of it.
        total: u64,
    },
}

/// After how many things it is said how far it is.
const STRIDE: u64 = 1_000;
