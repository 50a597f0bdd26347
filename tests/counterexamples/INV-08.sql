-- invariant: INV-08
-- guard: uq_refund_per_enrollment
-- offends: {"enrollment_id": 11, "what": "more than once"}
-- offends: {"enrollment_id": 12, "what": "above the price"}
-- offends: {"enrollment_id": 13, "what": "not withdrawn"}
-- also: INV-05
-- == given
insert into seatkeeper.users (user_id, credit_balance) values (1, 12), (2, 0), (3, 0), (4, 25);
insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost, enrolled_count)
values (1, 'SPRING', 'ENROLLMENT_OPEN', 10, 25, 1);
insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active, price_paid, withdrawn_at)
values (11, 1, 1, 'WITHDRAWN', false, 25, now()), (12, 2, 1, 'WITHDRAWN', false, 25, now()),
       (13, 3, 1, 'APPROVED', true, 25, null), (14, 4, 1, 'WITHDRAWN', false, 25, now());
-- The last one has the whole price back, which is not above it.
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (101, 1, 'PURCHASE', 25, 25, null), (102, 1, 'TOURNAMENT_ENROLLMENT', -25, 0, 11),
       (103, 1, 'TOURNAMENT_UNENROLL_REFUND', 12, 12, 11),
       (104, 2, 'PURCHASE', 25, 25, null), (105, 2, 'TOURNAMENT_ENROLLMENT', -25, 0, 12),
       (106, 3, 'PURCHASE', 25, 25, null), (107, 3, 'TOURNAMENT_ENROLLMENT', -25, 0, 13),
       (108, 4, 'PURCHASE', 25, 25, null), (109, 4, 'TOURNAMENT_ENROLLMENT', -25, 0, 14),
       (110, 4, 'TOURNAMENT_CANCEL_REFUND', 25, 25, 14);
-- == breach
-- A second refund, of the other kind; one above the price; one for somebody who is still there. Each is in the balance.
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (111, 1, 'TOURNAMENT_CANCEL_REFUND', 13, 25, 11);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id)
values (112, 2, 'TOURNAMENT_UNENROLL_REFUND', 26, 26, 12), (113, 3, 'TOURNAMENT_UNENROLL_REFUND', 12, 12, 13);
update seatkeeper.users set credit_balance = 25 where user_id = 1;
update seatkeeper.users set credit_balance = 26 where user_id = 2;
update seatkeeper.users set credit_balance = 12 where user_id = 3;
-- == drop
drop index seatkeeper.uq_refund_per_enrollment;
-- == repair
-- The third has left, as it turns out. From the first two the surplus is taken back; nothing leaves the ledger, and no
-- amount changes, but what is no refund is no longer called one.
update seatkeeper.enrollments set status = 'WITHDRAWN', is_active = false, withdrawn_at = now() where enrollment_id = 13;
update seatkeeper.semesters set enrolled_count = 0 where semester_id = 1;
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after)
values (114, 1, 'ADMIN_ADJUSTMENT', -13, 12), (115, 2, 'ADMIN_ADJUSTMENT', -26, 0);
update seatkeeper.users set credit_balance = 12 where user_id = 1;
update seatkeeper.users set credit_balance = 0 where user_id = 2;
alter table seatkeeper.credit_transactions disable trigger trg_ledger_append_only;
update seatkeeper.credit_transactions set transaction_type = 'PURCHASE', enrollment_id = null
where transaction_id in (111, 112);
alter table seatkeeper.credit_transactions enable trigger trg_ledger_append_only;
create unique index uq_refund_per_enrollment on seatkeeper.credit_transactions (enrollment_id)
    where transaction_type in ('TOURNAMENT_UNENROLL_REFUND', 'TOURNAMENT_CANCEL_REFUND');
