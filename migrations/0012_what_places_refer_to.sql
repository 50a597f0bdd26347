-- What enrollments and bookings refer to.
--
-- Every batch writes a new version of its semester, for the counter and the clock. While somebody holds an old snapshot
-- (a roll call, a dump) none of them can be cleared away, and the look-up of a foreign key, made for every row of
-- enrollments, walks over all of them. So places refer to a row that is never updated. It comes and goes with its
-- semester or session; what is refused, and the name of the constraint that refuses it, stay as they were.

create table seatkeeper.semester_keys (
    semester_id bigint not null,
    constraint pk_semester_keys primary key (semester_id),
    constraint fk_key_of_semester foreign key (semester_id) references seatkeeper.semesters (semester_id) on delete cascade
);
comment on table seatkeeper.semester_keys is
    'The semesters, for enrollments to refer to: never updated, unlike the semesters. Kept by a trigger';

create table seatkeeper.session_keys (
    session_id bigint not null,
    constraint pk_session_keys primary key (session_id),
    constraint fk_key_of_session foreign key (session_id) references seatkeeper.sessions (session_id) on delete cascade
);
comment on table seatkeeper.session_keys is
    'The sessions, for bookings to refer to: never updated, unlike the sessions. Kept by a trigger';

-- Nobody adds a semester or a session between this and the triggers. All that is locked in the end, at once and in the
-- order in which workers come to it: a lock that has to grow later meets theirs crosswise.
lock table seatkeeper.semesters, seatkeeper.sessions, seatkeeper.enrollments, seatkeeper.bookings in access exclusive mode;
insert into seatkeeper.semester_keys (semester_id) select s.semester_id from seatkeeper.semesters s;
insert into seatkeeper.session_keys (session_id) select s.session_id from seatkeeper.sessions s;

create function seatkeeper.keep_semester_key() returns trigger
language plpgsql security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
begin
    insert into seatkeeper.semester_keys (semester_id) values (new.semester_id);
    return null;
end $$;
create function seatkeeper.keep_session_key() returns trigger
language plpgsql security definer set search_path = pg_catalog, seatkeeper, pg_temp as $$
begin
    insert into seatkeeper.session_keys (session_id) values (new.session_id);
    return null;
end $$;
-- For each row, so that one statement may add a session and book it.
create trigger trg_keep_semester_key after insert on seatkeeper.semesters
    for each row execute function seatkeeper.keep_semester_key();
create trigger trg_keep_session_key after insert on seatkeeper.sessions
    for each row execute function seatkeeper.keep_session_key();
-- They work with the rights of their owner. To fire, a trigger needs no right to execute its function.
revoke all on function seatkeeper.keep_semester_key, seatkeeper.keep_session_key from public;

alter table seatkeeper.enrollments
    drop constraint fk_enrollment_semester,
    add constraint fk_enrollment_semester foreign key (semester_id) references seatkeeper.semester_keys (semester_id);
alter table seatkeeper.bookings
    drop constraint fk_booking_session,
    add constraint fk_booking_session foreign key (session_id) references seatkeeper.session_keys (session_id);
