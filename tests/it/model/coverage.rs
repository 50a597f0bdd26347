//! Whether a load did its work: a comparison in which an answer never occurred proves nothing about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};

use super::history::{Asked, Change, History};
use super::load::Load;

/// Every answer that the kinds can be given.
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
    (
        "book",
        &[
            "applied",
            "request_expired",
            "session_not_found",
            "user_not_found",
            "user_inactive",
            "session_cancelled",
            "booking_closed",
            "not_enrolled",
            "already_booked",
            "schedule_conflict",
        ],
    ),
    (
        "cancel_booking",
        &["applied", "request_expired", "booking_not_found", "already_cancelled", "cancellation_closed"],
    ),
    (
        "record_attendance",
        &["applied", "request_expired", "session_not_found", "booking_not_found", "session_not_started"],
    ),
    ("cancel_semester", &["applied", "semester_not_found", "already_cancelled"]),
    // (`balance_limit` takes more than a load can grant: see `rich.rs`.)
    ("grant_credits", &["applied", "request_expired", "user_not_found", "insufficient_credits"]),
];

/// How often each answer was given, and what else occurred.
#[derive(Debug)]
pub struct Coverage {
    answers: BTreeMap<(String, String), usize>,
    others: Vec<(&'static str, usize)>,
}

impl Coverage {
    pub fn of(history: &History) -> Self {
        let requests = &history.requests;
        let mut answers = BTreeMap::new();
        for asked in requests {
            *answers.entry((asked.kind.clone(), asked.ending().to_owned())).or_default() += 1;
        }
        let count = |what: &dyn Fn(&Asked) -> bool| requests.iter().filter(|asked| what(asked)).count();
        let named = |asked: &Asked, ending: &str| {
            asked.payload.get("enrollment_id").is_some() && asked.ending() == ending
        };
        let result = |asked: &Asked, field: &str| asked.result.as_ref().map(|result| result[field].clone());
        let booked = |status: &'static str| {
            move |asked: &Asked| asked.kind == "book" && result(asked, "status").is_some_and(|s| s == status)
        };
        let promoted = |kind: &'static str| {
            move |asked: &Asked| asked.kind == kind && !asked.bookings("promoted_bookings").is_empty()
        };
        let mut others = vec![
            ("unenrolls of a named enrollment, applied", count(&|asked| named(asked, "applied"))),
            ("unenrolls of a named enrollment, refused", count(&|asked| named(asked, "not_enrolled"))),
            ("scheduled requests", count(&|asked| asked.run_at.is_some())),
            ("books that had a place at once", count(&booked("CONFIRMED"))),
            ("books that wait", count(&booked("WAITLISTED"))),
            ("promotions by a cancelled booking", count(&promoted("cancel_booking"))),
            ("promotions by an unenroll", count(&promoted("unenroll"))),
            (
                "cancels by the booking's own name, applied",
                count(&|asked| asked.payload.get("booking_id").is_some() && asked.was_applied()),
            ),
            (
                "attendance replaced",
                count(&|asked| result(asked, "replaced").is_some_and(|before| before.is_string())),
            ),
            (
                "enrollments of cancelled semesters",
                count(&|asked| result(asked, "withdrawn").is_some_and(|n| n.as_i64() > Some(0))),
            ),
        ];
        others.extend(in_bookings(history));
        Self { answers, others }
    }

    /// Fails when the load did not meet with everything that it is there for.
    pub fn assert_everything_occurred(&self, load: &Load) {
        let (missed, _) = self.missed(load);
        assert!(missed.is_empty(), "seed {}: never occurred: {}", load.seed, missed.join("; "));
    }

    /// Fails when the load did not meet with nine tenths of that: enough where the crashes are what matters.
    pub fn assert_most_occurred(&self, load: &Load) {
        let (missed, all) = self.missed(load);
        assert!(
            missed.len() * 10 <= all,
            "seed {}: of {all} never occurred: {}",
            load.seed,
            missed.join("; ")
        );
    }

    /// What never occurred, and how many things there are to occur.
    fn missed(&self, load: &Load) -> (Vec<String>, usize) {
        let tally = load.tally.lock().unwrap().clone();
        let answered = ANSWERS.iter().flat_map(|(kind, answers)| {
            answers.iter().map(move |answer| {
                let given = self.answers.contains_key(&((*kind).to_owned(), (*answer).to_owned()));
                (format!("{kind} answered {answer}"), given)
            })
        });
        let tallied = [
            ("duplicates before the answer", tally.duplicates_before_answer),
            ("duplicates after the answer", tally.duplicates_after_answer),
            ("conflicts", tally.conflicts),
            ("rolled back transactions of producers", tally.rolled_back),
            ("changes of the catalog", tally.changes),
            ("changes rolled back", tally.changes_rolled_back),
            ("capacities refused", tally.capacity_refused),
            ("capacities of sessions refused", tally.session_capacity_refused),
            ("moves refused", tally.moves_refused),
        ];
        let occurred: Vec<(String, bool)> = answered
            .chain(self.others.iter().map(|(what, count)| ((*what).to_owned(), *count > 0)))
            .chain(tallied.map(|(what, count)| (what.to_owned(), count > 0)))
            .collect();
        let all = occurred.len();
        (occurred.into_iter().filter(|(_, occurred)| !occurred).map(|(what, _)| what).collect(), all)
    }
}

