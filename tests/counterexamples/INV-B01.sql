-- invariant: INV-B01
-- guard: chk_confirmed_within_capacity
-- offends: {"session_id": 1, "what": "places"}
-- offends: {"session_id": 2, "what": "counter"}
-- offends: {"session_id": 3, "what": "counter"}
-- also: INV-B05
-- == given
insert into seatkeeper.users (user_id) values (1), (2), (3);
insert into seatkeeper.semesters (semester_id, code, status, enrolled_count) values (1, 'SPRING', 'ENROLLMENT_OPEN', 3);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
values (11, 1, 1, 'APPROVED', true), (12, 2, 1, 'APPROVED', true), (13, 3, 1, 'APPROVED', true);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11), (102, 2, 'TOURNAMENT_ENROLLMENT', 0, 0, 12),
       (103, 3, 'TOURNAMENT_ENROLLMENT', 0, 0, 13);
-- Full, with somebody waiting and somebody gone; not full; empty.
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
select n, 1, now() + n * interval '3 days', now() + n * interval '3 days' + interval '1 hour', 1 from generate_series(1, 3) n;
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
select b.id, b.user_id, s.session_id, b.status, s.starts_at, s.ends_at
from (values (21, 1, 1, 'CONFIRMED'), (22, 2, 1, 'WAITLISTED'), (23, 1, 2, 'CONFIRMED')) b (id, user_id, session_id, status)
join seatkeeper.sessions s using (session_id);
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at, cancelled_at, cancelled_because)
select 24, 3, s.session_id, 'CANCELLED', s.starts_at, s.ends_at, now(), 'requested' from seatkeeper.sessions s where s.session_id = 1;
-- == breach
-- A row made by hand, which the trigger counts; then counters that somebody wrote: one too low, one too high.
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
select 25, 3, s.session_id, 'CONFIRMED', s.starts_at, s.ends_at from seatkeeper.sessions s where s.session_id = 1;
update seatkeeper.sessions set confirmed_count = 0 where session_id = 2;
update seatkeeper.sessions set confirmed_count = 1 where session_id = 3;
-- == drop
alter table seatkeeper.sessions drop constraint chk_confirmed_within_capacity;
-- == repair
-- The owner makes room; the counters are counted again.
update seatkeeper.sessions set capacity = 2 where session_id = 1;
update seatkeeper.sessions s
set confirmed_count = (select count(*) from seatkeeper.bookings b where b.session_id = s.session_id and b.status = 'CONFIRMED')
where s.session_id in (2, 3);
alter table seatkeeper.sessions add constraint chk_confirmed_within_capacity check (confirmed_count <= capacity);
