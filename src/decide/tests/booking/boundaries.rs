//! Instants that are equal, and the last of what was read.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use seatkeeper_jobs::Applied;
use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::unenroll::Unenroll;

use super::{
    HOUR, applied, ask, ask_at, at, book, booking, cancelled, in_two_days, of, semester, session, user, world,
};
use crate::decide::BookingStatus::{Cancelled, Confirmed, Waitlisted};
use crate::decide::{Answer, DecideError, Session, decide};

#[test]
fn what_ends_when_the_session_starts_does_not_overlap_it() {
    let row = in_two_days(1, 0);
    let ends = |early: TimeDelta| {
        let mut world = world(&row, &[]);
        let other = Session {
            starts_at: row.starts_at - TimeDelta::hours(1),
            ends_at: row.starts_at - early,
            ..row.clone()
        };
        world.put_booking(of(1, 60, 2, &other, Confirmed));
        matches!(decide(&mut world, &ask(book(1))), Ok(Answer::Applied(_)))
    };
    assert!(ends(TimeDelta::zero()));
    assert!(!ends(TimeDelta::microseconds(-1)));
}

#[test]
fn at_its_start_a_session_has_started_and_keeps_its_bookings() {
    let leave = Unenroll { user_id: user(1), semester_id: semester(1), enrollment_id: None };
    let left = |early: TimeDelta| {
        let mut world = world(&in_two_days(1, 1), &[(1, Confirmed)]);
        applied(&mut world, &ask_at(leave.clone(), at(48 * HOUR) - early));
        world.booking(booking(10)).unwrap().status
    };
    assert_eq!(left(TimeDelta::zero()), Confirmed);
    assert_eq!(left(TimeDelta::microseconds(1)), Cancelled);

    let ended = |early: TimeDelta| {
        let mut world = world(&in_two_days(1, 1), &[(1, Confirmed)]);
        // Of another semester, as it is read beside this one.
        let other = Session { semester_id: semester(2), ..in_two_days(5, 1) };
        world.put_session(session(2), Some(other.clone()));
        world.put_booking(of(2, 60, 2, &other, Confirmed));
        let cancel = CancelSemester { semester_id: semester(1), note: None };
        let Applied::CancelSemester(result) = applied(&mut world, &ask_at(cancel, at(48 * HOUR) - early))
        else {
            panic!("another kind")
        };
        assert_eq!(world.booking(booking(60)).unwrap().status, Confirmed);
        (world.booking(booking(10)).unwrap().status, result.cancelled_bookings)
    };
    assert_eq!(ended(TimeDelta::zero()), (Confirmed, 0));
    assert_eq!(ended(TimeDelta::microseconds(1)), (Cancelled, 1));
}

#[test]
fn the_last_waiter_that_was_read_can_be_promoted_and_nobody_behind() {
    let mut world = world(&in_two_days(1, 1), &[(1, Confirmed), (2, Waitlisted)]);
    world.put_queue(session(1), BTreeMap::from([(11, booking(11))]), Some(11), 2);
    assert_eq!(cancelled(&mut world, 1).promoted_bookings, [booking(11)]);
    let too_small = Err(DecideError::WindowTooSmall { session_id: 1 });
    assert_eq!(decide(&mut world, &ask(super::cancel(2))), too_small);
}
