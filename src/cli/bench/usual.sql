-- The usual way to do the same work: one call and one transaction for each request, under the same rules, on the same
-- tables, constraints and indexes. Sparing: no queue, the request is written once, with its answer. What it answers is
-- audited like everything else.
create schema usual;

-- What the doors are measured against.
create table usual.trivial (id bigint generated always as identity primary key, number integer not null);

create function usual.answer(id uuid, a_kind text, a_payload jsonb, a_semester bigint, a_user bigint, refusal text,
    a_result jsonb, at timestamptz) returns text language plpgsql as $$
begin
    insert into seatkeeper.requests (request_id, kind, payload, status, outcome, reason, result, attempts, semester_id,
                                     user_id, answer_seq, finished_at)
    values (id, a_kind, a_payload, 'done', case when refusal is null then 'applied' else 'refused' end, refusal, a_result, 1,
            a_semester, a_user, nextval('seatkeeper.answer_seq'), at);
    return coalesce(refusal, 'applied');
end $$;

create function usual.enroll(id uuid, a_user bigint, a_semester bigint) returns text language plpgsql as $$
declare
    s seatkeeper.semesters;
    u seatkeeper.users;
    refusal text;
    enrollment bigint;
    left_over bigint;
    at timestamptz;
begin
    if exists (select from seatkeeper.requests r where r.request_id = id) then
        return 'duplicate';
    end if;
    select * into s from seatkeeper.semesters where semester_id = a_semester for no key update;
    select * into u from seatkeeper.users where user_id = a_user for no key update;
    at := clock_timestamp();
    refusal := case
        when s.semester_id is null then 'semester_not_found'
        when u.user_id is null then 'user_not_found'
        when not u.is_active then 'user_inactive'
        when s.status not in ('ENROLLMENT_OPEN', 'IN_PROGRESS') then 'semester_not_open'
        when s.enrollment_closes_at <= at then 'enrollment_closed'
        when exists (select from seatkeeper.enrollments e
                     where e.user_id = a_user and e.semester_id = a_semester and e.is_active) then 'already_enrolled'
        when s.enrolled_count >= s.max_players then 'semester_full'
        when u.credit_balance < s.enrollment_cost then 'insufficient_credits' end;
    if refusal is null then
        update seatkeeper.semesters set enrolled_count = enrolled_count + 1 where semester_id = a_semester;
        update seatkeeper.users set credit_balance = credit_balance - s.enrollment_cost where user_id = a_user
        returning credit_balance into left_over;
        insert into seatkeeper.enrollments (user_id, semester_id, status, is_active, price_paid, request_id, enrolled_at)
        values (a_user, a_semester, 'APPROVED', true, s.enrollment_cost, id, at) returning enrollment_id into enrollment;
        insert into seatkeeper.credit_transactions
            (user_id, transaction_type, amount, balance_after, enrollment_id, request_id, created_at)
        values (a_user, 'TOURNAMENT_ENROLLMENT', -s.enrollment_cost, left_over, enrollment, id, at);
    end if;
    return usual.answer(id, 'enroll', jsonb_build_object('user_id', a_user, 'semester_id', a_semester), a_semester, a_user,
        refusal,
        case when refusal is null then
                 jsonb_build_object('enrollment_id', enrollment, 'charged', s.enrollment_cost, 'balance', left_over)
             when refusal = 'insufficient_credits' then
                 jsonb_build_object('balance', u.credit_balance, 'cost', s.enrollment_cost) end, at);
end $$;

-- Whoever takes a place gives up the waits at that time.
create function usual.supersede(a_user bigint, s seatkeeper.sessions, at timestamptz) returns bigint[] language sql as $$
    with given_up as (
        update seatkeeper.bookings b set status = 'CANCELLED', cancelled_at = at, cancelled_because = 'superseded'
        where b.user_id = a_user and b.status = 'WAITLISTED' and b.session_id <> s.session_id
          and b.starts_at < s.ends_at and s.starts_at < b.ends_at
        returning b.booking_id)
    select coalesce(array_agg(booking_id order by booking_id), '{}') from given_up
$$;

create function usual.is_taken(a_user bigint, s seatkeeper.sessions) returns boolean language sql as $$
    select exists (select from seatkeeper.bookings b
                   where b.user_id = a_user and b.status = 'CONFIRMED' and b.session_id <> s.session_id
                     and b.ends_at > s.starts_at and b.starts_at < s.ends_at)
$$;

-- While there is a free place, the first able waiter gets it. The session is locked.
create function usual.fill(a_session bigint, at timestamptz) returns bigint[] language plpgsql as $$
declare
    s seatkeeper.sessions;
    w seatkeeper.bookings;
    promoted bigint[] := '{}';
    able boolean;
    found_one boolean;
