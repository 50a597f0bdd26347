//! What each role may do: all that its work takes, and nothing beyond it.

use seatkeeper::batch::{Limits, Turn, Worker, sort_out};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Outcome, Reason, Request, postgres as door};
use uuid::Uuid;

use super::{acting_as, allowed, refused, with_roles};
use crate::operate::cli_ends;
use crate::support::{Process, until};

fn enroll(user: i64, semester: i64) -> Job {
    Enroll { user_id: user.try_into().unwrap(), semester_id: semester.try_into().unwrap() }.into()
}

fn grant(user: i64, amount: i64) -> Job {
    GrantCredits { user_id: user.try_into().unwrap(), amount: Amount::new(amount).unwrap(), note: None }
        .into()
}

#[tokio::test]
async fn a_producer_has_the_doors_and_nothing_else() {
    let db = with_roles().await;
    db.users(1).await;
    db.semester(1, Some(1), 0).await;
    let producer = acting_as(&db, "seatkeeper_producer");
    let mut connection = producer.acquire().await.unwrap();
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    let receipt = door::enqueue(&mut connection, &Request::new(ids[0], grant(1, 5))).await.unwrap();
    assert!(!receipt.duplicate);
    door::enqueue_many(&mut connection, &[Request::new(ids[1], enroll(1, 1))]).await.unwrap();
    db.drain().await;
    assert!(door::enqueue(&mut connection, &Request::new(ids[0], grant(1, 5))).await.unwrap().duplicate);
    let receipt = door::get_receipt(&mut connection, ids[0]).await.unwrap().unwrap();
    assert_eq!(receipt.outcome, Some(Outcome::Applied));
    assert_eq!(door::get_receipts(&mut connection, &ids).await.unwrap().len(), 2);
    drop(connection);
    allowed(&producer, "select seatkeeper.get_balance(1), (seatkeeper.get_booking(1)).status").await;
    // Waiting for the answer on the command line needs no more.
    let wait = ["requests", "wait", &ids[1].to_string()];
    cli_ends(&db.url_as("seatkeeper_producer"), &wait, 0).await;

    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'seatkeeper'::regnamespace and relkind in ('r', 'S')",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert!(tables.len() > 20);
    for table in tables {
        refused(&producer, &format!("select * from seatkeeper.{table}")).await;
    }
    for sql in [
        "insert into seatkeeper.requests (request_id, kind, payload) values (gen_random_uuid(), 'enroll', '{}')",
        "update seatkeeper.requests set status = 'cancelled'",
        "delete from seatkeeper.requests",
        "truncate seatkeeper.requests",
        "select nextval('seatkeeper.answer_seq')",
        "select seatkeeper.replay(gen_random_uuid(), 'enroll', '{}')",
        "create table seatkeeper.mine ()",
    ] {
        refused(&producer, sql).await;
    }
}

#[tokio::test]
async fn the_catalog_role_writes_the_catalog_but_no_balance_and_no_counter() {
    let db = with_roles().await;
    let catalog = acting_as(&db, "seatkeeper_catalog");
    allowed(
        &catalog,
        "insert into seatkeeper.users (user_id) values (1), (2);
         insert into seatkeeper.users (user_id, is_active) values (2, false)
             on conflict (user_id) do update set is_active = excluded.is_active;
         update seatkeeper.users set is_active = false where user_id = 1;
         insert into seatkeeper.semesters (semester_id, code, status, max_players) values (1, 'A', 'ENROLLMENT_OPEN', 5);
         update seatkeeper.semesters set max_players = 6, enrollment_cost = 3, name = 'Camp' where semester_id = 1;
         insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
             values (1, 1, '2031-01-01 10:00Z', '2031-01-01 11:00Z', 3);
         update seatkeeper.sessions set capacity = 4, starts_at = '2031-01-01 09:00Z' where session_id = 1;
         select * from seatkeeper.users",
    )
    .await;
    let recorded: i64 = db.value("select count(*) from seatkeeper.catalog_changes").await;
    assert!(recorded >= 5, "its changes are recorded, though it cannot write the record: {recorded}");
    let marked: i64 = db.value("select count(*) from seatkeeper.fill_marks").await;
    assert_eq!(marked, 1);
    for sql in [
        "update seatkeeper.users set credit_balance = 100",
        "insert into seatkeeper.users (user_id, credit_balance) values (3, 100)",
        "update seatkeeper.semesters set enrolled_count = 0",
        "update seatkeeper.semesters set last_decided_at = null",
        "insert into seatkeeper.semesters (semester_id, code, enrolled_count) values (2, 'B', 1)",
        "update seatkeeper.sessions set confirmed_count = 0",
        "update seatkeeper.sessions set semester_id = 2",
        "delete from seatkeeper.users",
        "truncate seatkeeper.sessions cascade",
        "select * from seatkeeper.requests",
        "insert into seatkeeper.catalog_changes (\"table\", key, after) values ('users', 1, '{}')",
        "insert into seatkeeper.enrollments (user_id, semester_id, status, is_active) values (1, 1, 'APPROVED', true)",
        "select seatkeeper.get_balance(1)",
    ] {
        refused(&catalog, sql).await;
    }
}

