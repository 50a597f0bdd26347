-- Who may ask for what, who has asked, and who reads the answer. It is asked of `session_user`, the account that has logged in: within
-- a door, which works with the rights of its owner, nothing else tells.

-- Rights that no grant on a table expresses. Whoever may execute one of these functions has it, so they are granted, revoked, dumped and
-- inherited like every other right of PostgreSQL, whatever the roles are called.
create function seatkeeper.may_enroll() returns boolean language sql immutable parallel safe as 'select true';
comment on function seatkeeper.may_enroll() is 'A right: to ask for enroll and unenroll';
create function seatkeeper.may_book() returns boolean language sql immutable parallel safe as 'select true';
comment on function seatkeeper.may_book() is 'A right: to ask for book and cancel_booking';
create function seatkeeper.may_grant_credits() returns boolean language sql immutable parallel safe as 'select true';
comment on function seatkeeper.may_grant_credits() is 'A right: to ask for grant_credits, up to max_amount of account_limits';
create function seatkeeper.may_register() returns boolean language sql immutable parallel safe as 'select true';
comment on function seatkeeper.may_register() is 'A right: to ask for record_attendance and cancel_semester';
create function seatkeeper.may_read_all() returns boolean language sql immutable parallel safe as 'select true';
comment on function seatkeeper.may_read_all() is 'A right: to read receipts, bookings and balances whoever has asked';
revoke all on function seatkeeper.may_enroll, seatkeeper.may_book, seatkeeper.may_grant_credits, seatkeeper.may_register,
    seatkeeper.may_read_all from public;

create function seatkeeper.right_for(kind text) returns regprocedure language sql immutable parallel safe as $$
    select case
        when kind in ('enroll', 'unenroll') then 'seatkeeper.may_enroll()'::regprocedure
        when kind in ('book', 'cancel_booking') then 'seatkeeper.may_book()'::regprocedure
        when kind = 'grant_credits' then 'seatkeeper.may_grant_credits()'::regprocedure
        when kind in ('record_attendance', 'cancel_semester') then 'seatkeeper.may_register()'::regprocedure end
$$;
comment on function seatkeeper.right_for(text) is 'The right that it takes to ask for this; null when there is no such kind';

create function seatkeeper.session_may(required regprocedure) returns boolean language plpgsql stable as $$
begin
    return has_function_privilege(session_user, required, 'execute')
        -- Who inherits nothing acts as one of the account's roles (set role), which only those that it has can be.
        or (current_setting('role') <> 'none' and has_function_privilege(current_setting('role'), required, 'execute'));
end $$;
comment on function seatkeeper.session_may(regprocedure) is 'Whether the account that has logged in has the right';

-- What one account may have. Off until the owner of the schema writes a row.
create table seatkeeper.account_limits (
    account     text   not null,
    max_waiting bigint,
    max_amount  bigint,
    constraint pk_account_limits primary key (account),
    constraint chk_account_limits check (max_waiting >= 0 and max_amount >= 0)
);
comment on table seatkeeper.account_limits is 'What an account may ask for; the one named * is every account without a row of its own';
comment on column seatkeeper.account_limits.max_waiting is
    'Requests that it may have queued; more are refused with RC429. Counts what is asked while it is set; null = no limit';
comment on column seatkeeper.account_limits.max_amount is 'The largest amount of a grant_credits, of either sign; null = no limit';

alter table seatkeeper.requests add column enqueued_by text, add column limited boolean;
comment on column seatkeeper.requests.enqueued_by is
    'The account that asked (session_user), recorded by the door; null = from before that was recorded';
comment on column seatkeeper.requests.limited is 'Counts towards what its account may have waiting';
create index idx_waiting_of_account on seatkeeper.requests (enqueued_by) where limited and status = 'queued';
alter table seatkeeper.request_tombstones add column enqueued_by text;
comment on column seatkeeper.request_tombstones.enqueued_by is 'The account that asked';

create function seatkeeper.refuse_without_right(kind text, hint text default null) returns void language plpgsql stable as $$
declare
    required regprocedure := seatkeeper.right_for(kind);
