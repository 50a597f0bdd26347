-- invariant: INV-B06
-- summary: Nobody has a live booking in a session that has not started without an active enrollment in its semester
-- severity: critical
-- alert_above: 0
-- key: booking_id
-- guards: none: only locks hold this
-- repair: Pause the semester (`seatkeeper pause --semester ID --reason INV-B06`). Look at the user's enrollments in it, and at their requests: who
--   was withdrawn by mistake is enrolled again by an enroll request after the resume, and keeps the booking meanwhile. Who left
--   gives the booking up: resume, and send a cancel_booking request for it, which fills the place as well. When the
--   cancellation is closed, set that one booking to CANCELLED (cancelled_at now, cancelled_because unenrolled) and mark
--   the session for filling (insert its semester_id and session_id into fill_marks). Check again.

-- Whether it has started is asked of the clock now, later than the snapshot: who left after the start keeps the booking.
with upcoming as (
    select s.session_id, s.semester_id, s.starts_at
    from seatkeeper.sessions s
    where s.starts_at > (select clock_timestamp())
)
select b.booking_id, b.user_id, u.semester_id, b.session_id, b.status, b.booked_at, u.starts_at
from upcoming u
join seatkeeper.bookings b on b.session_id = u.session_id and b.status <> 'CANCELLED'
where not exists (select from seatkeeper.enrollments e
                  where e.user_id = b.user_id and e.semester_id = u.semester_id and e.is_active)
