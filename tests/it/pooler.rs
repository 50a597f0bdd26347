//! Behind `PgBouncer` in transaction mode: many clients on few connections of the server, any of which a statement may meet.
//!
//! All tests can be run this way (`scripts/compatibility pooler`); what is here is about the pooler itself.

use std::time::Duration;

use seatkeeper::audit::audit;
use seatkeeper::postgres::{connect_options, migrate, pool};
use seatkeeper::schedule;
use sqlx::migrate::Migrate;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use crate::chores::{plan, since};
use crate::model::{Coverage, Load, scaled, seed};
use crate::operate::cli_ends;
use crate::support::{Pooler, Process, TestDb, pooler, until};

/// Far fewer than the clients, and more than the chores of a process hold at once.
const CONNECTIONS: u32 = 8;

async fn connect(url: &str) -> PgConnection {
    connect_options(url).unwrap().connect().await.unwrap()
}

/// A pool of the program through the pooler.
fn pooled(pooler: &Pooler, db: &TestDb, size: u32) -> PgPool {
    pool(connect_options(&pooler.url(db.name())).unwrap(), size)
}

#[tokio::test]
async fn statements_meet_any_connection_and_are_executed_only_with_the_relay() {
    let pooler = pooler(1).await;
    let db = TestDb::new().await;
    let add = "select $1::bigint + $2::bigint";
    let answer = async |connection: &mut PgConnection, a: i64, b: i64| {
        sqlx::query_scalar::<_, i64>(add).bind(a).bind(b).fetch_one(connection).await
    };
    // What the relay is for: each calls its first statement the same, and one connection serves both.
    let plain = pooler.plain_url(db.name());
    let (mut one, mut other) = (connect(&plain).await, connect(&plain).await);
    assert_eq!(answer(&mut one, 1, 2).await.unwrap(), 3);
    let refused = answer(&mut other, 3, 4).await.unwrap_err();
    assert_eq!(refused.as_database_error().unwrap().code().unwrap(), "42P05", "{refused}");

    let url = pooler.url(db.name());
    let (mut one, mut other) = (connect(&url).await, connect(&url).await);
    for round in 0..20 {
        assert_eq!(answer(&mut one, round, 1).await.unwrap(), round + 1);
        let name: String = sqlx::query_scalar("select $1").bind("other").fetch_one(&mut other).await.unwrap();
        assert_eq!(name, "other");
        // An error in the middle, in a transaction and outside of one, confuses nobody.
        assert!(answer(&mut one, i64::MAX, 1).await.is_err());
        let mut transaction = other.begin().await.unwrap();
        assert!(answer(&mut transaction, i64::MAX, 1).await.is_err());
        transaction.rollback().await.unwrap();
        assert_eq!(answer(&mut other, round, 2).await.unwrap(), round + 2);
        // A statement that is not kept.
        let twice = sqlx::query_scalar::<_, i64>("select $1 * 2").persistent(false).bind(round);
        assert_eq!(twice.fetch_one(&mut one).await.unwrap(), round * 2);
    }
    // More statements than sqlx keeps: it closes the oldest, and prepares them again.
    for number in 0..150 {
        let sql = format!("select {}::bigint + $1", number % 120);
        let sum = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).bind(1_i64);
        assert_eq!(sum.fetch_one(&mut one).await.unwrap(), number % 120 + 1);
    }
    assert_eq!(pooler.count("show servers", db.name()).await, 1);
}

/// Workers with their chores, one of which is killed; producers through every door, and owners.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_many_clients_on_few_connections_is_that_of_the_reference() {
    let pooler = pooler(CONNECTIONS).await;
    let db = TestDb::new().await;
    let load = Load::prepare(pooled(&pooler, &db, 20), seed(), scaled(3_000)).await;
    println!("seed {}", load.seed);
    let url = pooler.url(db.name());
    let start = |batch| {
        let process =
            Process::run(&url, &["--no-http", "--batch", batch, "--critical-checks", "* * * * * *"]);
        process.await_log("working");
        process
    };
    let mut workers = ["1", "7", "500"].map(start);
    // Clients that have something to do now and then, as many services have.
    // (One after the other: each logs in through the relay, and the program's pool gives up after two seconds.)
    let idle = pooled(&pooler, &db, 40);
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(idle.acquire().await.unwrap());
    }

    let loading = {
        let load = load.clone();
        tokio::spawn(async move { load.run().await })
    };
    load.allow(load.total / 2);
    until("a good part is answered", async || answered(&db).await > i64::from(load.total) / 8).await;
    let killed = std::mem::replace(&mut workers[1], start("40"));
    killed.kill();
    let clients = pooler.count("show clients", db.name()).await;
    let servers = pooler.count("show servers", db.name()).await;
    println!("{clients} clients on {servers} connections");
    assert!(servers > 1 && servers <= usize::try_from(CONNECTIONS).unwrap(), "{servers} connections");
    assert!(clients > 5 * servers, "{clients} clients");
    load.allow(load.total - load.total / 2);
    loading.await.unwrap();
    load.answered().await;
    let checks = "select count(*) from seatkeeper.invariant_runs where schedule = 'critical_checks' and finished_at is not null";
    until("the chores came to their turn", async || db.value::<i64>(checks).await > 0).await;
    for worker in workers {
        assert_eq!(worker.terminate(), Some(0));
    }

    let (history, complaints) = load.check().await;
    println!("{}\n{:?}", Coverage::of(&history), load.tally.lock().unwrap());
    complaints.assert_none(load.seed);
    let answers = answered(&db).await;
    assert!(answers > i64::from(load.total) / 2, "only {answers} requests were answered");
    let audited = audit(&pooled(&pooler, &db, 2)).await.unwrap();
    assert!(audited.holds(), "{:?}", audited.findings);
    drop(held);
    db.assert_sound().await;
}

