-- invariant: INV-09
-- summary: No ready request is too old, no answer is half of one, and no effect is without its request
-- severity: critical
-- alert_above: 0
-- key: request_id, what
-- guards: chk_request_answer
-- repair: For `late`, nothing is wrong with the data: see whether workers run and reach the database (`seatkeeper doctor`),
--   and what `last_error` says. For `attempts`, a request is tried without end: pause its kind, and cancel it or report its
--   `last_error`. For `no outcome` and `no number`, somebody wrote the row past its guard (`seatkeeper check --only INV-05` says whether
--   that is in force): pause its semester, and put back what a backup has, or else what the effects of the request say, the one time
--   that trg_answer_for_good is disabled, in one transaction that enables it again. For an effect, pause its semester
--   (`seatkeeper pause --semester ID --reason INV-09`): the row says that a request made it, and no such request was applied. Look
--   for the request (`seatkeeper requests show ID`) and in backups; somebody deleted requests, or wrote the row by hand. Undo the
--   effect by an ordinary request (unenroll, cancel_booking, grant_credits), or, when it is right as it is, accept it with the
--   reason. Delete nothing. Resume, and check again.

-- Ages are measured to the start of the transaction, which is never later than what this snapshot shows.
with suspect as (
    -- Ready since: it arrived, its time came, its pause ended, or an operator had it retried.
    select r.request_id, r.kind, r.status, r.hold, r.attempts, r.last_error, r.semester_id, r.user_id,
           case r.status when 'done' then r.finished_at else greatest(r.enqueued_at, r.run_at) end as since,
           r.outcome, r.answer_seq
    from seatkeeper.requests r
    where r.status = 'queued' and (greatest(r.enqueued_at, r.run_at) < now() - interval '1 hour' or r.attempts >= 100)
       or r.status = 'done' and (r.outcome is null or r.answer_seq is null)
),
lately as (
    select a.action, a.details, a.request_ids
    from seatkeeper.operator_actions a
    where a.action in ('resume', 'retry') and a.acted_at > now() - interval '1 hour'
),
stuck as (
    select 'late' as what, r.request_id, r.kind, r.since, r.attempts, r.last_error, r.semester_id, r.user_id
    from suspect r
    where r.status = 'queued' and r.since < now() - interval '1 hour'
      and not exists (select from seatkeeper.pauses p
                      where coalesce(p.kind = r.kind, true) and coalesce(p.semester_id = r.semester_id, p.semester_id is null))
      and not exists (select from lately l
                      where l.action = 'resume'
                        and coalesce(l.details ->> 'kind' = r.kind, true)
                        and coalesce(l.details ->> 'semester_id' = r.semester_id::text, l.details ->> 'semester_id' is null))
      and not exists (select from lately l cross join unnest(l.request_ids) u (request_id)
                      where l.action = 'retry' and u.request_id = r.request_id)
    union all
    -- What spends its last attempt becomes `failed`. How many there are is the workers' setting: 100 at most.
    select 'attempts', r.request_id, r.kind, r.since, r.attempts, r.last_error, r.semester_id, r.user_id
    from suspect r
    where r.status = 'queued' and r.attempts >= 100
),
-- An answer of which nobody knows what it was, or where it stands in the one order. (Of the guard that should have refused it,
-- nothing is believed.)
halves as (
    select w.what, r.request_id, r.kind, r.since, r.attempts, r.last_error, r.semester_id, r.user_id
    from suspect r
    cross join lateral (select 'no outcome' as what where r.outcome is null
                        union all
                        select 'no number' where r.answer_seq is null) w
    where r.status = 'done'
),
effects as (
    -- Imported rows have no request_id.
    select e.request_id, 'enrollment ' as what, e.enrollment_id as id, e.user_id, e.enrolled_at as at
    from seatkeeper.enrollments e where e.request_id is not null
    union all
    select t.request_id, 'ledger row ', t.transaction_id, t.user_id, t.created_at
    from seatkeeper.credit_transactions t where t.request_id is not null
    union all
    select b.request_id, 'booking ', b.booking_id, b.user_id, b.booked_at
    from seatkeeper.bookings b where b.request_id is not null
    union all
    select a.request_id, 'attendance of booking ', a.booking_id, null, a.recorded_at
    from seatkeeper.attendance a where a.request_id is not null
),
orphans as (
    select f.request_id, f.what, f.id, f.user_id, f.at
    from effects f
    where not exists (select from seatkeeper.requests r where r.request_id = f.request_id and r.outcome = 'applied')
      and not exists (select from seatkeeper.request_tombstones d
                      where d.request_id = f.request_id and d.outcome = 'applied')
)
select s.request_id, s.what, s.kind, s.since, s.attempts, s.last_error, s.semester_id, s.user_id
from stuck s
union all
select h.request_id, h.what, h.kind, h.since, h.attempts, h.last_error, h.semester_id, h.user_id
from halves h
union all
-- Of what request there is instead, if there is one: refused, failed, or still queued.
select o.request_id, o.what || o.id, r.kind, o.at, r.attempts, coalesce(r.last_error, r.status), r.semester_id, o.user_id
from orphans o
left join lateral (select q.kind, q.attempts, q.last_error, q.status, q.semester_id
                   from seatkeeper.requests q where q.request_id = o.request_id offset 0) r on true
