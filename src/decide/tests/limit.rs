//! The largest balance: who is stopped by it, and who is not.

use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::grant_credits::{Amount, BALANCE_LIMIT};
use seatkeeper_jobs::{Applied, Reason};

use super::{
    Answer, Enrollment, Semester, User, World, ask, decide, enroll_1, enrollment, grant_1, open_semester,
    semester, unenroll_1, user, world,
};

#[test]
fn a_grant_stops_at_the_limit_of_balances_and_nothing_else_does() {
    let limit = BALANCE_LIMIT;
    let mut world = world(limit - 4, open_semester(), true);
    let refused_at = |world: &mut World, balance: i64, amount: i64| {
        let answer = decide(world, &ask(grant_1(amount))).unwrap();
        let Answer::Refused(reason, Some(why)) = answer else { panic!("{answer:?}") };
        assert_eq!(reason, Reason::BalanceLimit);
        assert_eq!(why, serde_json::json!({ "balance": balance, "limit": limit }));
    };
    refused_at(&mut world, limit - 4, 5);
    let grant = |world: &mut World, amount| match decide(world, &ask(grant_1(amount))).unwrap() {
        Answer::Applied(Applied::GrantCredits(applied)) => applied.balance,
        answer => panic!("{answer:?}"),
    };
    assert_eq!(grant(&mut world, 4), limit);
    refused_at(&mut world, limit, 1);
    // Half of the 7 that were paid; whatever was paid comes back.
    let answer = decide(&mut world, &ask(unenroll_1())).unwrap();
    let Answer::Applied(Applied::Unenroll(left)) = answer else { panic!("{answer:?}") };
    assert_eq!((left.refunded, left.balance), (3, limit + 3));
    refused_at(&mut world, limit + 3, 1);
    let answer = decide(&mut world, &ask(enroll_1())).unwrap();
    let Answer::Applied(Applied::Enroll(entered)) = answer else { panic!("{answer:?}") };
    assert_eq!(entered.balance, limit - 7);
    assert_eq!(grant(&mut world, 7), limit);
    assert_eq!(grant(&mut world, -Amount::MAX), limit - Amount::MAX);
}

#[test]
fn what_somebody_wrote_beyond_the_limit_takes_no_grant_and_is_spent_like_any_other() {
    let mut world = world(i64::MAX, open_semester(), false);
    assert!(matches!(
        decide(&mut world, &ask(grant_1(Amount::MAX))),
        Ok(Answer::Refused(Reason::BalanceLimit, Some(_)))
    ));
    let enrolled = decide(&mut world, &ask(enroll_1())).unwrap();
    assert!(matches!(enrolled, Answer::Applied(_)), "{enrolled:?}");
    decide(&mut world, &ask(grant_1(-Amount::MAX))).unwrap();
    assert_eq!(world.into_changes().balances, [(user(1), i64::MAX, i64::MAX - 10 - Amount::MAX)]);
}

/// The sum is told as far as a number holds it; everybody has their own back all the same.
#[test]
fn a_semester_is_cancelled_however_much_comes_back_in_all() {
    let mut world = world(0, Semester { enrolled_count: 2, ..open_semester() }, true);
    for (number, price_paid) in [(1, i64::MAX), (2, 7)] {
        world.put_user(user(number), Some(User { is_active: true, balance: 0 }));
        let paid = Enrollment {
            enrollment_id: enrollment(40 + number),
            user_id: user(number),
            semester_id: semester(1),
            price_paid,
            made: None,
            withdrawn_at: None,
        };
        world.put_active_enrollment(user(number), semester(1), Some(paid));
    }
    world.put_whole(semester(1));
    let cancel = CancelSemester { semester_id: semester(1), note: None };
    let answer = decide(&mut world, &ask(cancel)).unwrap();
    let Answer::Applied(Applied::CancelSemester(told)) = answer else { panic!("{answer:?}") };
    assert_eq!((told.withdrawn, told.refunded), (2, i64::MAX));
    assert_eq!(world.into_changes().balances, [(user(1), 0, i64::MAX), (user(2), 0, 7)]);
}
