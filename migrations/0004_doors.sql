-- The doors: what producers call, from any language, inside their own transaction.
--
-- Separate statements in plpgsql, not one clever statement: in READ COMMITTED each sees what a concurrent
-- producer of the same ID has committed meanwhile, so a concurrent duplicate gets its receipt and not NULL.
-- No NOTIFY: PostgreSQL serialises committing notifiers, which would cost producers their group commit.

create type seatkeeper.receipt as (
    request_id  uuid,
    kind        text,
    status      text,
    outcome     text,
    reason      text,
    result      jsonb,
    duplicate   boolean,
    enqueued_at timestamptz,
    finished_at timestamptz,
    attempts    integer
);
comment on type seatkeeper.receipt is 'The answer as it is now; duplicate = this ID had been asked before';

-- Sequences count what a rolled-back statement must not uncount.
create sequence seatkeeper.duplicates_seq as bigint cache 1;
comment on sequence seatkeeper.duplicates_seq is 'Counts requests that were sent again';
create sequence seatkeeper.conflicts_seq as bigint cache 1;
comment on sequence seatkeeper.conflicts_seq is 'Counts known IDs that were sent with something else';

create function seatkeeper.is_id(value jsonb) returns boolean language sql immutable parallel safe as $$
    select case when jsonb_typeof(value) = 'number' and value::text ~ '^[1-9][0-9]{0,18}$'
                then value::text::numeric <= 9223372036854775807 else false end
$$;
comment on function seatkeeper.is_id(jsonb) is 'Whether the value is an id: a JSON integer in 1 .. 2^63-1';

create function seatkeeper.payload_defect(kind text, payload jsonb) returns text
language plpgsql immutable parallel safe as $$
declare
    surplus jsonb;
begin
    if payload is null or jsonb_typeof(payload) <> 'object' or octet_length(payload::text) > 8192 then
        return 'payload';
    end if;

    if kind <> 'cancel_semester' and seatkeeper.is_id(payload -> 'user_id') is not true then
        return 'user_id';
    end if;

    case kind
        when 'enroll' then
            if seatkeeper.is_id(payload -> 'semester_id') is not true then return 'semester_id'; end if;
            surplus := payload - array['user_id', 'semester_id'];
        when 'unenroll' then
            if seatkeeper.is_id(payload -> 'semester_id') is not true then return 'semester_id'; end if;
            if payload ? 'enrollment_id' and not seatkeeper.is_id(payload -> 'enrollment_id') then return 'enrollment_id'; end if;
            surplus := payload - array['user_id', 'semester_id', 'enrollment_id'];
        when 'book' then
            if seatkeeper.is_id(payload -> 'session_id') is not true then return 'session_id'; end if;
            surplus := payload - array['user_id', 'session_id'];
        when 'cancel_booking' then
            if payload ? 'booking_id' then
                if seatkeeper.is_id(payload -> 'booking_id') is not true or payload ? 'session_id' then return 'booking_id'; end if;
            elsif seatkeeper.is_id(payload -> 'session_id') is not true then
                return 'session_id';
            end if;
            surplus := payload - array['user_id', 'session_id', 'booking_id'];
        when 'record_attendance' then
            if seatkeeper.is_id(payload -> 'session_id') is not true then return 'session_id'; end if;
            if (payload -> 'status' in ('"present"', '"absent"', '"late"', '"excused"')) is not true then return 'status'; end if;
            surplus := payload - array['user_id', 'session_id', 'status'];
        when 'cancel_semester' then
            if seatkeeper.is_id(payload -> 'semester_id') is not true then return 'semester_id'; end if;
            surplus := payload - array['semester_id', 'note'];
        when 'grant_credits' then
            if (jsonb_typeof(payload -> 'amount') = 'number' and (payload -> 'amount')::text ~ '^-?[1-9][0-9]{0,12}$'
                and abs((payload ->> 'amount')::numeric) <= 1000000000000) is not true then
                return 'amount';
            end if;
            surplus := payload - array['user_id', 'amount', 'note'];
        else
            return 'kind';
    end case;

    if kind in ('cancel_semester', 'grant_credits') and payload ? 'note'
        and (jsonb_typeof(payload -> 'note') <> 'string' or char_length(payload ->> 'note') > 500) then
        return 'note';
    end if;
    if surplus <> '{}' then
        return (select key from jsonb_object_keys(surplus) key order by key collate "C" limit 1);
    end if;
    return null;
end $$;
comment on function seatkeeper.payload_defect(text, jsonb) is
    'The first field that keeps the payload from being a well-formed one of the kind; null when there is none';

