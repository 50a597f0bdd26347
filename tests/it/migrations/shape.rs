//! Every table, column and name that other people's systems rely on.

use crate::support::TestDb;

/// Table, and its columns with their types; a `?` says that the column may be null.
const TABLES: [(&str, &str); 15] = [
    ("users", "user_id bigint, is_active boolean, credit_balance bigint"),
    (
        "semesters",
        "semester_id bigint, code text, name text, status text, max_players integer?, enrollment_cost bigint,
         refund_percent integer, enrollment_closes_at timestamp with time zone?,
         unenroll_closes_at timestamp with time zone?, enrolled_count integer",
    ),
    (
        "sessions",
        "session_id bigint, semester_id bigint, starts_at timestamp with time zone, ends_at timestamp with time zone,
         capacity integer, status text, booking_closes_at timestamp with time zone?,
         cancellation_closes_at timestamp with time zone?, confirmed_count integer",
    ),
    (
        "enrollments",
        "enrollment_id bigint, user_id bigint, semester_id bigint, status text, is_active boolean, price_paid bigint,
         enrolled_at timestamp with time zone, withdrawn_at timestamp with time zone?, request_id uuid?",
    ),
    (
        "credit_transactions",
        "transaction_id bigint, user_id bigint, transaction_type text, amount bigint, balance_after bigint,
         enrollment_id bigint?, request_id uuid?, created_at timestamp with time zone",
    ),
    (
        "bookings",
        "booking_id bigint, user_id bigint, session_id bigint, status text, waitlist_ticket bigint,
         booked_at timestamp with time zone, promoted_at timestamp with time zone?,
         cancelled_at timestamp with time zone?, cancelled_because text?, request_id uuid?",
    ),
    ("attendance", "booking_id bigint, status text, recorded_at timestamp with time zone, request_id uuid?"),
    (
        "requests",
        "request_id uuid, seq bigint, kind text, payload jsonb, status text, outcome text?, reason text?, result jsonb?,
         producer text?, traceparent text?, attempts integer, run_at timestamp with time zone?,
         expires_at timestamp with time zone?, enqueued_at timestamp with time zone,
         finished_at timestamp with time zone?, answer_seq bigint?, last_error text?",
    ),
    (
        "request_tombstones",
        "request_id uuid, kind text, payload_digest bytea, outcome text?, reason text?",
    ),
    (
        "catalog_changes",
        "change_seq bigint, changed_at timestamp with time zone, table text, key bigint, before jsonb?, after jsonb?",
    ),
    (
        "invariant_runs",
        "run_id bigint, trigger text, slot timestamp with time zone?, started_at timestamp with time zone,
         finished_at timestamp with time zone?",
    ),
    (
        "invariant_results",
        "run_id bigint, invariant text, status text, violations bigint?, accepted bigint, sample jsonb",
    ),
    (
        "invariant_baseline",
        "invariant text, key jsonb, reason text, accepted_by text, expires_at timestamp with time zone?",
    ),
    ("operator_actions", "operator text, acted_at timestamp with time zone, action text, reason text, request_ids uuid[]"),
    ("pauses", "kind text?, semester_id bigint?, since timestamp with time zone, paused_by text, reason text"),
];

const SIGNATURES: [&str; 6] = [
    "enqueue(request_id uuid, kind text, payload jsonb, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, producer text DEFAULT NULL::text, traceparent text DEFAULT NULL::text) receipt",
    "enqueue_many(requests jsonb) SETOF receipt",
    "get_receipt(request_id uuid) receipt",
    "get_receipts(request_ids uuid[]) SETOF receipt",
    "get_booking(booking_id bigint) booking",
    "get_balance(user_id bigint) bigint",
];

#[tokio::test]
async fn every_table_and_column_that_outsiders_rely_on_is_there_with_its_type() {
    let db = TestDb::new().await;
    for (table, columns) in TABLES {
        for column in columns.split(',') {
            let (name, kind) = column.trim().split_once(' ').unwrap();
            let found: Option<String> = db
                .value(&format!(
                    // Of a domain, what it is made of: that is what a client is told.
                    "select max(format_type(coalesce(nullif(t.typbasetype, 0), t.oid), a.atttypmod)
                                || case when a.attnotnull then '' else '?' end)
                     from pg_attribute a join pg_type t on t.oid = a.atttypid
                     where a.attrelid = 'seatkeeper.{table}'::regclass and a.attname = '{name}'"
                ))
                .await;
            let kind = kind.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(found, Some(kind), "{table}.{name}");
        }
    }
    let receipt: String = db
        .value(
            "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)
             from pg_attribute where attrelid = 'seatkeeper.receipt'::regclass",
        )
        .await;
    assert_eq!(
        receipt,
        "request_id uuid, kind text, status text, outcome text, reason text, result jsonb, duplicate boolean, \
         enqueued_at timestamp with time zone, finished_at timestamp with time zone, attempts integer"
    );
}

