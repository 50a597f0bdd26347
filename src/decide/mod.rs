//! The rules, and nothing else: no I/O, no clock, no database, no randomness.
//!
//! [`decide`] answers one request on the [`World`], which holds the rows that the batch has locked and read, and
//! collects what has to be written. Executing requests one after the other here *is* the serial order that the
//! rest of the system promises (`answer_seq`); the batch only makes it durable. Because it is deterministic, it
//! is tested by the million without a database.
//!
//! One file per kind, with the same stem as in the contract crate. The order of the checks in each is the order of
//! the refusal reasons in the contract.

mod book;
mod cancel_booking;
mod cancel_semester;
mod enroll;
mod fill;
mod grant_credits;
#[cfg(test)]
mod properties;
mod record_attendance;
#[cfg(test)]
mod tests;
mod unenroll;
mod world;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Applied, Job, Reason};
use serde_json::Value;
use uuid::Uuid;

pub use fill::fill_marked;
pub use world::{
    Attendance, Because, Booking, BookingStatus, Changes, Enrollment, LedgerEntry, Promotion, Semester,
    SemesterStatus, Session, TransactionType, User, World,
};

/// A request as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its ID; the ledger names it.
    pub id: Uuid,
    /// What is asked.
    pub job: Job,
    /// Refused from this instant on.
    pub expires_at: Option<DateTime<Utc>>,
    /// The instant of decision: the database's clock with all locks held, never before the lane's previous one.
    pub at: DateTime<Utc>,
}

/// What a request is answered. A refusal is an answer: stored with the request, never retried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was done; what came of it.
    Applied(Applied),
    /// It was not; why, and for some reasons the figures that explain it.
    Refused(Reason, Option<Value>),
}

impl Answer {
    pub(crate) const fn refused(reason: Reason) -> Self {
        Self::Refused(reason, None)
    }
}

/// Why no answer could be given. An error is an attempt that did not happen: the world must be thrown away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// The batch did not read a row that the rules need: a defect of the prefetch, not of the request.
    #[error("{0} was not prefetched")]
    NotPrefetched(&'static str),
    /// Credits beyond what the ledger can hold: a refund, on top of what somebody wrote by hand.
    #[error("the balance of user {user_id} would exceed the range of the ledger")]
    BalanceOverflow {
        /// Whose.
        user_id: i64,
    },
    /// More IDs were needed than were drawn: a defect of the batch.
    #[error("the batch drew too few ids")]
    IdsExhausted,
    /// A place is free, and who comes next was not read: the batch is made again with a wider window.
    #[error("more of the waitlist of session {session_id} is needed than was read")]
    WindowTooSmall {
        /// Whose waitlist.
        session_id: i64,
    },
}

/// Answers one request, and changes the world accordingly.
///
/// # Errors
/// When it cannot be answered at all; the world is then of no further use.
pub fn decide(world: &mut World, request: &Request) -> Result<Answer, DecideError> {
    if request.expires_at.is_some_and(|expiry| request.at >= expiry) {
        return Ok(Answer::refused(Reason::RequestExpired));
    }
    match &request.job {
        Job::Enroll(ask) => enroll::decide(world, request, ask),
        Job::Unenroll(ask) => unenroll::decide(world, request, ask),
        Job::GrantCredits(ask) => grant_credits::decide(world, request, ask),
        Job::Book(ask) => book::decide(world, request, ask),
        Job::CancelBooking(ask) => cancel_booking::decide(world, request, ask),
        Job::RecordAttendance(ask) => record_attendance::decide(world, request, ask),
        Job::CancelSemester(ask) => cancel_semester::decide(world, request, ask),
    }
}
