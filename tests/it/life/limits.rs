//! Limits and defaults that somebody set for others.

use seatkeeper::batch::Turn;
use seatkeeper::invariants::Status;
use seatkeeper::postgres::{ErrorClass, Timeouts, Transactions, connect_options, pool, pool_set_up};
use seatkeeper_jobs::Outcome;
use uuid::Uuid;

use super::{drain, enroll, worker};
use crate::support::{Process, TestDb, until, verb};

/// Busy for longer than the limit.
const TAKES_HALF_A_SECOND: &str =
    "do $$ begin while clock_timestamp() < statement_timestamp() + interval '500 ms' loop end loop; end $$";

/// PostgreSQL 17 and newer have the setting; where it does not exist, asking for it does no harm.
#[tokio::test]
async fn a_transaction_timeout_for_others_ends_no_transaction_of_ours() {
    let db = TestDb::new().await;
    let exists: bool = db.value("select current_setting('transaction_timeout', true) is not null").await;
    let version: i32 = db.value("select current_setting('server_version_num')::integer").await;
    assert_eq!(exists, version >= 170_000);
    if exists {
        db.run(&format!("alter database {} set transaction_timeout = '200ms'", db.name())).await;
    }
    let limited = pool_set_up(connect_options(&db.direct).unwrap(), 5);
    let transactions = Transactions::new(limited.clone(), Timeouts::default());
    let mut transaction = transactions.begin().await.unwrap();
    sqlx::query(TAKES_HALF_A_SECOND).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let mut chore = seatkeeper::postgres::begin_chore(&limited).await.unwrap();
    sqlx::query(TAKES_HALF_A_SECOND).execute(&mut *chore).await.unwrap();
    chore.commit().await.unwrap();
    sqlx::query(TAKES_HALF_A_SECOND).execute(&limited).await.unwrap();

    if exists {
        let (code, out, _) = verb(&["doctor", "--database-url", &db.direct], b"").await;
        assert!(code < 2 && out.contains("transaction_timeout"), "{out}");
        // Of a session that did not ask: it is a connection that ended, never the fault of a request.
        let plain = sqlx::PgPool::connect_with(connect_options(&db.direct).unwrap()).await.unwrap();
        let mut theirs = plain.begin().await.unwrap();
        let ended = sqlx::query(TAKES_HALF_A_SECOND).execute(&mut *theirs).await.unwrap_err();
        assert_eq!(ErrorClass::of(&ended), ErrorClass::Connection, "{ended}");
    }
    limited.close().await;
}

#[tokio::test]
async fn transactions_that_are_read_only_by_default_keep_neither_batches_nor_chores_from_their_work() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, None, 0).await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(1, 1)).await;
    db.run(&format!("alter database {} set default_transaction_read_only = on", db.name())).await;
    let restricted = pool(connect_options(&db.direct).unwrap(), 5);
    drain(&mut worker(&restricted)).await;
    assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));

    let process = Process::run(&db.direct, &["--no-http", "--critical-checks", "* * * * * *"]);
    until("the critical invariants are checked", async || {
        db.value::<i64>("select count(*) from seatkeeper.invariant_runs where finished_at is not null").await
            > 0
    })
    .await;
    assert_eq!(process.terminate(), Some(0));
    let (code, out, complaints) = verb(&["check", "--database-url", &db.direct], b"").await;
    assert_eq!(code, 0, "{out}{complaints}");
    let (_, out, _) = verb(&["doctor", "--database-url", &db.direct], b"").await;
    assert!(out.contains("default_transaction_read_only") && out.contains("why"), "{out}");
    restricted.close().await;
    assert_eq!(db.found("INV-05").await.status, Status::Holds);
}

/// What one role is set to is nobody else's business, but the doctor's.
#[tokio::test]
async fn what_is_set_for_a_role_alone_is_found_by_the_doctor() {
    let db = TestDb::new().await;
    let role = format!("role_set_otherwise_{}", Uuid::new_v4().simple());
    db.run(&format!("create role {role} login; grant usage on schema seatkeeper to {role}")).await;
    for (setting, level) in [
        ("synchronous_commit = off", "problem"),
        ("default_transaction_isolation = 'serializable'", "warning"),
        ("default_transaction_read_only = on", "warning"),
    ] {
        db.run(&format!("alter role {role} in database {} set {setting}", db.name())).await;
        let (_, out, _) = verb(&["doctor", "--json", "--database-url", &db.direct], b"").await;
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        // Which rights it has is told as well.
        let of_role = |finding: &&serde_json::Value| {
            finding["subject"] == "roles' settings" && finding["what"].as_str().unwrap().contains(&role)
        };
        let finding = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .find(of_role)
            .unwrap_or_else(|| panic!("{setting}: {out}"));
        assert_eq!(finding["level"], level, "{setting}");
        // The advice is what puts it right.
        let todo = finding["todo"].as_str().unwrap();
        let advice = todo.split('`').nth(1).unwrap();
        db.run(advice).await;
        let (_, out, _) = verb(&["doctor", "--json", "--database-url", &db.direct], b"").await;
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let left = report["findings"].as_array().unwrap().iter().find(of_role);
        assert!(left.is_none(), "{setting}: {advice}: {left:?}");
    }
    db.run(&format!("drop owned by {role}; drop role {role}")).await;
    let turn = db.worker().turn().await;
    assert!(matches!(turn, Turn::Idle), "{turn:?}");
}
