-- invariant: INV-B01
-- summary: No session has more CONFIRMED bookings than places, and confirmed_count is their number
-- severity: critical
-- alert_above: 0
-- key: session_id, what
-- guards: chk_confirmed_within_capacity, chk_confirmed_count_non_negative,
--   trg_count_added_bookings, trg_count_changed_bookings, trg_count_deleted_bookings
-- repair: Pause the session's semester (`seatkeeper pause --semester ID --reason INV-B01`); wait until no batch of it is open. For `counter`, see
--   whether the counting triggers are enabled (INV-B05) and enable them, then count the CONFIRMED bookings again under the
--   session's row lock and set confirmed_count to that. For `places`, nobody is thrown out by hand: the owner of the session raises
--   the capacity, or names who leaves, and these are cancelled by cancel_booking requests after the resume. Put
--   chk_confirmed_within_capacity back if INV-B05 misses it, resume, and check again.

-- Counted from the rows; the counter is what is in question.
with counted as (
    select b.session_id, count(*) as confirmed
    from seatkeeper.bookings b
    where b.status = 'CONFIRMED'
    group by b.session_id
)
select s.session_id, o.what, coalesce(c.confirmed, 0) as confirmed, s.confirmed_count, s.capacity, s.semester_id, s.starts_at
from seatkeeper.sessions s
left join counted c on c.session_id = s.session_id
cross join lateral (values
    ('places', coalesce(c.confirmed, 0) > s.capacity),
    ('counter', coalesce(c.confirmed, 0) is distinct from s.confirmed_count)
) o (what, offends)
where o.offends
