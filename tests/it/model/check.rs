//! Are the answers right? Everything that was answered is asked once more, one at a time, of the [reference](Model),
//! in the order of `answer_seq` and with the recorded changes of the catalog in between. Then every answer, and
//! the state at the end, must be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Job, Kind};
use serde_json::Value;

use super::history::{Asked, Change, History};
use super::reference::{Answer, LedgerRow, Model, Question, Semester};

/// What is wrong: a kind that tests can tell apart, and words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub about: About,
    pub words: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A request without its one answer.
    Unanswered,
    /// A trace of an attempt that went wrong.
    Attempts,
    /// Numbers that are not one order.
    Sequence,
    /// Time that ran backwards, or an answer before its time.
    Clock,
    /// A change of the catalog that does not follow from what was there.
    Catalog,
    /// Outcome, reason or result.
    Answer,
    Balance,
    Enrollment,
    Ledger,
    Counter,
    /// Somebody who came later was answered first.
    Arrival,
    /// A grant that was answered after what its user asked later.
    Grant,
    /// What a producer was told differs from what is stored.
    Receipt,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.about, self.words)
    }
}

/// What the checks found wrong so far.
#[derive(Debug, Default)]
pub struct Complaints(pub Vec<Complaint>);

impl Complaints {
    pub fn add(&mut self, about: About, words: impl Into<String>) {
        self.0.push(Complaint { about, words: words.into() });
    }

    fn unless(&mut self, holds: bool, about: About, words: impl FnOnce() -> String) {
        if !holds {
            self.add(about, words());
        }
    }

    /// Fails with the first of them.
    pub fn assert_none(&self, seed: u64) {
        let first: Vec<String> = self.0.iter().take(20).map(ToString::to_string).collect();
        assert!(first.is_empty(), "seed {seed}, {} complaints:\n{}", self.0.len(), first.join("\n"));
    }
}

/// Compares a history with the reference.
pub fn check(history: &History) -> Complaints {
    let mut complaints = Complaints::default();
    answered_once(history, &mut complaints);
    let mut model = Model { users: history.users.clone(), ..Model::default() };
    let mut clocks = BTreeMap::new();
    for event in events(history, &mut complaints) {
        match event {
            Event::Changed(change) => apply(&mut model, change, &mut complaints),
            Event::Answered(asked, at) => {
                if let Some(lane) = asked.semester_id().filter(|lane| model.semesters.contains_key(lane)) {
                    let latest = clocks.insert(lane, at).unwrap_or(at);
                    complaints.unless(latest <= at, About::Clock, || {
                        format!("{} was decided at {at}, after {latest} in semester {lane}", asked.request_id)
                    });
                }
                compare_answer(&mut model, asked, at, &mut complaints);
            }
        }
    }
    compare_end(&model, history, &mut complaints);
    complaints
}

fn answered_once(history: &History, complaints: &mut Complaints) {
    for asked in &history.requests {
        let id = asked.request_id;
        complaints.unless(asked.status == "done", About::Unanswered, || {
            format!("{id} is {}: {:?}", asked.status, asked.last_error)
        });
        complaints.unless(asked.attempts == 1 && asked.last_error.is_none(), About::Attempts, || {
            format!("{id} took {} attempts: {:?}", asked.attempts, asked.last_error)
        });
        let early = asked.finished_at.is_some_and(|at| at < asked.enqueued_at || asked.run_at > Some(at));
        complaints.unless(!early, About::Clock, || format!("{id} was answered before its time"));
    }
}

enum Event<'a> {
    Changed(&'a Change),
    Answered(&'a Asked, DateTime<Utc>),
}

/// Answers and changes in their one order.
fn events<'a>(history: &'a History, complaints: &mut Complaints) -> Vec<Event<'a>> {
    let mut events = BTreeMap::new();
    for change in &history.changes {
        let taken = events.insert(change.change_seq, Event::Changed(change)).is_some();
        complaints
            .unless(!taken, About::Sequence, || format!("{} was given to two events", change.change_seq));
    }
    for asked in &history.requests {
        let (Some(seq), Some(at)) = (asked.answer_seq, asked.finished_at) else { continue };
        let taken = events.insert(seq, Event::Answered(asked, at)).is_some();
        complaints.unless(!taken, About::Sequence, || format!("{seq} was given to two events"));
    }
    events.into_values().collect()
}

