//! Applied to an empty database, to a populated one, again, and by several at once.

use std::collections::BTreeMap;

use seatkeeper::postgres::MIGRATOR;
use seatkeeper_jobs::{Outcome, enroll::Enroll};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{apply_first, pretend_newer};
use crate::support::{TestDb, verb};

/// What an installation holds, by the migration from which on it can.
const DATA: [(i64, &str); 6] = [
    (
        1,
        "insert into seatkeeper.users (user_id, is_active, credit_balance) values (1, true, 90), (2, false, 0), (3, true, 0);
         insert into seatkeeper.semesters (semester_id, code, name, status, max_players, enrollment_cost, enrolled_count)
         values (1, 'S1', 'Summer', 'ENROLLMENT_OPEN', 5, 10, 1);
         insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (1, 1, '2999-01-01 10:00Z', '2999-01-01 11:00Z', 1)",
    ),
    (
        2,
        "insert into seatkeeper.enrollments (user_id, semester_id, status, is_active, price_paid) values (1, 1, 'APPROVED', true, 10);
         insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after)
         values (1, 'OPENING_BALANCE', 100, 100);
         insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id)
         select 1, 'TOURNAMENT_ENROLLMENT', -10, 90, enrollment_id from seatkeeper.enrollments;
         insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
         values (1, 1, 1, 'CONFIRMED', '2999-01-01 10:00Z', '2999-01-01 11:00Z'),
                (2, 3, 1, 'WAITLISTED', '2999-01-01 10:00Z', '2999-01-01 11:00Z');
         select setval('seatkeeper.bookings_booking_id_seq', 2);
         insert into seatkeeper.attendance (booking_id, status) values (1, 'present')",
    ),
    (
        3,
        r#"insert into seatkeeper.requests (request_id, kind, payload, status, outcome, reason, answer_seq, finished_at, semester_id, user_id)
         values (gen_random_uuid(), 'enroll', '{"user_id": 1, "semester_id": 1}', 'done', 'applied', null, nextval('seatkeeper.answer_seq'), now(), 1, 1),
                (gen_random_uuid(), 'enroll', '{"user_id": 2, "semester_id": 1}', 'done', 'refused', 'user_inactive', nextval('seatkeeper.answer_seq'), now(), 1, 2),
                (gen_random_uuid(), 'enroll', '{}', 'failed', null, 'invalid_payload', null, now(), 1, 2),
                (gen_random_uuid(), 'enroll', '{"user_id": 2, "semester_id": 1}', 'cancelled', null, null, null, now(), 1, 2),
                ('00000000-0000-0000-0000-000000000001', 'grant_credits', '{"user_id": 3, "amount": 50}', 'queued', null, null, null, null, null, 3);
         insert into seatkeeper.request_tombstones (request_id, kind, payload_digest, status, enqueued_at, finished_at)
         values ('00000000-0000-0000-0000-000000000002', 'enroll', '', 'done', now(), now());
         insert into seatkeeper.pauses (semester_id, paused_by, reason) values (77, 'somebody', 'some reason');
         insert into seatkeeper.operator_actions (operator, action, reason) values ('somebody', 'pause', 'some reason')"#,
    ),
    (
        5,
        "update seatkeeper.semesters set name = 'Winter' where semester_id = 1;
         update seatkeeper.users set is_active = true where user_id = 2;
         insert into seatkeeper.fill_marks (semester_id, session_id) values (77, 77)",
    ),
    (
        6,
        "insert into seatkeeper.invariant_runs (trigger) values ('manual');
         insert into seatkeeper.invariant_results (run_id, invariant, status, violations)
         select run_id, 'INV-01', 'holds', 0 from seatkeeper.invariant_runs;
         insert into seatkeeper.invariant_baseline (invariant, key, reason, accepted_by)
         values ('INV-04', '{\"enrollment_id\": 1}', 'imported', 'somebody')",
    ),
    (
        8,
        "insert into seatkeeper.invariant_sightings (invariant, key, first_seen, last_seen)
         values ('INV-04', '{\"enrollment_id\": 1}', now(), now())",
    ),
];

async fn populate(db: &TestDb, from: i64, to: i64) {
    for (version, sql) in DATA {
        if version > from && version <= to {
            db.run(sql).await;
        }
    }
}

