//! The state that came of it all, against that of the reference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::json;

use super::super::history::History;
use super::super::reference::{LedgerRow, Model};
use super::catalog::image;
use super::{About, Complaints};

pub fn compare(model: &Model, history: &History, complaints: &mut Complaints) {
    let end = &history.end;
    differences(About::Balance, "user", &model.users, &end.users, complaints);
    differences(About::Enrollment, "enrollment", &model.enrollments, &end.enrollments, complaints);
    differences(About::Ledger, "ledger of user", &ledgers(&model.ledger), &ledgers(&end.ledger), complaints);
    differences(About::Booking, "booking", &model.bookings, &end.bookings, complaints);
    differences(About::Attendance, "attendance of booking", &model.attendance, &end.attendance, complaints);

    for row in &end.semesters {
        let (id, count) = (row.semester_id, model.enrolled(row.semester_id));
        complaints.unless(i64::from(row.enrolled_count) == count, About::Counter, || {
            format!("semester {id} counts {}; right is {count}", row.enrolled_count)
        });
        let by = model.cancelled_by.get(&id);
        complaints.unless(
            by.is_none_or(|by| row.catalog["cancelled_by"] == json!(by)),
            About::Catalog,
            || format!("semester {id} was cancelled by {by:?}"),
        );
    }
    let semesters = end.semesters.iter().map(|row| (row.semester_id, image(Some(&row.catalog)).unwrap()));
    differences(About::Catalog, "semester", &model.semesters, &semesters.collect(), complaints);

    for row in &end.sessions {
        let (id, count) = (row.session_id, model.confirmed(row.session_id));
        complaints.unless(i64::from(row.confirmed_count) == count, About::Counter, || {
            format!("session {id} counts {}; right is {count}", row.confirmed_count)
        });
    }
    let sessions = end.sessions.iter().map(|row| (row.session_id, image(Some(&row.catalog)).unwrap()));
    differences(About::Catalog, "session", &model.sessions, &sessions.collect(), complaints);

    complaints.unless(end.marks == 0, About::Waiting, || format!("{} sessions wait to be filled", end.marks));
    for id in model.sessions.keys() {
        let due = model.next_in(*id, end.at);
        complaints.unless(due.is_none(), About::Waiting, || {
            format!("session {id} has a free place that is due to booking {due:?}")
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