create function seatkeeper.request_defect(
    request_id uuid, kind text, payload jsonb, run_at timestamptz, expires_at timestamptz, producer text, traceparent text
) returns text language plpgsql immutable parallel safe as $$
begin
    if request_id is null then return 'request_id'; end if;
    if kind is null or kind not in ('enroll', 'unenroll', 'book', 'cancel_booking', 'record_attendance',
                                    'cancel_semester', 'grant_credits') then return 'kind'; end if;
    if run_at not between '0001-01-01 00:00Z' and '9999-12-31 00:00Z' then return 'run_at'; end if;
    if expires_at not between '0001-01-01 00:00Z' and '9999-12-31 00:00Z' then return 'expires_at'; end if;
    if char_length(producer) > 200 then return 'producer'; end if;
    if traceparent !~ '^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$' then return 'traceparent'; end if;
    return seatkeeper.payload_defect(kind, payload);
end $$;
comment on function seatkeeper.request_defect(uuid, text, jsonb, timestamptz, timestamptz, text, text) is
    'The first field that keeps the request from being accepted; null when there is none';

create function seatkeeper.refuse_request(field text, hint text default null) returns void language plpgsql as $$
begin
    if hint is null then
        raise exception 'request not accepted: % is missing, malformed or not allowed here', left(field, 100)
            using errcode = 'RC422', detail = left(field, 100);
    end if;
    raise exception 'request not accepted: % is missing, malformed or not allowed here', left(field, 100)
        using errcode = 'RC422', detail = left(field, 100), hint = refuse_request.hint;
end $$;

-- The lane that a request belongs to, as far as it is known now: no lock, so a hint that the claim checks.
create function seatkeeper.lane_of(kind text, payload jsonb) returns bigint language plpgsql stable as $$
begin
    case kind
        when 'enroll', 'unenroll', 'cancel_semester' then
            return (payload ->> 'semester_id')::bigint;
        when 'grant_credits' then
            return null;
        else
            if payload ? 'session_id' then
                return (select s.semester_id from seatkeeper.sessions s
                        where s.session_id = (payload ->> 'session_id')::bigint);
            end if;
            return (select s.semester_id from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)
                    where b.booking_id = (payload ->> 'booking_id')::bigint);
    end case;
end $$;

create function seatkeeper.receipt_of(request seatkeeper.requests, duplicate boolean) returns seatkeeper.receipt
language sql immutable parallel safe as $$
    select request.request_id, request.kind, request.status, request.outcome, request.reason, request.result,
           duplicate, request.enqueued_at, request.finished_at, request.attempts
$$;

-- A known ID: its receipt, or RC409 when it was another request. Null when the ID is not known.
create function seatkeeper.replay(request_id uuid, kind text, payload jsonb) returns seatkeeper.receipt
language plpgsql volatile as $$
#variable_conflict use_column
declare
    known seatkeeper.requests;
    tombstone seatkeeper.request_tombstones;
    same boolean;
    answer seatkeeper.receipt;
begin
    select r.* into known from seatkeeper.requests r where r.request_id = replay.request_id;
    if found then
        same := known.kind = replay.kind and known.payload = replay.payload;
        answer := seatkeeper.receipt_of(known, true);
    else
        select t.* into tombstone from seatkeeper.request_tombstones t where t.request_id = replay.request_id;
        if not found then
            return null;
        end if;
        same := tombstone.kind = replay.kind
            and tombstone.payload_digest = sha256(convert_to(replay.payload::text, 'UTF8'));
        answer := row(tombstone.request_id, tombstone.kind, tombstone.status, tombstone.outcome, tombstone.reason, null,
                      true, tombstone.enqueued_at, tombstone.finished_at, tombstone.attempts)::seatkeeper.receipt;
    end if;
    if same is not true then
        perform nextval('seatkeeper.conflicts_seq');
        raise exception 'request % was asked before, with another kind or payload', replay.request_id
            using errcode = 'RC409', detail = replay.request_id::text,
                  hint = 'A new request needs a new ID; get_receipt() shows what this one was answered.';
    end if;
    perform nextval('seatkeeper.duplicates_seq');
    return answer;
end $$;

create function seatkeeper.enqueue(
    request_id uuid, kind text, payload jsonb, run_at timestamptz default null, expires_at timestamptz default null,
    producer text default null, traceparent text default null
) returns seatkeeper.receipt
language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    answer seatkeeper.receipt;
    fresh seatkeeper.requests;
    defect text;
    arrived timestamptz := clock_timestamp();
