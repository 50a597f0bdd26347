//! The roles: each does its work, and nothing beyond it. They belong to the whole server, which the tests share.

mod drift;
mod kinds;
mod operators;
mod owner;
mod reading;
mod rights;

use seatkeeper::postgres::{self, ROLES, apply_roles};
use sqlx::{AssertSqlSafe, PgPool};

use crate::operate::{cli_ends, cli_json};
use crate::support::{TestDb, own_server};

async fn with_roles() -> TestDb {
    let db = TestDb::new().await;
    apply_roles(&db.pool).await.unwrap();
    db
}

/// Connections with the rights of a role. The role is a setting of the session, which a pooler has no place for: to the server.
fn acting_as(db: &TestDb, role: &str) -> PgPool {
    postgres::pool(postgres::connect_options(&db.direct).unwrap().options([("role", role)]), 5)
}

async fn allowed(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
}

async fn refused(pool: &PgPool, sql: &str) {
    let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect_err(sql);
    let code = error.as_database_error().and_then(|error| error.code()).map(String::from);
    assert_eq!(code.as_deref(), Some("42501"), "{error}: {sql}");
}

#[tokio::test]
async fn applying_at_once_here_and_elsewhere_is_no_trouble() {
    // A server without the roles: those of the other tests' server are there already.
    let server = own_server().await;
    let here = server.pool();
    sqlx::query("create database elsewhere").execute(&here).await.unwrap();
    let elsewhere = postgres::pool(server.embedded.connect_options("elsewhere"), 20);
    postgres::migrate(&elsewhere).await.unwrap();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        for pool in [&here, &elsewhere] {
            let pool = pool.clone();
            tasks.push(tokio::spawn(async move { apply_roles(&pool).await }));
        }
    }
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let missing: i64 = sqlx::query_scalar(
        "select count(*) from unnest($1::text[]) r (name)
         where not exists (select from pg_roles p where p.rolname = r.name and not p.rolcanlogin and not p.rolsuper)",
    )
    .bind(ROLES.map(String::from).to_vec())
    .fetch_one(&here)
    .await
    .unwrap();
    assert_eq!(missing, 0);
    elsewhere.close().await;
    here.close().await;
    server.remove().await;
}

#[tokio::test]
async fn applying_again_takes_away_what_is_too_much() {
    let db = with_roles().await;
    let producer = acting_as(&db, "seatkeeper_producer");
    db.run(
        "grant select on seatkeeper.users to seatkeeper_producer;
         grant update (payload) on seatkeeper.requests to seatkeeper_worker",
    )
    .await;
    allowed(&producer, "select * from seatkeeper.users").await;
    let text = cli_ends(&db.url, &["roles", "--apply"], 0).await;
    assert!(text.contains("seatkeeper_operator"), "{text}");
    refused(&producer, "select * from seatkeeper.users").await;
    refused(&acting_as(&db, "seatkeeper_worker"), "update seatkeeper.requests set payload = '{}'").await;
}

#[tokio::test]
async fn the_sql_that_is_printed_does_the_same() {
    let db = TestDb::new().await;
    // No database is needed for it.
    let sql = cli_ends("postgres://postgres@127.0.0.1:1/nowhere", &["roles", "--print-sql"], 0).await;
    db.run(&sql).await;
    refused(&acting_as(&db, "seatkeeper_producer"), "select * from seatkeeper.requests").await;
    allowed(&acting_as(&db, "seatkeeper_producer"), "select seatkeeper.get_balance(1)").await;

    cli_ends(&db.url, &["roles"], 2).await;
    cli_ends(&db.url, &["roles", "--apply", "--print-sql"], 2).await;
    let report = cli_json(&db.url, &["roles", "--apply"], 0).await;
    assert_eq!(report["roles"].as_array().unwrap().len(), ROLES.len());
    // Who may not is told who may.
    let text = cli_ends(&db.url_as("seatkeeper_operator"), &["roles", "--apply"], 3).await;
    assert!(text.contains("--print-sql"), "{text}");
    let empty = TestDb::empty().await;
    let text = cli_ends(&empty.url, &["roles", "--apply"], 3).await;
    assert!(text.contains("migrate up"), "{text}");
}