#[tokio::test]
async fn a_worker_does_all_its_work_with_its_own_rights() {
    let db = with_roles().await;
    db.users(2).await;
    db.semester(1, Some(1), 30).await;
    let pool = acting_as(&db, "seatkeeper_worker");
    let transactions = Transactions::new(pool.clone(), Timeouts::default());
    let work = async || {
        let mut worker = Worker::new(transactions.clone(), Limits { attempts: 1, ..Limits::default() });
        loop {
            match worker.turn().await {
                Turn::Idle => break,
                Turn::Away(_) => panic!("the worker is not allowed what it needs"),
                _ => {}
            }
        }
    };
    let ask = async |job: Job| {
        let id = Uuid::now_v7();
        db.ask(id, job).await;
        id
    };
    let unenroll =
        Unenroll { user_id: 1.try_into().unwrap(), semester_id: 1.try_into().unwrap(), enrollment_id: None };
    let applied = [ask(grant(1, 100)).await, ask(enroll(1, 1)).await];
    let full = ask(enroll(2, 1)).await;
    work().await;
    let left = ask(unenroll.into()).await;
    let nowhere = ask(enroll(2, 9)).await;
    // In another lane than its payload says, as one that came before its session was known
    let misplaced = ask(enroll(1, 1)).await;
    let malformed = Uuid::now_v7();
    db.run(&format!(
        "update seatkeeper.requests set semester_id = null where request_id = '{misplaced}';
         insert into seatkeeper.requests (request_id, kind, payload, semester_id) values ('{malformed}', 'enroll', '{{}}', 1)"
    ))
    .await;
    work().await;
    for id in applied.into_iter().chain([left, misplaced]) {
        assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    }
    assert_eq!(db.receipt(full).await.reason, Some(Reason::SemesterFull));
    assert_eq!(db.receipt(nowhere).await.reason, Some(Reason::SemesterNotFound));
    assert_eq!(db.receipt(malformed).await.reason, Some(Reason::InvalidPayload));

    // An attempt that fails: a trigger of somebody else stands in for a defect.
    db.run(
        "create function public.boom() returns trigger language plpgsql as 'begin raise ''boom''; end';
         create trigger boom before insert on seatkeeper.enrollments for each row execute function public.boom()",
    )
    .await;
    let failing = ask(enroll(2, 1)).await;
    db.run("update seatkeeper.semesters set max_players = 9, enrollment_cost = 0").await;
    work().await;
    assert_eq!(db.receipt(failing).await.reason, Some(Reason::AttemptsExhausted));
    db.run("drop trigger boom on seatkeeper.enrollments").await;

    // Into the queue and out of it
    db.run("insert into seatkeeper.pauses (kind, paused_by, reason) values ('enroll', 'erika', 'flood')")
        .await;
    let parked = ask(enroll(2, 1)).await;
    assert_eq!(sort_out(&transactions).await.unwrap(), 1);
    db.run("delete from seatkeeper.pauses").await;
    assert_eq!(sort_out(&transactions).await.unwrap(), 1);

    // The whole program, as it runs outside
    let process = Process::run(&db.url_as("seatkeeper_worker"), &["--listen", "127.0.0.1:0"]);
    until("an answer of the process", async || db.receipt(parked).await.outcome.is_some()).await;
    let address = process.address();
    let metrics = crate::support::http::get(&address, "/metrics").await;
    assert!(metrics.1.contains("seatkeeper_db_scrape_success 1"), "{}", metrics.1);
    assert_eq!(process.terminate(), Some(0));
    db.assert_sound().await;

    for sql in [
        "delete from seatkeeper.credit_transactions",
        "update seatkeeper.credit_transactions set amount = 0",
        "truncate seatkeeper.credit_transactions",
        "delete from seatkeeper.requests",
        "update seatkeeper.requests set payload = '{}'",
        "update seatkeeper.requests set seq = 1",
        "insert into seatkeeper.requests (request_id, kind, payload) values (gen_random_uuid(), 'enroll', '{}')",
        "update seatkeeper.enrollments set price_paid = 0",
        "delete from seatkeeper.enrollments",
        "update seatkeeper.users set is_active = true",
        "update seatkeeper.semesters set enrollment_cost = 0",
        "insert into seatkeeper.pauses (paused_by, reason) values ('w', 'w')",
        "create table seatkeeper.mine ()",
        "drop table seatkeeper.pauses",
        "alter table seatkeeper.enrollments disable trigger all",
    ] {
        refused(&pool, sql).await;
    }
}

