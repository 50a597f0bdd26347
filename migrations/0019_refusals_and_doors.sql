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
