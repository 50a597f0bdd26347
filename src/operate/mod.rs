//! What operators do with requests: look at them, retry and cancel them, pause and resume.
//!
//! Whoever changes a queued or failed request takes its lane first, as a worker does ([`mod@change`]): a request that an
//! operator is about to cancel, or to bring back, is never overtaken by a later one of its lane meanwhile. Every
//! change is recorded in `operator_actions` by the transaction that makes it.

mod change;
mod filter;
mod operator;
mod pause;
mod place;
mod select;
mod story;
mod wait;

use std::time::Duration;

use sqlx::PgPool;

use crate::postgres::{Timeouts, Transactions};

pub use change::{Change, Progress, Step, change, change_step};
pub use filter::{Filter, Listed, list};
pub use operator::Operator;
pub use pause::{Pause, Scope, ScopeError, pause, pauses, resume};
pub use place::{BookingNow, Conflict, KeptBy, SessionNow};
pub use select::{Other, Selection, select, select_ids};
pub use story::{Act, Before, Enrollment, LedgerRow, Story, story};
pub use wait::{Waited, wait};

/// Business transactions of an operator: they wait longer than a worker's, since a lane in full work is handed over
/// when its batch is committed, and nobody waits behind an operator but the lane.
#[must_use]
pub fn transactions(pool: PgPool) -> Transactions {
    let timeouts = Timeouts {
        statement: Duration::from_secs(60),
        lock: Duration::from_secs(10),
        idle: Duration::from_secs(5),
    };
    Transactions::new(pool, timeouts)
}
