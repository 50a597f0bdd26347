//! What is wrong with a guard is said, and what is advised puts it right: every piece of advice is run.

use seatkeeper::doctor::{self, Level};
use seatkeeper::invariants::{Status, guards};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::harms::HARMS;
use crate::operate::{cli, cli_ends};
use crate::support::{TestDb, own_server, own_server_of, whole_postgres};

/// Who repairs looks again after every round: what is gone can hide what is wrong besides.
const ROUNDS: usize = 3;

#[tokio::test]
async fn whatever_is_wrong_with_a_guard_is_said_and_what_is_advised_puts_it_right() {
    for (harm, invariant, what, name, problem) in HARMS {
        let db = TestDb::new().await;
        db.run(harm).await;
        let run = db.roll_call(&["INV-05", "INV-B05"]).await;
        let outcome = run.results.iter().find(|outcome| outcome.invariant == invariant).unwrap();
        assert_eq!(outcome.status, Status::Violated, "{harm}");
        let rows = outcome.sample.iter().map(|row| &row["row"]);
        let is_it = |row: &&Value| row["what"] == what && row["name"].as_str().unwrap().starts_with(name);
        let row = rows.clone().find(is_it).unwrap_or_else(|| panic!("{harm}: {:#?}", outcome.sample));
        assert!(row["problem"].as_str().unwrap().contains(problem), "{harm}: {row}");
        let is_ours = !["set to replica", "not one of ours"].contains(&problem);
        assert_eq!(row["expected"].is_string(), is_ours, "{harm}: {row}");
        assert_eq!(row["found"].is_string(), problem != "missing", "{harm}: {row}");
        follow(&db, harm).await;
    }
}

/// Does what the doctor advises about the guards until they are all right.
async fn follow(db: &TestDb, harm: &str) {
    let mut done = Vec::new();
    for _ in 0..ROUNDS {
        let findings = doctor::examine(&db.pool, 2).await.unwrap();
        let advised: Vec<String> = findings.into_iter().flat_map(|finding| finding.sql).collect();
        if advised.is_empty() {
            break;
        }
        for sql in advised {
            let ran = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&db.pool).await;
            ran.unwrap_or_else(|error| panic!("{harm}: {error}: {sql}"));
            done.push(sql);
        }
    }
    // Who was connected meanwhile keeps the settings that were.
    let mut connection = PgConnection::connect(&db.direct).await.unwrap();
    let left = guards::troubles(&mut connection).await.unwrap();
    assert!(!done.is_empty() && left.is_empty(), "{harm}: after {done:#?} still {left:#?}");
}

/// As somebody does it at three in the morning, with the program and psql's way of reading statements.
#[tokio::test]
async fn the_statements_that_doctor_prints_put_everything_right_that_it_complains_of() {
    let db = TestDb::new().await;
    db.run(
        "drop index seatkeeper.uq_active_enrollment;
         drop function seatkeeper.count_confirmed cascade;
         alter table seatkeeper.users enable row level security;
         alter table seatkeeper.semesters drop constraint chk_enrolled_within_capacity",
    )
    .await;
    let text = cli_ends(&db.direct, &["doctor"], 1).await;
    assert!(
        text.contains("create or replace function seatkeeper.count_confirmed()") && text.contains("…"),
        "{text}"
    );
    assert!(text.contains("CREATE UNIQUE INDEX CONCURRENTLY uq_active_enrollment"), "{text}");
    assert!(
        text.contains("PROBLEM   row security") && text.contains("users is under row level security"),
        "{text}"
    );
    let text = cli_ends(&db.direct, &["check", "--only", "INV-05,INV-B05"], 1).await;
    assert!(text.contains("sql       ") && text.contains("disable row level security"), "{text}");

    let script = cli(&db.direct, &["doctor", "--sql"]).await.stdout;
    let mut psql = std::process::Command::new("psql");
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &db.direct, "-c", "\\set QUIET on"]);
    let place = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(place.path(), script).unwrap();
    let output = psql.arg("-f").arg(place.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cli_ends(&db.direct, &["check", "--only", "INV-05,INV-B05"], 0).await;
    // What was made anew is nobody's to call who could not call it before.
    let is_open: bool =
        db.value("select has_function_privilege('public', 'seatkeeper.count_confirmed()', 'execute')").await;
    assert!(!is_open);
}

