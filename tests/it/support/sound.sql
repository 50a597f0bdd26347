-- What must hold in every database at the end of every test: a violation is a row that says where.

select 'enrolled_count of semester ' || s.semester_id from seatkeeper.semesters s
where s.enrolled_count <> (select count(*) from seatkeeper.enrollments e
                           where e.semester_id = s.semester_id and e.is_active)
union all
select 'places of semester ' || s.semester_id from seatkeeper.semesters s
where s.enrolled_count > s.max_players
union all
select 'balance of user ' || u.user_id from seatkeeper.users u
where u.credit_balance <> (select coalesce(sum(t.amount), 0) from seatkeeper.credit_transactions t
                           where t.user_id = u.user_id)
union all
select 'ledger row ' || t.transaction_id from (
    select t.*, lag(balance_after, 1, 0::bigint) over (partition by user_id order by transaction_id) as before
    from seatkeeper.credit_transactions t) t
where t.balance_after <> t.before + t.amount
union all
select 'active enrollments of user ' || e.user_id from seatkeeper.enrollments e
where e.is_active group by e.user_id, e.semester_id having count(*) > 1
union all
select 'refunds of enrollment ' || t.enrollment_id from seatkeeper.credit_transactions t
where t.transaction_type like '%REFUND' group by t.enrollment_id having count(*) > 1
union all
select 'effect without its request: ' || e.request_id from seatkeeper.enrollments e
where e.request_id is not null -- null = imported
  and not exists (select from seatkeeper.requests r where r.request_id = e.request_id and r.outcome = 'applied')
union all
select 'ledger row without its request: ' || t.request_id from seatkeeper.credit_transactions t
where t.request_id is not null
  and not exists (select from seatkeeper.requests r where r.request_id = t.request_id and r.outcome = 'applied')
union all
-- INV-B01
select 'confirmed_count of session ' || s.session_id from seatkeeper.sessions s
where s.confirmed_count <> (select count(*) from seatkeeper.bookings b
                            where b.session_id = s.session_id and b.status = 'CONFIRMED')
union all
select 'places of session ' || s.session_id from seatkeeper.sessions s
where s.confirmed_count > s.capacity
union all
-- INV-B02
select 'live bookings of user ' || b.user_id || ' in session ' || b.session_id from seatkeeper.bookings b
where b.status <> 'CANCELLED' group by b.user_id, b.session_id having count(*) > 1
union all
-- INV-B03
select 'ticket ' || coalesce(b.waitlist_ticket::text, 'missing') from seatkeeper.bookings b
group by b.waitlist_ticket having count(*) > 1 or b.waitlist_ticket is null
union all
-- INV-B04
select 'attendance of booking ' || a.booking_id from seatkeeper.attendance a
group by a.booking_id having count(*) > 1
union all
-- INV-B06
select 'booking without enrollment: ' || b.booking_id
from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)
where b.status <> 'CANCELLED' and s.starts_at > clock_timestamp()
  and not exists (select from seatkeeper.enrollments e
                  where e.user_id = b.user_id and e.semester_id = s.semester_id and e.is_active)
union all
-- INV-B07: sessions that are marked for filling are still to be filled
select distinct 'free place beside a waiter in session ' || s.session_id
from seatkeeper.sessions s
join seatkeeper.bookings b on b.session_id = s.session_id and b.status = 'WAITLISTED'
join seatkeeper.users u on u.user_id = b.user_id and u.is_active
join seatkeeper.enrollments e on e.user_id = b.user_id and e.semester_id = s.semester_id and e.is_active
where s.status = 'SCHEDULED' and s.starts_at > clock_timestamp() and s.confirmed_count < s.capacity
  and not exists (select from seatkeeper.fill_marks m where m.session_id = s.session_id)
union all
-- INV-B08
select 'user ' || c.user_id || ' in two places: bookings ' || c.booking_id || ' and ' || o.booking_id
from seatkeeper.bookings c join seatkeeper.bookings o on o.user_id = c.user_id and o.booking_id <> c.booking_id
where c.status = 'CONFIRMED' and o.status <> 'CANCELLED' and c.starts_at < o.ends_at and o.starts_at < c.ends_at
union all
select 'times of booking ' || b.booking_id
from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)
where b.status <> 'CANCELLED' and (b.starts_at, b.ends_at) is distinct from (s.starts_at, s.ends_at)
union all
select 'booking without its request: ' || b.request_id from seatkeeper.bookings b
where b.request_id is not null
  and not exists (select from seatkeeper.requests r where r.request_id = b.request_id and r.outcome = 'applied')
union all
select 'attendance without its request: ' || a.request_id from seatkeeper.attendance a
where a.request_id is not null
  and not exists (select from seatkeeper.requests r where r.request_id = a.request_id and r.outcome = 'applied')
