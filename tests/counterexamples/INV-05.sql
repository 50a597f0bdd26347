-- invariant: INV-05
-- guard: none: the guards themselves are gone
-- offends: {"what": "index", "table": "enrollments", "name": "uq_active_enrollment"}
-- offends: {"what": "constraint", "table": "users", "name": "chk_credit_balance_non_negative"}
-- offends: {"what": "trigger", "table": "credit_transactions", "name": "trg_ledger_append_only"}
-- offends: {"what": "index", "table": "credit_transactions", "name": "uq_refund_per_enrollment"}
-- also:
-- == given
insert into seatkeeper.users (user_id, credit_balance) values (1, 30);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after)
values (101, 1, 'OPENING_BALANCE', 30, 30);
-- == breach
-- == drop
-- One is missing; one is there by name, but not for older rows; one is there, and asleep; one forgets a kind of refund.
drop index seatkeeper.uq_active_enrollment;
alter table seatkeeper.users drop constraint chk_credit_balance_non_negative;
alter table seatkeeper.users add constraint chk_credit_balance_non_negative check (credit_balance >= 0) not valid;
alter table seatkeeper.credit_transactions disable trigger trg_ledger_append_only;
drop index seatkeeper.uq_refund_per_enrollment;
create unique index uq_refund_per_enrollment on seatkeeper.credit_transactions (enrollment_id)
    where transaction_type = 'TOURNAMENT_UNENROLL_REFUND';
-- == repair
create unique index uq_active_enrollment on seatkeeper.enrollments (user_id, semester_id) where is_active;
alter table seatkeeper.users validate constraint chk_credit_balance_non_negative;
alter table seatkeeper.credit_transactions enable trigger trg_ledger_append_only;
drop index seatkeeper.uq_refund_per_enrollment;
create unique index uq_refund_per_enrollment on seatkeeper.credit_transactions (enrollment_id)
    where transaction_type in ('TOURNAMENT_UNENROLL_REFUND', 'TOURNAMENT_CANCEL_REFUND');
