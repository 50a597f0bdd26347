-- invariant: INV-01
-- summary: No user has more than one active enrollment in a semester
-- severity: critical
-- alert_above: 0
-- key: user_id, semester_id
-- guards: uq_active_enrollment
-- repair: Pause the semester (`seatkeeper pause --semester ID --reason INV-01`). Look at the listed enrollments, their ledger rows and
--   their requests; the oldest one that was paid for stays. Withdraw each other one by its enrollment_id (status WITHDRAWN,
--   is_active false, withdrawn_at now) and set enrolled_count to what INV-06 counts, in one transaction. Give back what it
--   cost with a grant_credits request, never by touching the ledger. Put uq_active_enrollment back if INV-05 misses it,
--   resume, and check again.

-- Only of the pairs that offend the rows are looked up.
with doubled as (
    select e.user_id, e.semester_id
    from seatkeeper.enrollments e
    where e.is_active
    group by e.user_id, e.semester_id
    having count(*) > 1
)
select d.user_id, d.semester_id, rows_of.enrollments, rows_of.enrollment_ids, rows_of.latest_at
from doubled d
cross join lateral (
    select count(*) as enrollments, array_agg(e.enrollment_id order by e.enrollment_id) as enrollment_ids,
           max(e.enrolled_at) as latest_at
    from seatkeeper.enrollments e
    where e.user_id = d.user_id and e.semester_id = d.semester_id and e.is_active
) rows_of
