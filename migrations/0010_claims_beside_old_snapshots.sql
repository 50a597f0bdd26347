-- Claims beside old snapshots.
--
-- An answered request leaves a dead entry in the index of what is ready. While somebody holds an older snapshot (a roll
-- call, a dump), nothing may clear it away, and a claim would read through everything that was answered since. Workers
-- therefore remember, for each busy lane, a number below which no request can be ready any more. Three things make that
-- safe: what becomes ready again is marked and has an index of its own; a producer's transaction has its transaction ID
-- before it draws a number, so that a snapshot tells whether smaller numbers can still appear; and requests without a
-- lane have an index of their own, which no lane's dead entries are in.

alter table seatkeeper.requests add column returned boolean not null default false;
comment on column seatkeeper.requests.returned is
    'Became ready after it had arrived: its time came, a pause ended, it was retried, or its lane was found out';

create index idx_ready_returned on seatkeeper.requests (semester_id, seq) where returned and status = 'queued' and hold is null;
create index idx_ready_loose on seatkeeper.requests (seq) where semester_id is null and status = 'queued' and hold is null;

create function seatkeeper.mark_returned() returns trigger language plpgsql as $$
begin
    new.returned := true;
    return new;
end $$;
-- Whoever makes a request ready, by whatever statement: workers look for it among the returned ones
create trigger trg_mark_returned before update on seatkeeper.requests
    for each row when (new.status = 'queued' and new.hold is null
                       and (old.status <> 'queued' or old.hold is not null or old.seq <> new.seq
                            or old.semester_id is distinct from new.semester_id))
    execute function seatkeeper.mark_returned();

-- The doors as they were, but for the transaction ID.
create or replace function seatkeeper.enqueue(
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

        -- Before its number is drawn: who looks at a snapshot sees that it is under way.
        perform pg_current_xact_id();
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

create or replace function seatkeeper.enqueue_many(requests jsonb) returns setof seatkeeper.receipt
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
