-- invariant: INV-B03
-- summary: Every booking has a waitlist ticket, and no two have the same
-- severity: critical
-- alert_above: 0
-- key: booking_id
-- guards: uq_waitlist_ticket
-- repair: Pause everything (`seatkeeper pause --everything --reason INV-B03`): the order of a waitlist is in doubt. Look at the bookings that share a
--   ticket, at booked_at and at the answer_seq of their requests: the first of them keeps it. One that is not WAITLISTED any more
--   takes a new ticket from waitlist_ticket_seq without harm to anybody. One that still waits would lose its place by that: give it
--   an unused ticket between its neighbours', or agree with the owner of the session. Put uq_waitlist_ticket
--   back if INV-B05 misses it, see that the sequence is beyond the highest ticket, resume, and check again.

with shared as (
    select b.waitlist_ticket
    from seatkeeper.bookings b
    group by b.waitlist_ticket
    having count(*) > 1 or b.waitlist_ticket is null
)
select b.booking_id, b.waitlist_ticket, b.session_id, b.user_id, b.status, b.booked_at, b.request_id
from shared d
join seatkeeper.bookings b on b.waitlist_ticket = d.waitlist_ticket
union all
select b.booking_id, b.waitlist_ticket, b.session_id, b.user_id, b.status, b.booked_at, b.request_id
from seatkeeper.bookings b
where b.waitlist_ticket is null and exists (select from shared d where d.waitlist_ticket is null)