begin
    loop
        select * into s from seatkeeper.sessions where session_id = a_session;
        exit when s.status <> 'SCHEDULED' or at >= s.starts_at or s.confirmed_count >= s.capacity;
        found_one := false;
        for w in select * from seatkeeper.bookings b where b.session_id = a_session and b.status = 'WAITLISTED'
                 order by b.waitlist_ticket loop
            select u.is_active into able from seatkeeper.users u where u.user_id = w.user_id for no key update;
            -- Read again behind the lock: the wait may have been given up meanwhile.
            if able and exists (select from seatkeeper.bookings b where b.booking_id = w.booking_id and b.status = 'WAITLISTED')
               and exists (select from seatkeeper.enrollments e
                           where e.user_id = w.user_id and e.semester_id = s.semester_id and e.is_active)
               and not usual.is_taken(w.user_id, s) then
                update seatkeeper.bookings set status = 'CONFIRMED', promoted_at = at where booking_id = w.booking_id;
                perform usual.supersede(w.user_id, s, at);
                promoted := promoted || w.booking_id;
                found_one := true;
                exit;
            end if;
        end loop;
        exit when not found_one;
    end loop;
    return promoted;
end $$;

create function usual.book(id uuid, a_user bigint, a_session bigint) returns text language plpgsql as $$
declare
    s seatkeeper.sessions;
    u seatkeeper.users;
    refusal text;
    booking bigint;
    given_up bigint[] := '{}';
    has_place boolean;
    at timestamptz;
begin
    if exists (select from seatkeeper.requests r where r.request_id = id) then
        return 'duplicate';
    end if;
    select * into s from seatkeeper.sessions where session_id = a_session for no key update;
    select * into u from seatkeeper.users where user_id = a_user for no key update;
    at := clock_timestamp();
    refusal := case
        when s.session_id is null then 'session_not_found'
        when u.user_id is null then 'user_not_found'
        when not u.is_active then 'user_inactive'
        when s.status <> 'SCHEDULED' then 'session_cancelled'
        when coalesce(s.booking_closes_at, s.starts_at - interval '24 hours') <= at then 'booking_closed'
        when not exists (select from seatkeeper.enrollments e
                         where e.user_id = a_user and e.semester_id = s.semester_id and e.is_active) then 'not_enrolled'
        when exists (select from seatkeeper.bookings b
                     where b.user_id = a_user and b.session_id = a_session and b.status <> 'CANCELLED') then 'already_booked'
        when usual.is_taken(a_user, s) then 'schedule_conflict' end;
    if refusal is null then
        -- After every change a session is filled, so where there is a free place nobody able waits.
        has_place := s.confirmed_count < s.capacity;
        insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at, booked_at, request_id)
        values (a_user, a_session, case when has_place then 'CONFIRMED' else 'WAITLISTED' end, s.starts_at, s.ends_at, at, id)
        returning booking_id into booking;
        if has_place then
            given_up := usual.supersede(a_user, s, at);
        end if;
    end if;
    return usual.answer(id, 'book', jsonb_build_object('user_id', a_user, 'session_id', a_session), s.semester_id, a_user,
        refusal,
        case when refusal is null then jsonb_build_object('booking_id', booking,
            'status', case when has_place then 'CONFIRMED' else 'WAITLISTED' end,
            'waitlist_position', case when not has_place then (select count(*) from seatkeeper.bookings b
                where b.session_id = a_session and b.status = 'WAITLISTED') end,
            'superseded_bookings', to_jsonb(given_up)) end, at);
end $$;

create function usual.cancel_booking(id uuid, a_user bigint, a_session bigint) returns text language plpgsql as $$
declare
    s seatkeeper.sessions;
    b seatkeeper.bookings;
    refusal text;
    promoted bigint[];
    at timestamptz;
begin
    if exists (select from seatkeeper.requests r where r.request_id = id) then
        return 'duplicate';
    end if;
    select * into s from seatkeeper.sessions where session_id = a_session for no key update;
    perform from seatkeeper.users where user_id = a_user for no key update;
    at := clock_timestamp();
    select * into b from seatkeeper.bookings
    where user_id = a_user and session_id = a_session and status <> 'CANCELLED';
    refusal := case
        when b.booking_id is null then
            case when exists (select from seatkeeper.bookings c
                              where c.user_id = a_user and c.session_id = a_session and c.status = 'CANCELLED')
                 then 'already_cancelled' else 'booking_not_found' end
        when at >= case b.status when 'CONFIRMED' then coalesce(s.cancellation_closes_at, s.starts_at - interval '12 hours')
                                 else s.starts_at end then 'cancellation_closed' end;
    if refusal is null then
        update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = at, cancelled_because = 'requested'
        where booking_id = b.booking_id;
        promoted := usual.fill(a_session, at);
    end if;
    return usual.answer(id, 'cancel_booking', jsonb_build_object('user_id', a_user, 'session_id', a_session), s.semester_id,
        a_user, refusal,
        case when refusal is null then
            jsonb_build_object('booking_id', b.booking_id, 'promoted_bookings', to_jsonb(promoted)) end, at);
end $$;
