-- The doors of operators: what they do to requests, pauses and the baseline, recorded by the door itself with the account that has logged
-- in, the time and the reason. Their role changes nothing by statements of its own: with those it could cancel a request with an invented
-- reason, and record nothing, or somebody else.

alter table seatkeeper.operator_actions add column account text;
update seatkeeper.operator_actions set account = details ->> 'role';
alter table seatkeeper.operator_actions
    alter column account set default session_user,
    drop constraint chk_operator_action,
    add constraint chk_operator_action check (action in ('retry', 'cancel', 'dismiss', 'pause', 'resume', 'accept', 'unaccept'));
comment on column seatkeeper.operator_actions.operator is 'The name that the operator gave: a label, several people may share an account';
comment on column seatkeeper.operator_actions.account is 'The account that had logged in, recorded by the door';
alter table seatkeeper.invariant_runs add column account text;
alter table seatkeeper.invariant_runs alter column account set default session_user;
comment on column seatkeeper.invariant_runs.account is 'The account whose check it was';

create function seatkeeper.is_plain_text(value text, longest integer) returns boolean language sql immutable parallel safe as $$
    -- C0, DEL and C1; marks, embeddings, overrides and isolates of the direction of writing
    select char_length(value) <= longest and value ~ '\S'
        and value !~ '[\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]'
$$;
comment on function seatkeeper.is_plain_text(text, integer) is
    'Whether it is text of this length that neither acts on a terminal nor is read otherwise than it is written';

create function seatkeeper.refuse_without_reason(reason text, operator text) returns void language plpgsql as $$
begin
    if seatkeeper.is_plain_text(reason, 1000) is not true then
        perform seatkeeper.refuse_request('reason', 'Say why, in one line of at most 1000 characters, for whoever reads the record.');
    end if;
    if seatkeeper.is_plain_text(operator, 200) is false then
        perform seatkeeper.refuse_request('operator', 'A name in one line of at most 200 characters is due, or null for the account''s.');
    end if;
end $$;

create function seatkeeper.record_action(action text, reason text, operator text, request_ids uuid[], details jsonb)
returns bigint language sql volatile as $$
    insert into seatkeeper.operator_actions (operator, action, reason, request_ids, details)
    values (coalesce(operator, session_user), action, reason, request_ids, details || jsonb_build_object('role', session_user))
    returning action_id
$$;

-- Takes the lanes first, as a worker does: what an operator is about to cancel, or to bring back, is never overtaken by a later one of
-- its lane meanwhile. By the index of the IDs, whatever the planner knew when a connection planned it.
create function seatkeeper.change_requests(
    action text, request_ids uuid[], reason text, operator text, out action_id bigint, out changed uuid[]
) language plpgsql volatile set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
    lanes bigint[];
begin
    perform seatkeeper.refuse_without_reason(change_requests.reason, change_requests.operator);
    if coalesce(cardinality(change_requests.request_ids), 0) not between 1 and 10000
        or array_position(change_requests.request_ids, null) is not null then
        perform seatkeeper.refuse_request('request_ids', 'An array of 1 to 10000 IDs is due.');
    end if;

    lanes := array(select distinct r.semester_id::bigint from seatkeeper.requests r
                   where r.request_id = any (change_requests.request_ids) and r.semester_id is not null order by 1);
    perform from seatkeeper.semesters s where s.semester_id = any (lanes) order by s.semester_id for no key update;
    -- What was answered, or came into another lane, before the lanes were taken is left alone.
    if action = 'retry' then
        with done as (
            update seatkeeper.requests r
            set status = 'queued', attempts = 0, run_at = null, hold = null, reason = null, result = null, finished_at = null
            where r.request_id = any (change_requests.request_ids) and coalesce(r.status = 'failed', false)
              and (r.semester_id is null or r.semester_id = any (lanes))
            returning r.request_id)
        select array_agg(d.request_id) into changed from done d;
    else
        with done as (
            update seatkeeper.requests r
            set status = 'cancelled', hold = null,
                finished_at = case when r.status = 'failed' then r.finished_at else clock_timestamp() end
            where r.request_id = any (change_requests.request_ids)
              and coalesce(r.status = case action when 'cancel' then 'queued' when 'dismiss' then 'failed' end, false)
              and (r.semester_id is null or r.semester_id = any (lanes))
            returning r.request_id)
        select array_agg(d.request_id) into changed from done d;
    end if;
    if changed is not null then
        action_id := seatkeeper.record_action(action, change_requests.reason, change_requests.operator, changed,
            jsonb_build_object('semester_id', case cardinality(lanes) when 1 then lanes[1] end));
    else
        changed := '{}';
    end if;