#[tokio::test]
async fn a_monitor_reads_everything_but_payloads_and_writes_nothing() {
    let db = with_roles().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(1, 1)).await;
    let monitor = acting_as(&db, "seatkeeper_monitor");
    let tables: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'seatkeeper'::regnamespace and relkind in ('r', 'S')",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    for table in tables {
        // Payloads are not a monitor's: `reading` tells what it reads of these two.
        if !["requests", "request_tombstones"].contains(&table.as_str()) {
            allowed(&monitor, &format!("select * from seatkeeper.{table} limit 1")).await;
        }
    }
    allowed(&monitor, "select status, outcome, reason, result, enqueued_by from seatkeeper.requests").await;
    allowed(&monitor, "select request_id, kind, outcome, enqueued_by from seatkeeper.request_tombstones")
        .await;
    let may_write: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c
         where c.relnamespace = 'seatkeeper'::regnamespace and case c.relkind
             when 'r' then has_table_privilege('seatkeeper_monitor', c.oid, 'insert, update, delete, truncate, trigger')
                        or has_any_column_privilege('seatkeeper_monitor', c.oid, 'insert, update')
             when 'S' then has_sequence_privilege('seatkeeper_monitor', c.oid, 'usage, update') end",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    assert!(may_write.is_empty(), "{may_write:?}");
    refused(&monitor, "update seatkeeper.requests set status = 'cancelled'").await;
    refused(
        &monitor,
        "select seatkeeper.enqueue(gen_random_uuid(), 'enroll', '{\"user_id\": 1, \"semester_id\": 1}')",
    )
    .await;

    let url = db.url_as("seatkeeper_monitor");
    assert!(cli_ends(&url, &["requests", "list"], 0).await.contains(&id.to_string()));
    // The server of the tests does not sync, which is a problem: the examination itself went through.
    cli_ends(&url, &["doctor"], 1).await;
    let text = cli_ends(&url, &["requests", "cancel", &id.to_string(), "--reason", "x"], 3).await;
    assert!(text.contains("42501"), "{text}");
}

#[tokio::test]
async fn an_operator_has_what_the_verbs_need() {
    let db = with_roles().await;
    db.users(2).await;
    db.semester(1, None, 0).await;
    let url = db.url_as("seatkeeper_operator");
    let (first, second) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(first, enroll(1, 1)).await;
    db.ask(second, grant(1, 5)).await;
    db.run(&format!(
        "update seatkeeper.requests set status = 'failed', reason = 'attempts_exhausted', finished_at = clock_timestamp()
         where request_id = '{first}'"
    ))
    .await;
    let reason = ["--reason", "x", "--operator", "erika"];
    let act = async |verb: &[&str]| cli_ends(&url, &[verb, &reason].concat(), 0).await;
    act(&["requests", "retry", &first.to_string()]).await;
    act(&["requests", "cancel", &first.to_string()]).await;
    act(&["requests", "cancel", "--kind", "grant_credits", "--yes"]).await;
    for scope in [&["--kind", "enroll"][..], &["--semester", "1"], &["--everything"]] {
        act(&[&["pause"], scope].concat()).await;
        act(&[&["resume"], scope].concat()).await;
    }
    cli_ends(&url, &["requests", "wait", &first.to_string()], 1).await;
    cli_ends(&url, &["requests", "show", &first.to_string()], 0).await;
    let actions: i64 =
        db.value("select count(*) from seatkeeper.operator_actions where operator = 'erika'").await;
    assert_eq!(actions, 9);

    let operator = acting_as(&db, "seatkeeper_operator");
    for sql in [
        "update seatkeeper.requests set outcome = 'applied'",
        "update seatkeeper.requests set payload = '{}'",
        "delete from seatkeeper.requests",
        "update seatkeeper.users set credit_balance = 1",
        "update seatkeeper.semesters set max_players = 1",
        "update seatkeeper.semesters set enrolled_count = 1",
        "insert into seatkeeper.credit_transactions default values",
        "update seatkeeper.operator_actions set operator = 'nobody'",
        "delete from seatkeeper.operator_actions",
    ] {
        refused(&operator, sql).await;
    }
}
