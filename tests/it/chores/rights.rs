//! The role of the workers is enough for the schedule and its chores, and no more than that.

use std::time::Duration;

use seatkeeper::postgres::apply_roles;
use seatkeeper::schedule::{self, Plan};

use super::{called_once, plan, since};
use crate::support::{Process, TestDb, until, verb};

#[tokio::test]
async fn a_process_with_the_role_of_the_workers_does_every_chore() {
    let db = TestDb::new().await;
    apply_roles(&db.pool).await.unwrap();
    schedule::keep(&db.pool, &Plan { retain: Some(Duration::from_secs(86_400)), ..plan() }).await.unwrap();
    for chore in ["roll_call", "critical_checks", "retention", "statistics"] {
        since(&db, chore, "8 days").await;
    }
    db.run(
        "insert into seatkeeper.requests (request_id, kind, payload, status, reason, finished_at)
         values (gen_random_uuid(), 'grant_credits', '{}', 'cancelled', 'x', clock_timestamp() - interval '2 days')",
    )
    .await;
    let process = Process::run(&db.url_as("seatkeeper_worker"), &["--no-http", "--retain", "1day"]);
    called_once(&db).await;
    until("every chore has been done", async || {
        db.value::<i64>("select count(*) from seatkeeper.schedules where last_slot is not null").await == 4
    })
    .await;
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.request_tombstones").await, 1);
    let known: bool =
        db.value("select reltuples >= 0 from pg_class where oid = 'seatkeeper.requests'::regclass").await;
    assert!(known, "analyzed with the rights of the owner");
    assert_eq!(process.terminate(), Some(0));
    let (code, out, complaints) =
        verb(&["doctor", "--database-url", &db.url_as("seatkeeper_monitor")], b"").await;
    assert!(code < 2 && out.contains("roll_call"), "{out}{complaints}");
}

#[tokio::test]
async fn nobody_else_may_touch_the_queue_of_chores_and_workers_may_not_delete_requests_themselves() {
    let db = TestDb::new().await;
    apply_roles(&db.pool).await.unwrap();
    let may = async |role: &str, table: &str, right: &str| {
        db.value::<bool>(&format!("select has_table_privilege('{role}', '{table}', '{right}')")).await
    };
    for role in ["seatkeeper_producer", "seatkeeper_catalog", "seatkeeper_monitor", "seatkeeper_operator"] {
        for right in ["insert", "update", "delete"] {
            assert!(!may(role, "apalis.jobs", right).await, "{role} {right}");
            assert!(!may(role, "seatkeeper.schedules", right).await, "{role} {right}");
        }
        let retire: bool = db
            .value(&format!(
                "select has_function_privilege('{role}', 'seatkeeper.retire_requests(bigint, bigint, bigint, integer)', 'execute')"
            ))
            .await;
        assert!(!retire, "{role}");
    }
    assert!(!may("seatkeeper_worker", "seatkeeper.requests", "delete").await);
    assert!(!may("seatkeeper_worker", "seatkeeper.request_tombstones", "insert").await);
    assert!(!may("seatkeeper_producer", "apalis.jobs", "select").await);
    let payload: bool =
        db.value("select has_column_privilege('seatkeeper_worker', 'apalis.jobs', 'job', 'update')").await;
    assert!(!payload, "what was pushed is not changed");
}