begin
    if required is not null and not seatkeeper.session_may(required) then
        raise exception 'permission denied: account % may not ask for %', session_user, kind
            using errcode = 'insufficient_privilege', detail = 'kind',
                  hint = concat_ws(' ', refuse_without_right.hint, format('It takes a role with execute on %s.', required));
    end if;
end $$;

create function seatkeeper.max_amount_of_session() returns bigint language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
    return (select l.max_amount from seatkeeper.account_limits l
            where l.account = any (array[session_user::text, '*']) order by l.account = '*' limit 1);
end $$;

create function seatkeeper.refuse_amount(most bigint, hint text default null) returns void language plpgsql as $$
begin
    raise exception 'permission denied: account % may grant up to % at a time', session_user, most
        using errcode = 'insufficient_privilege', detail = 'amount',
              hint = concat_ws(' ', refuse_amount.hint, 'The owner of the schema sets it in seatkeeper.account_limits.');
end $$;

-- After the insert, which it counts. What others of the account have not committed yet it does not see: no more than a limit, so that
-- nobody waits for anybody else's transaction.
create function seatkeeper.refuse_beyond_limit() returns void language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
declare
    most bigint := (select l.max_waiting from seatkeeper.account_limits l
                    where l.account = any (array[session_user::text, '*']) order by l.account = '*' limit 1);
begin
    perform from seatkeeper.requests r
    where r.enqueued_by = session_user and r.limited and r.status = 'queued' offset most limit 1;
    if most is not null and found then
        raise exception 'account % has as many requests waiting as it may have: %', session_user, most
            using errcode = 'RC429', detail = most::text,
                  hint = 'Send it again, with the same ID, when some are answered. The owner of the schema sets the limit in seatkeeper.account_limits.';
    end if;
end $$;

create function seatkeeper.session_may_read(enqueued_by text, kind text) returns boolean language plpgsql stable as $$
begin
    if enqueued_by = session_user or seatkeeper.session_may('seatkeeper.may_read_all()') then
        return true;
    end if;
    -- Asked before the door recorded who: whoever may ask for such a thing.
    if enqueued_by is null then
        return coalesce(seatkeeper.session_may(seatkeeper.right_for(kind)), false);
    end if;
    -- The account has another one's rights: its own of yesterday, or that of its group.
    return coalesce(pg_has_role(session_user, to_regrole(quote_ident(enqueued_by))::oid, 'usage'), false);
end $$;
comment on function seatkeeper.session_may_read(text, text) is
    'Whether the account that has logged in reads the answer to a request of this account and kind';

create function seatkeeper.session_may_read_effects(request_id uuid) returns boolean language plpgsql stable
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
    asked record;
begin
    select r.enqueued_by, r.kind::text as kind into asked
    from seatkeeper.requests r where r.request_id = session_may_read_effects.request_id;
    if not found then
        select t.enqueued_by, t.kind into asked
        from seatkeeper.request_tombstones t where t.request_id = session_may_read_effects.request_id;
    end if;
    return found and seatkeeper.session_may_read(asked.enqueued_by, asked.kind);
end $$;
comment on function seatkeeper.session_may_read_effects(uuid) is
    'Whether the account that has logged in reads what came of the request; of what came of none it does not';

create or replace function seatkeeper.get_receipt(request_id uuid) returns seatkeeper.receipt
language plpgsql stable security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    known seatkeeper.requests;
    old seatkeeper.request_tombstones;
begin
    select r.* into known from seatkeeper.requests r where r.request_id = get_receipt.request_id;
    if found then
        if seatkeeper.session_may_read(known.enqueued_by, known.kind) then
            return seatkeeper.receipt_of(known, false);
        end if;
        return null;
    end if;
    select t.* into old from seatkeeper.request_tombstones t where t.request_id = get_receipt.request_id;
    if found and seatkeeper.session_may_read(old.enqueued_by, old.kind) then
        return row(old.request_id, old.kind, old.status, old.outcome, old.reason, null, false, old.enqueued_at, old.finished_at,
                   old.attempts)::seatkeeper.receipt;
    end if;
    return null;
