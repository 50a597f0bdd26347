-- invariant: INV-B04
-- guard: uq_booking_attendance
-- offends: {"booking_id": 21}
-- also: INV-B05
-- == given
insert into seatkeeper.users (user_id) values (1), (2);
insert into seatkeeper.semesters (semester_id, code, status, enrolled_count) values (1, 'SPRING', 'ENROLLMENT_OPEN', 2);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
values (11, 1, 1, 'APPROVED', true), (12, 2, 1, 'APPROVED', true);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11), (102, 2, 'TOURNAMENT_ENROLLMENT', 0, 0, 12);
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
values (1, 1, now() - interval '2 hours', now() - interval '1 hour', 5);
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
select b.id, b.user_id, s.session_id, 'CONFIRMED', s.starts_at, s.ends_at
from (values (21, 1), (22, 2)) b (id, user_id) cross join seatkeeper.sessions s;
insert into seatkeeper.attendance (booking_id, status, recorded_at) values (21, 'absent', now() - interval '1 hour'), (22, 'present', now());
-- == breach
insert into seatkeeper.attendance (booking_id, status) values (21, 'late');
-- == drop
alter table seatkeeper.attendance drop constraint uq_booking_attendance;
-- == repair
-- The later word counts.
delete from seatkeeper.attendance where booking_id = 21 and status = 'absent';
alter table seatkeeper.attendance add constraint uq_booking_attendance primary key (booking_id);
