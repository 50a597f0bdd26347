//! Booking: every reason on both sides of its boundary and in its order, and the laws of the waitlist.

mod attendance;
mod boundaries;
mod meant;
mod moved;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use seatkeeper_jobs::book::{self, Book};
use seatkeeper_jobs::cancel_booking::{self, CancelBooking, Which};
use seatkeeper_jobs::cancel_semester::{self, CancelSemester};
use seatkeeper_jobs::record_attendance::{AttendanceStatus, RecordAttendance};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Applied, BookingId, Job, Reason, SessionId, UserId};
use uuid::Uuid;

use super::{at, enrollment, open_semester, semester, user};
use crate::decide::{
    Answer, Because, Booking, BookingStatus, DecideError, Enrollment, Request, Session, User, World, decide,
    fill_marked,
};

const HOUR: i64 = 3_600;

fn session(id: i64) -> SessionId {
    SessionId::new(id).unwrap()
}

fn booking(id: i64) -> BookingId {
    BookingId::new(id).unwrap()
}

/// A session of semester 1 that starts in two days and lasts an hour.
fn in_two_days(capacity: i32, confirmed_count: i32) -> Session {
    Session {
        semester_id: semester(1),
        starts_at: at(48 * HOUR),
        ends_at: at(49 * HOUR),
        capacity,
        is_scheduled: true,
        booking_closes_at: None,
        cancellation_closes_at: None,
        confirmed_count,
    }
}

fn of(user_id: i64, id: i64, session_id: i64, row: &Session, status: BookingStatus) -> Booking {
    Booking {
        booking_id: booking(id),
        user_id: user(user_id),
        session_id: session(session_id),
        status,
        ticket: id,
        starts_at: row.starts_at,
        ends_at: row.ends_at,
        made: None,
        promoted_at: None,
        cancelled: None,
    }
}

/// Users 1 to 4, active and enrolled in semester 1, session 1 as given, with these bookings in it.
fn world(row: &Session, bookings: &[(i64, BookingStatus)]) -> World {
    let mut world = World::default();
    world.put_semester(semester(1), Some(open_semester()));
    world.put_session(session(1), Some(row.clone()));
    world.put_whole(semester(1));
    for id in 1..=4 {
        world.put_user(user(id), Some(User { is_active: true, balance: 0 }));
        let active = Enrollment {
            enrollment_id: enrollment(id),
            user_id: user(id),
            semester_id: semester(1),
            price_paid: 7,
            made: None,
            withdrawn_at: None,
        };
        world.put_active_enrollment(user(id), semester(1), Some(active));
        world.put_looked(user(id), session(1));
        world.put_cancelled(user(id), session(1), false);
        world.put_around(user(id), at(0), at(1_000 * HOUR));
    }
    let mut queue = BTreeMap::new();
    for (number, (who, status)) in (10..).zip(bookings) {
        world.put_booking(of(*who, number, 1, row, *status));
        if *status == BookingStatus::Waitlisted {
            queue.insert(number, booking(number));
        }
    }
    let waiting = i64::try_from(queue.len()).unwrap();
    world.put_queue(session(1), queue, None, waiting);
    world.put_fresh_bookings((100..110).map(|id| (booking(id), id)));
    world
}

fn ask_at(job: impl Into<Job>, at: DateTime<Utc>) -> Request {
    Request { id: Uuid::from_u128(7), job: job.into(), expires_at: None, at }
}

fn ask(job: impl Into<Job>) -> Request {
    ask_at(job, at(0))
}

fn book(who: i64) -> Book {
    Book { user_id: user(who), session_id: session(1) }
}

fn cancel(who: i64) -> CancelBooking {
    CancelBooking { user_id: user(who), which: Which::SessionId(session(1)) }
}

fn attend(who: i64) -> RecordAttendance {
    RecordAttendance { user_id: user(who), session_id: session(1), status: AttendanceStatus::Late }
}

/// The reason of a refusal, which changes nothing.
fn reason(mut world: World, request: &Request) -> Reason {
    let Answer::Refused(reason, _) = decide(&mut world, request).unwrap() else { panic!("applied") };
    let changes = world.into_changes();
    assert!(changes.booked.is_empty() && changes.given_up.is_empty() && changes.promoted.is_empty());
    assert!(changes.attendance.is_empty() && changes.confirmed.is_empty() && changes.ledger.is_empty());
    reason
}

fn applied(world: &mut World, request: &Request) -> Applied {
    match decide(world, request).unwrap() {
        Answer::Applied(applied) => applied,
        refused @ Answer::Refused(..) => panic!("{refused:?}"),
    }
}