/// What became of bookings, and of whose doing.
fn in_bookings(history: &History) -> Vec<(&'static str, usize)> {
    let of = |table: &'static str| history.changes.iter().filter(move |change| change.table == table);
    let at = |changes: Vec<&Change>| changes.iter().map(|c| c.changed_at).collect::<BTreeSet<_>>();
    let (by_fill, by_move) = (at(of("bookings").collect()), at(of("sessions").collect()));
    let by_answer = |fields: &[&str]| -> BTreeSet<DateTime<Utc>> {
        let some = |asked: &&Asked| fields.iter().any(|field| !asked.bookings(field).is_empty());
        history.requests.iter().filter(some).filter_map(|asked| asked.finished_at).collect()
    };
    let (by_book, by_promotion) = (by_answer(&["superseded_bookings"]), by_answer(&["promoted_bookings"]));
    let cancelled = |because: &str, at: Option<&BTreeSet<DateTime<Utc>>>| {
        let bookings = history.end.bookings.values();
        bookings
            .filter(|b| b.cancelled_because.as_deref() == Some(because))
            .filter(|b| at.is_none_or(|at| b.cancelled_at.is_some_and(|cancelled| at.contains(&cancelled))))
            .count()
    };
    let mut statements: BTreeMap<i64, usize> = BTreeMap::new();
    for change in of("sessions") {
        *statements.entry(change.statement_seq).or_default() += 1;
    }
    vec![
        ("changes of sessions", of("sessions").count()),
        ("statements that changed several sessions", statements.values().filter(|n| **n > 1).count()),
        ("fills recorded", of("bookings").count()),
        ("bookings cancelled: requested", cancelled("requested", None)),
        ("bookings cancelled: unenrolled", cancelled("unenrolled", None)),
        ("bookings cancelled: unenrolled, by a move", cancelled("unenrolled", Some(&by_move))),
        ("bookings cancelled: semester_cancelled", cancelled("semester_cancelled", None)),
        ("bookings cancelled: superseded", cancelled("superseded", None)),
        ("bookings superseded by a book", cancelled("superseded", Some(&by_book))),
        ("bookings superseded by a promotion", cancelled("superseded", Some(&by_promotion))),
        ("bookings superseded by a fill", cancelled("superseded", Some(&by_fill))),
        ("bookings superseded by a move", cancelled("superseded", Some(&by_move))),
    ]
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests", self.answers.values().sum::<usize>())?;
        for ((kind, answer), count) in &self.answers {
            write!(f, "\n  {kind} {answer}: {count}")?;
        }
        for (what, count) in &self.others {
            write!(f, "\n  {what}: {count}")?;
        }
        Ok(())
    }
}
