//! The doctor: each illness is brought about, and found.

use seatkeeper::doctor::{self, Finding, Level};
use seatkeeper_jobs::enroll::Enroll;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::operate::{cli, cli_ends, cli_json};
use crate::support::{TestDb, own_server, until, until_some};

async fn examine(db: &TestDb) -> Vec<Finding> {
    doctor::examine(&db.pool, 2).await.unwrap()
}

async fn found(db: &TestDb, subject: &str) -> Finding {
    let findings = examine(db).await;
    findings
        .iter()
        .find(|finding| finding.subject == subject)
        .unwrap_or_else(|| panic!("{findings:?}"))
        .clone()
}

#[tokio::test]
async fn a_sound_installation_has_no_problem() {
    let server = own_server().await;
    let report = cli_json(&server.url(), &["doctor"], 0).await;
    assert_eq!((&report["problems"], &report["warnings"]), (&0.into(), &0.into()), "{report:#}");
    let text = cli_ends(&server.url(), &["doctor"], 0).await;
    assert!(text.contains("0 problems, 0 warnings") && text.contains("up to date"), "{text}");
    server.remove().await;
}

#[tokio::test]
async fn a_guard_that_is_gone_or_not_in_force_is_a_problem() {
    let db = TestDb::new().await;
    assert_eq!(found(&db, "guards").await.level, Level::Ok);
    for (harm, name) in [
        (
            "alter table seatkeeper.users drop constraint chk_credit_balance_non_negative",
            "chk_credit_balance_non_negative is missing",
        ),
        (
            "alter table seatkeeper.semesters drop constraint chk_enrolled_within_capacity;
          alter table seatkeeper.semesters add constraint chk_enrolled_within_capacity
              check (enrolled_count <= max_players) not valid",
            "chk_enrolled_within_capacity is not validated",
        ),
        ("drop index seatkeeper.uq_active_enrollment", "uq_active_enrollment is missing"),
        (
            "update pg_index set indisvalid = false where indexrelid = 'seatkeeper.uq_refund_per_enrollment'::regclass",
            "uq_refund_per_enrollment is not in force",
        ),
        (
            "alter table seatkeeper.requests disable trigger trg_answer_for_good",
            "trg_answer_for_good is not in force",
        ),
        ("alter table seatkeeper.enrollments disable trigger all", "fk_enrollment_user is not in force"),
    ] {
        db.run(harm).await;
        let finding = found(&db, "guards").await;
        assert_eq!(finding.level, Level::Problem, "{name}");
        assert!(finding.what.contains(name), "{name}: {}", finding.what);
    }
    let report = cli_json(&db.url, &["doctor"], 1).await;
    let guards = report["findings"].as_array().unwrap().iter().find(|finding| finding["subject"] == "guards");
    assert_eq!(guards.unwrap()["level"], "problem");
}

#[tokio::test]
async fn the_last_roll_call_is_told() {
    let db = TestDb::new().await;
    assert!(found(&db, "roll call").await.what.contains("none yet"));
    db.roll_call(&["INV-01", "INV-02"]).await;
    let finding = found(&db, "roll call").await;
    assert!(finding.level == Level::Ok && finding.what.contains("2 invariants hold"), "{finding:?}");
    db.roll_call(&[]).await;
    let finding = found(&db, "roll call").await;
    assert!(finding.level == Level::Ok && finding.what.contains("all 18 invariants hold"), "{finding:?}");
    db.run("update seatkeeper.invariant_runs set finished_at = now() - interval '9 days'").await;
    assert_eq!(found(&db, "roll call").await.level, Level::Warning);
    db.run("alter table seatkeeper.attendance rename to presence").await;
    db.roll_call(&["INV-B04"]).await;
    let finding = found(&db, "roll call").await;
    assert!(finding.level == Level::Warning && finding.what.contains("evaluated: INV-B04"), "{finding:?}");
    db.roll_call(&["INV-B05"]).await;
    let finding = found(&db, "roll call").await;
    assert!(finding.level == Level::Problem && finding.what.contains("violated: INV-B05"), "{finding:?}");
}

#[tokio::test]
async fn a_schema_that_does_not_fit_is_a_problem() {
    let empty = TestDb::empty().await;
    let finding = found(&empty, "schema").await;
    assert_eq!(finding.level, Level::Problem);
    assert!(finding.todo.unwrap().contains("migrate up"));
    let text = cli_ends(&empty.url, &["doctor"], 1).await;
    assert!(text.contains("no schema seatkeeper") && text.contains("btree_gist is not there"), "{text}");

    let db = TestDb::new().await;
    let latest = "(select max(version) from seatkeeper._sqlx_migrations)";
    db.run(
        "insert into seatkeeper._sqlx_migrations (version, description, success, checksum, execution_time)
         values (99999, 'of tomorrow', true, '', 0)",
    )
    .await;
    assert_eq!(found(&db, "schema").await.level, Level::Warning);
    db.run(&format!("update seatkeeper._sqlx_migrations set success = false where version = {latest}")).await;
    let finding = found(&db, "schema").await;
    assert!(finding.level == Level::Problem && finding.what.contains("99999"), "{finding:?}");
    db.run(&format!("delete from seatkeeper._sqlx_migrations where version = {latest}")).await;
    db.run(&format!("delete from seatkeeper._sqlx_migrations where version = {latest}")).await;
    let finding = found(&db, "schema").await;
    assert!(finding.level == Level::Problem && finding.what.contains("too old"), "{finding:?}");
}

