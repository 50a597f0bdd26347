-- invariant: INV-B02
-- summary: No user has more than one live booking in a session
-- severity: critical
-- alert_above: 0
-- key: user_id, session_id
-- guards: uq_active_booking
-- repair: Pause the session's semester (`seatkeeper pause --semester ID --reason INV-B02`). Look at the listed bookings and their requests. A
--   CONFIRMED one stays, else the one with the smallest ticket. Set each other one by its booking_id to CANCELLED, with
--   cancelled_at now and cancelled_because superseded; the trigger counts. Put uq_active_booking back if INV-B05 misses it.
--   Where a CONFIRMED one went, mark the session for filling: insert its semester_id and session_id into fill_marks. Resume,
--   and check again.

-- Only of the pairs that offend the rows are looked up.
with doubled as (
    select b.user_id, b.session_id
    from seatkeeper.bookings b
    where b.status <> 'CANCELLED'
    group by b.user_id, b.session_id
    having count(*) > 1
)
select d.user_id, d.session_id, rows_of.bookings, rows_of.confirmed, rows_of.booking_ids, rows_of.latest_at
from doubled d
cross join lateral (
    select count(*) as bookings, count(*) filter (where b.status = 'CONFIRMED') as confirmed,
           array_agg(b.booking_id order by b.booking_id) as booking_ids, max(b.booked_at) as latest_at
    from seatkeeper.bookings b
    where b.user_id = d.user_id and b.session_id = d.session_id and b.status <> 'CANCELLED'
) rows_of
