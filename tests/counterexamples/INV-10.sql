-- invariant: INV-10
-- guard: none: a sequence knows nothing of the table
-- offends: {"sequence": "bookings_booking_id_seq"}
-- offends: {"sequence": "waitlist_ticket_seq"}
-- also:
-- == given
insert into seatkeeper.users (user_id) values (1), (2);
insert into seatkeeper.semesters (semester_id, code, status, max_players) values (1, 'SPRING', 'ENROLLMENT_OPEN', 10);
insert into seatkeeper.enrollments (user_id, semester_id, status, is_active) select n, 1, 'APPROVED', true from generate_series(1, 2) n;
update seatkeeper.semesters set enrolled_count = 2;
insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id)
select user_id, 'TOURNAMENT_ENROLLMENT', 0, 0, enrollment_id from seatkeeper.enrollments;
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
values (1, 1, now() + interval '3 days', now() + interval '4 days', 1);
insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at)
select u.user_id, s.session_id, case u.user_id when 1 then 'CONFIRMED' else 'WAITLISTED' end, s.starts_at, s.ends_at
from seatkeeper.sessions s cross join seatkeeper.users u;
-- == breach
-- As logical replication leaves them: at their start. And one that is just where it has to be.
select setval('seatkeeper.bookings_booking_id_seq', 1, false), setval('seatkeeper.waitlist_ticket_seq', 1),
       setval('seatkeeper.enrollments_enrollment_id_seq', 2);
-- == drop
select 1;
-- == repair
select setval('seatkeeper.bookings_booking_id_seq', 2), setval('seatkeeper.waitlist_ticket_seq', 2);
