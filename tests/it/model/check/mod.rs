//! Are the answers right? Everything that was answered is asked once more, one at a time, of the [reference](Model),
//! in the order of `answer_seq` and with the recorded changes of the catalog, and fills, in between. Then every answer,
//! and the state at the end, must be the same.

mod answers;
mod catalog;
mod end;

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};

use super::history::{Asked, Change, History};
use super::reference::Model;

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
    /// A place in a session, or in its queue.
    Booking,
    /// A number in the queue of a session that is not above those before it.
    Ticket,
    Attendance,
    /// A place that was given without a request, to somebody whom it was not due to.
    Fill,
    /// A place that was left free beside somebody who could take it.
    Waiting,
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

    pub fn unless(&mut self, holds: bool, about: About, words: impl FnOnce() -> String) {
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
    let before = history.before.clone();
    let mut model = Model { users: before.users, ledger: before.ledger, ..Model::default() };
    let mut clocks = BTreeMap::new();
    for event in events(history, &mut complaints) {
        if let Some((lane, at)) = event.decided(history) {
            let latest = clocks.insert(lane, at).unwrap_or(at);
            complaints.unless(latest <= at, About::Clock, || {
                format!("{event:?} was decided at {at}, after {latest} in semester {lane}")
            });
        }
        match event {
            Event::Changed(changes) => catalog::change(&mut model, &changes, &mut complaints),
            Event::Filled(change) => catalog::fill(&mut model, change, &mut complaints),
            Event::Answered(asked, at) => answers::compare(&mut model, history, asked, at, &mut complaints),
        }
    }
    end::compare(&model, history, &mut complaints);
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

#[derive(Debug)]
enum Event<'a> {
    /// All changes of one statement.
    Changed(Vec<&'a Change>),
    Filled(&'a Change),
    Answered(&'a Asked, DateTime<Utc>),
}

impl Event<'_> {
    /// The lane that it was decided in, and when. Owners decide in no lane.
    fn decided(&self, history: &History) -> Option<(i64, DateTime<Utc>)> {
        match self {
            Event::Changed(_) => None,
            Event::Filled(change) => {
                let session_id = change.after.as_ref()?["session_id"].as_i64()?;
                Some((history.lane_of_session(session_id)?, change.changed_at))
            }
            Event::Answered(asked, at) => Some((history.lane(asked)?, *at)),
        }
    }
}

/// Answers, changes and fills in their one order.
///
/// The changes of a statement take effect together, in the place of the last of them. Any place between the first and the
/// last would do as well: the statement held its locks before it drew its first number and keeps them beyond its last, so
/// whatever else has a number in between touches nothing of what it read and wrote.
fn events<'a>(history: &'a History, complaints: &mut Complaints) -> Vec<Event<'a>> {
    let mut events = BTreeMap::new();
    let mut statements: BTreeMap<i64, Vec<&Change>> = BTreeMap::new();
    for change in &history.changes {
        if change.table == "bookings" {
            let taken = events.insert(change.change_seq, Event::Filled(change)).is_some();
            unique(taken, change.change_seq, complaints);
        } else {
            statements.entry(change.statement_seq).or_default().push(change);
        }
    }
    for (statement_seq, mut changes) in statements {
        changes.sort_by_key(|change| change.change_seq);
        let (first, last) = (changes[0], changes[changes.len() - 1].change_seq);
        let as_one = first.change_seq == statement_seq
            && changes.iter().all(|c| (&c.table, c.changed_at) == (&first.table, first.changed_at));
        complaints
            .unless(as_one, About::Sequence, || format!("statement {statement_seq} is not one: {changes:?}"));
        for pair in changes.windows(2) {
            unique(pair[0].change_seq == pair[1].change_seq, pair[0].change_seq, complaints);
        }
        let taken = events.insert(last, Event::Changed(changes)).is_some();
        unique(taken, last, complaints);
    }
    for asked in &history.requests {
        let (Some(seq), Some(at)) = (asked.answer_seq, asked.finished_at) else { continue };
        let taken = events.insert(seq, Event::Answered(asked, at)).is_some();
        unique(taken, seq, complaints);
    }
    events.into_values().collect()
}

fn unique(taken: bool, seq: i64, complaints: &mut Complaints) {
    complaints.unless(!taken, About::Sequence, || format!("{seq} was given to two events"));
}
