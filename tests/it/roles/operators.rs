//! Operators act through doors, which record who, when and why, and not otherwise.

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

use super::with_roles;
use crate::operate::{cli_ends, cli_json};
use crate::support::TestDb;

/// A queued request, and one that has failed, without a lane.
async fn two_requests(db: &TestDb) -> (Uuid, Uuid) {
    let (queued, failed) = (Uuid::now_v7(), Uuid::now_v7());
    db.run(&format!(
        "select seatkeeper.enqueue('{queued}', 'grant_credits', '{{\"user_id\": 1, \"amount\": 5}}');
         select seatkeeper.enqueue('{failed}', 'grant_credits', '{{\"user_id\": 2, \"amount\": 5}}');
         update seatkeeper.requests set status = 'failed', reason = 'attempts_exhausted', last_error = 'boom',
             finished_at = clock_timestamp() where request_id = '{failed}'"
    ))
    .await;
    (queued, failed)
}

/// What a door refuses: SQLSTATE and `DETAIL`.
async fn refusal(connection: &mut PgConnection, sql: &str) -> (String, String) {
    let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.expect_err(sql);
    let told = error.as_database_error().unwrap().downcast_ref::<sqlx::postgres::PgDatabaseError>();
    (told.code().to_owned(), told.detail().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn an_operator_writes_to_no_table() {
    let db = with_roles().await;
    two_requests(&db).await;
    let url = db.account("operator_direct", &["seatkeeper_operator"]).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    // With an invented reason and result, recorded nowhere; or recorded under anybody's name.
    for sql in [
        "update seatkeeper.requests set status = 'cancelled', reason = 'semester_full', finished_at = now()",
        "update seatkeeper.requests set result = '{}'",
        "insert into seatkeeper.operator_actions (operator, action, reason) values ('erika', 'retry', 'x')",
        "insert into seatkeeper.pauses (paused_by, reason) values ('erika', 'x')",
        "delete from seatkeeper.pauses",
        "insert into seatkeeper.invariant_baseline (invariant, key, reason, accepted_by) values ('INV-01', '{}', 'x', 'x')",
        "insert into seatkeeper.invariant_runs (trigger) values ('manual')",
        "delete from seatkeeper.invariant_sightings",
        "update seatkeeper.semesters set name = 'x'",
        // What the doors are made of is no door.
        "select seatkeeper.record_action('retry', 'x', 'erika', '{}', '{}')",
        "select seatkeeper.change_requests('cancel', array[gen_random_uuid()], 'x', 'erika')",
    ] {
        assert_eq!(refusal(&mut connection, sql).await.0, "42501", "{sql}");
    }
    let writes: i64 = db
        .value(
            "select count(*) from pg_class c
             where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind in ('r', 'S') and case c.relkind
                 when 'r' then has_table_privilege('seatkeeper_operator', c.oid, 'insert, update, delete, truncate, trigger')
                            or has_any_column_privilege('seatkeeper_operator', c.oid, 'insert, update')
                 else has_sequence_privilege('seatkeeper_operator', c.oid, 'usage, update') end",
        )
        .await;
    assert_eq!(writes, 0);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_door_records_the_account_that_has_logged_in_whatever_name_it_is_given() {
    let db = with_roles().await;
    let (queued, failed) = two_requests(&db).await;
    db.users(2).await;
    db.semester(1, None, 0).await;
    let url = db.account("operator_doors", &["seatkeeper_operator"]).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    for call in [
        format!("select seatkeeper.retry_requests(array['{failed}'::uuid], 'the disk is back', 'erika')"),
        format!("select seatkeeper.cancel_requests(array['{failed}'::uuid, '{queued}'], 'asked twice')"),
        "select seatkeeper.pause('enroll', null, 'a look', 'erika')".into(),
        "select seatkeeper.resume('enroll', null, 'seen', 'erika')".into(),
        "select seatkeeper.pause(null, 1, 'a look')".into(),
        r#"select seatkeeper.accept_violation('INV-04', array['{"user_id": 1}'::jsonb], 'imported', null, 'erika')"#.into(),
        "select seatkeeper.unaccept_violation('INV-04', null, 'repaired')".into(),
    ] {
        sqlx::raw_sql(AssertSqlSafe(call.as_str())).execute(&mut connection).await.unwrap_or_else(|error| panic!("{error}: {call}"));
    }
    let recorded: Vec<Value> = sqlx::query_scalar(
        "select jsonb_build_array(action, operator, account, reason, cardinality(request_ids), acted_at > now() - interval '1 hour')
         from seatkeeper.operator_actions order by action_id",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let of = |action: &str, operator: &str, reason: &str, requests: i64| {
        json!([action, operator, "operator_doors", reason, requests, true])
    };
    assert_eq!(
        recorded,
        [
            of("retry", "erika", "the disk is back", 1),
            of("cancel", "operator_doors", "asked twice", 2),
            of("pause", "erika", "a look", 0),
            of("resume", "erika", "seen", 0),
            of("pause", "operator_doors", "a look", 0),
            of("accept", "erika", "imported", 0),
            of("unaccept", "operator_doors", "repaired", 0),
        ]
    );
    // What is done again does nothing, and is not recorded.
    for call in [
        format!("select seatkeeper.retry_requests(array['{failed}'::uuid], 'again')"),
        "select seatkeeper.pause(null, 1, 'again')".into(),
        "select seatkeeper.resume('book', null, 'again')".into(),
        "select seatkeeper.unaccept_violation('INV-04', null, 'again')".into(),
    ] {
        sqlx::raw_sql(AssertSqlSafe(call.as_str())).execute(&mut connection).await.unwrap();
    }
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.operator_actions").await, 7);
    // The verbs go the same way.
    cli_ends(&url, &["resume", "--semester", "1", "--reason", "x", "--operator", "erika"], 0).await;
    assert_eq!(
        db.value::<String>("select account || ' ' || operator from seatkeeper.operator_actions order by action_id desc limit 1").await,
        "operator_doors erika"
    );
    let told = cli_ends(&db.url, &["requests", "show", &queued.to_string()], 0).await;
    assert!(told.contains("cancel by operator_doors (database role operator_doors): asked twice"), "{told}");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_dismissed_failure_is_kept_and_never_comes_back() {
    let db = with_roles().await;
    let (queued, failed) = two_requests(&db).await;
    let url = db.account("operator_dismiss", &["seatkeeper_operator"]).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let dismiss = format!(
        "select * from seatkeeper.dismiss_requests(array['{failed}'::uuid, '{queued}'], 'long gone', 'erika')"
    );
    let row = sqlx::raw_sql(AssertSqlSafe(dismiss)).fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<Vec<Uuid>, _>("changed"), [failed], "the other one has not failed");
    let kept: Value = db
        .value(&format!(
            "select jsonb_build_array(status, reason, last_error, finished_at is not null) from seatkeeper.requests where request_id = '{failed}'"
        ))
        .await;
    assert_eq!(kept, json!(["cancelled", "attempts_exhausted", "boom", true]));
    cli_ends(&url, &["requests", "retry", "--all", "--yes", "--reason", "x"], 0).await;
    db.users(2).await;
    db.drain().await;
    assert_eq!(
        db.value::<String>(&format!("select status from seatkeeper.requests where request_id = '{failed}'"))
            .await,
        "cancelled"
    );
    connection.close().await.unwrap();
    db.assert_follows().await;
}

#[tokio::test]
async fn a_door_names_the_field_at_fault_and_nothing_is_changed() {
    let db = with_roles().await;
    let (queued, _) = two_requests(&db).await;
    let url = db.account("operator_faults", &["seatkeeper_operator"]).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let ids = format!("array['{queued}'::uuid]");
    let long = "x".repeat(1001);
    let mut faults = vec![
        ("request_ids", "select seatkeeper.retry_requests(null, 'x')".to_owned()),
        ("request_ids", "select seatkeeper.dismiss_requests('{}', 'x')".into()),
        ("request_ids", "select seatkeeper.cancel_requests(array[null]::uuid[], 'x')".into()),
        ("request_ids", "select seatkeeper.cancel_requests(array(select gen_random_uuid() from generate_series(1, 10001)), 'x')".into()),
        ("operator", format!("select seatkeeper.cancel_requests({ids}, 'x', E'eri\\nka')")),
        ("operator", format!("select seatkeeper.cancel_requests({ids}, 'x', '')")),
        ("kind", "select seatkeeper.pause('enrol', null, 'x')".into()),
        ("semester_id", "select seatkeeper.pause(null, 7, 'x')".into()),
        ("semester_id", "select seatkeeper.pause('enroll', 7, 'x')".into()),
        ("invariant", "select seatkeeper.accept_violation('INV 1', array['{}'::jsonb], 'x')".into()),
        ("invariant", "select seatkeeper.accept_violation(null, array['{}'::jsonb], 'x')".into()),
        ("keys", "select seatkeeper.accept_violation('INV-01', '{}', 'x')".into()),
        ("keys", "select seatkeeper.accept_violation('INV-01', array['7'::jsonb], 'x')".into()),
        ("keys", "select seatkeeper.accept_violation('INV-01', array[null::jsonb], 'x')".into()),
        ("expires_at", "select seatkeeper.accept_violation('INV-01', array['{}'::jsonb], 'x', now() - interval '1 s')".into()),
        ("expires_at", "select seatkeeper.accept_violation('INV-01', array['{}'::jsonb], 'x', 'infinity')".into()),
    ];
    for reason in ["null", "''", "' '", "E'two\\nlines'", "E'\\u202ex'", &format!("'{long}'")] {
        for door in [
            format!("retry_requests({ids}, {reason})"),
            format!("cancel_requests({ids}, {reason})"),
            format!("dismiss_requests({ids}, {reason})"),
            format!("pause('enroll', null, {reason})"),
            format!("resume('enroll', null, {reason})"),
            format!("accept_violation('INV-01', array['{{}}'::jsonb], {reason})"),
            format!("unaccept_violation('INV-01', null, {reason})"),
        ] {
            faults.push(("reason", format!("select seatkeeper.{door}")));
        }
    }
    for (field, sql) in faults {
        assert_eq!(refusal(&mut connection, &sql).await, ("RC422".to_owned(), field.to_owned()), "{sql}");
    }
    let changed: i64 = db
        .value(
            "select (select count(*) from seatkeeper.operator_actions) + (select count(*) from seatkeeper.pauses)
                  + (select count(*) from seatkeeper.invariant_baseline)
                  + (select count(*) from seatkeeper.requests where status = 'cancelled')",
        )
        .await;
    assert_eq!(changed, 0);
    let told = cli_ends(&url, &["pause", "--everything", "--reason", "two\nlines"], 3).await;
    assert!(told.contains("reason"), "{told}");
    connection.close().await.unwrap();
}

#[tokio::test]
async fn the_roll_of_a_slot_is_called_by_workers_alone() {
    let db = with_roles().await;
    let url = db.account("operator_check", &["seatkeeper_operator"]).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    // It would have passed for the Monday's: whoever comes second finds it done.
    let slot = "select seatkeeper.record_check('schedule', 'roll_call', '2030-01-07 08:00Z', now(), '[]')";
    assert_eq!(refusal(&mut connection, slot).await, ("42501".to_owned(), "trigger".to_owned()));
    connection.close().await.unwrap();
    let run = cli_json(&url, &["check", "--only", "INV-01"], 0).await;
    let account: String = db
        .value(&format!("select account from seatkeeper.invariant_runs where run_id = {}", run["run_id"]))
        .await;
    assert_eq!(account, "operator_check");

    let url = db.account("worker_check", &["seatkeeper_worker"]).await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let call = "select seatkeeper.record_check('schedule', 'roll_call', '2030-01-07 08:00Z', now(), '[]')";
    let runs = [(); 2].map(|()| call);
    let mut numbers = Vec::new();
    for run in runs {
        numbers.push(sqlx::query_scalar::<_, Option<i64>>(run).fetch_one(&mut connection).await.unwrap());
    }
    assert!(matches!(numbers[..], [Some(_), None]), "a slot is run once: {numbers:?}");
    connection.close().await.unwrap();
}
