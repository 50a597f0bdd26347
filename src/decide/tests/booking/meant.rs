//! Which booking is meant, and that nothing is decided on what was not read.

use chrono::TimeDelta;
use seatkeeper_jobs::Reason;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::enroll::Enroll;

use super::{HOUR, ask, at, book, booking, cancel, cancelled, in_two_days, of, reason, session, user, world};
use crate::decide::BookingStatus::{Cancelled, Confirmed};
use crate::decide::{Answer, DecideError, World, decide};

fn cancel_10(who: i64) -> CancelBooking {
    CancelBooking { user_id: user(who), which: Which::BookingId(booking(10)) }
}

/// User 1 has the place, by the ID 10.
fn named() -> World {
    let row = in_two_days(1, 1);
    let mut world = world(&row, &[(1, Confirmed)]);
    world.put_named(booking(10), Some(of(1, 10, 1, &row, Confirmed)));
    world
}

#[test]
fn a_booking_is_cancelled_by_its_id_by_whom_it_belongs_to_and_by_nobody_else() {
    assert_eq!(reason(named(), &ask(cancel_10(2))), Reason::BookingNotFound);
    let mut world = named();
    assert!(matches!(decide(&mut world, &ask(cancel_10(1))), Ok(Answer::Applied(_))));
    assert_eq!(world.booking(booking(10)).unwrap().status, Cancelled);
    assert_eq!(reason_again(&mut world), Reason::AlreadyCancelled);
    let mut nothing = named();
    nothing.put_named(booking(10), None);
    assert_eq!(reason(nothing, &ask(cancel_10(1))), Reason::BookingNotFound);
    let not_read = CancelBooking { which: Which::BookingId(booking(11)), ..cancel_10(1) };
    assert!(matches!(decide(&mut named(), &ask(not_read)), Err(DecideError::NotPrefetched(_))));
}

fn reason_again(world: &mut World) -> Reason {
    match decide(world, &ask(cancel_10(1))).unwrap() {
        Answer::Refused(reason, _) => reason,
        Answer::Applied(applied) => panic!("cancelled twice: {applied:?}"),
    }
}

#[test]
fn who_never_booked_has_nothing_to_cancel_and_who_cancelled_has_cancelled() {
    let row = in_two_days(1, 0);
    assert_eq!(reason(world(&row, &[]), &ask(cancel(1))), Reason::BookingNotFound);
    let mut before = world(&row, &[]);
    before.put_cancelled(user(1), session(1), true);
    assert_eq!(reason(before, &ask(cancel(1))), Reason::AlreadyCancelled);
    // Cancelled elsewhere, or booked elsewhere, is not cancelled here.
    let mut elsewhere = world(&row, &[]);
    elsewhere.put_booking(of(1, 60, 2, &row, Cancelled));
    assert_eq!(reason(elsewhere, &ask(cancel(1))), Reason::BookingNotFound);
    // In this very batch counts as well.
    let mut batch = world(&in_two_days(1, 1), &[(1, Confirmed)]);
    cancelled(&mut batch, 1);
    assert_eq!(decide(&mut batch, &ask(cancel(1))), Ok(Answer::Refused(Reason::AlreadyCancelled, None)));
}

#[test]
fn nobody_is_given_a_place_at_a_time_of_which_not_all_of_their_bookings_are_known() {
    let around = |from: i64, until: i64| {
        let mut world = world(&in_two_days(1, 0), &[]);
        let second = TimeDelta::seconds(1);
        world.put_around(
            user(1),
            at(48 * HOUR) + second * i32::try_from(from).unwrap(),
            at(49 * HOUR) + second * i32::try_from(until).unwrap(),
        );
        decide(&mut world, &ask(book(1)))
    };
    assert!(matches!(around(0, 0), Ok(Answer::Applied(_))), "exactly the time of the session");
    let unknown = Err(DecideError::NotPrefetched("the bookings of a user at a time"));
    assert_eq!(around(1, 0), unknown);
    assert_eq!(around(0, -1), unknown);
}

#[test]
fn numbers_that_were_taken_back_are_given_to_nobody() {
    let mut world = world(&in_two_days(1, 0), &[]);
    world.put_active_enrollment(user(1), super::semester(1), None);
    world.put_enrollment_ids([super::enrollment(50)]);
    world.take_back_numbers();
    let mut free = super::open_semester();
    free.enrollment_cost = 0;
    world.put_semester(super::semester(1), Some(free));
    let enroll = Enroll { user_id: user(1), semester_id: super::semester(1) };
    assert_eq!(decide(&mut world, &ask(enroll)), Err(DecideError::IdsExhausted));
    assert_eq!(decide(&mut world, &ask(book(2))), Err(DecideError::IdsExhausted));
}