/// A dump that names the schemas and not the extensions is restored without a table that has a column of such a type.
#[tokio::test]
async fn a_storage_of_the_chores_without_its_tasks_is_a_problem() {
    let db = TestDb::new().await;
    db.run("drop table apalis.jobs cascade").await;
    let finding = found(&db, "schema").await;
    assert_eq!(finding.level, Level::Problem, "{finding:?}");
    let (code, _, complaints) =
        crate::support::verb(&["run", "--no-http", "--database-url", &db.url], b"").await;
    assert!(code == 3 && complaints.contains("apalis"), "{code} {complaints}");
    // The advice is what puts it right.
    let todo = finding.todo.unwrap();
    let advice = todo.split('`').find(|word| word.starts_with("drop schema")).unwrap();
    db.run(advice).await;
    cli_ends(&db.url, &["migrate", "up"], 0).await;
    assert_eq!(found(&db, "schema").await.level, Level::Ok);
}

#[tokio::test]
async fn the_queue_is_judged_by_its_age() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    assert_eq!(found(&db, "queue").await.level, Level::Ok);
    let enroll = Enroll { user_id: 1.try_into().unwrap(), semester_id: 1.try_into().unwrap() };
    db.ask(Uuid::now_v7(), enroll).await;
    assert_eq!(found(&db, "queue").await.level, Level::Ok);
    let age = |by: &str| {
        format!("update seatkeeper.requests set enqueued_at = clock_timestamp() - interval '{by}'")
    };
    db.run(&age("2 minutes")).await;
    assert_eq!(found(&db, "queue").await.level, Level::Warning);
    db.run(&age("2 hours")).await;
    let finding = found(&db, "queue").await;
    assert_eq!(finding.level, Level::Problem);
    assert!(finding.what.contains("1 ready, the oldest for 2h"), "{}", finding.what);

    // What is paused is not late, whichever way it is paused; the pause itself is worth a word.
    for (pause, word) in
        [("'enroll', null", "kind enroll"), ("null, 1", "semester 1"), ("null, null", "everything")]
    {
        db.run(&format!(
            "delete from seatkeeper.pauses;
             insert into seatkeeper.pauses (kind, semester_id, paused_by, reason) values ({pause}, 'erika', 'flood')"
        ))
        .await;
        assert_eq!(found(&db, "queue").await.level, Level::Ok, "{word}");
        let finding = found(&db, "pause").await;
        assert!(finding.level == Level::Warning && finding.what.contains(word), "{finding:?}");
    }

    db.run("update seatkeeper.requests set hold = 'paused'").await;
    assert_eq!(found(&db, "backlog").await.level, Level::Ok);
    db.run("delete from seatkeeper.pauses").await;
    assert_eq!(found(&db, "backlog").await.level, Level::Warning);
    db.run(
        "update seatkeeper.requests set status = 'failed', hold = null, reason = 'attempts_exhausted',
             finished_at = clock_timestamp()",
    )
    .await;
    let finding = found(&db, "failed").await;
    assert!(finding.level == Level::Warning && finding.what.contains("1 enroll"), "{finding:?}");
    assert_eq!(found(&db, "scheduled").await.what, "none waits for its time");
    db.run(
        "update seatkeeper.requests set status = 'queued', hold = 'scheduled', reason = null, finished_at = null,
             run_at = '9999-12-31 00:00:00Z'",
    )
    .await;
    let scheduled = found(&db, "scheduled").await.what;
    assert!(scheduled.starts_with("1 wait") && scheduled.matches("9999-12-31").count() == 2, "{scheduled}");
}

