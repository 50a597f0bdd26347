//! `audit` through the binary: its words, its JSON, its exit codes.

use seatkeeper::postgres::apply_roles;
use serde_json::json;

use super::{SEED, ask, grant, mixed};
use crate::booking::enroll;
use crate::operate::{cli, cli_ends, cli_json};
use crate::support::plain_sql::{pid, run_on};
use crate::support::{TestDb, until, verb};

/// Two users, one place, both asked for it.
async fn small() -> TestDb {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(3, Some(1), 5).await;
    ask(&db, [grant(1, 20), grant(2, 20)]).await;
    ask(&db, [enroll(1, 3).into(), enroll(2, 3).into()]).await;
    db
}

#[tokio::test]
async fn a_sound_history_is_fine_for_every_role_that_reads() {
    let db = mixed(SEED).await;
    apply_roles(&db.pool).await.unwrap();
    for role in ["seatkeeper_reader", "seatkeeper_worker", "seatkeeper_operator"] {
        let report = cli_json(&db.url_as(role), &["audit"], 0).await;
        assert_eq!((&report["verdict"], &report["differing"]), (&json!("follows"), &json!(0)), "{report:#}");
        assert_eq!((&report["findings"], &report["not_covered"]), (&json!([]), &json!(null)));
        for (field, table) in [
            ("answers", "requests"),
            ("users", "users"),
            ("enrollments", "enrollments"),
            ("bookings", "bookings"),
            ("attendance", "attendance"),
            ("ledger", "credit_transactions"),
        ] {
            let count: i64 = db.value(&format!("select count(*) from seatkeeper.{table}")).await;
            assert!(count > 0 && report[field] == count, "{field}: {report:#}");
        }
        assert!(report["seconds"].is_f64() && report["changes"].is_u64() && report["fills"].is_u64());
    }
    let text = cli_ends(&db.url, &["audit"], 0).await;
    assert!(text.contains("Everything follows.") && text.contains("ledger rows"), "{text}");
    // A producer may not look.
    let text = cli_ends(&db.url_as("seatkeeper_producer"), &["audit"], 3).await;
    assert!(text.contains("may not see") && text.contains("seatkeeper_monitor"), "{text}");
}

#[tokio::test]
async fn what_takes_its_time_is_no_complaint() {
    let db = small().await;
    // (The doctor does not like a server that does not sync.)
    for (what, ends) in [("audit", 0), ("check", 0), ("doctor", 1), ("requests list", 0)] {
        let mut obstacle = db.pool.begin().await.unwrap();
        sqlx::raw_sql("lock table seatkeeper.requests in access exclusive mode")
            .execute(&mut *obstacle)
            .await
            .unwrap();
        let url = ["--database-url", &db.direct];
        let arguments: Vec<&str> = what.split(' ').chain(url).collect();
        let ((code, out, complaints), ()) = tokio::join!(verb(&arguments, b""), async {
            until("a statement has taken longer than sqlx thinks fit", async || {
                db.value(
                    "select exists (select from pg_stat_activity where wait_event_type = 'Lock'
                         and datname = current_database() and clock_timestamp() - query_start > interval '1.5 s')",
                )
                .await
            })
            .await;
            obstacle.rollback().await.unwrap();
        });
        assert_eq!((code, complaints.as_str()), (ends, ""), "{what}: {out}");
    }
}

