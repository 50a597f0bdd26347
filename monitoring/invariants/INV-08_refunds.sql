-- invariant: INV-08
-- summary: An enrollment is refunded at most once, never above the price paid, and only when it was withdrawn
-- severity: critical
-- alert_above: 0
-- key: enrollment_id, what
-- guards: uq_refund_per_enrollment, chk_transaction_enrollment
-- repair: Pause the semester (`seatkeeper pause --semester ID --reason INV-08`). Look at the enrollment, at the listed ledger rows and at the
--   requests that they name. For `not withdrawn`, ask whether the user left: if so withdraw the enrollment (status, is_active,
--   withdrawn_at, enrolled_count, in one transaction). Any other surplus is taken back with a negative grant_credits, agreed with the
--   owner of the account. The surplus row stays, and so does its amount: accept it (`seatkeeper check accept`), or, when it keeps
--   uq_refund_per_enrollment from being put back, make it a PURCHASE without enrollment_id, in one transaction that
--   disables the append-only trigger and enables it again. Resume, and check again.

with refunds as (
    select t.enrollment_id, count(*) as refunds, sum(t.amount) as refunded,
           array_agg(t.transaction_id order by t.transaction_id) as transaction_ids
    from seatkeeper.credit_transactions t
    where t.transaction_type in ('TOURNAMENT_UNENROLL_REFUND', 'TOURNAMENT_CANCEL_REFUND')
    group by t.enrollment_id
)
-- A refund that names no enrollment, or none that there is, was not for a withdrawn one.
select coalesce(r.enrollment_id, 0) as enrollment_id, o.what, r.refunds, r.refunded, e.price_paid, e.status, e.is_active,
       e.user_id, e.semester_id, r.transaction_ids
from refunds r
left join seatkeeper.enrollments e on e.enrollment_id = r.enrollment_id
cross join lateral (values
    ('more than once', r.refunds > 1),
    ('above the price', r.refunded > e.price_paid),
    ('not withdrawn', (e.status = 'WITHDRAWN' and not e.is_active) is not true)
) o (what, offends)
where o.offends
