-- invariant: INV-04
-- guard: none: nothing in the schema asks for the ledger row
-- offends: {"enrollment_id": 13}
-- also:
-- == given
insert into seatkeeper.users (user_id, credit_balance) values (1, 0), (2, 12), (3, 60);
insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost, enrolled_count)
values (1, 'SPRING', 'ENROLLMENT_OPEN', 10, 25, 1);
-- A free place has a row as well; a withdrawn enrollment needs none any more.
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, price_paid, withdrawn_at)
values (11, 1, 1, 'APPROVED', true, 0, null), (12, 2, 1, 'WITHDRAWN', false, 25, now());
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'TOURNAMENT_ENROLLMENT', 0, 0, 11), (102, 2, 'TOURNAMENT_UNENROLL_REFUND', 12, 12, 12),
       (103, 3, 'OPENING_BALANCE', 60, 60, null);
-- == breach
-- A place whose price was taken from the opening balance before anybody kept a ledger.
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, price_paid)
values (13, 3, 1, 'APPROVED', true, 25);
update seatkeeper.semesters set enrolled_count = 2 where semester_id = 1;
-- == drop
-- == repair
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (104, 3, 'PURCHASE', 25, 85, null), (105, 3, 'TOURNAMENT_ENROLLMENT', -25, 60, 13);
