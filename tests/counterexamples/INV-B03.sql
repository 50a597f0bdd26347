-- invariant: INV-B03
-- guard: uq_waitlist_ticket
-- offends: {"booking_id": 22}
-- offends: {"booking_id": 23}
-- offends: {"booking_id": 24}
-- also: INV-B05
-- == given
insert into seatkeeper.users (user_id) values (1), (2), (3);
insert into seatkeeper.semesters (semester_id, code, status, enrolled_count) values (1, 'SPRING', 'ENROLLMENT_OPEN', 3);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
values (11, 1, 1, 'APPROVED', true), (12, 2, 1, 'APPROVED', true), (13, 3, 1, 'APPROVED', true);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11), (102, 2, 'TOURNAMENT_ENROLLMENT', 0, 0, 12),
       (103, 3, 'TOURNAMENT_ENROLLMENT', 0, 0, 13);
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
select n, 1, now() + n * interval '3 days', now() + n * interval '3 days' + interval '1 hour', 1 from generate_series(1, 2) n;
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, waitlist_ticket, starts_at, ends_at)
select b.id, b.user_id, s.session_id, b.status, b.ticket, s.starts_at, s.ends_at
from (values (21, 1, 1, 'CONFIRMED', 1001), (22, 2, 1, 'WAITLISTED', 1002), (24, 3, 2, 'CONFIRMED', 1004))
    b (id, user_id, session_id, status, ticket)
join seatkeeper.sessions s using (session_id);
-- == breach
-- The next in the queue with the ticket of the one before; and a booking that has lost its own.
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, waitlist_ticket, starts_at, ends_at)
select 23, 3, s.session_id, 'WAITLISTED', 1002, s.starts_at, s.ends_at from seatkeeper.sessions s where s.session_id = 1;
update seatkeeper.bookings set waitlist_ticket = null where booking_id = 24;
-- == drop
alter table seatkeeper.bookings drop constraint uq_waitlist_ticket, alter column waitlist_ticket drop not null;
-- == repair
update seatkeeper.bookings set waitlist_ticket = 1003 where booking_id = 23;
update seatkeeper.bookings set waitlist_ticket = nextval('seatkeeper.waitlist_ticket_seq') where booking_id = 24;
alter table seatkeeper.bookings alter column waitlist_ticket set not null,
    add constraint uq_waitlist_ticket unique (waitlist_ticket);
