-- enqueue_many as it was, but for the right, the limits and who asked (see the migration before).
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
    allowed text[];
    most bigint := seatkeeper.max_amount_of_session();
    is_limited boolean;
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

    allowed := array(select k.kind from (select distinct u.kind from unnest(kinds) u (kind)) k
                     where coalesce(seatkeeper.session_may(seatkeeper.right_for(k.kind)), true));
    select i.ord, i.kind into first_defect from unnest(kinds) with ordinality i (kind, ord)
    where i.kind <> all (allowed) order by i.ord limit 1;
    if found then
        perform seatkeeper.refuse_without_right(first_defect.kind, format('It is item %s of the array.', first_defect.ord));
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
    -- Nor are amounts of those. (What is not well-formed is known, or comes again.)
    select i.ord into first_defect
    from unnest(ids, kinds, payloads) with ordinality i (id, kind, payload, ord)
    where most is not null and i.kind = 'grant_credits' and seatkeeper.payload_defect(i.kind, i.payload) is null
      and case when jsonb_typeof(i.payload -> 'amount') = 'number' then abs((i.payload ->> 'amount')::numeric) > most end
      and not exists (select from seatkeeper.requests r where r.request_id = i.id)
      and not exists (select from seatkeeper.request_tombstones t where t.request_id = i.id)
    order by i.ord
    limit 1;
    if found then
        perform seatkeeper.refuse_amount(most, format('It is item %s of the array.', first_defect.ord));
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
                                              enqueued_at, semester_id, user_id, hold, enqueued_by, limited)
        select i.id, i.seq, i.kind, i.payload, i.producer, i.trace, i.run_at, i.expires_at, arrived,
               seatkeeper.lane_of(i.kind, i.payload), (i.payload ->> 'user_id')::bigint,
               case when i.run_at > arrived then 'scheduled' end, session_user,
               (select nullif(l.max_waiting is not null, false) from seatkeeper.account_limits l
                where l.account = any (array[session_user::text, '*']) order by l.account = '*' limit 1)
        from item i
        order by i.id
        on conflict (request_id) do nothing
        returning r.request_id, r.limited
    )
    select array_agg(f.request_id), bool_or(f.limited) into inserted, is_limited from fresh f;
    if is_limited then
        perform seatkeeper.refuse_beyond_limit();
    end if;

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
