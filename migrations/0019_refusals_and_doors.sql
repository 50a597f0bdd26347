-- Refusals and doors that mean the same whoever knocks.

-- What constraints and triggers call looks its names up where we say, not on the search_path of who writes: with operators of
-- their own before ours, somebody who may write to `requests` stored half an answer past chk_request_answer.
alter function seatkeeper.refuse_ledger_change() set search_path = pg_catalog, seatkeeper, pg_temp;
alter function seatkeeper.refuse_answer_change() set search_path = pg_catalog, seatkeeper, pg_temp;
alter function seatkeeper.refuse_identity_change() set search_path = pg_catalog, seatkeeper, pg_temp;
alter function seatkeeper.mark_returned() set search_path = pg_catalog, seatkeeper, pg_temp;
alter function seatkeeper.catalog_image(jsonb) set search_path = pg_catalog, seatkeeper, pg_temp;
alter function seatkeeper.move_bookings(bigint[], bigint[], timestamptz) set search_path = pg_catalog, seatkeeper, pg_temp;

-- This one is called for every row that a batch or a producer writes, and setting a path costs three times what it does (2.8 us
-- instead of 0.7): every name in it has its schema instead, so that no path is asked. A test reads it for one that has none.
create or replace function seatkeeper.answer_fits(
    status text, hold text, outcome text, reason text, result jsonb, answer_seq bigint, finished_at timestamptz
) returns boolean language plpgsql immutable parallel safe as $$
begin
    return case
        when status operator(pg_catalog.=) 'queued' then
            pg_catalog.num_nonnulls(outcome, reason, result, answer_seq, finished_at) operator(pg_catalog.=) 0
        when status operator(pg_catalog.=) 'done' then
            pg_catalog.num_nulls(outcome, answer_seq, finished_at) operator(pg_catalog.=) 0 and hold is null
            and (outcome operator(pg_catalog.=) 'refused') operator(pg_catalog.=) (reason is not null)
        when status operator(pg_catalog.=) 'failed' then
            pg_catalog.num_nulls(reason, finished_at) operator(pg_catalog.=) 0
            and pg_catalog.num_nonnulls(outcome, answer_seq, hold) operator(pg_catalog.=) 0
        else finished_at is not null and pg_catalog.num_nonnulls(outcome, answer_seq, hold) operator(pg_catalog.=) 0 end;
end $$;

-- No request goes that the settings keep, whatever age the caller asks for; without a setting none goes.
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
            (request_id, kind, payload_digest, status, outcome, reason, attempts, enqueued_at, finished_at)
        select g.request_id, g.kind, sha256(convert_to(g.payload::text, 'UTF8')), g.status, g.outcome, g.reason,
               g.attempts, g.enqueued_at, g.finished_at
        from gone g
        returning 1
    )
    select count(*) into retired from kept;
    return retired;
end $$;
comment on function seatkeeper.retire_requests(bigint, bigint, bigint, integer) is
    'Deletes answered requests of this age, and at least that of the settings, on these pages, and leaves their tombstones; gives how many';

-- What a door takes as free text neither acts on a terminal nor is read otherwise than it is written. What was taken before is
-- answered as ever: only a new request is looked at.
create or replace function seatkeeper.request_defect(
    request_id uuid, kind text, payload jsonb, run_at timestamptz, expires_at timestamptz, producer text, traceparent text
) returns text language plpgsql immutable parallel safe as $$
declare
    -- C0, DEL and C1; marks, embeddings, overrides and isolates of the direction of writing
    acting constant text := '[\u0001-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]';
    defect text;