fn booked(world: &mut World, who: i64) -> book::Applied {
    let Applied::Book(result) = applied(world, &ask(book(who))) else { panic!("another kind") };
    result
}

fn cancelled(world: &mut World, who: i64) -> cancel_booking::Applied {
    let Applied::CancelBooking(result) = applied(world, &ask(cancel(who))) else { panic!("another kind") };
    result
}

use BookingStatus::{Confirmed, Waitlisted};

#[test]
fn booking_is_refused_for_the_first_reason_that_holds() {
    // Each world has all the defects from its reason on, so that the order shows.
    let conflict = |row: &Session| {
        let mut world = world(row, &[]);
        let other = Session { starts_at: row.starts_at - TimeDelta::minutes(30), ..row.clone() };
        world.put_booking(of(1, 60, 2, &other, Confirmed));
        world
    };
    assert_eq!(reason(conflict(&in_two_days(1, 0)), &ask(book(1))), Reason::ScheduleConflict);
    let twice = |row: &Session| {
        let mut world = conflict(row);
        world.put_booking(of(1, 61, 1, row, Waitlisted));
        world
    };
    assert_eq!(reason(twice(&in_two_days(1, 0)), &ask(book(1))), Reason::AlreadyBooked);
    let stranger = |row: &Session| {
        let mut world = twice(row);
        world.put_active_enrollment(user(1), semester(1), None);
        world
    };
    assert_eq!(reason(stranger(&in_two_days(1, 0)), &ask(book(1))), Reason::NotEnrolled);
    let closed = Session { booking_closes_at: Some(at(0)), ..in_two_days(1, 0) };
    assert_eq!(reason(stranger(&closed), &ask(book(1))), Reason::BookingClosed);
    let off = Session { is_scheduled: false, ..closed };
    assert_eq!(reason(stranger(&off), &ask(book(1))), Reason::SessionCancelled);
    let inactive = |row: &Session| {
        let mut world = stranger(row);
        world.put_user(user(1), Some(User { is_active: false, balance: 0 }));
        world
    };
    assert_eq!(reason(inactive(&off), &ask(book(1))), Reason::UserInactive);
    let nobody = |row: &Session| {
        let mut world = inactive(row);
        world.put_user(user(1), None);
        world
    };
    assert_eq!(reason(nobody(&off), &ask(book(1))), Reason::UserNotFound);
    let nowhere = |row: &Session| {
        let mut world = nobody(row);
        world.put_session(session(1), None);
        world
    };
    assert_eq!(reason(nowhere(&off), &ask(book(1))), Reason::SessionNotFound);
    let expired = Request { expires_at: Some(at(0)), ..ask(book(1)) };
    assert_eq!(reason(nowhere(&off), &expired), Reason::RequestExpired);
}

#[test]
fn closed_is_from_the_deadline_on() {
    let row = in_two_days(1, 0);
    let last = at(24 * HOUR) - TimeDelta::microseconds(1);
    assert!(matches!(decide(&mut world(&row, &[]), &ask_at(book(1), last)), Ok(Answer::Applied(_))));
    assert_eq!(reason(world(&row, &[]), &ask_at(book(1), at(24 * HOUR))), Reason::BookingClosed);
    let own = Session { booking_closes_at: Some(at(47 * HOUR)), ..row.clone() };
    assert!(matches!(decide(&mut world(&own, &[]), &ask_at(book(1), at(46 * HOUR))), Ok(Answer::Applied(_))));
    assert_eq!(reason(world(&own, &[]), &ask_at(book(1), at(47 * HOUR))), Reason::BookingClosed);

    let holder = [(1, Confirmed)];
    let taken = in_two_days(1, 1);
    let last = at(36 * HOUR) - TimeDelta::microseconds(1);
    assert!(matches!(decide(&mut world(&taken, &holder), &ask_at(cancel(1), last)), Ok(Answer::Applied(_))));
    assert_eq!(reason(world(&taken, &holder), &ask_at(cancel(1), at(36 * HOUR))), Reason::CancellationClosed);
    let own = Session { cancellation_closes_at: Some(at(5)), ..taken.clone() };
    assert!(matches!(decide(&mut world(&own, &holder), &ask_at(cancel(1), at(4))), Ok(Answer::Applied(_))));
    assert_eq!(reason(world(&own, &holder), &ask_at(cancel(1), at(5))), Reason::CancellationClosed);
    // Who waits can give up until the start, whatever the deadline for places.
    let waiter = [(2, Confirmed), (1, Waitlisted)];
    let last = at(48 * HOUR) - TimeDelta::microseconds(1);
    assert!(matches!(decide(&mut world(&own, &waiter), &ask_at(cancel(1), last)), Ok(Answer::Applied(_))));
    assert_eq!(reason(world(&own, &waiter), &ask_at(cancel(1), at(48 * HOUR))), Reason::CancellationClosed);

    assert_eq!(
        reason(world(&taken, &holder), &ask_at(attend(1), at(48 * HOUR) - TimeDelta::microseconds(1))),
        Reason::SessionNotStarted
    );
    assert!(matches!(
        decide(&mut with_attendance(&taken), &ask_at(attend(1), at(48 * HOUR))),
        Ok(Answer::Applied(_))
    ));
}

