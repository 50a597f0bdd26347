//! From a claimed batch to its answers: the loop over [`decide`], and how an answer is stored and told.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Job, Outcome, Reason};
use uuid::Uuid;

use super::commit::{Ending, LaneMove};
use super::prefetch::Draw;
use super::{BatchError, Claimed, Clocks, Told};
use crate::decide::{self, Answer, World};

/// A request with its answer; without one it failed: nobody can tell what was asked.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    claimed: &'a Claimed,
    at: DateTime<Utc>,
    answer: Option<(Answer, i64)>,
}

/// Decides the requests in their order. `refuse` names one that a guard of the database refused, and why.
pub(super) fn decide_all<'a>(
    world: &mut World,
    batch: &'a [Claimed],
    draw: &Draw,
    clocks: &Clocks,
    refuse: Option<(Uuid, Reason)>,
) -> Result<Vec<Decided<'a>>, BatchError> {
    without_panic(|| {
        let mut numbers = draw.answer_seqs.iter().copied();
        batch.iter().map(|claimed| decide_one(world, claimed, &mut numbers, draw, clocks, refuse)).collect()
    })
}

/// A panic in a rule costs the request an attempt, never the process: the world that it leaves behind is dropped.
fn without_panic<T>(decide: impl FnOnce() -> Result<T, BatchError>) -> Result<T, BatchError> {
    catch_unwind(AssertUnwindSafe(decide)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(BatchError::Panic(text.unwrap_or("without a message").to_owned()))
    })
}

fn decide_one<'a>(
    world: &mut World,
    claimed: &'a Claimed,
    numbers: &mut impl Iterator<Item = i64>,
    draw: &Draw,
    clocks: &Clocks,
    refuse: Option<(Uuid, Reason)>,
) -> Result<Decided<'a>, BatchError> {
    let Some(job) = &claimed.job else {
        return Ok(Decided { claimed, at: draw.clock, answer: None });
    };
    let id = claimed.waiting.request_id;
    let previous = job.semester_id().and_then(|lane| clocks.get(&lane).copied().flatten());
    let at = previous.map_or(draw.clock, |previous| previous.max(draw.clock));
    let answer = match refuse {
        Some((refused, reason)) if refused == id => Answer::Refused(reason, None),
        _ => {
            let request =
                decide::Request { id, job: job.clone(), expires_at: claimed.waiting.expires_at, at };
            decide::decide(world, &request)?
        }
    };
    let number = numbers.next().ok_or_else(|| BatchError::Inconsistent("too few answer numbers".into()))?;
    Ok(Decided { claimed, at, answer: Some((answer, number)) })
}

/// The counters and clocks of the lanes in which something was decided.
pub(super) fn lane_moves(world: &World, decided: &[Decided<'_>]) -> Vec<LaneMove> {
    let mut lanes = BTreeMap::new();
    for decided in decided {
        let Some(semester_id) = decided.claimed.job.as_ref().and_then(Job::semester_id) else { continue };
        if let Some((enrolled_before, enrolled_after)) = world.enrolled_counts(semester_id) {
            let decided_at = decided.at;
            lanes.insert(semester_id, LaneMove { semester_id, enrolled_before, enrolled_after, decided_at });
        }
    }
    lanes.into_values().collect()
}

impl Decided<'_> {
    pub(super) fn ending(&self) -> Ending {
        let (status, outcome, reason, result, answer_seq) = match &self.answer {
            Some((Answer::Applied(applied), seq)) => {
                ("done", Some("applied"), None, serde_json::to_string(applied).ok(), Some(*seq))
            }
            Some((Answer::Refused(reason, why), seq)) => (
                "done",
                Some("refused"),
                Some(reason.as_str()),
                why.as_ref().map(ToString::to_string),
                Some(*seq),
            ),
            None => ("failed", None, Some(Reason::InvalidPayload.as_str()), None, None),
        };
        let request_id = self.claimed.waiting.request_id;
        Ending { request_id, status, outcome, reason, result, answer_seq, finished_at: self.at }
    }

    /// Called after the commit: `since_draw` ago the database's clock was `clock`.
    pub(super) fn tell(&self, clock: DateTime<Utc>, since_draw: Duration) -> Told {
        let (outcome, reason) = match &self.answer {
            Some((Answer::Applied(_), _)) => (Some(Outcome::Applied), None),
            Some((Answer::Refused(reason, _), _)) => (Some(Outcome::Refused), Some(*reason)),
            None => (None, Some(Reason::InvalidPayload)),
        };
        let waited = (clock - self.claimed.waiting.waiting_since).to_std().unwrap_or_default();
        let trace_id = self.claimed.waiting.traceparent.as_deref().and_then(|trace| trace.get(3..35));
        tracing::debug!(
            request.id = %self.claimed.waiting.request_id,
            request.kind = %self.claimed.kind,
            request.attempt = self.claimed.waiting.attempts + 1,
            outcome = outcome.map_or("failed", |outcome| match outcome {
                Outcome::Applied => "applied",
                Outcome::Refused => "refused",
            }),
            reason = reason.map(Reason::as_str),
            trace_id,
            "request answered"
        );
        Told { kind: self.claimed.kind, outcome, reason, latency: waited + since_draw }
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchError, without_panic};

    #[test]
    fn a_panic_in_a_rule_is_an_error_of_the_batch() {
        let broken = without_panic(|| -> Result<(), _> { panic!("rule {} is broken", 7) });
        assert!(matches!(&broken, Err(BatchError::Panic(text)) if text == "rule 7 is broken"), "{broken:?}");
        assert!(matches!(without_panic(|| Ok(3)), Ok(3)));
    }
}
