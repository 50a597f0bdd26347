-- invariant: INV-02
-- guard: chk_credit_balance_non_negative
-- offends: {"user_id": 2}
-- also: INV-05, INV-07
-- == given
-- One balance at its very end, one above it.
insert into seatkeeper.users (user_id, credit_balance) values (1, 0), (2, 30);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after)
values (101, 1, 'PURCHASE', 40, 40), (102, 2, 'OPENING_BALANCE', 30, 30), (103, 1, 'ADMIN_ADJUSTMENT', -40, 0);
-- == breach
update seatkeeper.users set credit_balance = credit_balance - 31 where user_id = 2;
-- == drop
alter table seatkeeper.users drop constraint chk_credit_balance_non_negative;
-- == repair
update seatkeeper.users u
set credit_balance = (select sum(t.amount) from seatkeeper.credit_transactions t where t.user_id = u.user_id)
where u.user_id = 2;
alter table seatkeeper.users add constraint chk_credit_balance_non_negative check (credit_balance >= 0);
