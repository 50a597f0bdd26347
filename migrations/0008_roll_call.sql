-- The roll call: which schedule a run answers to, what could not be evaluated and why, and since when a row offends.

alter table seatkeeper.invariant_runs
    add column schedule text,
    add constraint chk_invariant_run_schedule check ((trigger = 'schedule') = (schedule is not null));
-- A slot of a schedule is run once, by whichever replica comes first. Two at once wait here for each other.
create unique index uq_invariant_run_slot on seatkeeper.invariant_runs (schedule, slot) where finished_at is not null;
comment on column seatkeeper.invariant_runs.schedule is 'The schedule whose slot it is; null = somebody asked by hand';

alter table seatkeeper.invariant_results
    add column error text,
    add column seconds double precision,
    add column since timestamptz,
    add constraint chk_invariant_result_error check ((status = 'unknown') = (error is not null));
-- The last result of each invariant, among years of them
create index idx_last_invariant_results on seatkeeper.invariant_results (invariant, run_id desc);
comment on column seatkeeper.invariant_results.violations is
    'All offending rows, accepted ones included; null = could not be counted';
comment on column seatkeeper.invariant_results.accepted is 'How many of them are accepted, and the acceptance has not expired';
comment on column seatkeeper.invariant_results.status is
    'violated: more rows offend than are accepted. unknown: could not be evaluated, the error says why';
comment on column seatkeeper.invariant_results.error is 'Why it could not be evaluated';
comment on column seatkeeper.invariant_results.seconds is 'How long the check took';
comment on column seatkeeper.invariant_results.since is 'When the longest-standing of the offending rows was first seen';

create table seatkeeper.invariant_sightings (
    invariant  text  not null,
    key        jsonb not null,
    first_seen timestamptz not null,
    last_seen  timestamptz not null,
    constraint pk_invariant_sightings primary key (invariant, key),
    constraint chk_invariant_sighting_times check (first_seen <= last_seen)
);
comment on table seatkeeper.invariant_sightings is
    'Since when a row offends, run by run; gone when a run no longer finds it. At most 10,000 keys of each invariant';
