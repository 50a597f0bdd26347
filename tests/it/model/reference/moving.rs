//! What follows from a change of sessions by their owners: one statement may change several at once.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::{Model, Session};

impl Model {
    /// Makes the sessions of one statement what their owner made them. Gives the users who would be in two places at
    /// once: to a database that holds its rules there are none.
    pub fn change_sessions(&mut self, after: &BTreeMap<i64, Session>, now: DateTime<Utc>) -> BTreeSet<i64> {
        let mut moved = BTreeSet::new();
        for (id, session) in after {
            let before = self.sessions.insert(*id, session.clone());
            let times = |session: &Session| (session.starts_at, session.ends_at);
            if before.is_some_and(|before| times(&before) != times(session)) {
                moved.insert(*id);
            }
        }

        // Who left the semester after the start kept the booking. When it has not started any more, it goes.
        let left_over: Vec<i64> = self
            .live()
            .filter(|(_, booking)| {
                let session = &self.sessions[&booking.session_id];
                moved.contains(&booking.session_id)
                    && !session.has_started(now)
                    && !self.active.contains_key(&(booking.user_id, session.semester_id))
            })
            .map(|(id, _)| id)
            .collect();
        for booking_id in left_over {
            self.cancel(booking_id, "unenrolled", now);
        }

        let taken_along: Vec<i64> =
            self.live().filter(|(_, b)| moved.contains(&b.session_id)).map(|(id, _)| id).collect();
        for booking_id in taken_along {
            let booking = self.bookings.get_mut(&booking_id).unwrap();
            let session = &self.sessions[&booking.session_id];
            (booking.starts_at, booking.ends_at) = (session.starts_at, session.ends_at);
        }

        let mut in_two_places = BTreeSet::new();
        let mut superseded = BTreeSet::new();
        for (one_id, one) in self.live().filter(|(_, b)| b.is_confirmed()) {
            for (other_id, other) in self.live().filter(|(_, b)| b.user_id == one.user_id) {
                let is_new = moved.contains(&one.session_id) || moved.contains(&other.session_id);
                if one_id == other_id || !is_new || !one.overlaps(other) {
                    continue;
                }
                if other.is_waiting() {
                    superseded.insert(other_id);
                } else {
                    in_two_places.insert(one.user_id);
                }
            }
        }
        for booking_id in superseded {
            self.cancel(booking_id, "superseded", now);
        }
        in_two_places
    }
}
