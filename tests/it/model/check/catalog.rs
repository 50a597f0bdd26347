//! What the owners of the catalog did, and the places that were filled because of it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::history::Change;
use super::super::reference::{Model, Session};
use super::{About, Complaints};

/// Takes over the changes of one statement.
pub fn change(model: &mut Model, changes: &[&Change], complaints: &mut Complaints) {
    let mut sessions = BTreeMap::new();
    for change in changes {
        match change.table.as_str() {
            "users" => change_user(model, change, complaints),
            "semesters" => change_semester(model, change, complaints),
            "sessions" => sessions.extend(changed_session(model, change, complaints)),
            other => complaints.add(About::Catalog, format!("nobody changed {other}")),
        }
    }
    let in_two_places = model.change_sessions(&sessions, changes[0].changed_at);
    complaints.unless(in_two_places.is_empty(), About::Catalog, || {
        format!("change {} puts users {in_two_places:?} in two places at once", changes[0].change_seq)
    });
}

fn change_user(model: &mut Model, change: &Change, complaints: &mut Complaints) {
    let key = change.key;
    let is_active = |image: &Option<Value>| image.as_ref()?["is_active"].as_bool();
    let (Some(user), Some(after)) = (model.users.get_mut(&key), is_active(&change.after)) else {
        return complaints.add(About::Catalog, format!("user {key} came or went"));
    };
    complaints.unless(Some(user.is_active) == is_active(&change.before), About::Catalog, || {
        format!("change {} of user {key} began elsewhere", change.change_seq)
    });
    user.is_active = after;
}

fn change_semester(model: &mut Model, change: &Change, complaints: &mut Complaints) {
    let key = change.key;
    let before = model.semesters.get(&key);
    complaints.unless(before == image(change.before.as_ref()).as_ref(), About::Catalog, || {
        format!("change {} of semester {key} began elsewhere", change.change_seq)
    });
    let Some(after) = image::<super::super::reference::Semester>(change.after.as_ref()) else {
        return complaints.add(About::Catalog, format!("semester {key} went"));
    };
    if before.is_some_and(|before| before.status != after.status) {
        model.cancelled_by.remove(&key);
    }
    let enrolled = model.enrolled(key);
    complaints.unless(after.max_players.is_none_or(|places| enrolled <= places), About::Catalog, || {
        format!("change {} leaves semester {key} fewer places than are taken", change.change_seq)
    });
    model.semesters.insert(key, after);
}

fn changed_session(model: &Model, change: &Change, complaints: &mut Complaints) -> Option<(i64, Session)> {
    let key = change.key;
    let before = model.sessions.get(&key);
    complaints.unless(before == image(change.before.as_ref()).as_ref(), About::Catalog, || {
        format!("change {} of session {key} began elsewhere", change.change_seq)
    });
    let Some(after) = image::<Session>(change.after.as_ref()) else {
        complaints.add(About::Catalog, format!("session {key} went"));
        return None;
    };
    complaints.unless(
        before.is_none_or(|before| before.semester_id == after.semester_id),
        About::Catalog,
        || format!("change {} takes session {key} to another semester", change.change_seq),
    );
    complaints.unless(model.confirmed(key) <= after.capacity, About::Catalog, || {
        format!("change {} leaves session {key} fewer places than are taken", change.change_seq)
    });
    Some((key, after))
}

/// A row of the catalog as it was recorded.
pub fn image<T: DeserializeOwned>(image: Option<&Value>) -> Option<T> {
    image.map(|image| serde_json::from_value(image.clone()).unwrap())
}

/// Gives the place that a worker gave without being asked, if it was due to this booking at that instant.
pub fn fill(model: &mut Model, change: &Change, complaints: &mut Complaints) {
    let (seq, key) = (change.change_seq, change.key);
    let Some(booking) = model.bookings.get(&key) else {
        return complaints.add(About::Fill, format!("fill {seq}: there is no booking {key}"));
    };
    let (user_id, session_id) = (booking.user_id, booking.session_id);
    let image = |status: &str| json!({ "booking_id": key, "user_id": user_id, "session_id": session_id, "status": status });
    let recorded = (change.before.as_ref(), change.after.as_ref());
    let right = (image("WAITLISTED"), image("CONFIRMED"));
    complaints.unless(recorded == (Some(&right.0), Some(&right.1)), About::Fill, || {
        format!("fill {seq} is recorded as {recorded:?}; right is {right:?}")
    });
    let due = model.next_in(session_id, change.changed_at);
    complaints.unless(due == Some(key), About::Fill, || {
        format!("fill {seq} of session {session_id} is given to booking {key}; due is {due:?}")
    });
    // Whoever it was given to has it: what follows is judged by what was done, or one mistake would be told many times.
    if model.bookings[&key].is_waiting() {
        model.promote(key, change.changed_at);
    }
}
