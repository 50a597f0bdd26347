//! Filling a session: the one way in which a free place finds its taker (RACE-B02, B04, B05, RACE-08, RACE-09).
//!
//! After a booking, a cancellation, an unenrollment, and for a session that its owners marked by a change. While there is a
//! free place in a session that takes place and has not started, the waiter with the smallest ticket who can take it
//! gets it. Who cannot (inactive, or not enrolled) is passed over and stays.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{BookingId, SessionId};

use super::{DecideError, Promotion, World};

/// Fills a session; gives the bookings that got a place, in that order. `own` is the booking that has joined the queue in
/// this very decision, if it is one: it did not wait.
pub(super) fn fill(
    world: &mut World,
    session_id: SessionId,
    at: DateTime<Utc>,
    own: Option<BookingId>,
) -> Result<Filled, DecideError> {
    let mut filled = Filled::default();
    while let Some(next) = next_able(world, session_id, at)? {
        let is_own = own == Some(next);
        let superseded = world.confirm(next, at, !is_own)?;
        if is_own {
            filled.superseded_by_own = superseded;
        }
        filled.promoted.push(next);
    }
    Ok(filled)
}

/// What came of a fill.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// The bookings that got a place, in order.
    pub(super) promoted: Vec<BookingId>,
    /// The waits that the requester's own booking took over, ascending.
    pub(super) superseded_by_own: Vec<BookingId>,
}

/// Fills a session that was marked. Gives who got a place, in order. With `most`, stops there.
///
/// # Errors
/// When it cannot be done; the world is then of no further use.
pub fn fill_marked(
    world: &mut World,
    session_id: SessionId,
    at: DateTime<Utc>,
    most: usize,
) -> Result<Vec<Promotion>, DecideError> {
    let mut promotions = Vec::new();
    while promotions.len() < most
        && let Some(booking_id) = next_able(world, session_id, at)?
    {
        world.confirm(booking_id, at, true)?;
        let user_id = world.booking(booking_id)?.user_id;
        promotions.push(Promotion { booking_id, user_id, session_id, at });
    }
    Ok(promotions)
}

/// Whose turn it is, if there is a place to give.
fn next_able(
    world: &World,
    session_id: SessionId,
    at: DateTime<Utc>,
) -> Result<Option<BookingId>, DecideError> {
    let Some(session) = world.session(session_id)? else { return Ok(None) };
    if !session.is_scheduled || at >= session.starts_at || session.confirmed_count >= session.capacity {
        return Ok(None);
    }
    let semester = session.semester_id;
    for waiting in world.waiting(session_id)? {
        let booking = world.booking(waiting?)?;
        let is_active = world.user(booking.user_id)?.is_some_and(|user| user.is_active);
        if is_active
            && world.active_enrollment(booking.user_id, semester)?.is_some()
            // Such a wait was given up when the place was had (INV-B08); should there be one all the same, it holds up nobody.
            && !world.is_taken(booking.user_id, session_id)?
        {
            return Ok(Some(booking.booking_id));
        }
    }
    Ok(None)
}
