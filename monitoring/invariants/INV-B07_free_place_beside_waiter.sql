-- invariant: INV-B07
-- summary: No session has a free place beside a waiter who could take it
-- severity: critical
-- alert_above: 0
-- key: session_id
-- guards: none: only locks hold this
-- repair: See whether the semester or everything is paused (`seatkeeper doctor`): then nothing is filled, and it clears by itself
--   after the resume. See whether workers run, and whether fill_marks has the session with a last_error. Otherwise mark it for
--   filling: insert its semester_id and session_id into fill_marks; a worker gives the place to the first waiter.
--   Promote nobody by hand: the order is the waiters' right. Check again after a minute. When it comes back, look at
--   confirmed_count (INV-B01), and report it.

-- Started is asked of the clock now, which is later than the snapshot; how old a mark is, of the start of the transaction,
-- which is earlier: so neither shows what has long been put right.
with waited_for as (
    select s.session_id, s.semester_id, s.capacity, s.starts_at
    from seatkeeper.sessions s
    where s.status = 'SCHEDULED' and s.starts_at > (select clock_timestamp())
      and exists (select from seatkeeper.bookings w where w.session_id = s.session_id and w.status = 'WAITLISTED')
      and not exists (select from seatkeeper.fill_marks m
                      where m.session_id = s.session_id and m.marked_at > now() - interval '1 minute')
),
counted as (
    -- From the rows, not from the counter
    select b.session_id, count(*) as confirmed
    from seatkeeper.bookings b
    where b.status = 'CONFIRMED'
    group by b.session_id
),
open as materialized (
    select s.session_id, s.semester_id, s.capacity, s.starts_at, coalesce(c.confirmed, 0) as confirmed
    from waited_for s
    left join counted c on c.session_id = s.session_id
    where coalesce(c.confirmed, 0) < s.capacity
)
-- Only of the sessions that have a free place the waiters are looked at.
select o.session_id, o.semester_id, o.capacity, o.confirmed, o.starts_at, a.able_waiters, a.first_booking_id, a.waiting_since
from open o
cross join lateral (
    select count(*) as able_waiters, (array_agg(w.booking_id order by w.waitlist_ticket))[1] as first_booking_id,
           min(w.booked_at) as waiting_since
    from seatkeeper.bookings w
    join seatkeeper.users u on u.user_id = w.user_id and u.is_active
    where w.session_id = o.session_id and w.status = 'WAITLISTED'
      and exists (select from seatkeeper.enrollments e
                  where e.user_id = w.user_id and e.semester_id = o.semester_id and e.is_active)
      -- Who is elsewhere at that time could not take it (INV-B08).
      and not exists (select from seatkeeper.bookings c
                      where c.user_id = w.user_id and c.status = 'CONFIRMED'
                        and c.starts_at < w.ends_at and c.ends_at > w.starts_at)
) a
where a.able_waiters > 0
