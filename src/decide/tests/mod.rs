//! Every reason on both sides of its boundary, in the order of the contract; exact figures; nothing half done.

mod booking;
mod limit;
mod names;

use chrono::{DateTime, TimeDelta, Utc};
use seatkeeper_jobs::enroll::{self, Enroll};
use seatkeeper_jobs::grant_credits::{self, Amount, GrantCredits};
use seatkeeper_jobs::unenroll::{self, Unenroll};
use seatkeeper_jobs::{Applied, EnrollmentId, Job, Reason, SemesterId, UserId};
use uuid::Uuid;

use super::{
    Answer, DecideError, Enrollment, Request, Semester, SemesterStatus, TransactionType, User, World, decide,
};

fn user(id: i64) -> UserId {
    UserId::new(id).unwrap()
}

fn semester(id: i64) -> SemesterId {
    SemesterId::new(id).unwrap()
}

fn enrollment(id: i64) -> EnrollmentId {
    EnrollmentId::new(id).unwrap()
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
}

fn ask(job: impl Into<Job>) -> Request {
    Request { id: Uuid::from_u128(7), job: job.into(), expires_at: None, at: at(0) }
}

fn open_semester() -> Semester {
    Semester {
        status: SemesterStatus::EnrollmentOpen,
        max_players: Some(1),
        enrollment_cost: 10,
        refund_percent: 50,
        enrollment_closes_at: None,
        unenroll_closes_at: None,
        enrolled_count: 0,
    }
}

/// User 1 with this balance, semester 1 as given, and an enrollment of user 1 that cost 7 if wanted.
fn world(balance: i64, semester_row: Semester, enrolled: bool) -> World {
    let mut world = World::default();
    world.put_user(user(1), Some(User { is_active: true, balance }));
    world.put_semester(semester(1), Some(semester_row));
    let active = enrolled.then(|| Enrollment {
        enrollment_id: enrollment(40),
        user_id: user(1),
        semester_id: semester(1),
        price_paid: 7,
        made: None,
        withdrawn_at: None,
    });
    world.put_active_enrollment(user(1), semester(1), active);
    world.put_enrollment_ids([enrollment(50), enrollment(51)]);
    world
}

fn enroll_1() -> Enroll {
    Enroll { user_id: user(1), semester_id: semester(1) }
}

fn unenroll_1() -> Unenroll {
    Unenroll { user_id: user(1), semester_id: semester(1), enrollment_id: None }
}

fn grant_1(amount: i64) -> GrantCredits {
    GrantCredits { user_id: user(1), amount: Amount::new(amount).unwrap(), note: None }
}

/// Decides, and asserts that a refusal has changed nothing.
fn reason(mut world: World, request: &Request) -> Reason {
    let answer = decide(&mut world, request).unwrap();
    let Answer::Refused(reason, _) = answer else { panic!("applied: {answer:?}") };
    let counts = world.enrolled_counts(semester(1));
    assert!(counts.is_none_or(|(before, now)| before == now));
    let changes = world.into_changes();
    assert!(changes.balances.is_empty() && changes.enrolled.is_empty());
    assert!(changes.withdrawn.is_empty() && changes.ledger.is_empty());
    assert!(request.job.kind().refusals().contains(&reason), "a reason that the contract does not give");
    reason
}

#[test]
fn enroll_is_refused_for_the_first_reason_that_holds() {
    // Everything that can be wrong is wrong; each step repairs the first.
    let request = Request { expires_at: Some(at(0)), ..ask(enroll_1()) };
    let mut world_row = Semester {
        status: SemesterStatus::EnrollmentClosed,
        enrollment_closes_at: Some(at(0)),
        enrolled_count: 1,
        ..open_semester()
    };
    let nobody = || {
        let mut world = World::default();
        world.put_semester(semester(1), None);
        world.put_user(user(1), None);
        world.put_active_enrollment(user(1), semester(1), None);
        world
    };
    let inactive = |row: &Semester| {
        let mut world = world(9, row.clone(), true);
        world.put_user(user(1), Some(User { is_active: false, balance: 9 }));
        world
    };
    assert_eq!(reason(nobody(), &request), Reason::RequestExpired);
    let request = ask(enroll_1());
    assert_eq!(reason(nobody(), &request), Reason::SemesterNotFound);
    let mut no_user = nobody();
    no_user.put_semester(semester(1), Some(world_row.clone()));
    assert_eq!(reason(no_user, &request), Reason::UserNotFound);
    assert_eq!(reason(inactive(&world_row), &request), Reason::UserInactive);
    assert_eq!(reason(world(9, world_row.clone(), true), &request), Reason::SemesterNotOpen);
    world_row.status = SemesterStatus::InProgress;
    assert_eq!(reason(world(9, world_row.clone(), true), &request), Reason::EnrollmentClosed);
    world_row.enrollment_closes_at = Some(at(1));
    assert_eq!(reason(world(9, world_row.clone(), true), &request), Reason::AlreadyEnrolled);
    assert_eq!(reason(world(9, world_row.clone(), false), &request), Reason::SemesterFull);
    world_row.enrolled_count = 0;
    assert_eq!(reason(world(9, world_row.clone(), false), &request), Reason::InsufficientCredits);
    let answer = decide(&mut world(10, world_row, false), &request).unwrap();
    assert!(matches!(answer, Answer::Applied(_)), "{answer:?}");
}