#[tokio::test]
async fn every_function_that_producers_call_is_there_with_its_arguments() {
    let db = TestDb::new().await;
    for signature in SIGNATURES {
        let name = signature.split('(').next().unwrap();
        let found: String = db
            .value(&format!(
                "select proname || '(' || pg_get_function_arguments(oid) || ') '
                     || replace(pg_get_function_result(oid), 'seatkeeper.', '')
                 from pg_proc where pronamespace = 'seatkeeper'::regnamespace and proname = '{name}'"
            ))
            .await;
        assert_eq!(found, signature);
    }
}

/// Nobody has to know more than what they have to say.
#[tokio::test]
async fn a_column_that_an_outsider_need_not_fill_has_a_default_or_is_null() {
    let db = TestDb::new().await;
    db.run(
        "insert into seatkeeper.users (user_id) values (1);
         insert into seatkeeper.semesters (semester_id, code) values (1, 'S1');
         insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (1, 1, '2999-01-01 10:00Z', '2999-01-01 11:00Z', 0);
         insert into seatkeeper.enrollments (user_id, semester_id, status, is_active) values (1, 1, 'APPROVED', true);
         insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after)
         values (1, 'OPENING_BALANCE', 0, 0)",
    )
    .await;
    let defaults: bool = db
        .value(
            "select is_active and credit_balance = 0 and status = 'DRAFT' and max_players is null and enrollment_cost = 0
                 and refund_percent = 50 and enrolled_count = 0
             from seatkeeper.users, seatkeeper.semesters",
        )
        .await;
    assert!(defaults);
}

#[tokio::test]
async fn every_table_says_what_it_is_for() {
    let db = TestDb::new().await;
    let silent: Option<String> = db
        .value(
            "select string_agg(c.relname, ', ') from pg_class c
             where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
               and c.relname <> '_sqlx_migrations' and coalesce(obj_description(c.oid, 'pg_class'), '') = ''",
        )
        .await;
    assert_eq!(silent, None);
    for signature in SIGNATURES {
        let name = signature.split('(').next().unwrap();
        let comment: Option<String> = db
            .value(&format!(
                "select obj_description(oid, 'pg_proc') from pg_proc
                 where pronamespace = 'seatkeeper'::regnamespace and proname = '{name}'"
            ))
            .await;
        assert!(comment.is_some(), "{name} says what it is for");
    }
}

/// The names that PostgreSQL makes up; `contype` n is "not null", which has names since PostgreSQL 18.
#[tokio::test]
async fn every_constraint_and_every_index_has_a_name_that_somebody_gave_it() {
    let db = TestDb::new().await;
    let unnamed: Option<String> = db
        .value(
            r"select string_agg(name, ', ') from (
                  select conname || ' of ' || conrelid::regclass as name from pg_constraint
                  where connamespace = 'seatkeeper'::regnamespace and contype <> 'n'
                    and conname !~ '^(pk|uq|fk|chk|xcl)_' and conname !~ '^trg_'
                  union all
                  select c.relname::text from pg_class c
                  where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind = 'i'
                    and c.relname !~ '^(pk|uq|idx|xcl)_'
                  union all
                  select conname || ' of ' || conrelid::regclass from pg_constraint
                  where connamespace = 'seatkeeper'::regnamespace and contype <> 'n'
                    and conname ~ '_(check|fkey|pkey|key|excl)[0-9]*$'
              ) names where name not like '\_sqlx\_migrations%'",
        )
        .await;
    assert_eq!(unnamed, None);
}

/// The constraints that mean a refusal, and those that the register of races names.
#[tokio::test]
async fn the_guards_have_the_names_by_which_they_are_known() {
    let db = TestDb::new().await;
    let guards = [
        "uq_active_enrollment",
        "chk_credit_balance_non_negative",
        "chk_enrolled_within_capacity",
        "uq_active_booking",
        "xcl_no_overlapping_confirmed_bookings",
        "chk_enrollment_state",
        "uq_refund_per_enrollment",
        "uq_waitlist_ticket",
        "chk_confirmed_within_capacity",
        "uq_ledger_per_request",
        "uq_booking_attendance",
    ];
    for guard in guards {
        let is_there: bool = db
            .value(&format!(
                "select exists (select from pg_constraint where conname = '{guard}' and convalidated
                                and connamespace = 'seatkeeper'::regnamespace)
                     or exists (select from pg_index where indexrelid = to_regclass('seatkeeper.{guard}')
                                and indisvalid and indisunique)"
            ))
            .await;
        assert!(is_there, "{guard}");
    }
    let references: i64 = db
        .value(
            "select count(*) from pg_constraint
             where conrelid = 'seatkeeper.requests'::regclass and contype = 'f'",
        )
        .await;
    assert_eq!(references, 0, "requests have no foreign key to the catalog");
}
