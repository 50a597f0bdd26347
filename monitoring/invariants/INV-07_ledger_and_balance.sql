-- invariant: INV-07
-- summary: Every balance is the sum of its ledger, and every row of the ledger goes on from the one before
-- severity: critical
-- alert_above: 0
-- key: user_id, what
-- guards: trg_ledger_append_only, fk_transaction_user
-- repair: Pause everything (`seatkeeper pause --everything --reason INV-07`): the balance may be spent again while it is wrong. Read the
--   user's ledger in the order of transaction_id, beside the requests that its rows name. For `balance`, the ledger is right: set
--   credit_balance to its sum. For `ledger row N`, that row or the one before it was edited, added or taken away by hand: put
--   back what the request's result says (`seatkeeper requests show ID`; or a backup), the one time that the append-only
--   trigger is disabled, in one transaction that enables it again. What cannot be told is granted or taken by
--   grant_credits, and accepted (`seatkeeper check accept`). Resume, and check again.

-- One pass over the ledger, the chain and the sum together. `offset 0`: read as it lies and sorted, since in the order of the index
-- every row would be fetched from another page.
with ledger as (
    select t.user_id, sum(t.amount) as total, count(*) as transactions,
           array_agg(t.transaction_id) filter (where t.balance_after - t.amount is distinct from t.before) as broken
    from (
        select c.user_id, c.transaction_id, c.amount, c.balance_after,
               lag(c.balance_after, 1, 0::bigint) over (partition by c.user_id order by c.transaction_id) as before
        from (select x.user_id, x.transaction_id, x.amount, x.balance_after from seatkeeper.credit_transactions x offset 0) c
    ) t
    group by t.user_id
)
select coalesce(u.user_id, l.user_id) as user_id, o.what, u.credit_balance, coalesce(l.total, 0) as ledger_sum,
       coalesce(l.transactions, 0) as transactions
from seatkeeper.users u
full join ledger l on l.user_id = u.user_id
cross join lateral (
    select 'balance' as what where u.credit_balance is distinct from coalesce(l.total, 0)
    union all
    select 'ledger row ' || b.transaction_id from unnest(l.broken) b (transaction_id)
) o
where u.credit_balance is distinct from coalesce(l.total, 0) or l.broken is not null
