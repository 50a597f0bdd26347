//! Pause and resume: what workers leave alone for a while. Producers can still enqueue.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Kind, SemesterId};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgDatabaseError;

use super::operator::Operator;
use crate::postgres::Transactions;

/// What is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every request of a kind.
    Kind(Kind),
    /// The lane of a semester.
    Semester(SemesterId),
    /// All of it.
    Everything,
}

impl Scope {
    const fn kind(self) -> Option<&'static str> {
        match self {
            Self::Kind(kind) => Some(kind.as_str()),
            _ => None,
        }
    }

    const fn semester_id(self) -> Option<i64> {
        match self {
            Self::Semester(semester) => Some(semester.get()),
            _ => None,
        }
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "kind {kind}"),
            Self::Semester(semester) => write!(f, "semester {semester}"),
            Self::Everything => f.write_str("everything"),
        }
    }
}

/// A pause in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// The paused kind.
    pub kind: Option<String>,
    /// The paused semester; with no kind either, everything is paused.
    pub semester_id: Option<i64>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// By whom.
    pub paused_by: String,
    /// Why.
    pub reason: String,
}

impl Pause {
    /// What it pauses, in words.
    #[must_use]
    pub fn what(&self) -> String {
        match (&self.kind, self.semester_id) {
            (Some(kind), _) => format!("kind {kind}"),
            (None, Some(semester)) => format!("semester {semester}"),
            (None, None) => "everything".to_owned(),
        }
    }
}

/// Why nothing was paused.
#[derive(Debug, thiserror::Error)]
pub enum ScopeError {
    /// There is no such semester.
    #[error("there is no semester {0}; nothing was paused")]
    UnknownSemester(SemesterId),
    /// PostgreSQL refused, or is away.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Pauses. Gives the pause in force, and whether it was in force before.
///
/// Once this has returned for a semester, no request of its lane is answered any more: the lane is taken, so a batch
/// in hand is waited for. A batch with requests of a kind, or of all, may still be committed in the moments after.
///
/// # Errors
/// See [`ScopeError`].
pub async fn pause(
    transactions: &Transactions,
    scope: Scope,
    operator: &Operator,
    reason: &str,
) -> Result<(Pause, bool), ScopeError> {
    let mut transaction = transactions.begin().await?;
    let paused = sqlx::query!(
        r#"-- operate.pause
           select kind, semester_id, since as "since!", paused_by as "paused_by!", reason as "reason!", was_paused as "was_paused!"
           from seatkeeper.pause($1, $2, $3, $4)"#,
        scope.kind(),
        scope.semester_id(),
        reason,
        operator.name()
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(|error| match scope {
        Scope::Semester(semester) if is_refused(&error, "semester_id") => ScopeError::UnknownSemester(semester),
        _ => error.into(),
    })?;
    transaction.commit().await?;
    let pause = Pause {
        kind: paused.kind,
        semester_id: paused.semester_id,
        since: paused.since,
        paused_by: paused.paused_by,
        reason: paused.reason,
    };
    Ok((pause, paused.was_paused))
}

/// Whether the door refused this field (SQLSTATE `RC422`).
fn is_refused(error: &sqlx::Error, field: &str) -> bool {
    error.as_database_error().is_some_and(|error| {
        let refusal = error.try_downcast_ref::<PgDatabaseError>();
        error.code().as_deref() == Some("RC422") && refusal.and_then(PgDatabaseError::detail) == Some(field)
    })
}

/// Ends a pause. Gives the one that was in force; `None` when there was none.
///
/// Requests that were set aside meanwhile come back in order of arrival, and none of the kind that arrived later is
/// answered before them.
///
/// # Errors
/// When PostgreSQL refuses, or is away.
pub async fn resume(
    transactions: &Transactions,
    scope: Scope,
    operator: &Operator,
    reason: &str,
) -> sqlx::Result<Option<Pause>> {
    let mut transaction = transactions.begin().await?;
    let ended = sqlx::query_as!(
        Pause,
        r#"-- operate.resume
           select kind, semester_id, since as "since!", paused_by as "paused_by!", reason as "reason!"
           from seatkeeper.resume($1, $2, $3, $4) where since is not null"#,
        scope.kind(),
        scope.semester_id(),
        reason,
        operator.name()
    )
    .fetch_optional(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(ended)
}

/// The pauses in force, oldest first.
///
/// # Errors
/// When the database cannot be asked.
pub async fn pauses(pool: &PgPool) -> sqlx::Result<Vec<Pause>> {
    sqlx::query_as!(
        Pause,
        "-- operate.pauses
         select kind, semester_id, since, paused_by, reason from seatkeeper.pauses order by since, pause_id"
    )
    .fetch_all(pool)
    .await
}