end $$;

create function seatkeeper.retry_requests(
    request_ids uuid[], reason text, operator text default null, out action_id bigint, out changed uuid[]
) language sql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
    select * from seatkeeper.change_requests('retry', request_ids, reason, operator)
$$;
comment on function seatkeeper.retry_requests(uuid[], text, text) is
    'Puts failed requests back into the queue, to the place of their arrival, with a fresh budget; gives those, and the record of it';

create function seatkeeper.cancel_requests(
    request_ids uuid[], reason text, operator text default null, out action_id bigint, out changed uuid[]
) language sql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
    select * from seatkeeper.change_requests('cancel', request_ids, reason, operator)
$$;
comment on function seatkeeper.cancel_requests(uuid[], text, text) is
    'Withdraws queued requests, for good; gives those, and the record of it';

create function seatkeeper.dismiss_requests(
    request_ids uuid[], reason text, operator text default null, out action_id bigint, out changed uuid[]
) language sql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
    select * from seatkeeper.change_requests('dismiss', request_ids, reason, operator)
$$;
comment on function seatkeeper.dismiss_requests(uuid[], text, text) is
    'Gives failed requests up, for good, with their failure kept; gives those, and the record of it';

create function seatkeeper.pause(
    inout kind text, inout semester_id bigint, inout reason text, operator text default null,
    out since timestamptz, out paused_by text, out was_paused boolean
) language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    known seatkeeper.pauses;
begin
    perform seatkeeper.refuse_without_reason(pause.reason, pause.operator);
    if pause.kind is not null and seatkeeper.right_for(pause.kind) is null then
        perform seatkeeper.refuse_request('kind', 'There is no such kind; null is every one.');
    end if;
    if pause.semester_id is not null then
        if pause.kind is not null then
            perform seatkeeper.refuse_request('semester_id', 'A kind or a semester; both null is everything.');
        end if;
        -- The lane: a batch in hand is waited for.
        perform from seatkeeper.semesters s where s.semester_id = pause.semester_id for no key update;
        if not found then
            perform seatkeeper.refuse_request('semester_id', 'There is no such semester.');
        end if;
    end if;
    loop
        insert into seatkeeper.pauses as p (kind, semester_id, paused_by, reason)
        values (pause.kind, pause.semester_id, coalesce(pause.operator, session_user), pause.reason)
        on conflict do nothing
        returning p.* into known;
        was_paused := not found;
        if was_paused then
            select p.* into known from seatkeeper.pauses p
            where p.kind is not distinct from pause.kind and p.semester_id is not distinct from pause.semester_id;
        else
            perform seatkeeper.record_action('pause', pause.reason, pause.operator, '{}', jsonb_build_object(
                'kind', pause.kind, 'semester_id', pause.semester_id,
                'everything', pause.kind is null and pause.semester_id is null));
        end if;
        -- It was resumed between the two statements: once more.
        exit when known.pause_id is not null;
    end loop;
    reason := known.reason; since := known.since; paused_by := known.paused_by;
end $$;
comment on function seatkeeper.pause(text, bigint, text, text) is
    'Pauses a kind, a semester, or (both null) everything; gives the pause in force. Producers can still enqueue';

