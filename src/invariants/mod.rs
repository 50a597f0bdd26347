//! The roll call: whether everything that must hold does hold, seen in one snapshot.
//!
//! The engine makes breaches impossible; this module assumes that it failed all the same. What must hold is written in
//! `monitoring/invariants/`, a file each ([`mod@catalogue`]). A run ([`call_the_roll`]) evaluates them, and stores what it
//! found with the rows, since when they offend, and which of them somebody has accepted ([`baseline`]). What could not be
//! evaluated is `unknown`: never 0, never green.

pub mod baseline;
mod catalogue;
mod check;
pub mod guards;
mod parse;
mod record;
mod repair;
pub mod rules;
mod run;

pub use catalogue::{Selection, UnknownInvariant, catalogue, invariant};
pub use check::{KEPT_KEYS, SAMPLE};
pub use parse::{BadFile, Invariant, Severity, parse};
pub use record::{Last, Outcome, Run, Status, last_run};
pub(crate) use run::files;
pub use run::{Trigger, call_the_roll};
