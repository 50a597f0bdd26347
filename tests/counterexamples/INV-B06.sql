-- invariant: INV-B06
-- guard: none: only locks hold this
-- offends: {"booking_id": 22}
-- offends: {"booking_id": 23}
-- offends: {"booking_id": 24}
-- also:
-- == given
insert into seatkeeper.users (user_id) values (1), (2), (3);
insert into seatkeeper.semesters (semester_id, code, status, enrolled_count)
values (1, 'SPRING', 'ENROLLMENT_OPEN', 2), (2, 'AUTUMN', 'ENROLLMENT_OPEN', 1);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, withdrawn_at)
values (11, 1, 1, 'APPROVED', true, null), (12, 2, 1, 'APPROVED', true, null), (13, 3, 1, 'WITHDRAWN', false, now()),
       (14, 3, 2, 'APPROVED', true, null);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11), (102, 2, 'TOURNAMENT_ENROLLMENT', 0, 0, 12),
       (103, 3, 'TOURNAMENT_ENROLLMENT', 0, 0, 14);
-- The second session has started: who left since keeps the place in it. A cancelled booking needs no enrollment.
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
values (1, 1, now() + interval '3 days', now() + interval '3 days 1 hour', 2),
       (2, 1, now() - interval '10 minutes', now() + interval '1 hour', 2),
       (3, 1, now() + interval '5 days', now() + interval '5 days 1 hour', 1);
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at, cancelled_at, cancelled_because)
select b.id, b.user_id, s.session_id, b.status, s.starts_at, s.ends_at,
       case when b.status = 'CANCELLED' then now() end, case when b.status = 'CANCELLED' then 'unenrolled' end
from (values (21, 1, 1, 'CONFIRMED'), (22, 2, 1, 'CONFIRMED'), (25, 3, 2, 'CONFIRMED'), (26, 3, 1, 'CANCELLED'),
             (27, 1, 3, 'CONFIRMED'), (23, 2, 3, 'WAITLISTED')) b (id, user_id, session_id, status)
join seatkeeper.sessions s using (session_id);
-- == breach
-- Somebody leaves, and the bookings stay, with a place and without; and one joins by an enrollment in another semester.
update seatkeeper.enrollments set status = 'WITHDRAWN', is_active = false, withdrawn_at = now() where enrollment_id = 12;
update seatkeeper.semesters set enrolled_count = 1 where semester_id = 1;
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
select 24, 3, s.session_id, 'WAITLISTED', s.starts_at, s.ends_at from seatkeeper.sessions s where s.session_id = 1;
-- == drop
-- == repair
update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = now(), cancelled_because = 'unenrolled'
where booking_id in (22, 23, 24);
insert into seatkeeper.fill_marks (semester_id, session_id) values (1, 1);