async fn answered(db: &TestDb) -> i64 {
    db.value("select count(*) from seatkeeper.requests where status = 'done'").await
}

#[tokio::test]
async fn any_number_migrate_through_it_and_leave_no_lock_behind() {
    let pooler = pooler(CONNECTIONS).await;
    let db = TestDb::empty().await;
    let url = pooler.url(db.name());
    let migrating = (0..4).map(|_| cli_ends(&url, &["migrate", "up"], 0));
    let told = futures::future::join_all(migrating).await;
    let nothing = told.iter().filter(|told| told.contains("nothing to do")).count();
    let applied = told.iter().filter(|told| told.contains("up to date")).count();
    assert!(applied == 4 && nothing <= 3, "{told:?}");
    let mut direct = connect(&db.direct).await;
    let locks = "select count(*) from pg_locks where locktype = 'advisory'
                     and database = (select oid from pg_database where datname = current_database())";
    let left: i64 = sqlx::query_scalar(locks).fetch_one(&mut direct).await.unwrap();
    assert_eq!(left, 0, "a lock was left with a connection of the pooler");

    // An application that brings its apalis up to date holds the lock of sqlx: it is waited for, where that is behind.
    let db = TestDb::empty().await;
    let mut direct = connect(&db.direct).await;
    direct.lock().await.unwrap();
    let holder: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut direct).await.unwrap();
    let through = pooled(&pooler, &db, 1);
    let waiting = tokio::spawn(async move { migrate(&through).await });
    db.until_blocked_by(holder).await;
    direct.unlock().await.unwrap();
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_operator_works_through_it() {
    let pooler = pooler(CONNECTIONS).await;
    let db = TestDb::empty().await;
    let url = pooler.url(db.name());
    let says = async |arguments: &[&str], exit: i32| cli_ends(&url, arguments, exit).await;
    says(&["migrate", "up"], 0).await;
    let files = tempfile::tempdir().unwrap();
    let users = files.path().join("users.csv");
    std::fs::write(&users, "user_id\n1\n2\n3\n").unwrap();
    says(&["import", "users", "--file", users.to_str().unwrap()], 0).await;
    db.semester(1, Some(2), 0).await;
    let worker = Process::run(&url, &["--no-http"]);
    worker.await_log("working");
    for (user, words) in [("1", "applied"), ("2", "applied"), ("3", "refused")] {
        let exit = i32::from(words == "refused");
        let told = says(&["enqueue", "enroll", "--user", user, "--semester", "1", "--wait"], exit).await;
        assert!(told.contains(words), "{told}");
    }
    says(&["pause", "--kind", "enroll", "--reason", "a look"], 0).await;
    says(&["enqueue", "enroll", "--user", "1", "--semester", "1"], 0).await;
    assert!(says(&["requests", "list", "--status", "queued"], 0).await.contains("enroll"));
    says(&["resume", "--kind", "enroll", "--reason", "seen"], 0).await;
    until("the last one is answered", async || answered(&db).await == 4).await;
    says(&["check"], 0).await;
    // A pooler in between is nothing to complain about; a cluster that does not sync is.
    let doctor = says(&["doctor"], 1).await;
    assert!(doctor.contains("fsync") && !doctor.contains("could not"), "{doctor}");
    assert_eq!(worker.terminate(), Some(0));
    assert!(audit(&pooled(&pooler, &db, 2)).await.unwrap().holds());
}

#[tokio::test]
async fn a_slot_that_is_due_is_run_once_by_two_replicas() {
    let pooler = pooler(CONNECTIONS).await;
    let db = TestDb::new().await;
    schedule::keep(&db.pool, &plan()).await.unwrap();
    since(&db, "roll_call", "8 days").await;
    let url = pooler.url(db.name());
    let replicas = [0, 1].map(|_| Process::run(&url, &["--no-http", "--no-worker"]));
    let runs = "select count(*) from seatkeeper.invariant_runs where schedule = 'roll_call'";
    let finished = format!("{runs} and finished_at is not null");
    until("the slot has been run", async || db.value::<i64>(&finished).await == 1).await;
    for replica in replicas {
        assert_eq!(replica.terminate(), Some(0));
    }
    assert_eq!(db.value::<i64>(runs).await, 1);
}

/// A worker that does nothing more keeps its lanes no longer behind a pooler than without one.
#[tokio::test]
async fn a_worker_that_is_stopped_in_a_batch_loses_its_lane() {
    let pooler = pooler(CONNECTIONS).await;
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    let through = pooled(&pooler, &db, 2);
    let timeouts = seatkeeper::postgres::Timeouts { idle: Duration::from_millis(200), ..Default::default() };
    let mut stopped =
        seatkeeper::postgres::Transactions::new(through.clone(), timeouts).begin().await.unwrap();
    sqlx::query("select from seatkeeper.semesters where semester_id = 1 for update")
        .execute(&mut *stopped)
        .await
        .unwrap();
    // Nothing more is said; the server ends it.
    let took: i64 = sqlx::query_scalar(
        "with taken as (select semester_id from seatkeeper.semesters where semester_id = 1 for update)
         select count(*) from taken",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(took, 1);
    let error = stopped.commit().await.unwrap_err();
    assert_eq!(
        seatkeeper::postgres::ErrorClass::of(&error),
        seatkeeper::postgres::ErrorClass::Connection,
        "{error}"
    );
}