begin
    -- Most requests are two ids and nothing else: one expression tells. (jsonb writes the shorter key first; 18 digits are
    -- below 2^63.)
    if request_id is not null and coalesce(run_at, expires_at) is null and traceparent is null
        and (char_length(producer) > 200 or producer ~ acting) is not true
        and (case kind
            when 'enroll' then payload::text ~ '^{"user_id": [1-9][0-9]{0,17}, "semester_id": [1-9][0-9]{0,17}}$'
            when 'book' then payload::text ~ '^{"user_id": [1-9][0-9]{0,17}, "session_id": [1-9][0-9]{0,17}}$' end) then
        return null;
    end if;

    if request_id is null then return 'request_id'; end if;
    if kind is null or kind not in ('enroll', 'unenroll', 'book', 'cancel_booking', 'record_attendance',
                                    'cancel_semester', 'grant_credits') then return 'kind'; end if;
    if run_at not between '0001-01-01 00:00Z' and '9999-12-31 00:00Z' then return 'run_at'; end if;
    if expires_at not between '0001-01-01 00:00Z' and '9999-12-31 00:00Z' then return 'expires_at'; end if;
    if char_length(producer) > 200 or producer ~ acting then return 'producer'; end if;
    if traceparent !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' then return 'traceparent'; end if;
    defect := seatkeeper.payload_defect(kind, payload);
    -- Not of the payload's form: those that were taken before have their answer all the same.
    if defect is null and payload ->> 'note' ~ acting then return 'note'; end if;
    return defect;
end $$;

-- The times in an array are text. PostgreSQL reads "tomorrow", and 04/05/2030 by the DateStyle of the session: what one producer
-- means, another session would read as something else. A new request has them as every language writes them. (Whoever sends again
-- what was taken before gets the receipt, however it was written.)
create function seatkeeper.is_instant(value text) returns boolean language sql immutable parallel safe as $$
    select coalesce(value ~ '^\d{4}-\d{2}-\d{2}[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$', true)
$$;
comment on function seatkeeper.is_instant(text) is
    'Whether the text is an instant of RFC 3339, or there is none; whether there is such a day is asked of timestamptz';

-- As it was, but for the times.
create or replace function seatkeeper.enqueue_many(requests jsonb) returns setof seatkeeper.receipt
language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    total integer;
    ids uuid[]; kinds text[]; payloads jsonb[]; run_ats timestamptz[]; expiries timestamptz[]; producers text[]; traces text[];
    untimely text[];
    seqs bigint[];
    inserted uuid[];
    readable boolean;
    unreadable jsonb;
    first_defect record;
    arrived timestamptz := clock_timestamp();