#[test]
fn unenroll_is_refused_for_the_first_reason_that_holds() {
    let mut row =
        Semester { status: SemesterStatus::Completed, unenroll_closes_at: Some(at(0)), ..open_semester() };
    let mut nobody = World::default();
    nobody.put_semester(semester(1), None);
    nobody.put_user(user(1), None);
    assert_eq!(reason(nobody, &ask(unenroll_1())), Reason::SemesterNotFound);
    let mut no_user = World::default();
    no_user.put_semester(semester(1), Some(row.clone()));
    no_user.put_user(user(1), None);
    assert_eq!(reason(no_user, &ask(unenroll_1())), Reason::UserNotFound);
    assert_eq!(reason(world(0, row.clone(), false), &ask(unenroll_1())), Reason::SemesterNotOpen);
    row.status = SemesterStatus::EnrollmentOpen;
    assert_eq!(reason(world(0, row.clone(), false), &ask(unenroll_1())), Reason::UnenrollClosed);
    row.unenroll_closes_at = Some(at(1));
    assert_eq!(reason(world(0, row.clone(), false), &ask(unenroll_1())), Reason::NotEnrolled);
    row.enrolled_count = 1;
    let older = Unenroll { enrollment_id: Some(enrollment(39)), ..unenroll_1() };
    assert_eq!(reason(world(0, row.clone(), true), &ask(older)), Reason::NotEnrolled);
    let named = Unenroll { enrollment_id: Some(enrollment(40)), ..unenroll_1() };
    assert!(matches!(decide(&mut world(0, row, true), &ask(named)).unwrap(), Answer::Applied(_)));
}

#[test]
fn an_inactive_user_can_unenroll_and_be_granted_credits() {
    let mut inactive = world(0, Semester { enrolled_count: 1, ..open_semester() }, true);
    inactive.put_user(user(1), Some(User { is_active: false, balance: 0 }));
    assert!(matches!(decide(&mut inactive, &ask(unenroll_1())).unwrap(), Answer::Applied(_)));
    assert!(matches!(decide(&mut inactive, &ask(grant_1(5))).unwrap(), Answer::Applied(_)));
}

#[test]
fn the_exact_balance_buys_the_last_place_and_ends_at_0() {
    let mut world = world(10, open_semester(), false);
    let answer = decide(&mut world, &ask(enroll_1())).unwrap();
    let applied = enroll::Applied { enrollment_id: enrollment(50), charged: 10, balance: 0 };
    assert_eq!(answer, Answer::Applied(Applied::Enroll(applied)));
    assert_eq!(world.enrolled_counts(semester(1)), Some((0, 1)));

    let changes = world.into_changes();
    assert_eq!(changes.balances, [(user(1), 10, 0)]);
    assert_eq!(changes.enrolled.len(), 1);
    assert_eq!(changes.enrolled[0].price_paid, 10);
    assert_eq!(changes.enrolled[0].made, Some((Uuid::from_u128(7), at(0))));
    assert_eq!(changes.ledger.len(), 1);
    assert_eq!((changes.ledger[0].amount, changes.ledger[0].balance_after), (-10, 0));
    assert_eq!(changes.ledger[0].transaction_type, TransactionType::TournamentEnrollment);
}

