//! The schedule: what falls due when, and who is told to look. The only place that names tokio-cron-scheduler and croner.
//!
//! A schedule is a row of `seatkeeper.schedules`. Whether one of its slots is due is computed from that row and the
//! database's clock ([`due`]): by any replica, at any time, with the same answer. So a replica that wakes up late, or
//! an hour early since its cron library froze the offset of the time zone, does no harm: the [`clock`] only says
//! "look", and often enough.
//!
//! A slot is due while it is later than `since` (when the schedule came to be what it is) and than `last_slot` (the
//! latest that has been run). A fresh database therefore does not pretend that last Monday's roll call was missed,
//! and after a downtime only the latest slot is caught up on: a check of the state of now answers for all of them.

pub mod clock;
mod slot;
mod stored;

use std::time::Duration;

pub use slot::{NoTimetable, Timetable, cron, time_zone};
pub use stored::{Due, State, due, finish, keep, states};

/// What falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// All invariants.
    RollCall,
    /// The critical ones.
    CriticalChecks,
    /// Old requests go.
    Retention,
    /// The planner's statistics, and the chores' own leftovers.
    Statistics,
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RollCall, Self::CriticalChecks, Self::Retention, Self::Statistics];

    /// Its name in the database, in keys and in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RollCall => "roll_call",
            Self::CriticalChecks => "critical_checks",
            Self::Retention => "retention",
            Self::Statistics => "statistics",
        }
    }

    /// Of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|schedule| schedule.as_str() == name)
    }
}

/// What one installation has on its schedule.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When the roll is called.
    pub roll_call: Timetable,
    /// When the critical invariants are checked.
    pub critical_checks: Timetable,
    /// How long answered requests are kept; `None` = for good.
    pub retain: Option<Duration>,
}

/// When old requests go: at night, and not on the hour, when critical checks run.
const RETENTION: &str = "0 20 3 * * *";
/// When statistics are looked at.
const STATISTICS: &str = "0 50 * * * *";

impl Plan {
    /// The schedules with their timetables.
    ///
    /// # Errors
    /// Never, but for a defect: the fixed timetables are valid.
    pub fn timetables(&self) -> Result<Vec<(Schedule, Timetable)>, NoTimetable> {
        let zone = self.roll_call.zone().name();
        let mut timetables = vec![
            (Schedule::RollCall, self.roll_call.clone()),
            (Schedule::CriticalChecks, self.critical_checks.clone()),
            (Schedule::Statistics, Timetable::new(STATISTICS, zone)?),
        ];
        if self.retain.is_some() {
            timetables.push((Schedule::Retention, Timetable::new(RETENTION, zone)?));
        }
        Ok(timetables)
    }
}