#[test]
fn a_place_taken_in_this_batch_has_no_attendance_yet_and_can_be_given_one() {
    let mut world = world(&in_two_days(1, 0), &[]);
    booked(&mut world, 1);
    let Applied::RecordAttendance(result) = applied(&mut world, &ask_at(attend(1), at(48 * HOUR))) else {
        panic!("another kind")
    };
    assert_eq!(result.replaced, None);
    let changes = world.into_changes();
    assert_eq!(changes.attendance[0].booking_id, changes.booked[0].booking_id);
}

fn with_attendance(row: &Session) -> World {
    let mut world = world(row, &[(1, Confirmed)]);
    world.put_attendance(booking(10), None);
    world
}

#[test]
fn newcomers_queue_behind_able_waiters_even_where_there_is_a_place() {
    let mut world = world(&in_two_days(2, 1), &[(1, Confirmed), (2, Waitlisted)]);
    let newcomer = booked(&mut world, 3);
    assert_eq!((newcomer.status, newcomer.waitlist_position), (book::BookingStatus::Waitlisted, Some(1)));
    let changes = world.into_changes();
    let promoted: Vec<_> =
        changes.promoted.iter().map(|booking| (booking.booking_id, booking.promoted_at)).collect();
    assert_eq!(promoted, [(booking(11), Some(at(0)))]);
    assert_eq!(changes.confirmed, [(session(1), 1, 2)]);
    assert_eq!(changes.booked[0].status, Waitlisted);
}

#[test]
fn places_are_given_to_the_last_and_not_beyond() {
    let mut world = world(&in_two_days(2, 0), &[]);
    for (who, status) in [(1, Confirmed), (2, Confirmed), (3, Waitlisted)] {
        let id = booked(&mut world, who).booking_id;
        assert_eq!(world.booking(id).unwrap().status, status);
        assert_eq!(world.booking(id).unwrap().promoted_at, None, "it did not wait for it");
    }
    let mut none = super::booking::world(&in_two_days(0, 0), &[]);
    assert_eq!(booked(&mut none, 1).waitlist_position, Some(1));
}

#[test]
fn a_cancelled_place_goes_to_the_smallest_ticket_that_can_take_it_and_only_once() {
    let bookings = [(1, Confirmed), (2, Waitlisted), (3, Waitlisted), (4, Waitlisted)];
    let mut world = world(&in_two_days(1, 1), &bookings);
    world.put_user(user(2), Some(User { is_active: false, balance: 0 }));
    world.put_active_enrollment(user(3), semester(1), None);
    assert_eq!(cancelled(&mut world, 1).promoted_bookings, [booking(13)]);
    let again = decide(&mut world, &ask(cancel(1))).unwrap();
    assert_eq!(again, Answer::Refused(Reason::AlreadyCancelled, None));
    let changes = world.into_changes();
    assert_eq!(changes.given_up.len(), 1);
    assert_eq!(changes.given_up[0].1.cancelled, Some((at(0), Because::Requested)));
    assert_eq!(changes.confirmed, [], "one left, one came");
}

#[test]
fn nothing_is_filled_in_a_session_that_is_cancelled_or_has_started() {
    let bookings = [(1, Confirmed), (2, Waitlisted)];
    let off = Session { is_scheduled: false, ..in_two_days(1, 1) };
    assert_eq!(cancelled(&mut world(&off, &bookings), 1).promoted_bookings, []);
    let row = Session { cancellation_closes_at: Some(at(99 * HOUR)), ..in_two_days(1, 1) };
    let started = &mut world(&row, &bookings);
    let Applied::CancelBooking(result) = applied(started, &ask_at(cancel(1), at(48 * HOUR))) else {
        panic!()
    };
    assert_eq!(result.promoted_bookings, []);
}

