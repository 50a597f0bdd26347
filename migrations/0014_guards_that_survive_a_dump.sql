-- Guards whose words are the same after a dump.
--
-- PostgreSQL keeps a condition as it was written and tells it with all its parentheses. Some conditions it reads flatter than it
-- told them: `a between b and c and …`, and rows compared with `is distinct from`. So after a dump and restore, or pg_upgrade,
-- these four had other words than in the database that was dumped, and whoever compares them called healthy guards broken. Written
-- flat, each is what PostgreSQL makes of its own words. What they allow is the same.

-- In the order in which workers come to them, and whole at once: a lock that has to grow later meets theirs crosswise. Owners add
-- semesters and sessions by hand, so looking through them takes milliseconds (12 for 100,000 sessions).
lock table seatkeeper.semesters, seatkeeper.sessions in access exclusive mode;
alter table seatkeeper.semesters
    drop constraint if exists chk_semester_times,
    add constraint chk_semester_times check (
        enrollment_closes_at >= '0001-01-01 00:00Z' and enrollment_closes_at <= '9999-12-31 00:00Z'
        and unenroll_closes_at >= '0001-01-01 00:00Z' and unenroll_closes_at <= '9999-12-31 00:00Z');
alter table seatkeeper.sessions
    drop constraint if exists chk_session_times,
    add constraint chk_session_times check (
        starts_at >= '0001-01-01 00:00Z' and starts_at <= '9999-12-31 00:00Z'
        and ends_at >= '0001-01-01 00:00Z' and ends_at <= '9999-12-31 00:00Z'
        and booking_closes_at >= '0001-01-01 00:00Z' and booking_closes_at <= '9999-12-31 00:00Z'
        and cancellation_closes_at >= '0001-01-01 00:00Z' and cancellation_closes_at <= '9999-12-31 00:00Z');
create or replace trigger trg_record_semester_change after update on seatkeeper.semesters
    -- A worker that cancels the semester says so in the answer to the request.
    for each row when (old.cancelled_by is not distinct from new.cancelled_by
        and (old.code is distinct from new.code or old.name is distinct from new.name
             or old.status is distinct from new.status or old.max_players is distinct from new.max_players
             or old.enrollment_cost is distinct from new.enrollment_cost
             or old.refund_percent is distinct from new.refund_percent
             or old.enrollment_closes_at is distinct from new.enrollment_closes_at
             or old.unenroll_closes_at is distinct from new.unenroll_closes_at))
    execute function seatkeeper.record_catalog_change('semester_id');
alter table seatkeeper.schedules
    drop constraint if exists chk_schedule_times,
    add constraint chk_schedule_times check (
        since >= '0001-01-01 00:00Z' and since <= '9999-12-31 00:00Z'
        and last_slot >= '0001-01-01 00:00Z' and last_slot <= '9999-12-31 00:00Z');
