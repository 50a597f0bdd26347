-- What does not add up after a measurement, one line each; nothing when all of it does. Every request was answered, once
-- and applied (everybody is rich, and every semester has room), and places, counters and ledger say so.
select what || ': ' || rows from (
    select 'requests without their answer' as what, count(*) as rows
    from peers.ask a
    left join seatkeeper.requests r on r.request_id = a.id and r.kind = 'enroll' and r.status = 'done'
        and r.outcome = 'applied' and r.user_id = a.user_id and r.semester_id = a.semester_id
        and r.payload = jsonb_build_object('user_id', a.user_id, 'semester_id', a.semester_id)
        and (r.result ->> 'charged')::bigint = 10
    where r.request_id is null
    union all
    select 'requests that nobody asked', count(*)
    from seatkeeper.requests r left join peers.ask a on a.id = r.request_id
    where r.kind <> 'grant_credits' and a.id is null
    union all
    select 'answers with a number that another has', count(answer_seq) - count(distinct answer_seq) from seatkeeper.requests
    union all
    select 'requests without exactly one enrollment', count(*) from (
        select a.id from peers.ask a
        left join seatkeeper.enrollments e on e.request_id = a.id and e.user_id = a.user_id
            and e.semester_id = a.semester_id and e.is_active and e.price_paid = 10
        group by a.id having count(e.enrollment_id) <> 1) others
    union all
    select 'requests without exactly one row in the ledger', count(*) from (
        select a.id from peers.ask a
        left join seatkeeper.credit_transactions t on t.request_id = a.id and t.user_id = a.user_id
            and t.amount = -10 and t.transaction_type = 'TOURNAMENT_ENROLLMENT'
        group by a.id having count(t.transaction_id) <> 1) others
    union all
    select 'enrollments, more than asked for', count(*) - (select count(*) from peers.ask) from seatkeeper.enrollments
    union all
    select 'semesters whose counter is off', count(*)
    from seatkeeper.semesters s
    left join (select semester_id, count(*) as n from seatkeeper.enrollments where is_active group by semester_id) e
        using (semester_id)
    where s.enrolled_count <> coalesce(e.n, 0)
    union all
    select 'users whose balance is not the sum of their ledger', count(*)
    from seatkeeper.users u
    left join (select user_id, sum(amount) as moved from seatkeeper.credit_transactions group by user_id) t using (user_id)
    where u.credit_balance <> coalesce(t.moved, 0)
    union all
    select 'rows of the ledger that do not continue the one before', count(*) from (
        select balance_after - amount <> coalesce(lag(balance_after) over (
            partition by t.user_id order by r.answer_seq), 0) as broken
        from seatkeeper.credit_transactions t join seatkeeper.requests r using (request_id)) chain
    where broken
) findings where rows <> 0;