create function seatkeeper.resume(
    inout kind text, inout semester_id bigint, inout reason text, operator text default null,
    out since timestamptz, out paused_by text
) language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    ended seatkeeper.pauses;
begin
    perform seatkeeper.refuse_without_reason(resume.reason, resume.operator);
    delete from seatkeeper.pauses p
    where p.kind is not distinct from resume.kind and p.semester_id is not distinct from resume.semester_id
    returning p.* into ended;
    if found then
        perform seatkeeper.record_action('resume', resume.reason, resume.operator, '{}', jsonb_build_object(
            'kind', resume.kind, 'semester_id', resume.semester_id,
            'everything', resume.kind is null and resume.semester_id is null));
    end if;
    reason := ended.reason; since := ended.since; paused_by := ended.paused_by;
end $$;
comment on function seatkeeper.resume(text, bigint, text, text) is
    'Ends a pause; gives the one that was in force, with nulls for since, paused_by and reason when there was none';

create function seatkeeper.accept_violation(
    invariant text, keys jsonb[], reason text, expires_at timestamptz default null, operator text default null,
    out accepted integer, out action_id bigint
) language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
begin
    perform seatkeeper.refuse_without_reason(accept_violation.reason, accept_violation.operator);
    if accept_violation.invariant ~ '^INV-[A-Z0-9]{1,20}$' is not true then
        perform seatkeeper.refuse_request('invariant', 'An ID such as INV-01 is due.');
    end if;
    if coalesce(cardinality(accept_violation.keys), 0) not between 1 and 100000
        or exists (select from unnest(accept_violation.keys) k (key) where jsonb_typeof(k.key) is distinct from 'object') then
        perform seatkeeper.refuse_request('keys', 'An array of 1 to 100000 keys is due, each an object.');
    end if;
    if accept_violation.expires_at not between clock_timestamp() and '9999-12-31 00:00Z' then
        perform seatkeeper.refuse_request('expires_at', 'An instant to come is due, or null for good.');
    end if;
    delete from seatkeeper.invariant_baseline b
    where b.invariant = accept_violation.invariant and b.key = any (accept_violation.keys);
    insert into seatkeeper.invariant_baseline (invariant, key, reason, accepted_by, expires_at)
    select distinct accept_violation.invariant, k.key, accept_violation.reason, coalesce(accept_violation.operator, session_user),
           accept_violation.expires_at
    from unnest(accept_violation.keys) k (key);
    get diagnostics accepted = row_count;
    action_id := seatkeeper.record_action('accept', accept_violation.reason, accept_violation.operator, '{}', jsonb_build_object(
        'invariant', accept_violation.invariant, 'keys', accept_violation.keys, 'expires_at', accept_violation.expires_at));
end $$;
comment on function seatkeeper.accept_violation(text, jsonb[], text, timestamptz, text) is
    'Takes offending rows, by their keys, into the baseline, until an instant or (null) for good; one that was in it gets the new reason';

create function seatkeeper.unaccept_violation(
    invariant text, keys jsonb[], reason text, operator text default null, out unaccepted jsonb[], out action_id bigint
) language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
begin
    perform seatkeeper.refuse_without_reason(unaccept_violation.reason, unaccept_violation.operator);
    with gone as (
        delete from seatkeeper.invariant_baseline b
        where b.invariant = unaccept_violation.invariant
          and (unaccept_violation.keys is null or b.key = any (unaccept_violation.keys))
        returning b.key)
    select coalesce(array_agg(g.key order by g.key), '{}') into unaccepted from gone g;
    if unaccepted <> '{}' then
        action_id := seatkeeper.record_action('unaccept', unaccept_violation.reason, unaccept_violation.operator, '{}',
            jsonb_build_object('invariant', unaccept_violation.invariant, 'keys', unaccepted));
    end if;
end $$;
comment on function seatkeeper.unaccept_violation(text, jsonb[], text, text) is
    'Takes rows (null = all of the invariant) out of the baseline; they count again. Gives their keys';

-- What a check has found. An operator's is `manual`: who calls the roll on schedule is a worker, and nobody else has its slot.
create function seatkeeper.record_check(
    trigger text, schedule text, slot timestamptz, started_at timestamptz, results jsonb
) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp
-- Thousands of keys against thousands, of which the planner knows nothing
set enable_nestloop = off set jit = off as $$
#variable_conflict use_column
declare
    run bigint;
