//! Claim: which requests this batch answers, and the locks that make them its own.
//!
//! A semester's row is its lane. Whoever holds it owns the queue of the semester until commit, so the requests
//! of a lane need no lock of their own, and arrival order holds with any number of workers. Lanes are taken with
//! `skip locked`: workers never wait for each other here. What is ready in a lane is read in a later statement
//! than the one that locked it: an older snapshot would show requests that the former holder has just answered.
//!
//! Of a paused kind nothing is claimed, and after the pause nothing that arrived later than what is still parked
//! ([`super::hold`] puts that back by and by): each claim reads with the requests a bound for every kind, and a kind
//! without a rule has none. (Only by that bound: by `kind = any (…)` the planner took the index of the kinds, and read the
//! whole queue for one request.) Pauses are read again with the requests of a lane, under its lock: one that was there
//! before the lock counts.
//!
//! Requests without a lane (grants, and those whose semester, session or booking does not exist) are claimed by their own
//! row lock. A lane also brings its marked sessions, which are filled before its requests are answered.

mod debts;
mod floors;
mod lanes;
mod late;
mod loose;
mod marks;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::Kind;
use uuid::Uuid;

pub(crate) use floors::{BUSY, Floors, Found, Known, Lesson, Snapshot};
pub(super) use lanes::{Cursor, Shares, lock_lanes, read_lanes};
pub(super) use late::settle;
pub(crate) use late::{drawing, over};
pub(super) use loose::{find_grants, lock_grants, lock_loose};
pub(super) use marks::{Mark, read_marks};

/// A request as it waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) request_id: Uuid,
    pub(super) seq: i64,
    pub(super) kind: String,
    /// As text, and `None` beyond 8 KiB: what is stored may be any jsonb, also one that no client library reads.
    pub(super) payload: Option<String>,
    pub(super) attempts: i32,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) semester_id: Option<i64>,
    pub(super) user_id: Option<i64>,
    /// Enqueued, or due.
    pub(super) waiting_since: DateTime<Utc>,
    pub(super) traceparent: Option<String>,
}

/// The kinds that this build has rules for. Requests of any other kind stay in the queue, untouched.
fn executable() -> Vec<String> {
    Kind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect()
}
