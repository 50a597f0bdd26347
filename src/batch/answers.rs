//! From a claimed batch to its answers: the loop over [`decide`], and how an answer is stored and told.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Outcome, Reason, SemesterId};
use uuid::Uuid;

use super::commit::{Ending, LaneMove};
use super::gather::{Clocks, Gathered};
use super::prefetch::Draw;
use super::{BatchError, Claimed, Told};
use crate::decide::{self, Answer, Promotion, World};
use crate::failpoint::fail_point;

/// A request with its answer; without one it failed: nobody can tell what was asked.
#[derive(Debug)]
pub(super) struct Decided<'a> {
    claimed: &'a Claimed,
    lane: Option<SemesterId>,
    at: DateTime<Utc>,
    answer: Option<(Answer, i64)>,
}

/// Everything that a batch decided, in the order of the decisions.
#[derive(Debug)]
pub(super) struct AllDecided<'a> {
    /// Who got a place without a request, with the number of that change, and the lane.
    pub(super) filled: Vec<(i64, Promotion)>,
    pub(super) answered: Vec<Decided<'a>>,
    lanes: Vec<(SemesterId, DateTime<Utc>)>,
}

/// Fills the marked sessions and decides the requests in their order. `refuse` names one that a guard of the database
/// refused, and why.
pub(super) fn decide_all<'a>(
    world: &mut World,
    batch: &'a [Claimed],
    draw: &Draw,
    gathered: &Gathered,
    refuse: Option<(Uuid, Reason)>,
) -> Result<AllDecided<'a>, BatchError> {
    without_panic(|| {
        let (mut filled, mut lanes) = (Vec::new(), Vec::new());
        let mut numbers = draw.fill_seqs.iter().copied();
        for fill in &gathered.fills {
            let at = instant(draw, &gathered.clocks, Some(fill.semester_id));
            let promoted = decide::fill_marked(world, fill.session_id, at, fill.most)?;
            if !promoted.is_empty() {
                lanes.push((fill.semester_id, at));
            }
            for promotion in promoted {
                filled.push((next(&mut numbers)?, promotion));
            }
        }
        fail_point!("decide.fills");
        let mut numbers = draw.answer_seqs.iter().copied();
        let answered = batch
            .iter()
            .map(|claimed| decide_one(world, claimed, &mut numbers, draw, gathered, refuse))
            .collect::<Result<Vec<_>, BatchError>>()?;
        lanes.extend(answered.iter().filter_map(|decided| Some((decided.lane?, decided.at))));
        Ok(AllDecided { filled, answered, lanes })
    })
}

fn next(numbers: &mut impl Iterator<Item = i64>) -> Result<i64, BatchError> {
    numbers.next().ok_or_else(|| BatchError::Inconsistent("too few numbers were drawn".into()))
}

/// The instant of decision in a lane: never earlier than its previous one.
fn instant(draw: &Draw, clocks: &Clocks, lane: Option<SemesterId>) -> DateTime<Utc> {
    let previous = lane.and_then(|lane| clocks.get(&lane).copied().flatten());
    previous.map_or(draw.clock, |previous| previous.max(draw.clock))
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
    gathered: &Gathered,
    refuse: Option<(Uuid, Reason)>,
) -> Result<Decided<'a>, BatchError> {
    let Some(job) = &claimed.job else {
        return Ok(Decided { claimed, lane: None, at: draw.clock, answer: None });
    };
    // By now it is in the lane that it belongs to.
    let lane = claimed.waiting.semester_id.and_then(|lane| lane.try_into().ok());
    let at = instant(draw, &gathered.clocks, lane);
    let id = claimed.waiting.request_id;
    let answer = match refuse {
        // What the guard means is a refusal of some kinds only: a cancellation that fails by it is an error.
        Some((refused, reason)) if refused == id && job.kind().refusals().contains(&reason) => {
            Answer::Refused(reason, None)
        }
        _ => {
            let request =
                decide::Request { id, job: job.clone(), expires_at: claimed.waiting.expires_at, at };
            decide::decide(world, &request)?
        }
    };
    fail_point!("decide.one");
    Ok(Decided { claimed, lane, at, answer: Some((answer, next(numbers)?)) })
}

/// The counters and clocks of the lanes in which something was decided.
pub(super) fn lane_moves(world: &World, decided: &AllDecided<'_>) -> Vec<LaneMove> {
    let mut lanes = BTreeMap::new();
    for &(semester_id, decided_at) in &decided.lanes {
        if let Some((enrolled_before, enrolled_after)) = world.enrolled_counts(semester_id) {
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