begin
    if record_check.trigger is distinct from 'manual' and not has_table_privilege(session_user, 'seatkeeper.lock_roll_call', 'update')
        and not (current_setting('role') <> 'none'
                 and has_table_privilege(current_setting('role'), 'seatkeeper.lock_roll_call', 'update')) then
        raise exception 'permission denied: account % may not call the roll on schedule', session_user
            using errcode = 'insufficient_privilege', detail = 'trigger';
    end if;
    -- The index lets a second one wait for the first, and then find it.
    insert into seatkeeper.invariant_runs (trigger, schedule, slot, started_at, finished_at)
    values (record_check.trigger, record_check.schedule, record_check.slot, record_check.started_at, clock_timestamp())
    on conflict (schedule, slot) where finished_at is not null do nothing
    returning run_id into run;
    if run is null then
        return null;
    end if;
    -- One run after the other, so that two do not overwrite each other's sightings crosswise.
    lock table seatkeeper.invariant_sightings in share update exclusive mode;
    insert into seatkeeper.invariant_results (run_id, invariant, status, violations, accepted, sample, error, seconds, since)
    select run, f.invariant, f.status, f.violations, f.accepted, f.sample, f.error, f.seconds, f.since
    from jsonb_to_recordset(record_check.results) f (invariant text, status text, violations bigint, accepted bigint, sample jsonb,
                                                     error text, seconds double precision, since timestamptz);
    with told as materialized (
        select f.invariant, f.keys
        from jsonb_to_recordset(record_check.results) f (invariant text, status text, keys jsonb) where f.status <> 'unknown'
    ), seen as materialized (
        select distinct t.invariant, k.key from told t cross join lateral jsonb_array_elements(t.keys) k (key)
    ), gone as (
        -- A key that is gone begins anew when it comes back. What a later snapshot has seen is left alone.
        delete from seatkeeper.invariant_sightings s
        where s.invariant in (select t.invariant from told t) and s.last_seen < record_check.started_at
          and not exists (select from seen k where k.invariant = s.invariant and k.key = s.key)
    )
    insert into seatkeeper.invariant_sightings (invariant, key, first_seen, last_seen)
    select k.invariant, k.key, record_check.started_at, record_check.started_at from seen k
    on conflict (invariant, key) do update set last_seen = greatest(invariant_sightings.last_seen, excluded.last_seen);
    return run;
end $$;
comment on function seatkeeper.record_check(text, text, timestamptz, timestamptz, jsonb) is
    'Stores what a check has found, with the account that made it; gives its number, null when its slot has been run';

revoke all on function seatkeeper.is_plain_text, seatkeeper.refuse_without_reason, seatkeeper.record_action, seatkeeper.change_requests,
    seatkeeper.retry_requests, seatkeeper.cancel_requests, seatkeeper.dismiss_requests, seatkeeper.pause, seatkeeper.resume,
    seatkeeper.accept_violation, seatkeeper.unaccept_violation, seatkeeper.record_check from public;

-- Who could write these tables goes through the doors from now on; `seatkeeper roles --apply` takes the rest away.
do $$
declare
    granted text;
begin
    for granted in
        select format('grant execute on function %s to %I', d.doors, r.rolname)
        from (values
            ('seatkeeper.operator_actions'::regclass, 'seatkeeper.retry_requests, seatkeeper.cancel_requests, '
             'seatkeeper.dismiss_requests, seatkeeper.pause, seatkeeper.resume, seatkeeper.accept_violation, '
             'seatkeeper.unaccept_violation'),
            ('seatkeeper.invariant_results', 'seatkeeper.record_check')) d (written, doors)
        join pg_catalog.pg_class c on c.oid = d.written
        cross join lateral aclexplode(c.relacl) a
        join pg_catalog.pg_roles r on r.oid = a.grantee
        where a.privilege_type = 'INSERT' and a.grantee <> c.relowner
    loop
        execute granted;
    end loop;
end $$;
