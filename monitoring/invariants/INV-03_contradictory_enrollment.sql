-- invariant: INV-03
-- summary: No withdrawn enrollment is active, and no other enrollment has a status that contradicts itself
-- severity: critical
-- alert_above: 0
-- key: enrollment_id
-- guards: chk_enrollment_state, chk_enrollment_status, chk_enrollment_withdrawn_at
-- repair: Pause the semester (`seatkeeper pause --semester ID --reason INV-03`). The ledger says what happened: with a refund for the
--   enrollment it is WITHDRAWN, inactive, and withdrawn_at is the refund's created_at; without one it is APPROVED, active, and
--   withdrawn_at is null. Look at the request, too (`seatkeeper requests show ID`). Correct status, is_active and
--   withdrawn_at of that one row together, and enrolled_count with them when is_active changes. Put the guard back if INV-05
--   misses it, resume, and check again: INV-06 and INV-B06 as well.

select e.enrollment_id, e.user_id, e.semester_id, e.status, e.is_active, e.enrolled_at, e.withdrawn_at
from seatkeeper.enrollments e
where (e.status = 'APPROVED') is distinct from e.is_active
   or (e.status = 'WITHDRAWN') is distinct from (e.withdrawn_at is not null)
   or (e.status in ('APPROVED', 'WITHDRAWN', 'PENDING', 'REJECTED')) is not true
