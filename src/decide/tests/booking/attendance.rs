//! Who was there.

use seatkeeper_jobs::record_attendance::{self, AttendanceStatus};
use seatkeeper_jobs::{Applied, Reason};

use super::{
    HOUR, applied, ask_at, at, attend, booking, in_two_days, reason, session, with_attendance, world,
};
use crate::decide::BookingStatus::Waitlisted;

#[test]
fn attendance_is_recorded_for_places_and_the_latest_word_counts() {
    let row = in_two_days(1, 1);
    let now = at(48 * HOUR);
    assert_eq!(reason(world(&row, &[]), &ask_at(attend(1), now)), Reason::BookingNotFound);
    assert_eq!(reason(world(&row, &[(1, Waitlisted)]), &ask_at(attend(1), now)), Reason::BookingNotFound);
    let mut nowhere = world(&row, &[]);
    nowhere.put_session(session(1), None);
    assert_eq!(reason(nowhere, &ask_at(attend(1), now)), Reason::SessionNotFound);

    let mut world = with_attendance(&row);
    for replaced in [None, Some(AttendanceStatus::Late)] {
        let expected =
            record_attendance::Applied { booking_id: booking(10), status: AttendanceStatus::Late, replaced };
        assert_eq!(applied(&mut world, &ask_at(attend(1), now)), Applied::RecordAttendance(expected));
    }
    let changes = world.into_changes();
    assert_eq!(changes.attendance.len(), 1, "one row");
    assert_eq!(
        (changes.attendance[0].before, changes.attendance[0].now),
        (None, Some(AttendanceStatus::Late))
    );
}
