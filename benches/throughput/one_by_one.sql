-- The usual way: one request, one call, one transaction, under the same rules, constraints and indexes.
-- Sparing: the request is written once, with its answer.
create function seatkeeper.bench_enroll(id uuid, a_user bigint, a_semester bigint) returns text language plpgsql as $$
declare
    s seatkeeper.semesters;
    u seatkeeper.users;
    refusal text;
    enrollment bigint;
    left_over bigint;
begin
    if exists (select from seatkeeper.requests r where r.request_id = id) then
        return 'duplicate';
    end if;
    select * into s from seatkeeper.semesters where semester_id = a_semester for no key update;
    select * into u from seatkeeper.users where user_id = a_user for no key update;
    refusal := case
        when s.semester_id is null then 'semester_not_found'
        when u.user_id is null then 'user_not_found'
        when not u.is_active then 'user_inactive'
        when s.status not in ('ENROLLMENT_OPEN', 'IN_PROGRESS') then 'semester_not_open'
        when s.enrollment_closes_at <= clock_timestamp() then 'enrollment_closed'
        when exists (select from seatkeeper.enrollments e
                     where e.user_id = a_user and e.semester_id = a_semester and e.is_active) then 'already_enrolled'
        when s.enrolled_count >= s.max_players then 'semester_full'
        when u.credit_balance < s.enrollment_cost then 'insufficient_credits' end;
    if refusal is null then
        update seatkeeper.semesters set enrolled_count = enrolled_count + 1 where semester_id = a_semester;
        update seatkeeper.users set credit_balance = credit_balance - s.enrollment_cost where user_id = a_user
        returning credit_balance into left_over;
        insert into seatkeeper.enrollments (user_id, semester_id, status, is_active, price_paid, request_id)
        values (a_user, a_semester, 'APPROVED', true, s.enrollment_cost, id) returning enrollment_id into enrollment;
        insert into seatkeeper.credit_transactions
            (user_id, transaction_type, amount, balance_after, enrollment_id, request_id)
        values (a_user, 'TOURNAMENT_ENROLLMENT', -s.enrollment_cost, left_over, enrollment, id);
    end if;
    insert into seatkeeper.requests (request_id, kind, payload, status, outcome, reason, result, attempts, semester_id,
                                     user_id, answer_seq, finished_at)
    values (id, 'enroll', jsonb_build_object('user_id', a_user, 'semester_id', a_semester), 'done',
            case when refusal is null then 'applied' else 'refused' end, refusal,
            case when refusal is null then jsonb_build_object('enrollment_id', enrollment, 'charged', s.enrollment_cost,
                                                              'balance', left_over) end,
            1, a_semester, a_user, nextval('seatkeeper.answer_seq'), clock_timestamp());
    return coalesce(refusal, 'applied');
end $$;