#[test]
fn whoever_gets_a_place_gives_up_waits_at_the_same_time_and_no_others() {
    let row = in_two_days(1, 1);
    let mut world = world(&row, &[(1, Confirmed), (2, Waitlisted)]);
    let overlapping = Session {
        starts_at: row.ends_at - TimeDelta::seconds(1),
        ends_at: row.ends_at + TimeDelta::hours(9),
        ..row.clone()
    };
    let touching =
        Session { starts_at: row.ends_at, ends_at: row.ends_at + TimeDelta::hours(1), ..row.clone() };
    world.put_booking(of(2, 70, 7, &overlapping, Waitlisted));
    world.put_booking(of(2, 71, 8, &touching, Waitlisted));
    cancelled(&mut world, 1);
    assert_eq!(world.booking(booking(70)).unwrap().cancelled, Some((at(0), Because::Superseded)));
    assert_eq!(world.booking(booking(71)).unwrap().status, Waitlisted);
    assert_eq!(world.into_changes().given_up.len(), 2);
}

#[test]
fn where_the_part_of_the_waitlist_that_was_read_ends_nobody_is_given_a_place() {
    let mut world = world(&in_two_days(1, 1), &[(1, Confirmed)]);
    world.put_queue(session(1), BTreeMap::new(), Some(0), 5);
    // Full: who comes next does not matter.
    assert_eq!(booked(&mut world, 2).waitlist_position, Some(6));
    let too_small = Err(DecideError::WindowTooSmall { session_id: 1 });
    assert_eq!(decide(&mut world, &ask(cancel(1))), too_small, "not even who joined since");
}

#[test]
fn a_marked_session_is_filled_in_order_and_no_further_than_it_may() {
    let bookings = [(1, Waitlisted), (2, Waitlisted), (3, Waitlisted)];
    let row = in_two_days(2, 0);
    let promoted = |most| {
        let mut world = world(&row, &bookings);
        let promotions = fill_marked(&mut world, session(1), at(3), most).unwrap();
        assert!(promotions.iter().all(|one| one.at == at(3) && one.session_id == session(1)));
        promotions.iter().map(|one| one.user_id.get()).collect::<Vec<_>>()
    };
    assert_eq!(promoted(usize::MAX), [1, 2]);
    assert_eq!(promoted(1), [1]);
    let mut gone = World::default();
    gone.put_session(session(1), None);
    assert_eq!(fill_marked(&mut gone, session(1), at(3), 9), Ok(Vec::new()));
}

#[test]
fn who_leaves_the_semester_leaves_its_sessions_that_have_not_started() {
    let mut world = world(&in_two_days(1, 1), &[(1, Confirmed), (2, Waitlisted)]);
    let past = Session { starts_at: at(-2 * HOUR), ends_at: at(-HOUR), ..in_two_days(1, 1) };
    world.put_session(session(2), Some(past.clone()));
    world.put_booking(of(1, 50, 2, &past, Confirmed));
    // In another semester: none of its business.
    world.put_booking(of(1, 51, 9, &in_two_days(1, 1), Waitlisted));
    let leave = Unenroll { user_id: user(1), semester_id: semester(1), enrollment_id: None };
    let Applied::Unenroll(result) = applied(&mut world, &ask(leave)) else { panic!("another kind") };
    assert_eq!(result.cancelled_bookings, [booking(10)]);
    assert_eq!(result.promoted_bookings, [booking(11)]);
    let status = |id| world.booking(booking(id)).unwrap().status;
    assert_eq!((status(50), status(51)), (Confirmed, Waitlisted));
}

#[test]
fn a_cancelled_semester_gives_everything_back() {
    let mut world = world(&in_two_days(1, 1), &[(1, Confirmed), (2, Waitlisted)]);
    let ask = ask(CancelSemester { semester_id: semester(1), note: None });
    let result = applied(&mut world, &ask);
    let expected = cancel_semester::Applied { withdrawn: 4, refunded: 28, cancelled_bookings: 2 };
    assert_eq!(result, Applied::CancelSemester(expected));
    assert_eq!(decide(&mut world, &ask), Ok(Answer::Refused(Reason::AlreadyCancelled, None)));
    let changes = world.into_changes();
    assert_eq!(changes.cancelled_semesters, [(semester(1), ask.id)]);
    assert!(
        changes
            .given_up
            .iter()
            .all(|(_, booking)| booking.cancelled == Some((at(0), Because::SemesterCancelled)))
    );
    assert!(changes.promoted.is_empty(), "a place that comes free in it is nobody's");
    let paid: Vec<_> = changes.ledger.iter().map(|entry| (entry.user_id, entry.amount)).collect();
    assert_eq!(paid, (1..=4).map(|id| (user(id), 7)).collect::<Vec<(UserId, i64)>>());
    assert_eq!(changes.withdrawn.len(), 4);
}
