-- invariant: INV-B07
-- guard: none: only locks hold this
-- offends: {"session_id": 1}
-- offends: {"session_id": 2}
-- also:
-- == given
insert into seatkeeper.users (user_id, is_active) values (1, true), (2, true), (3, false), (4, true);
insert into seatkeeper.semesters (semester_id, code, status, enrolled_count) values (1, 'SPRING', 'ENROLLMENT_OPEN', 4);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
select 10 + n, n, 1, 'APPROVED', true from generate_series(1, 4) n;
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
select 100 + n, n, 'TOURNAMENT_ENROLLMENT', 0, 0, 10 + n from generate_series(1, 4) n;
-- 1, 2: full, and waited for. 3: free, but who waits is not active. 4: free, and just marked. 5: cancelled. 6: started.
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity, status)
select s.id, 1, now() + s.days * interval '1 day', now() + s.days * interval '1 day' + interval '1 hour', 1, s.status
from (values (1, 3, 'SCHEDULED'), (2, 4, 'SCHEDULED'), (3, 5, 'SCHEDULED'), (4, 6, 'SCHEDULED'), (5, 7, 'CANCELLED'),
             (6, -1, 'SCHEDULED')) s (id, days, status);
insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
select b.id, b.user_id, s.session_id, b.status, s.starts_at, s.ends_at
from (values (21, 1, 1, 'CONFIRMED'), (22, 2, 1, 'WAITLISTED'), (23, 1, 2, 'CONFIRMED'), (24, 3, 2, 'WAITLISTED'),
             (25, 4, 2, 'WAITLISTED'), (26, 3, 3, 'WAITLISTED'), (27, 2, 4, 'WAITLISTED'), (28, 2, 5, 'WAITLISTED'),
             (29, 2, 6, 'WAITLISTED')) b (id, user_id, session_id, status)
join seatkeeper.sessions s using (session_id);
insert into seatkeeper.fill_marks (semester_id, session_id) values (1, 4);
-- == breach
-- Two places become free, and nobody fills them: of the second one the mark has been there for an hour.
update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = now(), cancelled_because = 'requested'
where booking_id in (21, 23);
insert into seatkeeper.fill_marks (semester_id, session_id, marked_at, attempts, retry_at, last_error)
values (1, 2, now() - interval '1 hour', 9, now() + interval '1 minute', 'it did not work');
-- == drop
-- == repair
-- What a worker does with the marks: the first able waiter has the place.
update seatkeeper.bookings set status = 'CONFIRMED', promoted_at = now() where booking_id in (22, 25);
delete from seatkeeper.fill_marks where session_id = 2;
