//! The numbers that the database gave to what was new: nobody can work them out again.

use std::collections::HashMap;

use seatkeeper_jobs::{BookingId, EnrollmentId, SessionId};
use serde_json::json;
use uuid::Uuid;

use super::findings::{About, Finding};
use super::history::Asked;
use crate::decide::World;

/// Numbers by the request that they were given for: as the rows have them, or else as the answer has them. What neither has
/// gets one that is made up. Whether one is needed is for the rules to say.
#[derive(Debug)]
pub(super) struct Numbers {
    enrollments: HashMap<Uuid, EnrollmentId>,
    /// Ascending.
    enrollments_with_row: Vec<i64>,
    bookings: HashMap<Uuid, (BookingId, i64)>,
    /// Ascending.
    bookings_with_row: Vec<i64>,
    /// The latest ticket of each session.
    tickets: HashMap<SessionId, i64>,
    made_up: i64,
}

impl Numbers {
    pub(super) fn of(enrollments: Vec<(i64, Option<Uuid>)>, bookings: Vec<(i64, i64, Option<Uuid>)>) -> Self {
        let enrolled = enrollments.iter().filter_map(|&(id, request)| Some((request?, id.try_into().ok()?)));
        let booked = bookings
            .iter()
            .filter_map(|&(id, ticket, request)| Some((request?, (id.try_into().ok()?, ticket))));
        Self {
            enrollments: enrolled.collect(),
            bookings: booked.collect(),
            enrollments_with_row: enrollments.into_iter().map(|(id, _)| id).collect(),
            bookings_with_row: bookings.into_iter().map(|(id, ..)| id).collect(),
            tickets: HashMap::new(),
            made_up: i64::MAX,
        }
    }

    /// The number for an enrollment that may come about.
    pub(super) fn put_enrollment(&mut self, world: &mut World, asked: &Asked) {
        let known = self.enrollments.remove(&asked.request_id);
        let said = || {
            said(asked, "enrollment_id")
                .filter(|id: &EnrollmentId| self.enrollments_with_row.binary_search(&id.get()).is_err())
        };
        let number = known.or_else(said).or_else(|| made_up(&mut self.made_up));
        world.put_enrollment_ids(number);
    }

    /// The number and the ticket for a booking that may come about. A ticket that no row has lies between those of its
    /// neighbours.
    pub(super) fn put_booking(
        &mut self,
        world: &mut World,
        asked: &Asked,
        session: SessionId,
    ) -> Option<Fresh> {
        let known = self.bookings.remove(&asked.request_id);
        let (booking, ticket) = known.or_else(|| {
            let is_free = |id: &BookingId| {
                self.bookings_with_row.binary_search(&id.get()).is_err() && world.booking(*id).is_err()
            };
            let said = said(asked, "booking_id").filter(is_free);
            let ticket = self.tickets.get(&session).map_or(1, |latest| latest + 1);
            Some((said.or_else(|| made_up(&mut self.made_up))?, ticket))
        })?;
        world.put_fresh_bookings([(booking, ticket)]);
        Some(Fresh { booking, ticket, session })
    }

    /// Remembers the ticket of a booking that did come about. Tickets only grow: nobody gets in front of those who are there.
    pub(super) fn was_booked(&mut self, world: &World, fresh: &Fresh) -> Option<Finding> {
        let &Fresh { booking, ticket, session } = fresh;
        world.booking(booking).ok()?;
        let latest = self.tickets.insert(session, ticket)?;
        (ticket <= latest).then(|| Finding {
            about: About::Booking { booking_id: booking.get() },
            came_of: None,
            asked: None,
            stored: json!({ "waitlist_ticket": ticket }),
            right: json!({ "waitlist_ticket": format!("above {latest}") }),
        })
    }
}

/// The number and the ticket that a booking would have.
pub(super) struct Fresh {
    booking: BookingId,
    ticket: i64,
    session: SessionId,
}

/// The number that the answer names.
fn said<T: TryFrom<i64>>(asked: &Asked, field: &str) -> Option<T> {
    asked.result.as_ref()?[field].as_i64()?.try_into().ok()
}

fn made_up<T: TryFrom<i64>>(latest: &mut i64) -> Option<T> {
    *latest -= 1;
    T::try_from(*latest).ok()
}
