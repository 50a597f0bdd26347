-- invariant: INV-02
-- summary: No user has a negative balance
-- severity: critical
-- alert_above: 0
-- key: user_id
-- guards: chk_credit_balance_non_negative
-- repair: Pause everything (`seatkeeper pause --everything --reason INV-02`): the balance may be spent again while it is wrong. Look at the
--   user's ledger in the order of transaction_id. When its sum differs from the balance (INV-07), somebody wrote the balance by
--   hand: set it to the sum. When the sum itself is negative, more was spent than there was: agree with the owner of the
--   account what is withdrawn, or grant what is missing. Put chk_credit_balance_non_negative back if INV-05
--   misses it, resume, and check again.

select u.user_id, u.credit_balance, u.is_active
from seatkeeper.users u
where u.credit_balance < 0