#[test]
fn a_refund_follows_what_was_paid_and_is_floored() {
    let row = Semester { enrollment_cost: 1_000, enrolled_count: 1, ..open_semester() };
    let mut world = world(2, row, true);
    let answer = decide(&mut world, &ask(unenroll_1())).unwrap();
    let applied = unenroll::Applied {
        enrollment_id: enrollment(40),
        refunded: 3, // half of the 7 that were paid, not of today's 1,000
        balance: 5,
        cancelled_bookings: vec![],
        promoted_bookings: vec![],
    };
    assert_eq!(answer, Answer::Applied(Applied::Unenroll(applied)));
    assert_eq!(world.enrolled_counts(semester(1)), Some((1, 0)));
    assert_eq!(reason_of_second_unenroll(&mut world), Reason::NotEnrolled);
}

fn reason_of_second_unenroll(world: &mut World) -> Reason {
    match decide(world, &ask(unenroll_1())).unwrap() {
        Answer::Refused(reason, _) => reason,
        Answer::Applied(applied) => panic!("refunded twice: {applied:?}"),
    }
}

#[test]
fn cost_0_and_refund_0_are_entered_in_the_ledger_too() {
    let row = Semester { enrollment_cost: 0, max_players: None, ..open_semester() };
    let mut world = world(0, row, false);
    decide(&mut world, &ask(enroll_1())).unwrap();
    decide(&mut world, &ask(unenroll_1())).unwrap();
    let changes = world.into_changes();
    assert_eq!(changes.ledger.iter().map(|entry| entry.amount).collect::<Vec<_>>(), [0, 0]);
    assert!(changes.balances.is_empty(), "a balance that did not move is not written");
}

#[test]
fn a_place_given_back_and_taken_again_in_one_batch_is_two_rows_one_of_them_active() {
    let mut world = world(20, open_semester(), false);
    decide(&mut world, &ask(enroll_1())).unwrap();
    decide(&mut world, &ask(unenroll_1())).unwrap();
    decide(&mut world, &ask(enroll_1())).unwrap();
    let changes = world.into_changes();
    assert_eq!(changes.balances, [(user(1), 20, 5)]);
    let active: Vec<bool> = changes.enrolled.iter().map(|made| made.withdrawn_at.is_none()).collect();
    assert_eq!(active, [false, true]);
    assert!(changes.withdrawn.is_empty(), "nothing from before the batch was touched");
}

#[test]
fn a_grant_moves_the_balance_and_a_negative_one_stops_at_0() {
    let mut world = world(3, open_semester(), false);
    let answer = decide(&mut world, &ask(grant_1(4))).unwrap();
    assert_eq!(answer, Answer::Applied(Applied::GrantCredits(grant_credits::Applied { balance: 7 })));
    let Answer::Refused(reason, Some(why)) = decide(&mut world, &ask(grant_1(-8))).unwrap() else { panic!() };
    assert_eq!(reason, Reason::InsufficientCredits);
    assert_eq!(why, serde_json::json!({ "balance": 7, "cost": 8 }));
    decide(&mut world, &ask(grant_1(-7))).unwrap();
    let changes = world.into_changes();
    assert_eq!(changes.balances, [(user(1), 3, 0)]);
    let types: Vec<_> = changes.ledger.iter().map(|entry| entry.transaction_type).collect();
    assert_eq!(types, [TransactionType::Purchase, TransactionType::AdminAdjustment]);
}

#[test]
fn what_cannot_be_answered_is_an_error_and_no_answer() {
    // Nothing that was granted comes to so much: somebody wrote it.
    let mut beyond = world(i64::MAX, open_semester(), true);
    let overflow = DecideError::BalanceOverflow { user_id: 1 };
    assert_eq!(decide(&mut beyond, &ask(unenroll_1())), Err(overflow));
    let blind = &mut World::default();
    assert!(matches!(decide(blind, &ask(enroll_1())), Err(DecideError::NotPrefetched(_))));
    let book = seatkeeper_jobs::book::Book { user_id: user(1), session_id: 1.try_into().unwrap() };
    assert!(matches!(decide(blind, &ask(book)), Err(DecideError::NotPrefetched(_))));
    let mut without_ids = World::default();
    without_ids.put_user(user(1), Some(User { is_active: true, balance: 10 }));
    without_ids.put_semester(semester(1), Some(open_semester()));
    without_ids.put_active_enrollment(user(1), semester(1), None);
    assert_eq!(decide(&mut without_ids, &ask(enroll_1())), Err(DecideError::IdsExhausted));
}
