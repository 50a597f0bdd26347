-- invariant: INV-B05
-- guard: none: the guards themselves are gone
-- offends: {"what": "index", "table": "bookings", "name": "uq_active_booking"}
-- offends: {"what": "constraint", "table": "bookings", "name": "xcl_no_overlapping_confirmed_bookings"}
-- offends: {"what": "index", "table": "bookings", "name": "xcl_no_overlapping_confirmed_bookings"}
-- offends: {"what": "trigger", "table": "bookings", "name": "trg_count_added_bookings"}
-- offends: {"what": "constraint", "table": "sessions", "name": "chk_confirmed_within_capacity"}
-- also:
-- == given
insert into seatkeeper.semesters (semester_id, code, status) values (1, 'SPRING', 'ENROLLMENT_OPEN');
insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
values (1, 1, now() + interval '3 days', now() + interval '3 days 1 hour', 4);
-- == breach
-- == drop
-- One has the wrong predicate; one is missing, and its index with it; one is asleep; one allows one too many.
drop index seatkeeper.uq_active_booking;
create unique index uq_active_booking on seatkeeper.bookings (user_id, session_id) where status = 'CONFIRMED';
alter table seatkeeper.bookings drop constraint xcl_no_overlapping_confirmed_bookings;
alter table seatkeeper.bookings disable trigger trg_count_added_bookings;
alter table seatkeeper.sessions drop constraint chk_confirmed_within_capacity;
alter table seatkeeper.sessions add constraint chk_confirmed_within_capacity check (confirmed_count <= capacity + 1);
-- == repair
drop index seatkeeper.uq_active_booking;
create unique index uq_active_booking on seatkeeper.bookings (user_id, session_id) where status <> 'CANCELLED';
alter table seatkeeper.bookings add constraint xcl_no_overlapping_confirmed_bookings
    exclude using gist (user_id with =, tstzrange(starts_at, ends_at) with &&)
    where (status = 'CONFIRMED') deferrable initially immediate;
alter table seatkeeper.bookings enable trigger trg_count_added_bookings;
alter table seatkeeper.sessions drop constraint chk_confirmed_within_capacity;
alter table seatkeeper.sessions add constraint chk_confirmed_within_capacity check (confirmed_count <= capacity);
