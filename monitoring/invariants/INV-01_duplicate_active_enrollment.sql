-- invariant: INV-01
-- summary: No user has more than one active enrollment in a semester
-- severity: critical
-- alert_above: 0
-- key: user_id, semester_id
-- guards: uq_active_enrollment
-- repair: Keep the oldest of the enrollments. Give the price of each other one back.
select e.user_id, e.semester_id, count(*) as enrollments, array_agg(e.enrollment_id order by e.enrollment_id) as enrollment_ids
from seatkeeper.enrollments e
where e.is_active
group by e.user_id, e.semester_id
having count(*) > 1