#[tokio::test]
async fn requests_about_bookings_are_judged_like_all_others() {
    let db = TestDb::new().await;
    db.users(1).await;
    for (kind, payload) in [
        ("book", r#"{"user_id": 1, "session_id": 7}"#),
        ("cancel_booking", r#"{"user_id": 1, "booking_id": 7}"#),
        ("record_attendance", r#"{"user_id": 1, "session_id": 7, "status": "late"}"#),
        ("cancel_semester", r#"{"semester_id": 7}"#),
    ] {
        db.run(&format!(
            "delete from seatkeeper.requests;
             select seatkeeper.enqueue(gen_random_uuid(), '{kind}', '{payload}')"
        ))
        .await;
        assert_eq!(found(&db, "queue").await.level, Level::Ok, "{kind}");
        db.run("update seatkeeper.requests set enqueued_at = clock_timestamp() - interval '2 hours'").await;
        assert_eq!(found(&db, "queue").await.level, Level::Problem, "{kind}");
    }
}

#[tokio::test]
async fn waitlists_that_nobody_moves_are_found() {
    let db = TestDb::new().await;
    db.semester(1, None, 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (7, 1, now() + interval '9 days', now() + interval '10 days', 1)",
    )
    .await;
    assert_eq!(found(&db, "fills").await.what, "no waitlist waits for a worker");
    db.run("update seatkeeper.sessions set capacity = 2").await;
    let finding = found(&db, "fills").await;
    assert!(finding.level == Level::Ok && finding.what.starts_with("1 sessions wait"), "{finding:?}");
    for (age, level) in [("2 minutes", Level::Warning), ("2 hours", Level::Problem)] {
        db.run(&format!("update seatkeeper.fill_marks set marked_at = clock_timestamp() - interval '{age}'"))
            .await;
        assert_eq!(found(&db, "fills").await.level, level, "{age}");
    }
    for pause in ["1", "null"] {
        db.run(&format!(
            "insert into seatkeeper.pauses (semester_id, paused_by, reason) values ({pause}, 'erika', 'flood')"
        ))
        .await;
        assert_eq!(found(&db, "fills").await.level, Level::Ok, "a pause is not late");
        db.run("delete from seatkeeper.pauses").await;
    }
    db.run(
        "update seatkeeper.fill_marks set marked_at = clock_timestamp(), attempts = 1, last_error = 'no room on the disk',
             retry_at = clock_timestamp() + interval '1 minute'",
    )
    .await;
    let finding = found(&db, "fills").await;
    assert!(finding.level == Level::Warning && finding.what.contains("no room on the disk"), "{finding:?}");
}

#[tokio::test]
async fn settings_that_break_a_promise_are_problems() {
    let db = TestDb::new().await;
    // The server of the tests does not sync.
    assert_eq!(found(&db, "fsync").await.level, Level::Problem);
    let name: String = db.value("select current_database()::text").await;
    for (setting, subject, level) in [
        ("synchronous_commit = off", "synchronous_commit", Level::Problem),
        ("default_transaction_isolation = 'repeatable read'", "isolation", Level::Warning),
        ("default_transaction_read_only = on", "read_only", Level::Warning),
    ] {
        db.run(&format!("begin read write; alter database {name} set {setting}; commit")).await;
        // On a connection of its own: those that a pooler has already keep the setting that was.
        let report = cli_json(&db.direct, &["doctor"], 1).await;
        let finding =
            report["findings"].as_array().unwrap().iter().find(|finding| finding["subject"] == subject);
        let expected = serde_json::to_value(level).unwrap();
        assert_eq!(finding.map(|finding| finding["level"].clone()), Some(expected), "{setting}");
    }
    // More workers than there are connections
    let finding = doctor::examine(&db.pool, 256).await.unwrap();
    let finding = finding.iter().find(|finding| finding.subject == "connections").unwrap();
    assert_eq!(finding.level, Level::Problem);
}

/// The statement that stands between backticks, and the reload that is named beside it.
#[tokio::test]
async fn what_is_advised_about_a_setting_of_the_server_puts_it_right() {
    let server = own_server().await;
    let pool = server.pool();
    let look = async |setting: &str| {
        // A connection of its own: that of the pool may not have heard of a change yet.
        let output = cli(&server.url(), &["doctor", "--json"]).await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().clone();
        findings.into_iter().find(|one| one["subject"] == setting && one["level"] != "ok")
    };
    for setting in ["fsync", "full_page_writes", "autovacuum"] {
        for sql in [format!("alter system set {setting} = off"), "select pg_reload_conf()".to_owned()] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        }
        let finding = until_some("it is found", async || look(setting).await).await;
        let todo = finding["todo"].as_str().unwrap();
        assert!(todo.ends_with("then reload the configuration"), "{todo}");
        let statement = todo.split('`').nth(1).unwrap();
        for sql in [statement, "select pg_reload_conf()"] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        }
        until("it is gone", async || look(setting).await.is_none()).await;
    }
    pool.close().await;
    server.remove().await;
}

/// `migrate up` does nothing where the schema is there already.
#[tokio::test]
async fn an_extension_that_is_gone_is_put_back_with_its_constraint() {
    let db = TestDb::new().await;
    db.run("drop extension btree_gist cascade").await;
    let finding = found(&db, "extension").await;
    let todo = finding.todo.unwrap();
    assert!(finding.level == Level::Problem && !todo.contains("migrate up"), "{todo}");
    for sql in found(&db, "guards").await.sql {
        db.run(&sql).await;
    }
    assert_eq!(found(&db, "extension").await.level, Level::Ok);
    assert_eq!(found(&db, "guards").await.level, Level::Ok);
}

#[tokio::test]
async fn a_database_that_is_not_there_cannot_be_examined() {
    let text = cli_ends("postgres://postgres@127.0.0.1:1/nowhere", &["doctor"], 3).await;
    assert!(text.contains("not there"), "{text}");
    let Value::Object(_) = cli_json(&TestDb::new().await.url, &["doctor"], 1).await else {
        panic!("one JSON document");
    };
}
