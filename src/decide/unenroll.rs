//! `unenroll`: gives a place in a semester back, for a share of what was really paid, and with it the places in the
//! semester's sessions (RACE-04, RACE-04b, RACE-09).

use seatkeeper_jobs::unenroll::{Applied, Unenroll};
use seatkeeper_jobs::{Applied as AnyApplied, Reason};

use super::fill::fill;
use super::{Answer, Because, DecideError, Request, TransactionType, World};

pub(super) fn decide(world: &mut World, request: &Request, ask: &Unenroll) -> Result<Answer, DecideError> {
    let Some(semester) = world.semester(ask.semester_id)?.cloned() else {
        return Ok(Answer::refused(Reason::SemesterNotFound));
    };
    if world.user(ask.user_id)?.is_none() {
        return Ok(Answer::refused(Reason::UserNotFound));
    }
    if !semester.status.is_open() {
        return Ok(Answer::refused(Reason::SemesterNotOpen));
    }
    if semester.unenroll_closes_at.is_some_and(|deadline| request.at >= deadline) {
        return Ok(Answer::refused(Reason::UnenrollClosed));
    }
    let Some(enrollment) = world.active_enrollment(ask.user_id, ask.semester_id)?.cloned() else {
        return Ok(Answer::refused(Reason::NotEnrolled));
    };
    // A late request about an enrollment that was withdrawn since must not end the one that followed it.
    if ask.enrollment_id.is_some_and(|named| named != enrollment.enrollment_id) {
        return Ok(Answer::refused(Reason::NotEnrolled));
    }

    let cancelled_bookings = world.not_started_bookings(ask.user_id, ask.semester_id, request.at)?;
    let refunded = share(enrollment.price_paid, semester.refund_percent);
    let enrollment_id = world.withdraw(ask.user_id, ask.semester_id, request)?;
    let balance = world.refund(
        ask.user_id,
        enrollment_id,
        refunded,
        TransactionType::TournamentUnenrollRefund,
        request,
    )?;

    // All of them first: a place that one session's fill gives must not be weighed against a wait that is just going.
    let mut sessions = Vec::with_capacity(cancelled_bookings.len());
    for booking in &cancelled_bookings {
        sessions.push(world.booking(*booking)?.session_id);
        world.cancel_booking(*booking, request.at, Because::Unenrolled)?;
    }
    let mut promoted_bookings = Vec::new();
    for session in sessions {
        promoted_bookings.extend(fill(world, session, request.at, None)?.promoted);
    }
    Ok(Answer::Applied(AnyApplied::Unenroll(Applied {
        enrollment_id,
        refunded,
        balance,
        cancelled_bookings,
        promoted_bookings,
    })))
}

/// `percent` of `price`, floored. Both are checked by the database: not negative, at most 100 percent.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a share of at most 100 percent fits where the price did"
)]
fn share(price: i64, percent: i32) -> i64 {
    (i128::from(price) * i128::from(percent) / 100) as i64
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn odd_prices_floor_the_refund_and_the_largest_price_does_not_overflow() {
        assert_eq!(share(7, 50), 3);
        assert_eq!(share(1, 99), 0);
        assert_eq!(share(0, 100), 0);
        assert_eq!(share(99, 0), 0);
        assert_eq!(share(i64::MAX, 100), i64::MAX);
        assert_eq!(share(i64::MAX, 99), 9_131_138_316_486_228_048);
    }
}
