//! Retry and cancel, in bounded steps.
//!
//! A step is a transaction of its own: it takes one lane, changes at most [`STEP`] requests of it, and records that.
//! So a million requests are changed without holding up a lane for longer than a batch would. Within a lane the steps
//! go by order of arrival; what a worker answered in between is left alone and reported, never forced.

use std::collections::HashSet;
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
    for requests in selection.lanes.values() {
        for part in requests.chunks(STEP) {
            let step = patient_step(transactions, change, part, operator, reason).await?;
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
    requests: &[Uuid],
    operator: &Operator,
    reason: &str,
) -> sqlx::Result<Step> {
    let mut tries = 1;
    loop {
        let outcome = async {
            let mut transaction = transactions.begin().await?;
            let step = change_step(&mut transaction, change, requests, operator, reason).await?;
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

/// One step, in the caller's transaction, by the door: it takes the lane, then changes those of the requests that are in it and in
/// the status that the change is for, and records it. Nobody answers a request of the lane until the caller commits
/// or rolls back.
///
/// # Errors
/// When the database refuses; roll back then.
pub async fn change_step(
    connection: &mut PgConnection,
    change: Change,
    requests: &[Uuid],
    operator: &Operator,
    reason: &str,
) -> sqlx::Result<Step> {
    let (action_id, changed) = match change {
        Change::Retry => {
            let done = sqlx::query!(
                r#"-- operate.retry
                   select action_id, changed as "changed!" from seatkeeper.retry_requests($1, $2, $3)"#,
                requests,
                reason,
                operator.name()
            )
            .fetch_one(connection)
            .await?;
            (done.action_id, done.changed)
        }
        Change::Cancel => {
            let done = sqlx::query!(
                r#"-- operate.cancel
                   select action_id, changed as "changed!" from seatkeeper.cancel_requests($1, $2, $3)"#,
                requests,
                reason,
                operator.name()
            )
            .fetch_one(connection)
            .await?;
            (done.action_id, done.changed)
        }
    };
    let known: HashSet<_> = changed.iter().collect();
    let left_alone = requests.iter().filter(|id| !known.contains(id)).copied().collect();
    Ok(Step { changed, left_alone, action_id })
}