#[tokio::test]
async fn what_is_read_at_three_in_the_morning() {
    let db = small().await;
    db.run(
        "begin; set local session_replication_role = replica;
         update seatkeeper.requests set reason = 'user_inactive' where outcome = 'refused';
         update seatkeeper.users set credit_balance = 99 where user_id = 1;
         delete from seatkeeper.credit_transactions where enrollment_id is not null; commit",
    )
    .await;
    let refused: uuid::Uuid =
        db.value("select request_id from seatkeeper.requests where outcome = 'refused'").await;
    let seq: i64 = db.value("select answer_seq from seatkeeper.requests where outcome = 'refused'").await;
    let text = cli_ends(&db.url, &["audit"], 1).await;
    println!("{text}");
    for words in [
        &format!("DIFFERS   the answer to request {refused} (enroll), number {seq} in the order"),
        "asked     semester_id 3, user_id 2",
        "stored    refused, user_inactive",
        "right     refused, semester_full",
        "DIFFERS   users, user_id 1",
        "stored    credit_balance 99",
        "right     credit_balance 15",
        "DIFFERS   credit_transactions, request_id ",
        "stored    nothing: the row is not there",
        "right     amount -5, balance_after 15,",
        "3 do not follow. Begin with the first",
        "To do: ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let text = cli_ends(&db.url, &["audit", "--show", "1"], 1).await;
    assert!(text.contains("and 2 more") && !text.contains("credit_balance"), "{text}");

    let report = cli_json(&db.url, &["audit"], 1).await;
    assert_eq!((&report["verdict"], &report["differing"]), (&json!("differs"), &json!(3)));
    assert_eq!(
        report["findings"][0],
        json!({
            "about": "answer", "request_id": refused, "kind": "enroll", "answer_seq": seq,
            "asked": { "user_id": 2, "semester_id": 3 },
            "stored": { "outcome": "refused", "reason": "user_inactive", "result": null },
            "right": { "outcome": "refused", "reason": "semester_full", "result": null },
        })
    );
    assert_eq!(
        report["findings"][1],
        json!({ "about": "user", "user_id": 1, "stored": { "credit_balance": 99 }, "right": { "credit_balance": 15 } })
    );
    assert_eq!(
        (&report["findings"][2]["about"], &report["findings"][2]["stored"]),
        (&json!("ledger"), &json!(null))
    );
}

#[tokio::test]
async fn what_cannot_be_covered_is_said_and_is_neither_good_nor_bad_news() {
    let db = small().await;
    db.run(
        "insert into seatkeeper.request_tombstones
             (request_id, kind, payload_digest, status, outcome, enqueued_at, finished_at)
         values (gen_random_uuid(), 'enroll', '', 'done', 'applied', now(), now())",
    )
    .await;
    let text = cli_ends(&db.url, &["audit"], 3).await;
    assert!(text.contains("NOT COVERED: 1 answers are not kept any more"), "{text}");
    assert!(text.contains("nobody knows about the rest"), "{text}");
}

#[tokio::test]
async fn it_stops_at_a_record_that_cannot_be_read_and_what_it_found_before_counts() {
    let db = small().await;
    db.run(
        r#"update seatkeeper.semesters set max_players = 2;
           update seatkeeper.catalog_changes set after = '{}' where change_seq = (select max(change_seq) from seatkeeper.catalog_changes)"#,
    )
    .await;
    let stop: i64 = db.value("select max(change_seq) from seatkeeper.catalog_changes").await;
    let report = cli_json(&db.url, &["audit"], 3).await;
    assert_eq!((&report["verdict"], &report["not_covered"]["seq"]), (&json!("not_covered"), &json!(stop)));
    assert_eq!((&report["answers"], &report["users"]), (&json!(4), &json!(0)));
    let text = cli_ends(&db.url, &["audit"], 3).await;
    let words = format!(
        "NOT COVERED from number {stop} in the order on: the record of a change of semesters 3 cannot"
    );
    assert!(text.contains(&words) && text.contains("It got through 4 answers before that"), "{text}");
    db.run(
        "begin; set local session_replication_role = replica;
         update seatkeeper.requests set reason = 'user_inactive' where outcome = 'refused'; commit",
    )
    .await;
    assert_eq!(cli_json(&db.url, &["audit"], 1).await["verdict"], "differs");
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_verdict() {
    let db = small().await;
    let mut lock = db.pool.begin().await.unwrap();
    let holder = pid(&mut lock).await;
    // What is read last of all.
    run_on(&mut lock, "lock table seatkeeper.attendance in access exclusive mode").await;
    let url = db.url.clone();
    let auditing = tokio::spawn(async move { cli(&url, &["audit", "--json"]).await });
    db.until_blocked_by(holder).await;
    db.run(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where {holder} = any (pg_blocking_pids(pid))"
    ))
    .await;
    let output = auditing.await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0), "{err}");
    assert!(err.contains("the audit broke off while the tables were compared"), "{err}");
    assert!(err.contains("nobody knows whether everything follows"), "{err}");
    lock.rollback().await.unwrap();
    cli_ends(&db.url, &["audit"], 0).await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let db = TestDb::new().await;
    for (arguments, words) in [
        (vec!["audit", "--show", "0"], "--show"),
        (vec!["audit", "--show", "3", "--json"], "--show"),
        (vec!["audit", "--database-url", "nonsense"], "--database-url (or DATABASE_URL) cannot be used"),
        (vec!["audit", "everything"], "everything"),
    ] {
        let text = cli_ends(&db.url, &arguments, 2).await;
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    let text = cli_ends("postgres://nobody@127.0.0.1:1/nowhere", &["audit"], 3).await;
    assert!(text.contains("the database is not there"), "{text}");
    let empty = TestDb::empty().await;
    assert!(cli_ends(&empty.url, &["audit"], 3).await.contains("migrate up"));
    // Nothing has happened: all of it follows.
    assert_eq!(cli_json(&db.url, &["audit"], 0).await["answers"], 0);
    let help = cli_ends(&db.url, &["audit", "--help"], 0).await;
    assert!(help.contains("Exit codes: 0 everything follows.") && help.contains("not_covered"), "{help}");
}