/// Every row of every table, sqlx's own excepted.
async fn contents(db: &TestDb) -> BTreeMap<String, Vec<Value>> {
    let tables: Vec<String> = db
        .value(
            "select coalesce(array_agg(relname::text), '{}') from pg_class
             where relnamespace = 'seatkeeper'::regnamespace and relkind = 'r' and relname <> '_sqlx_migrations'",
        )
        .await;
    let mut contents = BTreeMap::new();
    for table in tables {
        let rows: Value = db
            .value(&format!(
                "select coalesce(jsonb_agg(to_jsonb(t) order by t::text), '[]') from seatkeeper.{table} t"
            ))
            .await;
        contents.insert(table, rows.as_array().unwrap().clone());
    }
    contents
}

/// Every row is still there, with every value that it had.
fn assert_survived(before: &BTreeMap<String, Vec<Value>>, after: &BTreeMap<String, Vec<Value>>) {
    for (table, rows) in before {
        let may_be_empty =
            ["account_limits", "fill_marks", "catalog_changes", "invariant_sightings", "schedules"]
                .contains(&table.as_str())
                || table.starts_with("lock_");
        assert!(!rows.is_empty() || may_be_empty, "{table} has data");
        for row in rows {
            let is_kept =
                |now: &Value| row.as_object().unwrap().iter().all(|(field, value)| now[field] == *value);
            assert!(after[table].iter().any(is_kept), "lost from {table}: {row}");
        }
    }
}

fn versions() -> Vec<i64> {
    MIGRATOR.iter().map(|migration| migration.version).collect()
}

#[tokio::test]
async fn up_makes_the_schema_in_an_empty_database_and_has_nothing_to_do_the_second_time() {
    let db = TestDb::empty().await;
    let (code, out, _) = verb(&["migrate", "up", "--json", "--database-url", &db.url], b"").await;
    assert_eq!(code, 0);
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(done["applied"], json!(versions()));
    assert!(done["storage_applied"].as_array().is_some_and(|applied| !applied.is_empty()), "{done}");
    populate(&db, 0, i64::MAX).await;
    let before = contents(&db).await;

    let (code, out, _) = verb(&["migrate", "up", "--json", "--database-url", &db.url], b"").await;
    assert_eq!(
        (code, serde_json::from_str::<Value>(&out).unwrap()),
        (0, json!({"applied": [], "storage_applied": []}))
    );
    let (code, out, _) = verb(&["migrate", "up", "--database-url", &db.url], b"").await;
    assert_eq!((code, out.as_str()), (0, "nothing to do: the schema is up to date\n"));
    assert_eq!(contents(&db).await, before);
}

#[tokio::test]
async fn every_older_schema_is_brought_up_to_date_and_no_row_is_lost() {
    let versions = versions();
    for count in 1..=versions.len() {
        let db = TestDb::empty().await;
        apply_first(&db, count).await;
        let version = versions[count - 1];
        populate(&db, 0, version).await;
        let before = contents(&db).await;

        let (code, out, complaints) =
            verb(&["migrate", "up", "--json", "--database-url", &db.url], b"").await;
        assert_eq!(code, 0, "from {version}: {complaints}");
        assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["applied"], json!(versions[count..]));
        assert_survived(&before, &contents(&db).await);

        // And all of it works, with what was waiting there.
        populate(&db, version, i64::MAX).await;
        let id = Uuid::now_v7();
        db.ask(id, Enroll { user_id: 3.try_into().unwrap(), semester_id: 1.try_into().unwrap() }).await;
        db.drain().await;
        let receipt = db.receipt(id).await;
        assert_eq!(
            (receipt.outcome, receipt.result.unwrap()["balance"].as_i64()),
            (Some(Outcome::Applied), Some(40))
        );
    }
}

#[tokio::test]
async fn several_that_migrate_at_once_all_succeed() {
    let db = TestDb::empty().await;
    let up = ["migrate", "up", "--database-url", &db.url];
    let outcomes = tokio::join!(verb(&up, b""), verb(&up, b""), verb(&up, b""), verb(&up, b""));
    for (code, out, complaints) in [outcomes.0, outcomes.1, outcomes.2, outcomes.3] {
        assert_eq!(code, 0, "{out}{complaints}");
    }
    let applied: Vec<i64> =
        db.value("select array_agg(version order by version) from seatkeeper._sqlx_migrations").await;
    assert_eq!(applied, versions());
}

