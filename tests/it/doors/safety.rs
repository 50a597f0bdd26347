//! Who may call the doors, and what a caller cannot make them do.

use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use super::stored;
use crate::support::plain_sql::{Ask, Refusal, run_on, send_many};
use crate::support::{TestDb, cluster_url};

const DOORS: [&str; 6] = [
    "seatkeeper.enqueue(gen_random_uuid(), 'enroll', '{\"user_id\": 7, \"semester_id\": 3}')",
    "seatkeeper.enqueue_many('[]')",
    "seatkeeper.get_receipt(gen_random_uuid())",
    "seatkeeper.get_receipts('{}')",
    "seatkeeper.get_booking(1)",
    "seatkeeper.get_balance(1)",
];

/// A role of this test alone: roles are those of the whole server.
async fn role(db: &TestDb) -> String {
    let name = format!("role_{}", Uuid::new_v4().simple());
    db.run(&format!("create role {name}; grant usage on schema seatkeeper to {name}")).await;
    name
}

async fn call(connection: &mut PgConnection, function: &str) -> Result<(), Refusal> {
    let sql = format!("select * from {function}");
    match sqlx::query(AssertSqlSafe(sql)).execute(connection).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::of(&error)),
    }
}

#[tokio::test]
async fn the_doors_are_closed_to_everybody_and_open_to_who_may_execute_them_and_nothing_else() {
    let db = TestDb::new().await;
    let role = role(&db).await;
    let mut connection = db.session().await;
    for function in DOORS {
        run_on(&mut connection, &format!("set role {role}")).await;
        assert_eq!(call(&mut connection, function).await.unwrap_err().code, "42501", "{function}");
        let name = function.split('(').next().unwrap();
        run_on(
            &mut connection,
            &format!("reset role; grant execute on function {name} to {role}; set role {role}"),
        )
        .await;
        call(&mut connection, function).await.unwrap_or_else(|refusal| panic!("{function}: {refusal:?}"));
    }
    for table in ["requests", "users", "semesters", "sessions", "credit_transactions", "catalog_changes"] {
        let refusal = call(&mut connection, &format!("seatkeeper.{table}")).await.unwrap_err();
        assert_eq!(refusal.code, "42501", "{table}");
    }
    run_on(&mut connection, "reset role").await;
    assert_eq!(stored(&db).await, 1);
}

/// Functions that work with the rights of their owner, triggers included: who may execute a trigger's function can
/// hang it on a table of their own.
#[tokio::test]
async fn no_function_with_the_rights_of_its_owner_is_open_to_everybody() {
    let db = TestDb::new().await;
    let open: Option<String> = db
        .value(
            "select string_agg(p.oid::regprocedure::text, ', ') from pg_proc p
             where p.pronamespace = 'seatkeeper'::regnamespace and p.prosecdef
               and has_function_privilege('public', p.oid, 'execute')",
        )
        .await;
    assert_eq!(open, None);
}

#[tokio::test]
async fn who_may_create_a_table_cannot_forge_the_record_of_catalog_changes() {
    let db = TestDb::new().await;
    let role = role(&db).await;
    let mut connection = db.session().await;
    run_on(&mut connection, &format!("set role {role}; create temp table semesters (semester_id bigint)"))
        .await;
    let forged = "create trigger forged after insert on semesters for each row
                  execute function seatkeeper.record_catalog_change('semester_id')";
    let refusal = Refusal::of(&sqlx::query(forged).execute(&mut connection).await.unwrap_err());
    assert_eq!(refusal.code, "42501");
    run_on(&mut connection, "insert into semesters values (1); reset role").await;
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.catalog_changes").await, 0);
}

/// Tables, functions, operators and types of the caller that are called as those which the doors use.
const TRAP: &str = r"
    create schema trap;
    create function trap.clock_timestamp() returns timestamptz language sql as $$ select '1999-01-01'::timestamptz $$;
    create function trap.jsonb_typeof(jsonb) returns text language sql as $$ select 'object' $$;
    create function trap.octet_length(text) returns integer language sql as $$ select 1 $$;
    create function trap.char_length(text) returns integer language sql as $$ select 1 $$;
    create function trap.nextval(regclass) returns bigint language sql as $$ select 1::bigint $$;
    create function trap.sha256(bytea) returns bytea language sql as $$ select ''::bytea $$;
    create function trap.convert_to(text, name) returns bytea language sql as $$ select ''::bytea $$;
    create function trap.never(text, text) returns boolean language sql as $$ select false $$;
    create function trap.always(jsonb, jsonb) returns boolean language sql as $$ select true $$;
    create operator trap.= (leftarg = text, rightarg = text, function = trap.never);
    create operator trap.= (leftarg = jsonb, rightarg = jsonb, function = trap.always);
    create table trap.requests (like seatkeeper.requests including all);
    create table trap.users (like seatkeeper.users);
    insert into trap.users values (1, true, 666);
    create temp table requests (like seatkeeper.requests);
    create temp table request_tombstones (like seatkeeper.request_tombstones);
    create temp table users (like seatkeeper.users);
    insert into users values (1, true, 667);
    create function pg_temp.jsonb_typeof(jsonb) returns text language sql as $$ select 'object' $$;
    set search_path = pg_temp, trap, seatkeeper, public, pg_catalog";