#[tokio::test]
async fn rows_that_a_sequence_has_numbered_keep_their_numbers_when_it_is_made_anew() {
    let db = TestDb::new().await;
    db.users(9).await;
    db.semester(1, None, 0).await;
    db.run(
        "select seatkeeper.enqueue(gen_random_uuid(), 'enroll', jsonb_build_object('user_id', n, 'semester_id', 1))
         from generate_series(1, 9) n",
    )
    .await;
    db.drain().await;
    db.run("alter table seatkeeper.requests alter seq drop identity; drop sequence seatkeeper.answer_seq cascade").await;
    follow(&db, "sequences").await;
    db.run("update seatkeeper.users set is_active = false where user_id = 9").await;
    let id = uuid::Uuid::now_v7();
    let user = 8.try_into().unwrap();
    db.ask(id, seatkeeper_jobs::enroll::Enroll { user_id: user, semester_id: 1.try_into().unwrap() }).await;
    db.drain().await;
    db.assert_follows().await;
}

/// A setting of a role is one of the whole server, and that of the server is one of every session.
#[tokio::test]
async fn a_server_or_a_role_that_works_as_a_replica_is_named_until_that_is_reset() {
    let server = own_server().await;
    let pool = server.pool();
    for (harm, said, advised) in [
        (
            "create role of_somebody; alter role of_somebody set session_replication_role = replica",
            "of role of_somebody is set to replica",
            "alter role of_somebody reset session_replication_role",
        ),
        (
            "alter role all set session_replication_role = replica",
            "of role all is set to replica",
            "alter role all reset session_replication_role",
        ),
        (
            "alter system set session_replication_role = replica",
            "session_replication_role is set to replica",
            "alter system set session_replication_role = origin; select pg_reload_conf()",
        ),
    ] {
        for sql in harm.split("; ").chain(["select pg_reload_conf()"]) {
            sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        }
        let finding = crate::support::until_some("it is found", async || {
            // A connection of its own: that of the pool may not have heard of it yet.
            let output = crate::operate::cli(&server.url(), &["doctor", "--json"]).await;
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let findings = report["findings"].as_array().unwrap().clone();
            findings.into_iter().find(|one| {
                one["subject"] == "replication role" && one["what"].as_str().unwrap().contains(said)
            })
        })
        .await;
        let sql: Vec<&str> =
            finding["sql"].as_array().unwrap().iter().map(|sql| sql.as_str().unwrap()).collect();
        assert_eq!(sql.join("; "), advised);
        for sql in sql {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        }
        crate::support::until("it is gone", async || {
            let output = crate::operate::cli(&server.url(), &["doctor", "--json"]).await;
            !String::from_utf8_lossy(&output.stdout).contains("replication role")
        })
        .await;
    }
    pool.close().await;
    server.remove().await;
}

/// A kind of constraint that came with PostgreSQL 18.
#[tokio::test]
async fn a_constraint_that_is_not_enforced_is_told_as_what_it_is_and_enforced_again() {
    let server = own_server_of(whole_postgres("18")).await;
    let pool = server.pool();
    for sql in [
        "alter table seatkeeper.bookings alter constraint fk_booking_user not enforced",
        "alter table seatkeeper.users drop constraint chk_credit_balance_non_negative,
             add constraint chk_credit_balance_non_negative check (credit_balance >= 0) not enforced",
        "alter table seatkeeper.semesters alter code drop not null, add constraint code_of_somebody not null code not valid",
    ] {
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    }
    let findings = doctor::examine(&pool, 2).await.unwrap();
    let finding = findings.into_iter().find(|finding| finding.subject == "guards").unwrap();
    assert_eq!(finding.level, Level::Problem);
    for said in [
        "fk_booking_user is not enforced",
        "chk_credit_balance_non_negative is not enforced",
        "column semesters code is not validated",
    ] {
        assert!(finding.what.contains(said), "{said}: {}", finding.what);
    }
    for sql in &finding.sql {
        let ran = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&pool).await;
        ran.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(guards::troubles(&mut connection).await.unwrap(), []);
    drop(connection);
    pool.close().await;
    server.remove().await;
}
