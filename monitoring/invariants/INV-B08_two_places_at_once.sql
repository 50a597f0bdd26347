-- invariant: INV-B08
-- summary: Nobody has a CONFIRMED booking that overlaps another live one, and bookings have their session's times
-- severity: critical
-- alert_above: 0
-- key: booking_id, what
-- guards: xcl_no_overlapping_confirmed_bookings, trg_follow_sessions
-- repair: Pause the semesters of the sessions (`seatkeeper pause --semester ID --reason INV-B08`). For `times`, see whether trg_follow_sessions is
--   enabled (INV-B05), and set starts_at and ends_at of that booking to its session's, after looking for what it then overlaps. For
--   `overlap`, a WAITLISTED one gives way: set it to CANCELLED (cancelled_at now, cancelled_because superseded). Of two CONFIRMED
--   ones ask the user which stays, resume, and send a cancel_booking request for the other; by hand only when that is closed,
--   and then mark its session for filling (insert into fill_marks). Put xcl_no_overlapping_confirmed_bookings back if
--   INV-B05 misses it, resume, and check again.

-- One pass over each user's live bookings in the order in which they end: one overlaps an earlier one when that ends after its
-- start. Only of the users for whom that is so the bookings are compared with each other. `offset 0`: read as they lie and
-- sorted, since in the order of the index every row would be fetched from another page.
with live as (
    select b.user_id, b.status, b.starts_at, b.ends_at,
           lag(b.ends_at) over (partition by b.user_id order by b.ends_at) as any_until,
           max(b.ends_at) filter (where b.status = 'CONFIRMED') over (
               partition by b.user_id order by b.ends_at rows between unbounded preceding and 1 preceding) as taken_until
    from (select x.user_id, x.status, x.starts_at, x.ends_at from seatkeeper.bookings x where x.status <> 'CANCELLED' offset 0) b
),
suspects as materialized (
    select distinct l.user_id
    from live l
    where case when l.status = 'CONFIRMED' then l.any_until else l.taken_until end > l.starts_at
),
collisions as (
    select o.booking_id, o.others
    from suspects s
    cross join lateral (
        select b.booking_id, array_agg(c.booking_id order by c.booking_id) as others
        from seatkeeper.bookings b
        join seatkeeper.bookings c
            on c.user_id = b.user_id and c.booking_id <> b.booking_id and c.status = 'CONFIRMED'
           and c.starts_at < b.ends_at and c.ends_at > b.starts_at
        where b.user_id = s.user_id and b.status <> 'CANCELLED'
        group by b.booking_id
    ) o
),
moved as (
    select b.booking_id
    from seatkeeper.bookings b
    join seatkeeper.sessions s on s.session_id = b.session_id
    where b.status <> 'CANCELLED' and (b.starts_at <> s.starts_at or b.ends_at <> s.ends_at)
),
offending as (
    select o.booking_id, 'overlap' as what, o.others from collisions o
    union all
    select m.booking_id, 'times', null from moved m
)
select o.booking_id, o.what, b.user_id, b.session_id, b.status, b.starts_at, b.ends_at, o.others as confirmed_bookings,
       s.starts_at as session_starts_at, s.ends_at as session_ends_at
from offending o
cross join lateral (select x.user_id, x.session_id, x.status, x.starts_at, x.ends_at
                    from seatkeeper.bookings x where x.booking_id = o.booking_id offset 0) b
left join lateral (select x.starts_at, x.ends_at
                   from seatkeeper.sessions x where x.session_id = b.session_id offset 0) s on true
