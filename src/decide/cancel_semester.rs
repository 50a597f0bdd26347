//! `cancel_semester`: everybody leaves, with everything that they paid (RACE-04, RACE-09).

use seatkeeper_jobs::cancel_semester::{Applied, CancelSemester};
use seatkeeper_jobs::{Applied as AnyApplied, Reason};

use super::{Answer, Because, DecideError, Request, SemesterStatus, TransactionType, World};

pub(super) fn decide(
    world: &mut World,
    request: &Request,
    ask: &CancelSemester,
) -> Result<Answer, DecideError> {
    let Some(semester) = world.semester(ask.semester_id)?.cloned() else {
        return Ok(Answer::refused(Reason::SemesterNotFound));
    };
    if semester.status == SemesterStatus::Cancelled {
        return Ok(Answer::refused(Reason::AlreadyCancelled));
    }

    let bookings = world.all_not_started_bookings(ask.semester_id, request.at)?;
    world.cancel_semester(ask.semester_id, request)?;
    for booking in &bookings {
        world.cancel_booking(*booking, request.at, Because::SemesterCancelled)?;
    }
    let enrolled = world.all_enrolled_in(ask.semester_id);
    let mut refunded = 0_i64;
    for enrollment in &enrolled {
        let (user, price) = (enrollment.user_id, enrollment.price_paid);
        let id = world.withdraw(user, ask.semester_id, request)?;
        world.refund(user, id, price, TransactionType::TournamentCancelRefund, request)?;
        // A figure to be told, of many users: beyond the range it is the largest, and everybody has their own back all the same.
        refunded = refunded.saturating_add(price);
    }
    Ok(Answer::Applied(AnyApplied::CancelSemester(Applied {
        withdrawn: count(enrolled.len()),
        refunded,
        cancelled_bookings: count(bookings.len()),
    })))
}

/// Rows in memory are fewer than 2⁶³.
fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
