//! The stored answer.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::words::states;
use crate::{Applied, Kind, Reason};

states!(
    /// Where a request is.
    Status {
        /// Not answered yet.
        Queued = "queued",
        /// Answered, for good.
        Done = "done",
        /// Could not be answered; an operator can retry it.
        Failed = "failed",
        /// Withdrawn by an operator before it was answered.
        Cancelled = "cancelled",
    }
);

impl Status {
    /// Whether it stays so unless an operator intervenes.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued)
    }
}

states!(
    /// What came of an answered request.
    Outcome {
        /// It was done.
        Applied = "applied",
        /// It was refused; the reason says why.
        Refused = "refused",
    }
);

/// A name that is no status, no outcome, no state of a booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such state")]
pub struct UnknownState;

/// The answer to a request as it is now: `seatkeeper.receipt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Receipt {
    /// The request.
    pub request_id: Uuid,
    /// What was asked.
    pub kind: Kind,
    /// Where it is.
    pub status: Status,
    /// Once done: what came of it.
    pub outcome: Option<Outcome>,
    /// Why it was refused, or failed.
    pub reason: Option<Reason>,
    /// What an applied request is answered, or what explains a refusal.
    pub result: Option<Value>,
    /// Whether the ID had been asked before.
    pub duplicate: bool,
    /// When it arrived, on the database's clock.
    pub enqueued_at: DateTime<Utc>,
    /// The instant of decision, on the database's clock.
    pub finished_at: Option<DateTime<Utc>>,
    /// Executions so far that ended in an answer or an error of the request itself.
    pub attempts: i32,
}

impl Receipt {
    /// The typed result of an applied request; `None` for any other.
    ///
    /// # Errors
    /// When the stored result is not one of the kind.
    pub fn applied(&self) -> Result<Option<Applied>, serde_json::Error> {
        match (self.outcome, &self.result) {
            (Some(Outcome::Applied), Some(result)) => Applied::read(self.kind, result).map(Some),
            _ => Ok(None),
        }
    }
}
