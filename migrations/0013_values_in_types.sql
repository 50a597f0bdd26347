-- What the values of a request may be, told by their types.
--
-- A table's checks are read from their text and prepared in every single statement that writes to the table: of a call of
-- enqueue that was half. Those of a type are prepared once in a connection. So the checks of one column each become checks
-- of domains, under the names that they had, and what a request has to have in each status becomes one function.

create domain seatkeeper.request_kind as text;
comment on domain seatkeeper.request_kind is 'What a request asks for';
create domain seatkeeper.request_status as text;
comment on domain seatkeeper.request_status is 'Where a request stands';
create domain seatkeeper.request_outcome as text;
comment on domain seatkeeper.request_outcome is 'How a request was answered';
create domain seatkeeper.request_hold as text;
comment on domain seatkeeper.request_hold is 'Why a queued request is not in the queue yet';
create domain seatkeeper.catalog_id as bigint;
comment on domain seatkeeper.catalog_id is 'The number of a user or of a semester: positive';
create domain seatkeeper.instant as timestamptz;
comment on domain seatkeeper.instant is 'A time that every client language has: between the years 1 and 9999';

-- The types of columns that a trigger looks at cannot be changed. The triggers come back as they were.
drop trigger trg_answer_for_good on seatkeeper.requests;
drop trigger trg_mark_returned on seatkeeper.requests;
alter table seatkeeper.requests
    drop constraint chk_request_kind,
    drop constraint chk_request_status,
    drop constraint chk_request_outcome,
    drop constraint chk_request_hold,
    drop constraint chk_request_lane,
    drop constraint chk_request_times,
    drop constraint chk_request_answer,
    -- While the domains demand nothing the rows stay where they are.
    alter kind type seatkeeper.request_kind,
    alter status type seatkeeper.request_status,
    alter outcome type seatkeeper.request_outcome,
    alter hold type seatkeeper.request_hold,
    alter semester_id type seatkeeper.catalog_id,
    alter user_id type seatkeeper.catalog_id,
    alter run_at type seatkeeper.instant,
    alter expires_at type seatkeeper.instant;

alter domain seatkeeper.request_kind add constraint chk_request_kind check (
    value = any ('{enroll,unenroll,book,cancel_booking,record_attendance,cancel_semester,grant_credits}'));
alter domain seatkeeper.request_status add constraint chk_request_status check (
    value = any ('{queued,done,failed,cancelled}'));
alter domain seatkeeper.request_outcome add constraint chk_request_outcome check (value = any ('{applied,refused}'));
alter domain seatkeeper.request_hold add constraint chk_request_hold check (value = any ('{scheduled,paused}'));
-- Workers look for no other lane.
alter domain seatkeeper.catalog_id add constraint chk_request_lane check (value > 0);
alter domain seatkeeper.instant add constraint chk_request_times check (
    value between '0001-01-01 00:00Z' and '9999-12-31 00:00Z');

create function seatkeeper.answer_fits(
    status text, hold text, outcome text, reason text, result jsonb, answer_seq bigint, finished_at timestamptz
) returns boolean language plpgsql immutable parallel safe as $$
begin
    return case status
        when 'queued' then num_nonnulls(outcome, reason, result, answer_seq, finished_at) = 0
        when 'done' then num_nulls(outcome, answer_seq, finished_at) = 0 and hold is null
            and (outcome = 'refused') = (reason is not null)
        when 'failed' then num_nulls(reason, finished_at) = 0 and num_nonnulls(outcome, answer_seq, hold) = 0
        else finished_at is not null and num_nonnulls(outcome, answer_seq, hold) = 0 end;
end $$;
comment on function seatkeeper.answer_fits(text, text, text, text, jsonb, bigint, timestamptz) is
    'Whether a request has what its status demands, and nothing else. In PL/pgSQL: prepared once in a connection';
alter table seatkeeper.requests add constraint chk_request_answer check (
    seatkeeper.answer_fits(status, hold, outcome, reason, result, answer_seq, finished_at));

create trigger trg_answer_for_good before update on seatkeeper.requests
    for each row when (old.status = 'done') execute function seatkeeper.refuse_answer_change();
create trigger trg_mark_returned before update on seatkeeper.requests
    for each row when (new.status = 'queued' and new.hold is null
                       and (old.status <> 'queued' or old.hold is not null or old.seq <> new.seq
                            or old.semester_id is distinct from new.semester_id))
    execute function seatkeeper.mark_returned();

-- Columns of another type have no statistics. (A table that has nothing yet is better off with none at all.)
do $$ begin
    if exists (select from seatkeeper.requests) then
        perform seatkeeper.refresh_statistics('requests');
    end if;
end $$;
