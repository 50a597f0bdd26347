-- invariant: INV-07
-- guard: trg_ledger_append_only
-- offends: {"user_id": 1, "what": "ledger row 102"}
-- offends: {"user_id": 1, "what": "ledger row 104"}
-- offends: {"user_id": 2, "what": "balance"}
-- offends: {"user_id": 3, "what": "balance"}
-- offends: {"user_id": 4, "what": "balance"}
-- offends: {"user_id": 4, "what": "ledger row 106"}
-- also: INV-05
-- == given
insert into seatkeeper.users (user_id, credit_balance) values (1, 70), (2, 30), (3, 0), (4, 25);
insert into seatkeeper.credit_transactions (transaction_id, user_id, transaction_type, amount, balance_after)
values (101, 1, 'OPENING_BALANCE', 50, 50), (102, 1, 'PURCHASE', 10, 60), (103, 2, 'PURCHASE', 30, 30),
       (104, 1, 'PURCHASE', 10, 70), (105, 4, 'PURCHASE', 20, 20), (106, 4, 'PURCHASE', 5, 25);
-- == breach
-- A row that no longer goes on from the one before (nor the next from it), though the sum is right; a balance written by
-- hand, beside a ledger and without one; and a row whose amount was edited.
update seatkeeper.credit_transactions set balance_after = 65 where transaction_id = 102;
update seatkeeper.users set credit_balance = 31 where user_id = 2;
update seatkeeper.users set credit_balance = 7 where user_id = 3;
update seatkeeper.credit_transactions set amount = 6 where transaction_id = 106;
-- == drop
alter table seatkeeper.credit_transactions disable trigger trg_ledger_append_only;
-- == repair
update seatkeeper.credit_transactions set balance_after = 60 where transaction_id = 102;
update seatkeeper.credit_transactions set amount = 5 where transaction_id = 106;
alter table seatkeeper.credit_transactions enable trigger trg_ledger_append_only;
update seatkeeper.users set credit_balance = 30 where user_id = 2;
update seatkeeper.users set credit_balance = 0 where user_id = 3;
