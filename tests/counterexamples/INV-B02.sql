-- invariant: INV-B02
-- guard: uq_active_booking
-- offends: {"user_id": 1, "session_id": 1}
-- offends: {"user_id": 2, "session_id": 1}
-- also: INV-B05, INV-B08
-- == given
insert into seatkeeper.users (user_id) values (1), (2);
insert into seatkeeper.semesters (semester_id, code, status, enrolled_count) values (1, 'SPRING', 'ENROLLMENT_OPEN', 2);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
values (11, 1, 1, 'APPROVED', true), (12, 2, 1, 'APPROVED', true);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11), (102, 2, 'TOURNAMENT_ENROLLMENT', 0, 0, 12);
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
select n, 1, now() + n * interval '3 days', now() + n * interval '3 days' + interval '1 hour', 1 from generate_series(1, 2) n;
-- Two sessions for one user, two users in one session, and who cancelled before: none of that offends.
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at, cancelled_at, cancelled_because)
select b.id, b.user_id, s.session_id, b.status, s.starts_at, s.ends_at,
       case when b.status = 'CANCELLED' then now() end, case when b.status = 'CANCELLED' then 'requested' end
from (values (21, 1, 1, 'CANCELLED'), (22, 1, 1, 'CONFIRMED'), (23, 1, 2, 'CONFIRMED'), (24, 2, 1, 'WAITLISTED'))
    b (id, user_id, session_id, status)
join seatkeeper.sessions s using (session_id);
-- == breach
-- A wait beside one's own place, and two waits.
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
select b.id, b.user_id, s.session_id, 'WAITLISTED', s.starts_at, s.ends_at
from (values (25, 1), (26, 2)) b (id, user_id) join seatkeeper.sessions s on s.session_id = 1;
-- == drop
drop index seatkeeper.uq_active_booking;
-- == repair
update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = now(), cancelled_because = 'superseded'
where booking_id in (25, 26);
create unique index uq_active_booking on seatkeeper.bookings (user_id, session_id) where status <> 'CANCELLED';
