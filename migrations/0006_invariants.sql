-- The roll call: runs of the invariant checks, what they found, and what was accepted.

create table seatkeeper.invariant_runs (
    run_id      bigint generated always as identity,
    trigger     text not null,
    slot        timestamptz,
    started_at  timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    constraint pk_invariant_runs primary key (run_id),
    constraint chk_invariant_run_trigger check (trigger in ('schedule', 'manual')),
    constraint chk_invariant_run_slot check ((trigger = 'schedule') = (slot is not null))
);
comment on table seatkeeper.invariant_runs is 'One roll call each';
comment on column seatkeeper.invariant_runs.slot is 'The due instant that a scheduled run answers to';

create table seatkeeper.invariant_results (
    run_id     bigint not null,
    invariant  text   not null,
    status     text   not null,
    violations bigint,
    accepted   bigint not null default 0,
    sample     jsonb  not null default '[]',
    constraint pk_invariant_results primary key (run_id, invariant),
    constraint fk_invariant_result_run foreign key (run_id) references seatkeeper.invariant_runs (run_id),
    constraint chk_invariant_result_status check (status in ('holds', 'violated', 'unknown')),
    -- "could not check" is never a number
    constraint chk_invariant_result_violations check ((status = 'unknown') = (violations is null) and violations >= 0)
);
comment on table seatkeeper.invariant_results is 'What a run found of one invariant';
comment on column seatkeeper.invariant_results.violations is 'All offending rows that are not accepted; null = could not be counted';

create table seatkeeper.invariant_baseline (
    invariant   text  not null,
    key         jsonb not null,
    reason      text  not null,
    accepted_by text  not null,
    accepted_at timestamptz not null default clock_timestamp(),
    expires_at  timestamptz,
    constraint pk_invariant_baseline primary key (invariant, key)
);
comment on table seatkeeper.invariant_baseline is 'Pre-existing violations that somebody has accepted, and until when';