begin
    if requests is null or jsonb_typeof(requests) <> 'array' or jsonb_array_length(requests) > 10000 then
        perform seatkeeper.refuse_request('requests', 'An array of at most 10000 {request_id, kind, payload, ...} is due.');
    end if;
    total := jsonb_array_length(requests);
    if total = 0 then
        return;
    end if;

    -- One pass for the good case; only when it fails is the culprit looked for, item by item.
    begin
        select array_agg((i.value ->> 'request_id')::uuid order by i.ord), array_agg(i.value ->> 'kind' order by i.ord),
               array_agg(i.value -> 'payload' order by i.ord),
               array_agg((i.value ->> 'run_at')::timestamptz order by i.ord),
               array_agg((i.value ->> 'expires_at')::timestamptz order by i.ord),
               array_agg(i.value ->> 'producer' order by i.ord), array_agg(i.value ->> 'traceparent' order by i.ord),
               array_agg(case when not seatkeeper.is_instant(i.value ->> 'run_at') then 'run_at'
                              when not seatkeeper.is_instant(i.value ->> 'expires_at') then 'expires_at' end order by i.ord),
               bool_and(jsonb_typeof(i.value) = 'object'
                        and jsonb_typeof(i.value -> 'request_id') is not distinct from 'string'
                        and jsonb_typeof(i.value -> 'kind') is not distinct from 'string'
                        and case when jsonb_typeof(i.value) = 'object' then i.value - array['request_id', 'kind', 'payload',
                            'run_at', 'expires_at', 'producer', 'traceparent'] = '{}' end)
        into ids, kinds, payloads, run_ats, expiries, producers, traces, untimely, readable
        from jsonb_array_elements(requests) with ordinality i (value, ord);
    exception when data_exception then
        readable := false;
    end;
    if readable is not true then
        unreadable := seatkeeper.unreadable_item(requests);
        perform seatkeeper.refuse_request(coalesce(unreadable ->> 'field', 'requests'),
                                          format('It is item %s of the array.', unreadable ->> 'ord'));
    end if;

    -- Known IDs are not validated, nor is one that comes again: they get their receipt, or RC409, below.
    select i.ord,
           coalesce(i.untimely, seatkeeper.request_defect(i.id, i.kind, i.payload, i.run_at, i.expires_at, i.producer, i.trace)) as field
    into first_defect
    from (select u.*, row_number() over (partition by u.id order by u.ord) as occurrence
          from unnest(ids, kinds, payloads, run_ats, expiries, producers, traces, untimely)
               with ordinality u (id, kind, payload, run_at, expires_at, producer, trace, untimely, ord)) i
    where i.occurrence = 1
      and coalesce(i.untimely, seatkeeper.request_defect(i.id, i.kind, i.payload, i.run_at, i.expires_at, i.producer, i.trace))
          is not null
      and not exists (select from seatkeeper.requests r where r.request_id = i.id)
      and not exists (select from seatkeeper.request_tombstones t where t.request_id = i.id)
    order by i.ord
    limit 1;
    if found then
        perform seatkeeper.refuse_request(first_defect.field, format('It is item %s of the array.', first_defect.ord));
    end if;

    -- Before the numbers are drawn: who looks at a snapshot sees that they are under way.
    perform pg_current_xact_id();
    -- Numbers in array order, rows in order of their ID: two producers that send the same IDs crosswise
    -- wait for each other instead of deadlocking.
    seqs := array(select nextval('seatkeeper.requests_seq_seq') from generate_series(1, total));
    with item as (
        select distinct on (i.id) i.*
        from unnest(ids, kinds, payloads, run_ats, expiries, producers, traces, seqs)
             with ordinality i (id, kind, payload, run_at, expires_at, producer, trace, seq, ord)
        where not exists (select from seatkeeper.request_tombstones t where t.request_id = i.id)
          and not exists (select from seatkeeper.requests r where r.request_id = i.id)
        order by i.id, i.ord
    ), fresh as (
        insert into seatkeeper.requests as r (request_id, seq, kind, payload, producer, traceparent, run_at, expires_at,
                                              enqueued_at, semester_id, user_id, hold)
        select i.id, i.seq, i.kind, i.payload, i.producer, i.trace, i.run_at, i.expires_at, arrived,
               seatkeeper.lane_of(i.kind, i.payload), (i.payload ->> 'user_id')::bigint,
               case when i.run_at > arrived then 'scheduled' end
        from item i
        order by i.id
        on conflict (request_id) do nothing
        returning r.request_id
    )
    select array_agg(f.request_id) into inserted from fresh f;

    return query
        select (answered.receipt).*
        from (
            select case when f.id is not null and i.occurrence = 1
                        then row(i.id, i.kind, 'queued', null, null, null, false, arrived, null, 0)::seatkeeper.receipt
                        else seatkeeper.replay(i.id, i.kind, i.payload) end as receipt,
                   i.ord
            from (select u.*, row_number() over (partition by u.id order by u.ord) as occurrence
                  from unnest(ids, kinds, payloads) with ordinality u (id, kind, payload, ord)) i
            left join unnest(inserted) f (id) on f.id = i.id
            offset 0 -- replay counts duplicates: once for each item, not once for each column
        ) answered
        order by answered.ord;
end $$;

-- Names and codes of a length that people can read. A trigger, not a constraint: that would be asked of every row that a batch
-- counts up, so that nobody could enroll any more in a semester whose name was longer before.
create function seatkeeper.refuse_long_text() returns trigger
language plpgsql set search_path = pg_catalog, seatkeeper, pg_temp as $$
declare
    field text := case
        when char_length(new.code) > 200 and new.code is distinct from old.code then 'code'
        when char_length(new.name) > 500 and new.name is distinct from old.name then 'name' end;
begin
    if field is not null then
        raise exception '%: % has at most % characters', tg_table_name, field, case field when 'code' then 200 else 500 end
            using errcode = 'check_violation', constraint = tg_name, schema = tg_table_schema, table = tg_table_name, column = field;
    end if;
    return new;
end $$;
create trigger trg_semester_text_length before insert or update of code, name on seatkeeper.semesters
    for each row when (char_length(new.code) > 200 or char_length(new.name) > 500)
    execute function seatkeeper.refuse_long_text();
