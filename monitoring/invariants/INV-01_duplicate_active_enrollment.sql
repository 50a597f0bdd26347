-- invariant: INV-01
-- summary: No user has more than one active enrollment in a semester
-- severity: critical
-- alert_above: 0
-- key: user_id, semester_id
-- guards: uq_active_enrollment
-- repair: Pause the semester: `seatkeeper pause --semester <semester_id> --reason INV-01`.
--   Look at the listed enrollments, at their ledger rows and at their requests: the oldest one that was paid for stays.
--   Withdraw each other one by its enrollment_id (status WITHDRAWN, is_active false, withdrawn_at now), and lower enrolled_count by as many.
--   Give back what it cost with a grant_credits request; never touch the ledger itself.
--   Make uq_active_enrollment again if INV-05 misses it, resume the semester, and check INV-01, INV-05 and INV-06.
-- The pairs come from the index alone; only the rows of those that offend are read.
with doubled as (
    select e.user_id, e.semester_id
    from seatkeeper.enrollments e
    where e.is_active
    group by e.user_id, e.semester_id
    having count(*) > 1
)
select d.user_id, d.semester_id, of.enrollments, of.enrollment_ids, of.latest_at
from doubled d
cross join lateral (
    select count(*) as enrollments, array_agg(e.enrollment_id order by e.enrollment_id) as enrollment_ids,
           max(e.enrolled_at) as latest_at
    from seatkeeper.enrollments e
    where e.user_id = d.user_id and e.semester_id = d.semester_id and e.is_active
) of
order by d.user_id, d.semester_id
