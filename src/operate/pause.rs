//! Pause and resume: what workers leave alone for a while. Producers can still enqueue.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Kind, SemesterId};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};

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
    if let Scope::Semester(semester) = scope {
        let lane = sqlx::query!(
            "-- operate.pause_lane
             select semester_id from seatkeeper.semesters where semester_id = $1 for no key update",
            semester.get()
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if lane.is_none() {
            return Err(ScopeError::UnknownSemester(semester));
        }
    }
    loop {
        let fresh = sqlx::query_as!(
            Pause,
            "-- operate.pause
             insert into seatkeeper.pauses (kind, semester_id, paused_by, reason) values ($1, $2, $3, $4)
             on conflict do nothing
             returning kind, semester_id, since, paused_by, reason",
            scope.kind(),
            scope.semester_id(),
            operator.name(),
            reason
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(fresh) = fresh {
            record(&mut transaction, "pause", scope, operator, reason).await?;
            transaction.commit().await?;
            return Ok((fresh, false));
        }
        let known = sqlx::query_as!(
            Pause,
            "-- operate.paused
             select kind, semester_id, since, paused_by, reason from seatkeeper.pauses
             where kind is not distinct from $1 and semester_id is not distinct from $2",
            scope.kind(),
            scope.semester_id()
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(known) = known {
            transaction.rollback().await?;
            return Ok((known, true));
        }
        // It was resumed between the two statements: once more.
    }
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
        "-- operate.resume
         delete from seatkeeper.pauses
         where kind is not distinct from $1 and semester_id is not distinct from $2
         returning kind, semester_id, since, paused_by, reason",
        scope.kind(),
        scope.semester_id()
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if ended.is_some() {
        record(&mut transaction, "resume", scope, operator, reason).await?;
    }
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

async fn record(
    connection: &mut PgConnection,
    action: &str,
    scope: Scope,
    operator: &Operator,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- operate.record_pause
         insert into seatkeeper.operator_actions (operator, action, reason, details)
         values ($1, $2, $3, jsonb_build_object('role', session_user, 'kind', $4::text, 'semester_id', $5::bigint,
                                                'everything', $4::text is null and $5::bigint is null))",
        operator.name(),
        action,
        reason,
        scope.kind(),
        scope.semester_id()
    )
    .execute(connection)
    .await
    .map(|_| ())
}
