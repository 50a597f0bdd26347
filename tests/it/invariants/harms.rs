//! What can be wrong with a guard.

/// What is done to a guard, the invariant that has to see it, and the row: what, name (or its beginning), problem.
pub const HARMS: [(&str, &str, &str, &str, &str); 55] = [
    (
        "alter table seatkeeper.users drop constraint chk_credit_balance_non_negative",
        "INV-05",
        "constraint",
        "chk_credit_balance_non_negative",
        "missing",
    ),
    (
        "alter table seatkeeper.users rename constraint chk_credit_balance_non_negative to chk_credit_balance",
        "INV-05",
        "constraint",
        "chk_credit_balance_non_negative",
        "missing",
    ),
    (
        "alter table seatkeeper.users drop constraint chk_credit_balance_non_negative;
         alter table seatkeeper.users add constraint chk_credit_balance_non_negative check (credit_balance >= -100)",
        "INV-05",
        "constraint",
        "chk_credit_balance_non_negative",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.semesters drop constraint chk_enrolled_within_capacity;
         alter table seatkeeper.semesters add constraint chk_enrolled_within_capacity
             check (enrolled_count <= max_players) not valid",
        "INV-05",
        "constraint",
        "chk_enrolled_within_capacity",
        "not validated",
    ),
    (
        "alter table seatkeeper.requests alter user_id type bigint",
        "INV-05",
        "constraint",
        "chk_request_lane",
        "defined otherwise",
    ),
    (
        "alter domain seatkeeper.instant drop constraint chk_request_times;
         alter domain seatkeeper.instant add constraint chk_request_times
             check (value between '0001-01-01 00:00Z' and '9999-12-31 00:00Z') not valid",
        "INV-05",
        "constraint",
        "chk_request_times",
        "not validated",
    ),
    ("drop index seatkeeper.uq_active_enrollment", "INV-05", "index", "uq_active_enrollment", "missing"),
    (
        "alter index seatkeeper.uq_active_enrollment rename to uq_active_enrollments",
        "INV-05",
        "index",
        "uq_active_enrollment",
        "missing",
    ),
    (
        "drop index seatkeeper.uq_active_enrollment;
         create unique index uq_active_enrollment on seatkeeper.enrollments (user_id, semester_id)
             where is_active and price_paid > 0",
        "INV-05",
        "index",
        "uq_active_enrollment",
        "defined otherwise",
    ),
    (
        "drop index seatkeeper.uq_active_enrollment;
         create index uq_active_enrollment on seatkeeper.enrollments (user_id, semester_id) where is_active",
        "INV-05",
        "index",
        "uq_active_enrollment",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.requests disable trigger trg_answer_for_good",
        "INV-05",
        "trigger",
        "trg_answer_for_good",
        "the trigger is disabled",
    ),
    (
        "alter table seatkeeper.requests enable replica trigger trg_answer_for_good",
        "INV-05",
        "trigger",
        "trg_answer_for_good",
        "the trigger is disabled",
    ),
    (
        "alter table seatkeeper.enrollments disable trigger all",
        "INV-05",
        "constraint",
        "fk_enrollment_user",
        "its triggers are disabled",
    ),
    (
        "create or replace function seatkeeper.refuse_ledger_change() returns trigger language plpgsql
             as $$ begin return null; end $$",
        "INV-05",
        "function",
        "refuse_ledger_change()",
        "defined otherwise",
    ),
    (
        "alter function seatkeeper.count_confirmed() security invoker",
        "INV-B05",
        "function",
        "count_confirmed()",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.bookings drop constraint xcl_no_overlapping_confirmed_bookings",
        "INV-B05",
        "constraint",
        "xcl_no_overlapping_confirmed_bookings",
        "missing",
    ),
    (
        "alter table seatkeeper.bookings disable trigger trg_count_changed_bookings",
        "INV-B05",
        "trigger",
        "trg_count_changed_bookings",
        "the trigger is disabled",
    ),
    (
        "drop index seatkeeper.uq_active_booking;
         create unique index uq_active_booking on seatkeeper.bookings (user_id, session_id) where status = 'CONFIRMED'",
        "INV-B05",
        "index",
        "uq_active_booking",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.sessions drop constraint chk_confirmed_within_capacity;
         alter table seatkeeper.sessions add constraint chk_confirmed_within_capacity
             check (confirmed_count <= capacity) not valid",
        "INV-B05",
        "constraint",
        "chk_confirmed_within_capacity",
        "not validated",
    ),
    (
        "create trigger trg_of_somebody before update on seatkeeper.users for each row
             execute function suppress_redundant_updates_trigger()",
        "INV-05",
        "trigger",
        "trg_of_somebody",
        "not one of ours",
    ),
    (
        "create rule rule_of_somebody as on update to seatkeeper.sessions where new.capacity = 0 do instead nothing",
        "INV-B05",
        "rule",
        "rule_of_somebody",
        "not one of ours",
    ),
    (
        "alter table seatkeeper.semesters enable row level security",
        "INV-05",
        "table",
        "semesters",
        "row level security",
    ),
    ("alter table seatkeeper.bookings force row level security", "INV-B05", "table", "bookings", "row level security"),
    (
        "create policy policy_of_somebody on seatkeeper.requests using (kind <> 'enroll')",
        "INV-05",
        "policy",
        "policy_of_somebody",
        "not one of ours",
    ),
    ("alter table seatkeeper.catalog_changes set unlogged", "INV-05", "table", "catalog_changes", "a crash empties it"),
    (
        "alter sequence seatkeeper.answer_seq cache 50",
        "INV-05",
        "sequence",
        "answer_seq",
        "defined otherwise",
    ),
    (
        "alter sequence seatkeeper.waitlist_ticket_seq increment by -1 minvalue -100 maxvalue 100 start 1 cycle",
        "INV-B05",
        "sequence",
        "waitlist_ticket_seq",
        "defined otherwise",
    ),
    (
        "alter sequence seatkeeper.requests_seq_seq as integer cache 2",
        "INV-05",
        "sequence",
        "requests_seq_seq",
        "defined otherwise",
    ),
    (
        "alter sequence seatkeeper.conflicts_seq owned by seatkeeper.pauses.since",
        "INV-05",
        "sequence",
        "conflicts_seq",
        "defined otherwise",
    ),
    ("drop sequence seatkeeper.duplicates_seq", "INV-05", "sequence", "duplicates_seq", "missing"),
    ("drop sequence seatkeeper.waitlist_ticket_seq cascade", "INV-B05", "sequence", "waitlist_ticket_seq", "missing"),
    (
        "alter table seatkeeper.requests alter seq drop identity",
        "INV-05",
        "column",
        "seq",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.bookings alter booking_id set generated always",
        "INV-B05",
        "column",
        "booking_id",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.requests alter attempts set default 7",
        "INV-05",
        "column",
        "attempts",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.requests alter enqueued_at drop default",
        "INV-05",
        "column",
        "enqueued_at",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.enrollments alter request_id set default gen_random_uuid()",
        "INV-05",
        "column",
        "request_id",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.semesters alter enrollment_cost drop not null",
        "INV-05",
        "column",
        "enrollment_cost",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.semesters alter enrollment_closes_at set not null",
        "INV-05",
        "column",
        "enrollment_closes_at",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.credit_transactions alter balance_after type integer",
        "INV-05",
        "column",
        "balance_after",
        "defined otherwise",
    ),
    ("alter table seatkeeper.sessions drop booking_closes_at", "INV-B05", "column", "booking_closes_at", "missing"),
    (
        "alter table seatkeeper.requests alter kind type text",
        "INV-05",
        "constraint",
        "chk_request_kind",
        "missing",
    ),
    ("drop extension btree_gist cascade", "INV-B05", "extension", "btree_gist", "missing"),
    (
        "do $$ begin execute format('alter database %I set session_replication_role = replica', current_database()); end $$",
        "INV-05",
        "setting",
        "session_replication_role of database",
        "set to replica",
    ),
    (
        "do $$ begin execute format('alter role %I in database %I set session_replication_role = replica',
                                    current_user, current_database()); end $$",
        "INV-05",
        "setting",
        "session_replication_role of role",
        "set to replica",
    ),
    (
        "alter table seatkeeper.users drop constraint pk_users cascade;
         alter table seatkeeper.users add constraint pk_users primary key (user_id, is_active)",
        "INV-05",
        "constraint",
        "pk_users",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.bookings drop constraint uq_waitlist_ticket;
         create index uq_waitlist_ticket on seatkeeper.bookings (waitlist_ticket)",
        "INV-B05",
        "constraint",
        "uq_waitlist_ticket",
        "missing",
    ),
    (
        "alter table seatkeeper.bookings drop constraint xcl_no_overlapping_confirmed_bookings;
         alter table seatkeeper.bookings add constraint xcl_no_overlapping_confirmed_bookings
             exclude using gist (user_id with =, tstzrange(starts_at, ends_at) with &&) where (status = 'CONFIRMED')",
        "INV-B05",
        "constraint",
        "xcl_no_overlapping_confirmed_bookings",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.enrollments drop constraint fk_enrollment_user;
         alter table seatkeeper.enrollments add constraint fk_enrollment_user
             foreign key (user_id) references seatkeeper.users on delete cascade not valid",
        "INV-05",
        "constraint",
        "fk_enrollment_user",
        "defined otherwise, and not validated",
    ),
    (
        "alter domain seatkeeper.request_status drop constraint chk_request_status;
         alter domain seatkeeper.request_status add constraint chk_request_status check (value <> '')",
        "INV-05",
        "constraint",
        "chk_request_status",
        "defined otherwise",
    ),
    (
        "alter domain seatkeeper.request_outcome drop constraint chk_request_outcome",
        "INV-05",
        "constraint",
        "chk_request_outcome",
        "missing",
    ),
    (
        "update pg_index set indisvalid = false where indexrelid = 'seatkeeper.pk_sessions'::regclass",
        "INV-B05",
        "index",
        "pk_sessions",
        "the index is invalid",
    ),
    (
        "update pg_index set indisvalid = false
         where indexrelid = 'seatkeeper.xcl_no_overlapping_confirmed_bookings'::regclass",
        "INV-B05",
        "index",
        "xcl_no_overlapping_confirmed_bookings",
        "the index is invalid",
    ),
    (
        "create or replace trigger trg_record_user_change after update on seatkeeper.users
             for each row execute function seatkeeper.record_catalog_change('user_id')",
        "INV-05",
        "trigger",
        "trg_record_user_change",
        "defined otherwise",
    ),
    ("drop function seatkeeper.answer_fits cascade", "INV-05", "function", "answer_fits(", "missing"),
    ("drop function seatkeeper.enqueue", "INV-05", "function", "enqueue(", "missing"),
];