fn apply(model: &mut Model, change: &Change, complaints: &mut Complaints) {
    let key = change.key;
    match change.table.as_str() {
        "users" => {
            let (before, after) = (is_active(change.before.as_ref()), is_active(change.after.as_ref()));
            let (Some(user), Some(after)) = (model.users.get_mut(&key), after) else {
                return complaints.add(About::Catalog, format!("user {key} came or went"));
            };
            complaints.unless(Some(user.is_active) == before, About::Catalog, || {
                format!("change {} of user {key} began elsewhere", change.change_seq)
            });
            user.is_active = after;
        }
        "semesters" => {
            let (before, after) = (semester(change.before.as_ref()), semester(change.after.as_ref()));
            complaints.unless(model.semesters.get(&key) == before.as_ref(), About::Catalog, || {
                format!("change {} of semester {key} began elsewhere", change.change_seq)
            });
            let Some(after) = after else {
                return complaints.add(About::Catalog, format!("semester {key} went"));
            };
            let enrolled = model.enrolled(key);
            complaints.unless(
                after.max_players.is_none_or(|places| enrolled <= places),
                About::Catalog,
                || format!("change {} leaves semester {key} fewer places than are taken", change.change_seq),
            );
            model.semesters.insert(key, after);
        }
        other => complaints.add(About::Catalog, format!("nobody changed {other}")),
    }
}

fn is_active(image: Option<&Value>) -> Option<bool> {
    image?["is_active"].as_bool()
}

fn semester(image: Option<&Value>) -> Option<Semester> {
    image.map(|image| serde_json::from_value(image.clone()).unwrap())
}

fn compare_answer(model: &mut Model, asked: &Asked, at: DateTime<Utc>, complaints: &mut Complaints) {
    let id = asked.request_id;
    let kind: Kind = asked.kind.parse().unwrap();
    let job = Job::read(kind, &asked.payload).unwrap();
    let stored = asked.result.as_ref();
    let named = stored.and_then(|result| result["enrollment_id"].as_i64());
    let fresh = named.filter(|name| !model.enrollments.contains_key(name));
    let question = Question {
        request_id: id,
        job: &job,
        expires_at: asked.expires_at,
        now: at,
        new_enrollment_id: fresh.filter(|_| kind == Kind::Enroll),
    };
    let answer = model.answer(&question);
    let same = match &answer {
        Answer::Applied(result) => {
            asked.outcome.as_deref() == Some("applied") && asked.reason.is_none() && stored == Some(result)
        }
        Answer::Refused(reason, explanation) => {
            asked.outcome.as_deref() == Some("refused")
                && asked.reason.as_deref() == Some(*reason)
                && explains(stored, explanation)
        }
    };
    complaints.unless(same, About::Answer, || {
        format!(
            "{id} ({} {} at {at}, answer {:?}) was answered {} {stored:?}; right is {answer:?}",
            asked.kind,
            asked.payload,
            asked.answer_seq,
            asked.ending()
        )
    });
}

/// A refusal may explain itself or not; what it says must be so.
fn explains(stored: Option<&Value>, explanation: &Value) -> bool {
    let Some(stored) = stored else { return true };
    stored.as_object().is_some_and(|said| said.iter().all(|(key, value)| explanation.get(key) == Some(value)))
}

fn compare_end(model: &Model, history: &History, complaints: &mut Complaints) {
    let end = &history.end;
    differences(About::Balance, "user", &model.users, &end.users, complaints);
    differences(About::Enrollment, "enrollment", &model.enrollments, &end.enrollments, complaints);
    differences(About::Ledger, "ledger of user", &ledgers(&model.ledger), &ledgers(&end.ledger), complaints);

    let known: BTreeSet<i64> = end.semesters.iter().map(|row| row.semester_id).collect();
    complaints.unless(known.iter().eq(model.semesters.keys()), About::Catalog, || {
        format!("there are semesters {known:?}")
    });
    for row in &end.semesters {
        let (id, count) = (row.semester_id, model.enrolled(row.semester_id));
        complaints.unless(i64::from(row.enrolled_count) == count, About::Counter, || {
            format!("semester {id} counts {}; right is {count}", row.enrolled_count)
        });
        let catalog = semester(Some(&row.catalog));
        complaints.unless(model.semesters.get(&id) == catalog.as_ref(), About::Catalog, || {
            format!("semester {id} is {catalog:?}, which nobody made it")
        });
    }
}

/// User by user: nobody promises an order between the rows of two users.
fn ledgers(rows: &[LedgerRow]) -> BTreeMap<i64, Vec<&LedgerRow>> {
    let mut ledgers: BTreeMap<i64, Vec<&LedgerRow>> = BTreeMap::new();
    for row in rows {
        ledgers.entry(row.user_id).or_default().push(row);
    }
    ledgers
}

fn differences<T: PartialEq + fmt::Debug>(
    about: About,
    what: &str,
    right: &BTreeMap<i64, T>,
    stored: &BTreeMap<i64, T>,
    complaints: &mut Complaints,
) {
    let keys: BTreeSet<&i64> = right.keys().chain(stored.keys()).collect();
    for key in keys {
        let (right, stored) = (right.get(key), stored.get(key));
        complaints
            .unless(right == stored, about, || format!("{what} {key} is {stored:?}; right is {right:?}"));
    }
}