#[tokio::test]
async fn the_callers_search_path_does_not_fool_the_doors() {
    let db = TestDb::new().await;
    db.users(1).await;
    let mut connection = db.session().await;
    run_on(&mut connection, TRAP).await;

    let id = Uuid::now_v7();
    let good = Ask::new(id, "enroll", json!({"user_id": 1, "semester_id": 3}));
    let receipt = good.send(&mut connection).await.unwrap();
    assert!(receipt.enqueued_at > "2020-01-01T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap());
    assert!(good.send(&mut connection).await.unwrap().duplicate);
    assert!(send_many(&mut connection, std::slice::from_ref(&good)).await.unwrap()[0].duplicate);
    let other = Ask::new(id, "enroll", json!({"user_id": 2, "semester_id": 3}));
    assert_eq!(other.send(&mut connection).await.unwrap_err().code, "RC409");
    assert_eq!(send_many(&mut connection, &[other]).await.unwrap_err().code, "RC409");
    let malformed = Ask::new(Uuid::now_v7(), "enroll", json!([]));
    assert_eq!(malformed.send(&mut connection).await.unwrap_err().what(), ("RC422", "payload"));
    let large =
        Ask::new(Uuid::now_v7(), "enroll", json!({"user_id": 2, "semester_id": 3, "x": "x".repeat(9000)}));
    assert_eq!(large.send(&mut connection).await.unwrap_err().what(), ("RC422", "payload"));
    let balance: i64 =
        sqlx::query_scalar("select seatkeeper.get_balance(1)").fetch_one(&mut connection).await.unwrap();
    assert_eq!(balance, 0);
    let known: bool = sqlx::query_scalar(
        "select pg_catalog.jsonb_typeof(pg_catalog.to_jsonb(seatkeeper.get_receipt($1))) is not null",
    )
    .bind(id)
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert!(known);
    assert_eq!(stored(&db).await, 1);
    let decoys: i64 = sqlx::query_scalar("select (select pg_catalog.count(*) from trap.requests) + (select pg_catalog.count(*) from pg_temp.requests)")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(decoys, 0);
}

#[tokio::test]
async fn every_function_with_the_rights_of_its_owner_has_a_search_path_of_its_own() {
    let db = TestDb::new().await;
    let without: Option<String> = db
        .value(
            "select string_agg(p.oid::regprocedure::text, ', ') from pg_proc p
             where p.pronamespace = 'seatkeeper'::regnamespace and p.prosecdef
               and 'search_path=pg_catalog, seatkeeper, pg_temp' <> all (coalesce(p.proconfig, '{}'))",
        )
        .await;
    assert_eq!(without, None);
}

/// The same field is named everywhere, also where texts are sorted as in a dictionary.
#[tokio::test]
async fn the_first_surplus_field_does_not_depend_on_the_collation_of_the_database() {
    let server = TestDb::empty().await;
    let version: i32 = server.value("select current_setting('server_version_num')::integer").await;
    if version < 150_000 {
        eprintln!("a database with dictionary order by default needs PostgreSQL 15 or newer: nothing shown");
        return;
    }
    server
        .run(
            "create database test_in_dictionary_order template template0 encoding 'UTF8'
             locale_provider icu icu_locale 'en'",
        )
        .await;
    let options = seatkeeper::postgres::connect_options(&cluster_url("test_in_dictionary_order")).unwrap();
    let pool = seatkeeper::postgres::pool(options, 1);
    seatkeeper::postgres::migrate(&pool).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    let is_dictionary: bool =
        sqlx::query_scalar("select 'a' < 'B'").fetch_one(&mut *connection).await.unwrap();
    assert!(is_dictionary, "the order of this database is another");
    let ask = Ask::new(Uuid::now_v7(), "enroll", json!({"user_id": 7, "semester_id": 3, "a": 1, "B": 1}));
    assert_eq!(ask.send(&mut connection).await.unwrap_err().what(), ("RC422", "B"));
    let item = ask.item().replace("\"kind\"", "\"b\": 1, \"C\": 1, \"kind\"");
    let many = crate::support::plain_sql::send_array(&mut connection, &format!("[{item}]")).await;
    assert_eq!(many.unwrap_err().what(), ("RC422", "C"));
}
