-- invariant: INV-B04
-- summary: No booking has more than one attendance
-- severity: critical
-- alert_above: 0
-- key: booking_id
-- guards: uq_booking_attendance
-- repair: Pause the kind (`seatkeeper pause --kind record_attendance --reason INV-B04`). Look at the rows of the booking and their requests: the word of
--   the request with the highest answer_seq counts. Copy all rows aside first; then delete the others, one by one, by their ctid.
--   Put the primary key uq_booking_attendance back if INV-B05 misses it, resume, and check again.

select a.booking_id, count(*) as attendances, array_agg(a.status order by a.recorded_at) as statuses,
       max(a.recorded_at) as latest_at
from seatkeeper.attendance a
group by a.booking_id
having count(*) > 1
