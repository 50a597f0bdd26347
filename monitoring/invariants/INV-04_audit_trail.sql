-- invariant: INV-04
-- summary: Every active enrollment has its row in the ledger
-- severity: warning
-- alert_above: 50
-- alert_counts: all
-- key: enrollment_id
-- guards: none: the ledger row is written in the enrollment's commit, and nothing in the schema asks for it
-- repair: Nobody loses a place by this, so nothing has to be paused. Find out who made the enrollment: without a request_id it was
--   imported or made by hand; with one, Seatkeeper made it and the ledger row was taken away afterwards (check INV-07 first).
--   Imported ones are accepted with a reason (`seatkeeper check accept`). For others, with the user's row locked, add to the ledger
--   what is missing as the user's last rows: TOURNAMENT_ENROLLMENT with minus price_paid, behind a PURCHASE of as much when
--   the balance has been right without it. Rows of the ledger are added, never changed. Check again, INV-07 as well.

select e.enrollment_id, e.user_id, e.semester_id, e.price_paid, e.enrolled_at, e.request_id
from seatkeeper.enrollments e
where e.is_active
  and not exists (select from seatkeeper.credit_transactions t
                  where t.enrollment_id = e.enrollment_id and t.transaction_type = 'TOURNAMENT_ENROLLMENT')
