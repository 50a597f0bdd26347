//! `book`: a place in a session, or in its waitlist (RACE-B01, RACE-B02, RACE-B03, RACE-08).

use chrono::TimeDelta;
use seatkeeper_jobs::book::{Applied, Book, BookingStatus as Answered};
use seatkeeper_jobs::{Applied as AnyApplied, Reason};

use super::fill::fill;
use super::{Answer, BookingStatus, DecideError, Request, World};

/// How long before the start booking closes, where the session does not say.
const CLOSES_BEFORE_START: TimeDelta = TimeDelta::hours(24);

pub(super) fn decide(world: &mut World, request: &Request, ask: &Book) -> Result<Answer, DecideError> {
    let Some(session) = world.session(ask.session_id)?.cloned() else {
        return Ok(Answer::refused(Reason::SessionNotFound));
    };
    let Some(user) = world.user(ask.user_id)?.cloned() else {
        return Ok(Answer::refused(Reason::UserNotFound));
    };
    if !user.is_active {
        return Ok(Answer::refused(Reason::UserInactive));
    }
    if !session.is_scheduled {
        return Ok(Answer::refused(Reason::SessionCancelled));
    }
    let closes_at = session.booking_closes_at.unwrap_or(session.starts_at - CLOSES_BEFORE_START);
    if request.at >= closes_at {
        return Ok(Answer::refused(Reason::BookingClosed));
    }
    if world.active_enrollment(ask.user_id, session.semester_id)?.is_none() {
        return Ok(Answer::refused(Reason::NotEnrolled));
    }
    if world.live_booking(ask.user_id, ask.session_id)?.is_some() {
        return Ok(Answer::refused(Reason::AlreadyBooked));
    }
    if world.is_taken(ask.user_id, ask.session_id)? {
        return Ok(Answer::refused(Reason::ScheduleConflict));
    }

    // Newcomers queue, also where there is a place: an able waiter of before comes first.
    let booking_id = world.join_queue(ask.user_id, ask.session_id, request)?;
    let filled = fill(world, ask.session_id, request.at, Some(booking_id))?;
    let has_place = world.booking(booking_id)?.status == BookingStatus::Confirmed;
    Ok(Answer::Applied(AnyApplied::Book(Applied {
        booking_id,
        status: if has_place { Answered::Confirmed } else { Answered::Waitlisted },
        waitlist_position: (!has_place).then(|| world.waiting_count(ask.session_id)),
        superseded_bookings: filled.superseded_by_own,
    })))
}
