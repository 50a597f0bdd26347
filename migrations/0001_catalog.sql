-- The catalog: what producers own and change themselves. Seatkeeper alone writes the balance and the counters.
--
-- Times are kept between the years 1 and 9999: 'infinity' and the far ends of timestamptz have no
-- counterpart in most client languages, so a worker must never meet one.

create schema if not exists seatkeeper;
comment on schema seatkeeper is 'Seatkeeper: requests answered once, places and credits';

create extension if not exists btree_gist with schema seatkeeper;

create table seatkeeper.users (
    user_id        bigint  not null,
    is_active      boolean not null default true,
    credit_balance bigint  not null default 0,
    constraint pk_users primary key (user_id),
    constraint chk_user_id check (user_id > 0),
    constraint chk_credit_balance_non_negative check (credit_balance >= 0)
) with (fillfactor = 80); -- room on the page keeps balance updates HOT
comment on table seatkeeper.users is 'Who can enroll. Written by producers, except the balance';
comment on column seatkeeper.users.credit_balance is
    'Credits left; equals the sum of the user''s ledger. Moved by Seatkeeper only';

create table seatkeeper.semesters (
    semester_id          bigint  not null,
    code                 text    not null,
    name                 text    not null default '',
    status               text    not null default 'DRAFT',
    max_players          integer,
    enrollment_cost      bigint  not null default 0,
    refund_percent       integer not null default 50,
    enrollment_closes_at timestamptz,
    unenroll_closes_at   timestamptz,
    enrolled_count       integer not null default 0,
    last_decided_at      timestamptz,
    cancelled_by         uuid,
    constraint pk_semesters primary key (semester_id),
    constraint uq_semester_code unique (code),
    constraint chk_semester_id check (semester_id > 0),
    constraint chk_semester_status check (status in
        ('DRAFT', 'ENROLLMENT_OPEN', 'ENROLLMENT_CLOSED', 'IN_PROGRESS', 'COMPLETED', 'CANCELLED')),
    constraint chk_semester_max_players check (max_players >= 0),
    constraint chk_semester_cost check (enrollment_cost >= 0),
    constraint chk_semester_refund_percent check (refund_percent between 0 and 100),
    constraint chk_semester_times check (
        enrollment_closes_at between '0001-01-01 00:00Z' and '9999-12-31 00:00Z'
        and unenroll_closes_at between '0001-01-01 00:00Z' and '9999-12-31 00:00Z'),
    constraint chk_enrolled_count_non_negative check (enrolled_count >= 0),
    constraint chk_enrolled_within_capacity check (enrolled_count <= max_players)
) with (fillfactor = 50);
comment on table seatkeeper.semesters is
    'Anything one enrolls in. The row is the lane: whoever holds its lock owns the queue of the semester';
comment on column seatkeeper.semesters.max_players is 'Places; null = unlimited';
comment on column seatkeeper.semesters.enrollment_cost is 'Credits charged for an enrollment';
comment on column seatkeeper.semesters.refund_percent is 'Share of the price paid that an unenroll gives back, floored';
comment on column seatkeeper.semesters.enrollment_closes_at is 'Closed from this instant on; null = never';
comment on column seatkeeper.semesters.unenroll_closes_at is 'Closed from this instant on; null = never';
comment on column seatkeeper.semesters.enrolled_count is
    'Active enrollments. Written by Seatkeeper only; never above max_players';
comment on column seatkeeper.semesters.last_decided_at is
    'Instant of the latest decision in this lane; the next one is never earlier. Written by Seatkeeper only';
comment on column seatkeeper.semesters.cancelled_by is
    'The cancel_semester request that cancelled it; null = none did. Written by Seatkeeper only';

create table seatkeeper.sessions (
    session_id             bigint  not null,
    semester_id            bigint  not null,
    starts_at              timestamptz not null,
    ends_at                timestamptz not null,
    capacity               integer not null,
    status                 text    not null default 'SCHEDULED',
    booking_closes_at      timestamptz,
    cancellation_closes_at timestamptz,
    confirmed_count        integer not null default 0,
    constraint pk_sessions primary key (session_id),
    constraint fk_session_semester foreign key (semester_id) references seatkeeper.semesters (semester_id),
    constraint chk_session_id check (session_id > 0),
    constraint chk_session_status check (status in ('SCHEDULED', 'CANCELLED')),
    constraint chk_session_capacity check (capacity >= 0),
    constraint chk_session_duration check (starts_at < ends_at),
    constraint chk_session_times check (
        starts_at between '0001-01-01 00:00Z' and '9999-12-31 00:00Z'
        and ends_at between '0001-01-01 00:00Z' and '9999-12-31 00:00Z'
        and booking_closes_at between '0001-01-01 00:00Z' and '9999-12-31 00:00Z'
        and cancellation_closes_at between '0001-01-01 00:00Z' and '9999-12-31 00:00Z'),
    constraint chk_confirmed_count_non_negative check (confirmed_count >= 0),
    constraint chk_confirmed_within_capacity check (confirmed_count <= capacity)
) with (fillfactor = 50);
create index idx_sessions_by_semester on seatkeeper.sessions (semester_id);
comment on table seatkeeper.sessions is 'One dated slot of a semester, with places of its own';
comment on column seatkeeper.sessions.booking_closes_at is 'Null: 24 hours before the start, derived at the decision';
comment on column seatkeeper.sessions.cancellation_closes_at is 'Null: 12 hours before the start, derived at the decision';
comment on column seatkeeper.sessions.confirmed_count is
    'CONFIRMED bookings. Kept by a trigger on bookings; never above capacity';
