//! `cancel_booking`: gives a place in a session, or in its waitlist, back (RACE-B04, RACE-B05, RACE-08).

use chrono::TimeDelta;
use seatkeeper_jobs::cancel_booking::{Applied, CancelBooking, Which};
use seatkeeper_jobs::{Applied as AnyApplied, Reason};

use super::fill::fill;
use super::{Answer, Because, Booking, BookingStatus, DecideError, Request, World};

/// How long before the start a place can be given back, where the session does not say.
const CLOSES_BEFORE_START: TimeDelta = TimeDelta::hours(12);

pub(super) fn decide(
    world: &mut World,
    request: &Request,
    ask: &CancelBooking,
) -> Result<Answer, DecideError> {
    let booking = match find(world, ask)? {
        Ok(booking) => booking.clone(),
        Err(reason) => return Ok(Answer::refused(reason)),
    };
    let session = world.session(booking.session_id)?.ok_or(DecideError::NotPrefetched("a session"))?;
    let closes_at = match booking.status {
        BookingStatus::Cancelled => return Ok(Answer::refused(Reason::AlreadyCancelled)),
        BookingStatus::Confirmed => {
            session.cancellation_closes_at.unwrap_or(session.starts_at - CLOSES_BEFORE_START)
        }
        // A wait holds nothing up: it can be given up until the session starts.
        BookingStatus::Waitlisted => session.starts_at,
    };
    if request.at >= closes_at {
        return Ok(Answer::refused(Reason::CancellationClosed));
    }

    world.cancel_booking(booking.booking_id, request.at, Because::Requested)?;
    let filled = fill(world, booking.session_id, request.at, None)?;
    Ok(Answer::Applied(AnyApplied::CancelBooking(Applied {
        booking_id: booking.booking_id,
        promoted_bookings: filled.promoted,
    })))
}

/// The booking that is meant. Another user's is not found, whether it is there or not.
fn find<'a>(world: &'a World, ask: &CancelBooking) -> Result<Result<&'a Booking, Reason>, DecideError> {
    Ok(match ask.which {
        Which::BookingId(id) => world
            .named_booking(id)?
            .filter(|booking| booking.user_id == ask.user_id)
            .ok_or(Reason::BookingNotFound),
        Which::SessionId(session) => match world.live_booking(ask.user_id, session)? {
            Some(booking) => Ok(booking),
            None if world.has_cancelled(ask.user_id, session)? => Err(Reason::AlreadyCancelled),
            None => Err(Reason::BookingNotFound),
        },
    })
}
