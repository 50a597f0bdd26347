//! Seatkeeper: the worker that answers enrollment and booking requests exactly once, under row locks, on PostgreSQL.
//!
//! A reader follows one request in five hops: `jobs/src/enroll.rs` (what is asked), [`queue`] (how it arrives),
//! [`batch`] (how it is made once), [`decide`] (the rule), [`metrics`] (what the operator sees).
//!
//! Whether all of it came out right is what [`audit`] says: it executes the stored requests once more, one at a time, by the
//! same rules. Whether everything holds that must hold is what the roll call says ([`invariants`]), which assumes that all
//! the rest has failed.
//!
//! # Architecture invariants
//!
//! Kept by tests (`tests/it/tidy.rs`) and lints:
//!
//! - [`decide`] does no I/O: it names neither sqlx nor tokio, and reads no clock.
//! - One place opens business transactions: [`postgres::Transactions`].
//! - A refusal is an answer; an error is an attempt that did not happen.
//! - Only [`queue`] names apalis, only [`schedule`] the cron crates; only [`metrics`] spells the names of metrics.
//! - IDs never become labels of metrics.
//! - Files stay under about 400 lines, and none is called utils, common or helpers.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on has failed"))]

pub mod audit;
pub mod batch;
pub mod decide;
pub mod doctor;
pub mod failpoint;
pub mod health;
pub mod http;
pub mod invariants;
pub mod metrics;
pub mod operate;
pub mod postgres;
pub mod queue;
pub mod retention;
pub mod schedule;
pub mod statistics;
