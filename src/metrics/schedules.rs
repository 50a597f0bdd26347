//! How the schedules stand: the latest slot that was run, and the latest that fell due. A missed one is their difference.

use chrono::{DateTime, Utc};

use super::shared::{family, sample};
use crate::schedule::{Schedule, State};

const LAST: &str = "seatkeeper_schedule_last_slot_timestamp_seconds";
const DUE: &str = "seatkeeper_schedule_due_slot_timestamp_seconds";

/// Both families as text. The due slot was computed from the stored timetable and the database's clock, so every
/// replica says the same.
pub(super) fn render(text: &mut String, states: &[State]) {
    let checks = || {
        let is_check = |schedule| matches!(schedule, Schedule::RollCall | Schedule::CriticalChecks);
        states.iter().filter(move |state| is_check(state.schedule))
    };
    let seconds = |slot: Option<DateTime<Utc>>| slot.map_or(0, |slot| slot.timestamp());
    let label = |schedule: Schedule| format!("schedule=\"{}\"", schedule.as_str());
    family(text, LAST, "gauge", "The latest slot that was run; 0 until the first was");
    for state in checks() {
        sample(text, LAST, &label(state.schedule), seconds(state.last_slot));
    }
    family(text, DUE, "gauge", "The latest slot that fell due; 0 until one has");
    for state in checks() {
        sample(text, DUE, &label(state.schedule), seconds(state.due_slot));
    }
}
