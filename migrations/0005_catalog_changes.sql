-- Catalog changes are the producers' right. Each is recorded with a number from the answers' own sequence, drawn
-- while the changed row is locked, so that the history tells which decisions saw it; and where it can free or
-- need places, the session is marked for filling.

create table seatkeeper.catalog_changes (
    change_seq    bigint not null default nextval('seatkeeper.answer_seq'),
    statement_seq bigint not null,
    changed_at    timestamptz not null default clock_timestamp(),
    "table"       text   not null,
    key           bigint not null,
    before        jsonb,
    after         jsonb,
    constraint pk_catalog_changes primary key (change_seq),
    constraint chk_catalog_change_table check ("table" in ('users', 'semesters', 'sessions', 'bookings')),
    constraint chk_catalog_change_image check (before is not null or after is not null)
);
create index idx_catalog_changes_by_key on seatkeeper.catalog_changes ("table", key, change_seq);
comment on table seatkeeper.catalog_changes is
    'Every change of users.is_active, semesters and sessions by their owners, and every fill that no request caused';
comment on column seatkeeper.catalog_changes.statement_seq is
    'change_seq of the first change that the same statement made: they take effect together';
comment on column seatkeeper.catalog_changes.before is 'The row before, without balance and counters; null = it was added';
comment on column seatkeeper.catalog_changes.after is 'The row after; null = it was deleted';

create table seatkeeper.fill_marks (
    mark_id     bigint generated always as identity,
    semester_id bigint not null,
    session_id  bigint not null,
    marked_at   timestamptz not null default clock_timestamp(),
    attempts    integer not null default 0,
    retry_at    timestamptz,
    last_error  text,
    constraint pk_fill_marks primary key (mark_id)
);
create index idx_fill_marks_by_lane on seatkeeper.fill_marks (semester_id, mark_id) where retry_at is null;
create index idx_fill_marks_put_off on seatkeeper.fill_marks (retry_at) where retry_at is not null;
comment on table seatkeeper.fill_marks is
    'Sessions whose waitlist may be able to move. Rows of their own: marking needs no lock on the session';
comment on column seatkeeper.fill_marks.attempts is 'Fills so far that ended in an error';
comment on column seatkeeper.fill_marks.retry_at is 'After an error: not before this instant';

create function seatkeeper.catalog_image(row_ jsonb) returns jsonb language sql immutable parallel safe as $$
    select row_ - array['credit_balance', 'enrolled_count', 'last_decided_at', 'cancelled_by', 'confirmed_count']
$$;
comment on function seatkeeper.catalog_image(jsonb) is 'A row of the catalog without what Seatkeeper writes into it';

create function seatkeeper.record_catalog_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
declare
    before jsonb := case when tg_op <> 'INSERT' then seatkeeper.catalog_image(to_jsonb(old)) end;
    after jsonb := case when tg_op <> 'DELETE' then seatkeeper.catalog_image(to_jsonb(new)) end;
begin
    insert into seatkeeper.catalog_changes (change_seq, statement_seq, "table", key, before, after)
    select drawn.seq, drawn.seq, tg_table_name, (coalesce(after, before) ->> tg_argv[0])::bigint, before, after
    from nextval('seatkeeper.answer_seq') drawn (seq);
    return null;
end $$;

-- The WHEN clauses let a worker's counter updates pass without calling anything.
create trigger trg_record_user_change after update on seatkeeper.users
    for each row when (old.is_active is distinct from new.is_active)
    execute function seatkeeper.record_catalog_change('user_id');
create trigger trg_record_semester_addition after insert or delete on seatkeeper.semesters
    for each row execute function seatkeeper.record_catalog_change('semester_id');
create trigger trg_record_semester_change after update on seatkeeper.semesters
    -- A worker that cancels the semester says so in the answer to the request.
    for each row when (old.cancelled_by is not distinct from new.cancelled_by
        and (old.code, old.name, old.status, old.max_players, old.enrollment_cost, old.refund_percent,
             old.enrollment_closes_at, old.unenroll_closes_at)
        is distinct from (new.code, new.name, new.status, new.max_players, new.enrollment_cost, new.refund_percent,
                          new.enrollment_closes_at, new.unenroll_closes_at))
    execute function seatkeeper.record_catalog_change('semester_id');
create trigger trg_record_session_addition after insert or delete on seatkeeper.sessions
    for each row execute function seatkeeper.record_catalog_change('session_id');

create function seatkeeper.refuse_identity_change() returns trigger language plpgsql as $$
begin
    raise exception '%: % never changes', tg_table_name, tg_argv[0]
        using errcode = 'integrity_constraint_violation', constraint = tg_name,
              hint = 'Add a new row instead.';
end $$;
create trigger trg_user_id_for_good before update on seatkeeper.users
    for each row when (old.user_id <> new.user_id) execute function seatkeeper.refuse_identity_change('user_id');
create trigger trg_semester_id_for_good before update on seatkeeper.semesters
    for each row when (old.semester_id <> new.semester_id) execute function seatkeeper.refuse_identity_change('semester_id');
create trigger trg_session_id_for_good before update on seatkeeper.sessions
    for each row when (old.session_id <> new.session_id) execute function seatkeeper.refuse_identity_change('session_id');
