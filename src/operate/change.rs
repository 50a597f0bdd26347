//! Retry and cancel, in bounded steps.
//!
//! A step is a transaction of its own: it takes one lane, changes at most [`STEP`] requests of it, and records that.
//! So a million requests are changed without holding up a lane for longer than a batch would. Within a lane the steps
//! go by order of arrival; what a worker answered in between is left alone and reported, never forced.

use std::time::Duration;

use seatkeeper_jobs::Status;
use sqlx::PgConnection;
use uuid::Uuid;

use super::operator::Operator;
use super::select::Selection;
use crate::postgres::{ErrorClass, Transactions};

/// The most requests that one transaction changes.
const STEP: usize = 1_000;
/// How often a step is made again that a deadlock, or a lane in full work, kept from happening.
const TRIES: u32 = 5;
/// The pause before it is made again.
const PAUSE: Duration = Duration::from_millis(50);

/// What is done to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A failed one goes back into the queue, to the place that its arrival gives it, with a fresh budget.
    Retry,
    /// A queued one is withdrawn, for good.
    Cancel,
}

impl Change {
    /// The name, as it is recorded.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }

    /// Where a request has to be for this.
    #[must_use]
    pub const fn from(self) -> Status {
        match self {
            Self::Retry => Status::Failed,
            Self::Cancel => Status::Queued,
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Step {
    /// The changed ones.
    pub changed: Vec<Uuid>,
    /// Those that were no longer what they had been: answered, changed by somebody else, or moved to another lane.
    pub left_alone: Vec<Uuid>,
    /// The record in `operator_actions`; `None` when nothing was changed.
    pub action_id: Option<i64>,
}

/// What all steps so far did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// How many were changed.
    pub changed: usize,
    /// See [`Step::left_alone`].
    pub left_alone: Vec<Uuid>,
    /// The records in `operator_actions`.
    pub actions: Vec<i64>,
}

/// Changes what was selected, step by step, and tells after each step how far it is.
///
/// # Errors
/// When the database refuses, or is away. The steps before it are done and recorded; so the same call may be made
/// again, and finds what is left.
pub async fn change(
    transactions: &Transactions,
    change: Change,
    selection: &Selection,
    operator: &Operator,
    reason: &str,
    mut tell: impl FnMut(&Progress),
) -> sqlx::Result<Progress> {
    let mut progress = Progress::default();
    for (lane, requests) in &selection.lanes {
        for part in requests.chunks(STEP) {
            let step = patient_step(transactions, change, *lane, part, operator, reason).await?;
            progress.changed += step.changed.len();
            progress.left_alone.extend(step.left_alone);
            progress.actions.extend(step.action_id);
            tell(&progress);
        }
    }
    Ok(progress)
}

async fn patient_step(
    transactions: &Transactions,
    change: Change,
    lane: Option<i64>,
    requests: &[Uuid],
    operator: &Operator,
    reason: &str,
) -> sqlx::Result<Step> {
    let mut tries = 1;
    loop {
        let outcome = async {
            let mut transaction = transactions.begin().await?;
            let step = change_step(&mut transaction, change, lane, requests, operator, reason).await?;
            transaction.commit().await?;
            Ok(step)
        }
        .await;
        match outcome {
            Err(error)
                if tries < TRIES
                    && matches!(
                        ErrorClass::of(&error),
                        ErrorClass::Deadlock | ErrorClass::Serialization | ErrorClass::LockTimeout
                    ) =>
            {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// One step, in the caller's transaction: takes the lane, then changes those of the requests that are in it and in
/// the status that the change is for, and records it. Nobody answers a request of the lane until the caller commits
/// or rolls back.
///
/// # Errors
/// When the database refuses; roll back then.
pub async fn change_step(
    connection: &mut PgConnection,
    change: Change,
    lane: Option<i64>,
    requests: &[Uuid],
    operator: &Operator,
    reason: &str,
) -> sqlx::Result<Step> {
    // Before anything is read of the requests: the lane's holder may just be answering them.
    if let Some(lane) = lane {
        sqlx::query!(
            "-- operate.lock_lane
             select from seatkeeper.semesters where semester_id = $1 for no key update",
            lane
        )
        .fetch_optional(&mut *connection)
        .await?;
    }
    let changed = match change {
        Change::Retry => {
            sqlx::query_scalar!(
                "-- operate.retry
                 update seatkeeper.requests r
                 set status = 'queued', attempts = 0, run_at = null, hold = null, reason = null, result = null,
                     finished_at = null
                 where r.request_id = any ($1) and coalesce(r.status = 'failed', false) and r.semester_id is not distinct from $2
                 returning r.request_id",
                requests,
                lane
            )
            .fetch_all(&mut *connection)
            .await?
        }
        Change::Cancel => {
            sqlx::query_scalar!(
                "-- operate.cancel
                 update seatkeeper.requests r
                 set status = 'cancelled', hold = null, finished_at = clock_timestamp()
                 where r.request_id = any ($1) and coalesce(r.status = 'queued', false) and r.semester_id is not distinct from $2
                 returning r.request_id",
                requests,
                lane
            )
            .fetch_all(&mut *connection)
            .await?
        }
    };
    let mut step = Step { changed, ..Step::default() };
    if step.changed.len() < requests.len() {
        let changed: std::collections::HashSet<_> = step.changed.iter().collect();
        step.left_alone = requests.iter().filter(|id| !changed.contains(id)).copied().collect();
    }
    if !step.changed.is_empty() {
        let action_id = sqlx::query_scalar!(
            "-- operate.record
             insert into seatkeeper.operator_actions (operator, action, reason, request_ids, details)
             values ($1, $2, $3, $4, jsonb_build_object('role', session_user, 'semester_id', $5::bigint))
             returning action_id",
            operator.name(),
            change.as_str(),
            reason,
            &step.changed,
            lane
        )
        .fetch_one(connection)
        .await?;
        step.action_id = Some(action_id);
    }
    Ok(step)
}
