//! The invariants' families: from the last finished run of each, so the same on every replica and after a restart.

use sqlx::PgConnection;

use super::shared::{family, sample};
use crate::invariants::{Last, Status, invariant};

/// Offending rows; absent while they could not be counted.
pub(crate) const INVARIANT_VIOLATIONS: &str = "seatkeeper_invariant_violations";
const STATUS: &str = "seatkeeper_invariant_status";
const LAST_RUN: &str = "seatkeeper_invariant_last_run_timestamp_seconds";

pub(super) async fn read(connection: &mut PgConnection) -> sqlx::Result<Vec<Last>> {
    Last::of_each(connection).await
}

pub(super) fn render(text: &mut String, lasts: &[Last]) {
    family(text, INVARIANT_VIOLATIONS, "gauge", "Rows that break an invariant, in its last finished run");
    for last in lasts {
        let Some((violations, known)) = last.violations.zip(invariant(&last.invariant)) else { continue };
        for (accepted, rows) in [("false", violations - last.accepted), ("true", last.accepted)] {
            let labels = format!(
                "invariant=\"{}\",severity=\"{}\",accepted=\"{accepted}\"",
                last.invariant,
                known.severity.as_str()
            );
            sample(text, INVARIANT_VIOLATIONS, &labels, rows);
        }
    }
    family(text, STATUS, "gauge", "How an invariant stood in its last finished run: exactly one status is 1");
    for last in lasts {
        for status in Status::ALL {
            let labels = format!("invariant=\"{}\",status=\"{}\"", last.invariant, status.as_str());
            sample(text, STATUS, &labels, u8::from(Status::of(&last.status) == status));
        }
    }
    family(text, LAST_RUN, "gauge", "When the last run of an invariant was finished; absent until the first");
    for last in lasts {
        let labels = format!("invariant=\"{}\"", last.invariant);
        sample(text, LAST_RUN, &labels, last.finished_at.timestamp());
    }
}