-- A session's semester is its lane: requests and places hang on it.
create trigger trg_session_semester_for_good before update on seatkeeper.sessions
    for each row when (old.semester_id <> new.semester_id) execute function seatkeeper.refuse_identity_change('semester_id');

create function seatkeeper.mark_sessions_of_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
begin
    insert into seatkeeper.fill_marks (semester_id, session_id)
    select s.semester_id, s.session_id
    from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)
    where b.user_id = new.user_id and b.status = 'WAITLISTED';
    return null;
end $$;
create trigger trg_mark_sessions_of_changed_user after update on seatkeeper.users
    for each row when (old.is_active is distinct from new.is_active)
    execute function seatkeeper.mark_sessions_of_user();

-- What follows from a change of sessions. For each statement, not each row, since a statement may shift several of them:
-- the users concerned are locked first, ascending, as the workers do; only then are the numbers drawn, so that no answer
-- that these users were given meanwhile has a later one.
create function seatkeeper.follow_sessions() returns trigger
language plpgsql security definer set search_path = pg_catalog, seatkeeper, pg_temp set enable_hashjoin = on as $$
declare
    changed bigint[];
    moved bigint[];
    concerned bigint[];
    numbers bigint[];
    at timestamptz;
begin
    select array_agg(n.session_id order by n.session_id),
           array_agg(n.session_id) filter (where (n.starts_at, n.ends_at) is distinct from (o.starts_at, o.ends_at))
    into changed, moved
    from new_rows n join old_rows o using (session_id)
    where (n.starts_at, n.ends_at, n.capacity, n.status, n.booking_closes_at, n.cancellation_closes_at)
        is distinct from (o.starts_at, o.ends_at, o.capacity, o.status, o.booking_closes_at, o.cancellation_closes_at);
    if changed is null then
        return null; -- a counter
    end if;
    if moved is not null then
        concerned := array(select distinct b.user_id from seatkeeper.bookings b
                           where b.session_id = any (moved) and b.status <> 'CANCELLED');
        perform from seatkeeper.users u where u.user_id = any (concerned) order by u.user_id for no key update;
    end if;

    at := clock_timestamp();
    numbers := array(select nextval('seatkeeper.answer_seq') from generate_series(1, cardinality(changed)));
    insert into seatkeeper.catalog_changes (change_seq, statement_seq, changed_at, "table", key, before, after)
    select c.seq, numbers[1], at, 'sessions', c.session_id, seatkeeper.catalog_image(to_jsonb(o)), seatkeeper.catalog_image(to_jsonb(n))
    from unnest(changed, numbers) c (session_id, seq)
    join old_rows o on o.session_id = c.session_id
    join new_rows n on n.session_id = c.session_id;
    insert into seatkeeper.fill_marks (semester_id, session_id)
    select n.semester_id, n.session_id
    from new_rows n join old_rows o using (session_id)
    where (n.starts_at, n.ends_at, n.capacity, n.status) is distinct from (o.starts_at, o.ends_at, o.capacity, o.status);
    if moved is not null then
        perform seatkeeper.move_bookings(moved, concerned, at);
    end if;
    return null;
end $$;

-- A moved session takes the guarded times of its live bookings along. A move that would put somebody in two CONFIRMED places
-- is refused by xcl_no_overlapping_confirmed_bookings; waits that now overlap a CONFIRMED booking of their user are
-- superseded. Who left the semester after a session had started kept the booking; when the session has not started any more, it
-- goes as it would have gone then (INV-B06).
create function seatkeeper.move_bookings(moved bigint[], concerned bigint[], at timestamptz) returns void
language plpgsql set enable_hashjoin = on as $$
begin
    update seatkeeper.bookings b set status = 'CANCELLED', cancelled_at = at, cancelled_because = 'unenrolled'
    from seatkeeper.sessions s
    where s.session_id = any (moved) and s.starts_at > at and b.session_id = s.session_id and b.status <> 'CANCELLED'
      and not exists (select from seatkeeper.enrollments e
                      where e.user_id = b.user_id and e.semester_id = s.semester_id and e.is_active);

    update seatkeeper.bookings b set starts_at = s.starts_at, ends_at = s.ends_at
    from seatkeeper.sessions s
    where s.session_id = any (moved) and b.session_id = s.session_id and b.status <> 'CANCELLED';

    update seatkeeper.bookings w set status = 'CANCELLED', cancelled_at = at, cancelled_because = 'superseded'
    where w.user_id = any (concerned) and w.status = 'WAITLISTED'
      and exists (select from seatkeeper.bookings c
                  where c.user_id = w.user_id and c.status = 'CONFIRMED'
                    and tstzrange(c.starts_at, c.ends_at) && tstzrange(w.starts_at, w.ends_at)
                    and (c.session_id = any (moved) or w.session_id = any (moved)));
end $$;
create trigger trg_follow_sessions after update on seatkeeper.sessions
    referencing old table as old_rows new table as new_rows
    for each statement execute function seatkeeper.follow_sessions();

-- These work with the rights of their owner: hung on a table of somebody else, they would forge what they record.
-- To fire, a trigger needs no right to execute its function.
revoke all on function seatkeeper.record_catalog_change, seatkeeper.mark_sessions_of_user, seatkeeper.follow_sessions,
    seatkeeper.move_bookings, seatkeeper.count_confirmed from public;
