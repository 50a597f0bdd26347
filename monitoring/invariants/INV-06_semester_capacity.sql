-- invariant: INV-06
-- summary: No semester has more active enrollments than places, and enrolled_count is their number
-- severity: critical
-- alert_above: 0
-- key: semester_id, what
-- guards: chk_enrolled_within_capacity, chk_enrolled_count_non_negative
-- repair: Pause the semester (`seatkeeper pause --semester ID --reason INV-06`); wait until no batch of it is open. For `counter`, count the
--   active enrollments again under the semester's row lock and set enrolled_count to that. For `places`, nobody is thrown out by
--   hand: the owner of the semester raises max_players, or names who leaves, and these are unenrolled by requests after
--   the resume. Put chk_enrolled_within_capacity back if INV-05 misses it, resume, and check again.

-- Counted from the rows; the counter is what is in question.
with counted as (
    select e.semester_id, count(*) as enrolled
    from seatkeeper.enrollments e
    where e.is_active
    group by e.semester_id
)
select s.semester_id, o.what, coalesce(c.enrolled, 0) as enrolled, s.enrolled_count, s.max_players, s.status
from seatkeeper.semesters s
left join counted c on c.semester_id = s.semester_id
cross join lateral (values
    ('places', coalesce(c.enrolled, 0) > s.max_players),
    ('counter', coalesce(c.enrolled, 0) is distinct from s.enrolled_count)
) o (what, offends)
where o.offends
