//! Whether a load did its work: a comparison in which an answer never occurred proves nothing about it.

use std::collections::BTreeMap;
use std::fmt;

use super::history::History;
use super::load::Load;

/// Every answer that the kinds of the load can be given.
const ANSWERS: &[(&str, &[&str])] = &[
    (
        "enroll",
        &[
            "applied",
            "request_expired",
            "semester_not_found",
            "user_not_found",
            "user_inactive",
            "semester_not_open",
            "enrollment_closed",
            "already_enrolled",
            "semester_full",
            "insufficient_credits",
        ],
    ),
    (
        "unenroll",
        &[
            "applied",
            "request_expired",
            "semester_not_found",
            "user_not_found",
            "semester_not_open",
            "unenroll_closed",
            "not_enrolled",
        ],
    ),
    ("grant_credits", &["applied", "request_expired", "user_not_found", "insufficient_credits"]),
];

/// How often each answer was given.
#[derive(Debug)]
pub struct Coverage {
    answers: BTreeMap<(String, String), u32>,
    named_applied: u32,
    named_refused: u32,
    scheduled: u32,
    changes: usize,
}

impl Coverage {
    pub fn of(history: &History) -> Self {
        let mut coverage = Self {
            answers: BTreeMap::new(),
            named_applied: 0,
            named_refused: 0,
            scheduled: 0,
            changes: history.changes.len(),
        };
        for asked in &history.requests {
            *coverage.answers.entry((asked.kind.clone(), asked.ending().to_owned())).or_default() += 1;
            let named = asked.payload.get("enrollment_id").is_some();
            coverage.named_applied += u32::from(named && asked.ending() == "applied");
            coverage.named_refused += u32::from(named && asked.ending() == "not_enrolled");
            coverage.scheduled += u32::from(asked.run_at.is_some());
        }
        coverage
    }

    /// Fails when the load did not meet with everything that it is there for.
    pub fn assert_everything_occurred(&self, load: &Load) {
        let seed = load.seed;
        for (kind, answers) in ANSWERS {
            for answer in *answers {
                let found = self.answers.contains_key(&((*kind).to_owned(), (*answer).to_owned()));
                assert!(found, "seed {seed}: no {kind} was answered {answer}");
            }
        }
        let tally = load.tally.lock().unwrap().clone();
        let occurred = [
            ("unenroll of a named enrollment, applied", self.named_applied),
            ("unenroll of a named enrollment, refused", self.named_refused),
            ("scheduled requests", self.scheduled),
            ("duplicates before the answer", tally.duplicates_before_answer),
            ("duplicates after the answer", tally.duplicates_after_answer),
            ("conflicts", tally.conflicts),
            ("rolled back transactions of producers", tally.rolled_back),
            ("changes of the catalog", tally.changes),
            ("changes rolled back", tally.changes_rolled_back),
            ("capacities refused", tally.capacity_refused),
        ];
        for (what, count) in occurred {
            assert!(count > 0, "seed {seed}: there were no {what}");
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u32 = self.answers.values().sum();
        write!(f, "{total} requests, {} catalog changes", self.changes)?;
        for ((kind, answer), count) in &self.answers {
            write!(f, "\n  {kind} {answer}: {count}")?;
        }
        let (applied, refused) = (self.named_applied, self.named_refused);
        write!(
            f,
            "\n  {applied} named enrollments withdrawn, {refused} refused; {} scheduled",
            self.scheduled
        )
    }
}