end $$;
comment on function seatkeeper.get_receipt(uuid) is
    'The receipt as it is now; null when the ID is not known, or was asked by an account that is none of this one''s business';

create or replace function seatkeeper.get_booking(booking_id bigint) returns seatkeeper.booking
language sql stable security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
    select b.booking_id, b.user_id, b.session_id, b.status,
           case when b.status = 'WAITLISTED' then (
               select count(*) from seatkeeper.bookings w
               where w.session_id = b.session_id and w.status = 'WAITLISTED' and w.waitlist_ticket <= b.waitlist_ticket) end,
           b.booked_at, b.promoted_at, b.cancelled_at, b.cancelled_because
    from seatkeeper.bookings b
    where b.booking_id = get_booking.booking_id
      and (seatkeeper.session_may('seatkeeper.may_read_all()') or seatkeeper.session_may_read_effects(b.request_id))
$$;
comment on function seatkeeper.get_booking(bigint) is
    'The booking as it is now; null when there is none, or it came of another account''s request';

create or replace function seatkeeper.get_balance(user_id bigint) returns bigint
language sql stable security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
    select u.credit_balance from seatkeeper.users u
    where u.user_id = get_balance.user_id
      and (seatkeeper.session_may('seatkeeper.may_read_all()')
           or exists (select from seatkeeper.credit_transactions t
                      where t.user_id = get_balance.user_id and seatkeeper.session_may_read_effects(t.request_id))
           or exists (select from seatkeeper.enrollments e
                      where e.user_id = get_balance.user_id and e.is_active and seatkeeper.session_may_read_effects(e.request_id)))
$$;
comment on function seatkeeper.get_balance(bigint) is
    'Credits left; null when there is no such user, or no request of this account has moved credits of the user or enrolled the user';

create or replace function seatkeeper.retire_requests(retain_seconds bigint, first_page bigint, end_page bigint, at_most integer)
returns integer language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
declare
    least_age bigint := (select s.retain_seconds from seatkeeper.schedules s where s.schedule = 'retention');
    retired integer;
begin
    if least_age is null then
        return 0;
    end if;
    -- By pages (a TID range scan): an index by age would cost every answer.
    with old as materialized (
        select r.ctid
        from seatkeeper.requests r
        where r.ctid >= format('(%s,0)', first_page)::tid and r.ctid < format('(%s,0)', end_page)::tid
          and r.status in ('done', 'cancelled')
          and r.finished_at < clock_timestamp() - make_interval(secs => greatest(retire_requests.retain_seconds, least_age))
        limit at_most
        for update skip locked
    ), gone as (
        delete from seatkeeper.requests r using old where r.ctid = old.ctid
        returning r.*
    ), kept as (
        insert into seatkeeper.request_tombstones
            (request_id, kind, payload_digest, status, outcome, reason, attempts, enqueued_at, finished_at, enqueued_by)
        select g.request_id, g.kind, sha256(convert_to(g.payload::text, 'UTF8')), g.status, g.outcome, g.reason,
               g.attempts, g.enqueued_at, g.finished_at, g.enqueued_by
        from gone g
        returning 1
    )
    select count(*) into retired from kept;
    return retired;
end $$;

-- As it was, but for the right, the limits and who asked.
create or replace function seatkeeper.enqueue(
    request_id uuid, kind text, payload jsonb, run_at timestamptz default null, expires_at timestamptz default null,
    producer text default null, traceparent text default null
) returns seatkeeper.receipt
language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    answer seatkeeper.receipt;
    arrived timestamptz := clock_timestamp();
    own xid8;
    defect text := seatkeeper.request_defect(enqueue.request_id, enqueue.kind, enqueue.payload, enqueue.run_at,
                                             enqueue.expires_at, enqueue.producer, enqueue.traceparent);
    too_much bigint;
    is_limited boolean;
