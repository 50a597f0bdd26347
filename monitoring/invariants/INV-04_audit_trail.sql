-- invariant: INV-04
-- summary: Every active enrollment has its row in the ledger
-- severity: warning
-- alert_above: 50
-- alert_counts: all
-- key: enrollment_id
-- guards: none: the charge and the enrollment are written by one commit
-- repair: Find out where the enrollment comes from.
select e.enrollment_id, e.user_id, e.semester_id, e.price_paid, e.enrolled_at, e.request_id
from seatkeeper.enrollments e
where e.is_active
  and not exists (select from seatkeeper.credit_transactions t
                  where t.enrollment_id = e.enrollment_id and t.transaction_type = 'TOURNAMENT_ENROLLMENT')
