//! The same for places in sessions: answers, bookings, fills, attendance.

use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::super::check::About;
use super::super::history::{Asked, Change, History};
use super::super::load::Load;
use super::super::reference::Booking;
use super::{abouts, real};
use crate::support::TestDb;

/// The last request of which this is so.
fn last(history: &History, what: &str, is: impl Fn(&Asked) -> bool) -> usize {
    history.requests.iter().rposition(is).unwrap_or_else(|| panic!("there is no {what}"))
}

fn result<'a>(history: &'a mut History, at: usize, field: &str) -> &'a mut Value {
    &mut history.requests[at].result.as_mut().unwrap()[field]
}

/// A booking of which this is so.
fn booking(history: &mut History, is: impl Fn(&Booking) -> bool) -> &mut Booking {
    history.end.bookings.values_mut().find(|booking| is(booking)).expect("there is such a booking")
}

struct Tampering<'a> {
    load: &'a Load,
    history: &'a History,
}

impl Tampering<'_> {
    fn has(&self, about: About, tamper: impl Fn(&mut History)) {
        let found = abouts(self.history, tamper);
        assert!(found.contains(&about), "seed {}: {about:?} was due, found {found:?}", self.load.seed);
    }

    fn only(&self, about: About, tamper: impl Fn(&mut History)) {
        assert_eq!(abouts(self.history, tamper), [about], "seed {}", self.load.seed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checker_complains_of_places_that_are_not_as_they_should_be() {
    let (load, _db, history) = with_somebody_waiting().await;
    let history = &history;
    let tampering = Tampering { load: &load, history };
    answers(&tampering, history);
    bookings(&tampering);
    fills(&tampering, history);
    owners(&tampering, history);
}

/// A history at whose end somebody waits who could take a place. Most are; who is left waiting is a matter of chance.
async fn with_somebody_waiting() -> (Arc<Load>, TestDb, History) {
    for _ in 0..5 {
        let (load, db, history) = real().await;
        let takes = |session| !abouts(&history, |h| widen(h, session)).is_empty();
        if (0..history.end.sessions.len()).any(takes) {
            return (load, db, history);
        }
        println!("seed {}: nobody waits at the end; another history", load.seed);
    }
    panic!("five histories, and nobody waits at the end of any");
}

fn answers(tampering: &Tampering<'_>, history: &History) {
    let with = |kind: &'static str, field: &'static str, value: Value| {
        last(history, &format!("{kind} with {field} {value}"), |asked| {
            asked.kind == kind && asked.result.as_ref().is_some_and(|result| result[field] == value)
        })
    };
    let confirmed = with("book", "status", json!("CONFIRMED"));
    let waiting = with("book", "status", json!("WAITLISTED"));
    tampering.only(About::Answer, |h| {
        *result(h, confirmed, "status") = json!("WAITLISTED");
        *result(h, confirmed, "waitlist_position") = json!(1);
    });
    tampering.only(About::Answer, |h| *result(h, confirmed, "waitlist_position") = json!(1));
    tampering.only(About::Answer, |h| *result(h, confirmed, "superseded_bookings") = json!([1_000_000]));
    for position in [json!(null), json!(0), json!("1")] {
        tampering.only(About::Answer, |h| *result(h, waiting, "waitlist_position") = position.clone());
    }
    // A hint of the moment
    assert_eq!(abouts(history, |h| *result(h, waiting, "waitlist_position") = json!(12)), []);

    for kind in ["cancel_booking", "unenroll"] {
        let promoting = last(history, kind, |asked| {
            asked.kind == kind && !asked.bookings("promoted_bookings").is_empty()
        });
        tampering.only(About::Answer, |h| {
            result(h, promoting, "promoted_bookings").as_array_mut().unwrap().pop();
        });
        tampering.only(About::Answer, |h| {
            let promoted = result(h, promoting, "promoted_bookings").as_array_mut().unwrap();
            promoted[0] = json!(promoted[0].as_i64().unwrap() + 1);
        });
    }
    let leaving = last(history, "unenroll with bookings", |asked| {
        asked.kind == "unenroll" && !asked.bookings("cancelled_bookings").is_empty()
    });
    tampering.only(About::Answer, |h| *result(h, leaving, "cancelled_bookings") = json!([]));
    let again = last(history, "attendance replaced", |asked| {
        asked.kind == "record_attendance" && asked.result.as_ref().is_some_and(|r| r["replaced"].is_string())
    });
    tampering.only(About::Answer, |h| *result(h, again, "replaced") = json!(null));
    let called_off =
        last(history, "cancelled semester", |asked| asked.kind == "cancel_semester" && asked.was_applied());
    for field in ["withdrawn", "refunded", "cancelled_bookings"] {
        tampering.only(About::Answer, |h| {
            let count = result(h, called_off, field);
            *count = json!(count.as_i64().unwrap() + 1);
        });
    }
    for (kind, reason, other) in [
        ("book", "booking_closed", "session_cancelled"),
        ("book", "not_enrolled", "already_booked"),
        ("book", "session_not_found", "user_not_found"),
        ("cancel_booking", "already_cancelled", "booking_not_found"),
        ("cancel_booking", "booking_not_found", "already_cancelled"),
        ("record_attendance", "booking_not_found", "session_not_started"),
    ] {
        let refused = last(history, reason, |asked| asked.kind == kind && asked.ending() == reason);
        tampering.only(About::Answer, |h| h.requests[refused].reason = Some(other.into()));
    }
}

fn bookings(tampering: &Tampering<'_>) {
    let microsecond = TimeDelta::microseconds(1);
    tampering.only(About::Booking, |h| booking(h, Booking::is_waiting).status = "CONFIRMED".into());
    tampering.only(About::Booking, |h| booking(h, Booking::is_confirmed).status = "WAITLISTED".into());
    tampering.only(About::Booking, |h| {
        let cancelled = booking(h, |b| b.cancelled_because.as_deref() == Some("superseded"));
        cancelled.cancelled_because = Some("requested".into());
    });
    tampering.only(About::Booking, |h| {
        let superseded = booking(h, |b| b.cancelled_because.as_deref() == Some("superseded"));
        superseded.status = "WAITLISTED".into();
        (superseded.cancelled_at, superseded.cancelled_because) = (None, None);
    });
    tampering.only(About::Booking, |h| booking(h, |b| b.promoted_at.is_some()).promoted_at = None);
    tampering.only(About::Booking, |h| {
        let at_once = booking(h, |b| b.is_confirmed() && b.promoted_at.is_none());
        at_once.promoted_at = Some(at_once.booked_at);
    });
    tampering.only(About::Booking, |h| booking(h, |_| true).booked_at += microsecond);
    tampering.only(About::Booking, |h| booking(h, Booking::is_waiting).starts_at += microsecond);
    tampering.only(About::Booking, |h| booking(h, |b| b.cancelled_at.is_some()).ends_at += microsecond);
    tampering.only(About::Booking, |h| booking(h, |_| true).request_id = None);
    tampering.has(About::Booking, |h| {
        h.end.bookings.pop_last();
    });
    tampering.has(About::Booking, |h| {
        let (last, row) = h.end.bookings.last_key_value().map(|(id, row)| (*id, row.clone())).unwrap();
        h.end.bookings.insert(last + 1, row);
    });
    // The first in a queue gets the last ticket.
    tampering.has(About::Ticket, |h| {
        let tickets = |h: &History, session: i64| {
            let of = h.end.bookings.values().filter(|b| b.session_id == session);
            of.map(|b| b.waitlist_ticket).collect::<Vec<_>>()
        };
        let session = h.end.sessions.iter().map(|row| row.session_id).max_by_key(|id| tickets(h, *id).len());
        let tickets = tickets(h, session.unwrap());
        let (first, latest) = (tickets.iter().min().unwrap(), tickets.iter().max().unwrap());
        booking(h, |b| b.waitlist_ticket == *first).waitlist_ticket = latest + 1;
    });

    tampering.only(About::Attendance, |h| {
        let seen = h.end.attendance.first_entry().unwrap().into_mut();
        seen.status = if seen.status == "late" { "absent" } else { "late" }.into();
    });
    tampering
        .only(About::Attendance, |h| h.end.attendance.first_entry().unwrap().get_mut().request_id = None);
    tampering.only(About::Attendance, |h| {
        h.end.attendance.pop_first();
    });
    tampering.only(About::Counter, |h| h.end.sessions[0].confirmed_count += 1);
}

fn fills(tampering: &Tampering<'_>, history: &History) {
    let at = history.changes.iter().rposition(|change| change.table == "bookings").expect("there is a fill");
    tampering.only(About::Fill, |h| h.changes[at].after.as_mut().unwrap()["status"] = json!("WAITLISTED"));
    tampering.only(About::Fill, |h| h.changes[at].before = None);
    // To another booking of the same session
    tampering.has(About::Fill, |h| {
        let filled = h.changes[at].after.as_ref().unwrap()["session_id"].as_i64();
        let key = h.changes[at].key;
        let mut bookings = h.end.bookings.iter();
        let other = bookings.find(|(id, b)| Some(b.session_id) == filled && **id != key).unwrap();
        h.changes[at].key = *other.0;
    });
    tampering.has(About::Fill, |h| h.changes[at].key = 1_000_000);
    tampering.has(About::Fill, |h| {
        let mut twice = h.changes[at].clone();
        twice.change_seq = latest(h) + 1;
        h.changes.push(twice);
    });
    // Of a single one nobody may know, where a book of the same batch came next and would have filled the place as well.
    let fills = (0..history.changes.len()).filter(|at| history.changes[*at].table == "bookings");
    let missed = fills.map(|at| abouts(history, |h| drop(h.changes.remove(at))));
    assert!(missed.into_iter().any(|found| found.contains(&About::Booking)), "seed {}", tampering.load.seed);
    tampering.has(About::Clock, |h| h.changes[at].changed_at -= TimeDelta::days(1));
}

fn owners(tampering: &Tampering<'_>, history: &History) {
    let lone = |change: &Change| change.table == "sessions" && change.before.is_some();
    let at = history.changes.iter().rposition(lone).expect("a session was changed");
    tampering.has(About::Catalog, |h| {
        h.changes.remove(at);
    });
    tampering.has(About::Sequence, |h| h.changes[at].statement_seq -= 1);
    tampering.only(About::Catalog, |h| h.end.sessions[0].catalog["capacity"] = json!(123_456));
    tampering.has(About::Catalog, |h| h.end.sessions[0].catalog["starts_at"] = json!("2001-01-01T00:00:00Z"));

    // A place that nobody filled
    tampering.only(About::Waiting, |h| h.end.marks = 1);
    // Not in every session somebody waits who could take it, but in one at least.
    for session in 0..history.end.sessions.len() {
        let found = abouts(history, |h| widen(h, session));
        assert!(
            found.iter().all(|about| *about == About::Waiting),
            "seed {}: {found:?}",
            tampering.load.seed
        );
    }
}

/// Its owner adds a place at the very end, and no worker looks at it.
fn widen(history: &mut History, session: usize) {
    let row = &mut history.end.sessions[session];
    let before = row.catalog.clone();
    row.catalog["capacity"] = json!(before["capacity"].as_i64().unwrap() + 1);
    let (key, after) = (row.session_id, row.catalog.clone());
    let change_seq = latest(history) + 1;
    history.changes.push(Change {
        change_seq,
        statement_seq: change_seq,
        changed_at: history.end.at,
        table: "sessions".into(),
        key,
        before: Some(before),
        after: Some(after),
    });
}

/// The last number that was drawn.
fn latest(history: &History) -> i64 {
    let answers = history.requests.iter().filter_map(|asked| asked.answer_seq);
    answers.chain(history.changes.iter().map(|change| change.change_seq)).max().unwrap()
}
