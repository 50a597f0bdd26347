//! Sessions that their owners moved in time: what becomes of their bookings. The database decides it where it happens
//! (`seatkeeper.move_bookings`); whoever executes a history once more needs the same here.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{BookingId, SessionId, UserId};

use super::{Because, BookingStatus, World};
use crate::decide::DecideError;

impl World {
    /// Has the live bookings of sessions follow that are at another time now. Who left the semester after a session had
    /// started kept the booking; when the session has not started any more, it goes. Waits that now overlap a CONFIRMED
    /// booking of their user are superseded.
    ///
    /// # Errors
    /// When a session was not put in.
    pub fn move_bookings(
        &mut self,
        moved: &BTreeSet<SessionId>,
        at: DateTime<Utc>,
    ) -> Result<(), DecideError> {
        let mut left_over: Vec<BookingId> = Vec::new();
        let mut along = Vec::new();
        let mut concerned: BTreeSet<UserId> = BTreeSet::new();
        for booking in self.places.live_in(moved) {
            let session = self.session(booking.session_id)?;
            let session = session.ok_or(DecideError::NotPrefetched("a session"))?;
            let (user, semester) = (booking.user_id, session.semester_id);
            let is_enrolled = self.active.get(&(user, semester)).is_some_and(Option::is_some);
            if at < session.starts_at && !is_enrolled {
                left_over.push(booking.booking_id);
            } else {
                along.push((booking.booking_id, session.starts_at, session.ends_at));
                concerned.insert(user);
            }
        }
        left_over.sort_unstable();
        for booking in left_over {
            self.places.cancel(booking, at, Because::Unenrolled)?;
        }
        for (booking, starts_at, ends_at) in along {
            self.places.put_times(booking, starts_at, ends_at)?;
        }
        let mut superseded = Vec::new();
        for user in concerned {
            let (waits, places): (Vec<_>, Vec<_>) =
                self.places.live_of(user).partition(|booking| booking.status == BookingStatus::Waitlisted);
            superseded.extend(waits.into_iter().filter_map(|wait| {
                let is_moved = |session| moved.contains(&session);
                let mut new = places.iter().filter(|place| {
                    place.overlaps(wait) && (is_moved(place.session_id) || is_moved(wait.session_id))
                });
                new.next().map(|_| wait.booking_id)
            }));
        }
        for wait in superseded {
            self.places.cancel(wait, at, Because::Superseded)?;
        }
        Ok(())
    }
}
