-- invariant: INV-B08
-- guard: xcl_no_overlapping_confirmed_bookings
-- offends: {"booking_id": 21, "what": "overlap"}
-- offends: {"booking_id": 22, "what": "overlap"}
-- offends: {"booking_id": 25, "what": "overlap"}
-- offends: {"booking_id": 31, "what": "overlap"}
-- offends: {"booking_id": 32, "what": "overlap"}
-- offends: {"booking_id": 23, "what": "times"}
-- also: INV-B05
-- == given
insert into seatkeeper.users (user_id) values (1), (2), (3);
insert into seatkeeper.semesters (semester_id, code, status, enrolled_count) values (1, 'SPRING', 'ENROLLMENT_OPEN', 3);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
select 10 + n, n, 1, 'APPROVED', true from generate_series(1, 3) n;
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
select 100 + n, n, 'TOURNAMENT_ENROLLMENT', 0, 0, 10 + n from generate_series(1, 3) n;
-- 1 from ten to twelve; 2 and 5 from eleven to one; 3 begins when 1 ends; 4 on another day.
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
select s.id, 1, d.day + s.from_hour * interval '1 hour', d.day + s.to_hour * interval '1 hour', s.capacity
from (values (1, 10, 12, 3), (2, 11, 13, 3), (3, 12, 14, 1), (4, 40, 41, 3), (5, 11, 13, 1)) s (id, from_hour, to_hour, capacity)
cross join (select date_trunc('day', now()) + interval '9 days' as day) d;
-- Touching ends do not overlap, nor do two users' bookings, two waits, or a cancelled one.
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at, cancelled_at, cancelled_because)
select b.id, b.user_id, s.session_id, b.status, s.starts_at, s.ends_at,
       case when b.status = 'CANCELLED' then now() end, case when b.status = 'CANCELLED' then 'superseded' end
from (values (21, 1, 1, 'CONFIRMED'), (22, 1, 3, 'CONFIRMED'), (23, 2, 4, 'CONFIRMED'), (24, 1, 2, 'CANCELLED'),
             (28, 3, 5, 'CONFIRMED'), (29, 2, 5, 'WAITLISTED'), (30, 2, 3, 'WAITLISTED'))
    b (id, user_id, session_id, status)
join seatkeeper.sessions s using (session_id);
-- == breach
-- A third place across both others; waits that begin before one's place and within it; and a copy of a time that was changed.
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
select 25, 1, s.session_id, 'CONFIRMED', s.starts_at, s.ends_at from seatkeeper.sessions s where s.session_id = 2;
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
select b.id, 3, s.session_id, 'WAITLISTED', s.starts_at, s.ends_at
from (values (31, 1), (32, 3)) b (id, session_id) join seatkeeper.sessions s using (session_id);
update seatkeeper.bookings set ends_at = ends_at + interval '1 hour' where booking_id = 23;
-- == drop
alter table seatkeeper.bookings drop constraint xcl_no_overlapping_confirmed_bookings;
-- == repair
-- The waits give way; of the three places the user keeps the first two.
update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = now(), cancelled_because = 'superseded'
where booking_id in (31, 32);
update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = now(), cancelled_because = 'requested' where booking_id = 25;
update seatkeeper.bookings b set starts_at = s.starts_at, ends_at = s.ends_at
from seatkeeper.sessions s
where b.booking_id = 23 and s.session_id = b.session_id;
alter table seatkeeper.bookings add constraint xcl_no_overlapping_confirmed_bookings
    exclude using gist (user_id with =, tstzrange(starts_at, ends_at) with &&)
    where (status = 'CONFIRMED') deferrable initially immediate;