begin
    if has_function_privilege(session_user, seatkeeper.right_for(enqueue.kind), 'execute') is not true then
        perform seatkeeper.refuse_without_right(enqueue.kind);
    end if;
    if enqueue.kind = 'grant_credits' and defect is null then
        too_much := (select m.most from seatkeeper.max_amount_of_session() m (most)
                     where abs((enqueue.payload ->> 'amount')::bigint) > m.most);
    end if;
    loop
        if defect is null and too_much is null then
            -- Before its number is drawn: who looks at a snapshot sees that it is under way.
            own := pg_current_xact_id();
            insert into seatkeeper.requests as r (request_id, kind, payload, producer, traceparent, run_at, expires_at,
                                                  enqueued_at, semester_id, user_id, hold, enqueued_by, limited)
            select enqueue.request_id, enqueue.kind, enqueue.payload, enqueue.producer, enqueue.traceparent, enqueue.run_at,
                   enqueue.expires_at, arrived, seatkeeper.lane_of(enqueue.kind, enqueue.payload),
                   (enqueue.payload ->> 'user_id')::bigint,
                   case when enqueue.run_at > arrived then 'scheduled' end, session_user,
                   (select nullif(l.max_waiting is not null, false) from seatkeeper.account_limits l
                    where l.account = any (array[session_user::text, '*']) order by l.account = '*' limit 1)
            -- Both in one snapshot: a request that is being retired meanwhile is either there or a tombstone.
            where not exists (select from seatkeeper.requests r where r.request_id = enqueue.request_id)
              and not exists (select from seatkeeper.request_tombstones t where t.request_id = enqueue.request_id)
            on conflict (request_id) do nothing
            returning r.limited into is_limited;
            if found then
                if is_limited then
                    perform seatkeeper.refuse_beyond_limit();
                end if;
                return row(enqueue.request_id, enqueue.kind, 'queued', null, null, null, false, arrived, null, 0)::seatkeeper.receipt;
            end if;
        end if;

        -- A known ID gets its receipt, however malformed the rest is this time.
        answer := seatkeeper.replay(enqueue.request_id, enqueue.kind, enqueue.payload);
        if answer.request_id is not null then
            return answer;
        end if;
        if defect is not null then
            perform seatkeeper.refuse_request(defect);
        end if;
        if too_much is not null then
            perform seatkeeper.refuse_amount(too_much);
        end if;
        -- It was known when the insert looked, and is not any more: again.
    end loop;
end $$;

-- Functions are open to everybody by default. These are for the doors alone.
revoke all on function seatkeeper.right_for, seatkeeper.session_may, seatkeeper.refuse_without_right, seatkeeper.max_amount_of_session,
    seatkeeper.refuse_amount, seatkeeper.refuse_beyond_limit, seatkeeper.session_may_read, seatkeeper.session_may_read_effects from public;

-- Nobody loses what it had: who may ask may ask for everything, and who may read the table reads all, until `seatkeeper roles --apply`
-- gives the roles what each is for.
do $$
declare
    granted text;
begin
    for granted in
        select format('grant execute on function seatkeeper.may_enroll, seatkeeper.may_book, seatkeeper.may_grant_credits, '
                      'seatkeeper.may_register to %I', r.rolname)
        from pg_catalog.pg_roles r
        where r.oid in (select a.grantee from pg_catalog.pg_proc p cross join lateral aclexplode(p.proacl) a
                        where p.oid = 'seatkeeper.enqueue(uuid, text, jsonb, timestamptz, timestamptz, text, text)'::regprocedure
                          and a.grantee <> p.proowner)
        union all
        select format('grant execute on function seatkeeper.may_read_all to %I', r.rolname)
        from pg_catalog.pg_roles r
        where r.oid in (select a.grantee from pg_catalog.pg_class c cross join lateral aclexplode(c.relacl) a
                        where c.oid = 'seatkeeper.requests'::regclass and a.privilege_type = 'SELECT' and a.grantee <> c.relowner)
    loop
        execute granted;
    end loop;
end $$;
