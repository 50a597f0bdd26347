//! The schedules: what was run last, and what is overdue.

use std::time::Duration;

use sqlx::PgConnection;

use super::Finding;
use crate::schedule;

/// A slot that fell due this long ago and was not run is overdue, in seconds.
const OVERDUE: i64 = 900;

pub(super) async fn findings(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    const TODO: &str = "is a `seatkeeper run` with a scheduler running (without --no-scheduler)? Its log says why a \
        chore fails; `seatkeeper check` calls the roll at once";
    let states = schedule::states(connection).await?;
    if states.is_empty() {
        // A new installation: nothing can be overdue yet.
        return Ok(vec![Finding::ok(
            "schedule",
            "nothing is on the schedule yet: no `seatkeeper run` with a scheduler has been started",
        )]);
    }
    Ok(states
        .iter()
        .map(|state| {
            let last = state.last_slot.map_or("never run".to_owned(), |slot| format!("last slot {slot}"));
            let due = state.due_slot.map_or("none due yet".to_owned(), |slot| format!("due slot {slot}"));
            let what = format!("{} ({}): {last}, {due}", state.schedule.as_str(), state.timetable);
            let overdue = state.overdue_seconds();
            if overdue > OVERDUE {
                let late = Duration::from_secs(overdue.unsigned_abs());
                let late = humantime::format_duration(late);
                Finding::problem("schedule", format!("{what}, overdue for {late}"), TODO)
            } else {
                Finding::ok("schedule", what)
            }
        })
        .collect())
}
