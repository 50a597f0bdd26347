//! `record_attendance`: who was there; the latest word counts (RACE-B07).

use seatkeeper_jobs::record_attendance::{Applied, RecordAttendance};
use seatkeeper_jobs::{Applied as AnyApplied, Reason};

use super::{Answer, BookingStatus, DecideError, Request, World};

pub(super) fn decide(
    world: &mut World,
    request: &Request,
    ask: &RecordAttendance,
) -> Result<Answer, DecideError> {
    let Some(session) = world.session(ask.session_id)?.cloned() else {
        return Ok(Answer::refused(Reason::SessionNotFound));
    };
    let live = world.live_booking(ask.user_id, ask.session_id)?;
    let Some(booking) = live.filter(|booking| booking.status == BookingStatus::Confirmed) else {
        return Ok(Answer::refused(Reason::BookingNotFound));
    };
    if request.at < session.starts_at {
        return Ok(Answer::refused(Reason::SessionNotStarted));
    }

    let booking_id = booking.booking_id;
    let replaced = world.record_attendance(booking_id, ask.status, request)?;
    Ok(Answer::Applied(AnyApplied::RecordAttendance(Applied { booking_id, status: ask.status, replaced })))
}
