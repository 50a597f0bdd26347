//! Sessions that were moved in time: what becomes of their bookings when a history is executed once more.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::{HOUR, at, booking, in_two_days, of, semester, session, user, world};
use crate::decide::BookingStatus::{Cancelled, Confirmed, Waitlisted};
use crate::decide::{Because, Session, World};

/// The session as it is after a move by so many hours.
fn later(row: &Session, hours: i64) -> Session {
    let by = TimeDelta::hours(hours);
    Session { starts_at: row.starts_at + by, ends_at: row.ends_at + by, ..row.clone() }
}

fn moved(world: &mut World, id: i64, row: &Session, seconds: i64) {
    world.put_session(session(id), Some(row.clone()));
    world.move_bookings(&BTreeSet::from([session(id)]), at(seconds)).unwrap();
}

#[test]
fn bookings_follow_their_session_and_no_others_do() {
    let row = in_two_days(1, 1);
    let mut world = world(&row, &[(1, Confirmed), (2, Waitlisted)]);
    world.put_session(session(2), Some(later(&row, 5)));
    world.put_booking(of(1, 60, 2, &later(&row, 5), Confirmed));
    moved(&mut world, 1, &later(&row, 2), 0);
    let times = |id| {
        let booking = world.booking(booking(id)).unwrap();
        (booking.starts_at, booking.ends_at, booking.status)
    };
    assert_eq!(times(10), (at(50 * HOUR), at(51 * HOUR), Confirmed));
    assert_eq!(times(11), (at(50 * HOUR), at(51 * HOUR), Waitlisted));
    assert_eq!(times(60), (at(53 * HOUR), at(54 * HOUR), Confirmed));
}

#[test]
fn waits_that_a_move_lays_over_a_place_are_given_up_and_no_others() {
    let row = in_two_days(1, 1);
    // A wait that is moved onto a place.
    let mut onto = world(&row, &[(1, Confirmed)]);
    onto.put_booking(of(1, 60, 2, &later(&row, 5), Waitlisted));
    moved(&mut onto, 2, &row, 3);
    assert_eq!(onto.booking(booking(60)).unwrap().cancelled, Some((at(3), Because::Superseded)));
    assert_eq!(onto.booking(booking(10)).unwrap().status, Confirmed);
    // A place that is moved onto a wait.
    let mut under = world(&row, &[(1, Confirmed)]);
    under.put_booking(of(1, 60, 2, &later(&row, 5), Waitlisted));
    moved(&mut under, 1, &later(&row, 5), 3);
    assert_eq!(under.booking(booking(60)).unwrap().status, Cancelled);
    // Next to each other is not on each other.
    let mut beside = world(&row, &[(1, Confirmed)]);
    beside.put_booking(of(1, 60, 2, &later(&row, 5), Waitlisted));
    moved(&mut beside, 2, &later(&row, 1), 3);
    assert_eq!(beside.booking(booking(60)).unwrap().status, Waitlisted);
    // What lay on each other before is not the move's business.
    let mut before = world(&row, &[(1, Confirmed)]);
    before.put_booking(of(1, 60, 2, &row, Waitlisted));
    before.put_booking(of(1, 61, 3, &later(&row, 9), Confirmed));
    moved(&mut before, 3, &later(&row, 7), 3);
    assert_eq!(before.booking(booking(60)).unwrap().status, Waitlisted);
}

#[test]
fn who_left_after_the_start_goes_when_it_has_not_started_any_more() {
    let past = later(&in_two_days(1, 1), -72);
    let left = |hours: i64, enrolled: bool| {
        let mut world = world(&past, &[(1, Confirmed)]);
        if !enrolled {
            world.put_active_enrollment(user(1), semester(1), None);
        }
        moved(&mut world, 1, &later(&past, hours), 0);
        world.booking(booking(10)).unwrap().cancelled
    };
    assert_eq!(left(25, false), Some((at(0), Because::Unenrolled)));
    assert_eq!(left(24, false), None, "at its start it has started");
    assert_eq!(left(12, false), None);
    assert_eq!(left(25, true), None);
}