begin
    loop
        answer := seatkeeper.replay(enqueue.request_id, enqueue.kind, enqueue.payload);
        if answer.request_id is not null then
            return answer;
        end if;

        defect := seatkeeper.request_defect(enqueue.request_id, enqueue.kind, enqueue.payload, enqueue.run_at,
                                            enqueue.expires_at, enqueue.producer, enqueue.traceparent);
        if defect is not null then
            perform seatkeeper.refuse_request(defect);
        end if;

        insert into seatkeeper.requests as r (request_id, kind, payload, producer, traceparent, run_at, expires_at,
                                              enqueued_at, semester_id, user_id, hold)
        values (enqueue.request_id, enqueue.kind, enqueue.payload, enqueue.producer, enqueue.traceparent, enqueue.run_at,
                enqueue.expires_at, arrived, seatkeeper.lane_of(enqueue.kind, enqueue.payload),
                (enqueue.payload ->> 'user_id')::bigint,
                case when enqueue.run_at > arrived then 'scheduled' end)
        on conflict (request_id) do nothing
        returning r.* into fresh;
        if found then
            return seatkeeper.receipt_of(fresh, false);
        end if;
        -- Somebody else's insert of the same ID has committed since we looked: look again.
    end loop;
end $$;
comment on function seatkeeper.enqueue(uuid, text, jsonb, timestamptz, timestamptz, text, text) is
    'Asks once: a known ID with the same kind and payload gets its receipt, with anything else RC409; a malformed request RC422, DETAIL = the field';

-- The first item of the array that cannot be read at all, as {ord, field}; null when every item can be.
create function seatkeeper.unreadable_item(requests jsonb) returns jsonb language plpgsql stable as $$
declare
    item record;
    field text;
begin
    for item in select i.ord, i.value from jsonb_array_elements(requests) with ordinality i (value, ord) order by i.ord loop
        field := case
            when jsonb_typeof(item.value) <> 'object' then 'requests'
            when jsonb_typeof(item.value -> 'request_id') is distinct from 'string' then 'request_id'
            when jsonb_typeof(item.value -> 'kind') is distinct from 'string' then 'kind'
            else (select key from jsonb_object_keys(item.value - array['request_id', 'kind', 'payload', 'run_at',
                      'expires_at', 'producer', 'traceparent']) key order by key collate "C" limit 1) end;
        if field is null then
            begin
                field := 'request_id'; perform (item.value ->> 'request_id')::uuid;
                field := 'run_at'; perform (item.value ->> 'run_at')::timestamptz;
                field := 'expires_at'; perform (item.value ->> 'expires_at')::timestamptz;
                field := null;
            exception when data_exception then
                null; -- field says which one
            end;
        end if;
        if field is not null then
            return jsonb_build_object('ord', item.ord, 'field', field);
        end if;
    end loop;
    return null;
end $$;

create function seatkeeper.enqueue_many(requests jsonb) returns setof seatkeeper.receipt
language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
#variable_conflict use_column
declare
    total integer;
    ids uuid[]; kinds text[]; payloads jsonb[]; run_ats timestamptz[]; expiries timestamptz[]; producers text[]; traces text[];
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
               bool_and(jsonb_typeof(i.value) = 'object'
                        and jsonb_typeof(i.value -> 'request_id') is not distinct from 'string'
                        and jsonb_typeof(i.value -> 'kind') is not distinct from 'string'
                        and case when jsonb_typeof(i.value) = 'object' then i.value - array['request_id', 'kind', 'payload',
                            'run_at', 'expires_at', 'producer', 'traceparent'] = '{}' end)
        into ids, kinds, payloads, run_ats, expiries, producers, traces, readable
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
    select i.ord, seatkeeper.request_defect(i.id, i.kind, i.payload, i.run_at, i.expires_at, i.producer, i.trace) as field
    into first_defect
    from (select u.*, row_number() over (partition by u.id order by u.ord) as occurrence
          from unnest(ids, kinds, payloads, run_ats, expiries, producers, traces)
               with ordinality u (id, kind, payload, run_at, expires_at, producer, trace, ord)) i
    where i.occurrence = 1
      and seatkeeper.request_defect(i.id, i.kind, i.payload, i.run_at, i.expires_at, i.producer, i.trace) is not null
      and not exists (select from seatkeeper.requests r where r.request_id = i.id)
      and not exists (select from seatkeeper.request_tombstones t where t.request_id = i.id)
    order by i.ord
    limit 1;
    if found then
        perform seatkeeper.refuse_request(first_defect.field, format('It is item %s of the array.', first_defect.ord));
    end if;

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
comment on function seatkeeper.enqueue_many(jsonb) is
    'Asks for many at once, all or nothing; receipts and arrival in array order. Items: request_id, kind, payload, optional run_at, expires_at, producer, traceparent';
