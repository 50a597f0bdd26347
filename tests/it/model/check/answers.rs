//! Every answer, against that of the reference.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Job, Kind};
use serde_json::Value;

use super::super::history::{Asked, History};
use super::super::reference::{Answer, Model, Question};
use super::{About, Complaints};

pub fn compare(
    model: &mut Model,
    history: &History,
    asked: &Asked,
    at: DateTime<Utc>,
    complaints: &mut Complaints,
) {
    let id = asked.request_id;
    let kind: Kind = asked.kind.parse().unwrap();
    let job = Job::read(kind, &asked.payload).unwrap();
    let stored = asked.result.as_ref();
    let named = |field: &str| stored.and_then(|result| result[field].as_i64());
    let enrollment = named("enrollment_id").filter(|name| !model.enrollments.contains_key(name));
    let booking = named("booking_id").filter(|name| !model.bookings.contains_key(name));
    let booking = booking.filter(|_| kind == Kind::Book);
    let question = Question {
        request_id: id,
        job: &job,
        expires_at: asked.expires_at,
        now: at,
        new_enrollment_id: enrollment.filter(|_| kind == Kind::Enroll),
        new_booking: booking.map(|name| (name, ticket(model, history, name, complaints))),
    };
    let answer = model.answer(&question);
    let same = match &answer {
        Answer::Applied(result) => asked.was_applied() && asked.reason.is_none() && says(stored, result),
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

/// The ticket that was drawn for a booking: above all that the session's bookings have so far.
fn ticket(model: &Model, history: &History, booking_id: i64, complaints: &mut Complaints) -> i64 {
    let Some(stored) = history.end.bookings.get(&booking_id) else { return -1 };
    let before = model.bookings.values().filter(|before| before.session_id == stored.session_id);
    let latest = before.map(|before| before.waitlist_ticket).max();
    complaints.unless(latest.is_none_or(|latest| latest < stored.waitlist_ticket), About::Ticket, || {
        format!("booking {booking_id} has ticket {}, after {latest:?}", stored.waitlist_ticket)
    });
    stored.waitlist_ticket
}

/// Whether a result says what is right. The position in a waitlist is a hint of the moment: those who wait have one.
fn says(stored: Option<&Value>, right: &Value) -> bool {
    let Some(mut stored) = stored.cloned() else { return false };
    if let Some(position) = stored.get_mut("waitlist_position") {
        let waits = right["status"] == "WAITLISTED";
        if waits != position.as_i64().is_some_and(|position| position >= 1) {
            return false;
        }
        if waits {
            *position = Value::Null;
        }
    }
    stored == *right
}

/// A refusal may explain itself or not; what it says must be so.
fn explains(stored: Option<&Value>, explanation: &Value) -> bool {
    let Some(stored) = stored else { return true };
    stored.as_object().is_some_and(|said| said.iter().all(|(key, value)| explanation.get(key) == Some(value)))
}
