//! The numbers that the database gave to what was new: nobody can work them out again.

use std::collections::{HashMap, HashSet};

use seatkeeper_jobs::{BookingId, EnrollmentId, SessionId};
use serde_json::json;
use uuid::Uuid;

use super::findings::{About, Finding};
use super::history::{Asked, History};
use crate::decide::World;

/// Numbers by the request that they were given for: as the rows have them, or else as the answer has them. What neither has
/// gets one that is made up. Whether one is needed is for the rules to say.
#[derive(Debug)]
pub(super) struct Numbers {
    enrollments: HashMap<Uuid, EnrollmentId>,
    enrollments_with_row: HashSet<EnrollmentId>,
    bookings: HashMap<Uuid, (BookingId, i64)>,
    bookings_with_row: HashSet<BookingId>,
    /// The latest ticket of each session.
    tickets: HashMap<SessionId, i64>,
    made_up: i64,
}

impl Numbers {
    pub(super) fn of(history: &History) -> Self {
        let enrollments = history.enrollments.iter();
        let bookings = history.bookings.iter();
        Self {
            enrollments: enrollments.filter_map(|(id, row)| Some((row.request_id?, *id))).collect(),
            enrollments_with_row: history.enrollments.keys().copied().collect(),
            bookings: bookings
                .filter_map(|(id, row)| Some((row.request_id?, (*id, row.waitlist_ticket))))
                .collect(),
            bookings_with_row: history.bookings.keys().copied().collect(),
            tickets: HashMap::new(),
            made_up: i64::MAX,
        }
    }

    /// The number for an enrollment that may come about.
    pub(super) fn put_enrollment(&mut self, world: &mut World, asked: &Asked) {
        let known = self.enrollments.get(&asked.request_id).copied();
        let said = || said(asked, "enrollment_id").filter(|id| !self.enrollments_with_row.contains(id));
        let number = known.or_else(said).or_else(|| made_up(&mut self.made_up));
        world.put_enrollment_ids(number);
    }

    /// The number and the ticket for a booking that may come about. A ticket that no row has lies between those of its
    /// neighbours.
    pub(super) fn put_booking(&mut self, world: &mut World, asked: &Asked, session: SessionId) {
        let known = self.bookings.get(&asked.request_id).copied();
        let number = known.or_else(|| {
            let is_free =
                |id: &BookingId| !self.bookings_with_row.contains(id) && world.booking(*id).is_err();
            let said = said(asked, "booking_id").filter(is_free);
            let ticket = self.tickets.get(&session).map_or(1, |latest| latest + 1);
            Some((said.or_else(|| made_up(&mut self.made_up))?, ticket))
        });
        if let Some((booking, ticket)) = number {
            self.bookings.insert(asked.request_id, (booking, ticket));
            world.put_attendance(booking, None);
            world.put_fresh_bookings([(booking, ticket)]);
        }
    }

    /// Remembers the ticket of a booking that did come about. Tickets only grow: nobody gets in front of those who are there.
    pub(super) fn was_booked(&mut self, world: &World, request: Uuid, session: SessionId) -> Option<Finding> {
        let &(booking, ticket) = self.bookings.get(&request)?;
        world.booking(booking).ok()?;
        let latest = self.tickets.insert(session, ticket)?;
        (ticket <= latest).then(|| Finding {
            about: About::Booking { booking_id: booking.get() },
            stored: json!({ "waitlist_ticket": ticket }),
            right: json!({ "waitlist_ticket": format!("above {latest}") }),
        })
    }
}

/// The number that the answer names.
fn said<T: TryFrom<i64>>(asked: &Asked, field: &str) -> Option<T> {
    asked.result.as_ref()?[field].as_i64()?.try_into().ok()
}

fn made_up<T: TryFrom<i64>>(latest: &mut i64) -> Option<T> {
    *latest -= 1;
    T::try_from(*latest).ok()
}
