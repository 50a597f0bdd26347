//! `enroll`: a place in a semester, paid in credits (RACE-01, RACE-02, RACE-03).

use seatkeeper_jobs::enroll::{Applied, Enroll};
use seatkeeper_jobs::{Applied as AnyApplied, Reason};
use serde_json::json;

use super::{Answer, DecideError, Request, World};

pub(super) fn decide(world: &mut World, request: &Request, ask: &Enroll) -> Result<Answer, DecideError> {
    let Some(semester) = world.semester(ask.semester_id)?.cloned() else {
        return Ok(Answer::refused(Reason::SemesterNotFound));
    };
    let Some(user) = world.user(ask.user_id)?.cloned() else {
        return Ok(Answer::refused(Reason::UserNotFound));
    };
    if !user.is_active {
        return Ok(Answer::refused(Reason::UserInactive));
    }
    if !semester.status.is_open() {
        return Ok(Answer::refused(Reason::SemesterNotOpen));
    }
    if semester.enrollment_closes_at.is_some_and(|deadline| request.at >= deadline) {
        return Ok(Answer::refused(Reason::EnrollmentClosed));
    }
    if world.active_enrollment(ask.user_id, ask.semester_id)?.is_some() {
        return Ok(Answer::refused(Reason::AlreadyEnrolled));
    }
    if semester.max_players.is_some_and(|places| semester.enrolled_count >= places) {
        return Ok(Answer::refused(Reason::SemesterFull));
    }
    let cost = semester.enrollment_cost;
    if user.balance < cost {
        let why = json!({ "balance": user.balance, "cost": cost });
        return Ok(Answer::Refused(Reason::InsufficientCredits, Some(why)));
    }

    let enrollment_id = world.enroll(ask.user_id, ask.semester_id, cost, request)?;
    let balance = world.charge(ask.user_id, enrollment_id, cost, request)?;
    Ok(Answer::Applied(AnyApplied::Enroll(Applied { enrollment_id, charged: cost, balance })))
}
