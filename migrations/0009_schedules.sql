-- The schedule: what falls due when, and the latest slot of each that has been run.

create table seatkeeper.schedules (
    schedule         text not null,
    expression       text not null,
    time_zone        text not null,
    since            timestamptz not null default clock_timestamp(),
    last_slot        timestamptz,
    last_finished_at timestamptz,
    retain_seconds   bigint,
    constraint pk_schedules primary key (schedule),
    constraint chk_schedule_retain check (retain_seconds >= 0),
    constraint chk_schedule_finished check ((last_slot is null) = (last_finished_at is null)),
    constraint chk_schedule_times check (
        since between '0001-01-01 00:00Z' and '9999-12-31 00:00Z'
        and last_slot between '0001-01-01 00:00Z' and '9999-12-31 00:00Z')
);
comment on table seatkeeper.schedules is 'What falls due when. A row is written by the `run` that starts last';
comment on column seatkeeper.schedules.expression is 'Cron, six fields: seconds, minutes, hours, days, months, days of the week';
comment on column seatkeeper.schedules.time_zone is 'IANA name';
comment on column seatkeeper.schedules.since is
    'When the schedule came to be what it is. Slots at or before it are never due';
comment on column seatkeeper.schedules.last_slot is 'The latest slot that has been run; null until the first';
comment on column seatkeeper.schedules.last_finished_at is 'When that was';
comment on column seatkeeper.schedules.retain_seconds is 'How long retention keeps an answered request';

-- Two functions with the rights of the owner, so that the role of the workers needs neither to delete requests nor to own
-- a table.

create function seatkeeper.retire_requests(retain_seconds bigint, first_page bigint, end_page bigint, at_most integer)
returns integer language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
declare
    retired integer;
begin
    -- By pages (a TID range scan): an index by age would cost every answer.
    with old as materialized (
        select r.ctid
        from seatkeeper.requests r
        where r.ctid >= format('(%s,0)', first_page)::tid and r.ctid < format('(%s,0)', end_page)::tid
          and r.status in ('done', 'cancelled')
          and r.finished_at < clock_timestamp() - make_interval(secs => retain_seconds)
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
    'Deletes answered requests of this age on these pages, and leaves their tombstones; gives how many';

create function seatkeeper.refresh_statistics(table_name text) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
declare
    owner oid := (select c.relowner from pg_class c
                  where c.relnamespace = 'seatkeeper'::regnamespace and c.relname = table_name and c.relkind = 'r');
begin
    -- Without the right, PostgreSQL only warns.
    if owner is null or not pg_has_role(current_user, owner, 'USAGE') then
        return false;
    end if;
    execute format('analyze seatkeeper.%I', table_name);
    return true;
end $$;
comment on function seatkeeper.refresh_statistics(text) is 'Analyzes a table of this schema; false when its owner may not';

revoke all on function seatkeeper.retire_requests, seatkeeper.refresh_statistics from public;