#[tokio::test]
async fn it_lives_beside_an_application_with_migrations_of_its_own() {
    let db = TestDb::empty().await;
    db.run(
        "create table public._sqlx_migrations (
             version bigint primary key, description text not null, installed_on timestamptz not null default now(),
             success boolean not null, checksum bytea not null, execution_time bigint not null);
         insert into public._sqlx_migrations values
             (1, 'of the application', '2020-01-01', true, 'other', 1), (20200101000000, 'likewise', '2020-01-01', false, 'x', 1);
         create table public.users (user_id text primary key);
         insert into public.users values ('theirs');
         create function public.generate_ulid() returns text language sql as 'select ''theirs'' '",
    )
    .await;
    let theirs = "select md5((select jsonb_agg(m)::text from public._sqlx_migrations m) || (select jsonb_agg(u)::text from public.users u))";
    let before: String = db.value(theirs).await;
    let (code, _, complaints) = verb(&["migrate", "up", "--database-url", &db.url], b"").await;
    assert_eq!(code, 0, "{complaints}");
    assert_eq!(db.value::<String>(theirs).await, before);
    let added: Option<String> = db
        .value(
            "select string_agg(relname, ', ') from pg_class where relnamespace = 'public'::regnamespace
             and relname not in ('users', 'users_pkey', '_sqlx_migrations', '_sqlx_migrations_pkey')",
        )
        .await;
    assert_eq!(added, None, "nothing of ours is in public");
    let functions: String = db
        .value(
            "select string_agg(proname || ' ' || prosrc, ', ') from pg_proc where pronamespace = 'public'::regnamespace",
        )
        .await;
    assert_eq!(
        functions, "generate_ulid select 'theirs' ",
        "nor of the chores' storage, and theirs is untouched"
    );
    let extensions: i64 =
        db.value("select count(*) from pg_extension where extnamespace = 'public'::regnamespace").await;
    assert_eq!(extensions, 0);
    populate(&db, 0, i64::MAX).await;
}

#[tokio::test]
async fn status_says_what_is_applied_and_what_is_missing() {
    let db = TestDb::empty().await;
    let status = async || {
        let (code, out, _) = verb(&["migrate", "status", "--json", "--database-url", &db.url], b"").await;
        assert_eq!(code, 0);
        let rows: Value = serde_json::from_str(&out).unwrap();
        rows["migrations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["applied"].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    let all = versions().len();
    assert_eq!(status().await, vec![false; all]);
    apply_first(&db, 2).await;
    assert_eq!(status().await, (0..all).map(|number| number < 2).collect::<Vec<_>>());
    let (_, _, _) = verb(&["migrate", "up", "--database-url", &db.url], b"").await;
    assert_eq!(status().await, vec![true; all]);
}

#[tokio::test]
async fn the_sql_that_is_printed_makes_the_same_schema() {
    let (code, sql, _) = verb(&["migrate", "sql"], b"").await;
    assert_eq!(code, 0);
    let (by_hand, by_up) = (TestDb::empty().await, TestDb::new().await);
    by_hand.run(&sql).await;
    let shape = "select string_agg(c.relname || ' ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by c.relname, a.attnum)
                 from pg_class c join pg_attribute a on a.attrelid = c.oid
                 where c.relnamespace = 'seatkeeper'::regnamespace and a.attnum > 0 and c.relname not like '\\_sqlx%'";
    assert_eq!(by_hand.value::<String>(shape).await, by_up.value::<String>(shape).await);
    let functions = "select string_agg(p.oid::regprocedure::text || md5(p.prosrc), ', ' order by p.oid::regprocedure::text)
                     from pg_proc p where p.pronamespace = 'seatkeeper'::regnamespace";
    assert_eq!(by_hand.value::<String>(functions).await, by_up.value::<String>(functions).await);
}

#[tokio::test]
async fn up_on_a_newer_schema_changes_nothing_and_says_why() {
    let db = TestDb::new().await;
    pretend_newer(&db, true).await;
    let before = contents(&db).await;
    let (code, out, complaints) = verb(&["migrate", "up", "--database-url", &db.url], b"").await;
    assert_eq!(code, 3, "{out}");
    assert!(complaints.contains("9999"), "{complaints}");
    assert_eq!(contents(&db).await, before);
}
