-- invariant: INV-01
-- guard: uq_active_enrollment
-- offends: {"user_id": 1, "semester_id": 1}
-- also: INV-05
-- == given
insert into seatkeeper.users (user_id, credit_balance) values (1, 50), (2, 0);
insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost, enrolled_count)
values (1, 'SPRING', 'ENROLLMENT_OPEN', 10, 25, 1), (2, 'AUTUMN', 'ENROLLMENT_OPEN', 10, 0, 2);
-- Two semesters for one user, two users in one semester, and an older, withdrawn enrollment: none of that offends.
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, price_paid, withdrawn_at)
values (11, 1, 1, 'WITHDRAWN', false, 25, now()), (12, 1, 1, 'APPROVED', true, 25, null),
       (13, 1, 2, 'APPROVED', true, 0, null), (14, 2, 2, 'APPROVED', true, 0, null);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'OPENING_BALANCE', 88, 88, null), (102, 1, 'TOURNAMENT_ENROLLMENT', -25, 63, 11),
       (103, 1, 'TOURNAMENT_UNENROLL_REFUND', 12, 75, 11), (104, 1, 'TOURNAMENT_ENROLLMENT', -25, 50, 12),
       (105, 1, 'TOURNAMENT_ENROLLMENT', 0, 50, 13), (106, 2, 'TOURNAMENT_ENROLLMENT', 0, 0, 14);
-- == breach
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, price_paid)
values (15, 1, 1, 'APPROVED', true, 25);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (107, 1, 'TOURNAMENT_ENROLLMENT', -25, 25, 15);
update seatkeeper.users set credit_balance = 25 where user_id = 1;
update seatkeeper.semesters set enrolled_count = 2 where semester_id = 1;
-- == drop
drop index seatkeeper.uq_active_enrollment;
-- == repair
update seatkeeper.enrollments set status = 'WITHDRAWN', is_active = false, withdrawn_at = now() where enrollment_id = 15;
update seatkeeper.semesters set enrolled_count = 1 where semester_id = 1;
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after)
values (108, 1, 'PURCHASE', 25, 50);
update seatkeeper.users set credit_balance = 50 where user_id = 1;
create unique index uq_active_enrollment on seatkeeper.enrollments (user_id, semester_id) where is_active;
