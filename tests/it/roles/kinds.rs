//! A right of each kind of work, asked of the account that has logged in; and what an account may have at most.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use uuid::Uuid;

use super::with_roles;
use crate::operate::cli_ends;
use crate::support::TestDb;

/// A request of each kind, and the role that it takes.
fn kinds() -> [(&'static str, &'static str, Value); 7] {
    [
        ("enroller", "enroll", json!({ "user_id": 1, "semester_id": 1 })),
        ("enroller", "unenroll", json!({ "user_id": 1, "semester_id": 1 })),
        ("booker", "book", json!({ "user_id": 1, "session_id": 1 })),
        ("booker", "cancel_booking", json!({ "user_id": 1, "session_id": 1 })),
        ("cashier", "grant_credits", json!({ "user_id": 1, "amount": 5 })),
        ("registrar", "record_attendance", json!({ "user_id": 1, "session_id": 1, "status": "present" })),
        ("registrar", "cancel_semester", json!({ "semester_id": 1 })),
    ]
}

/// What a door said: the SQLSTATE, `DETAIL` and `HINT` of a refusal.
type Answer = Result<Uuid, (String, String, String)>;

fn answer(answer: Result<sqlx::postgres::PgRow, sqlx::Error>) -> Answer {
    answer.map(|row| row.get("request_id")).map_err(|error| {
        let refused = error.as_database_error().expect("a refusal");
        let told = refused.downcast_ref::<sqlx::postgres::PgDatabaseError>();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        (told.code().to_owned(), text(told.detail()), text(told.hint()))
    })
}

async fn ask(connection: &mut PgConnection, id: Uuid, kind: &str, payload: &Value) -> Answer {
    let asked = sqlx::query("select request_id from seatkeeper.enqueue($1, $2, $3)");
    answer(asked.bind(id).bind(kind).bind(payload).fetch_one(connection).await)
}

async fn ask_many(connection: &mut PgConnection, items: &Value) -> Answer {
    answer(
        sqlx::query("select request_id from seatkeeper.enqueue_many($1)")
            .bind(items)
            .fetch_one(connection)
            .await,
    )
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn queued(db: &TestDb) -> i64 {
    db.value("select count(*) from seatkeeper.requests").await
}

#[tokio::test]
async fn each_kind_takes_its_right_and_a_producer_has_them_all() {
    let db = with_roles().await;
    for role in ["enroller", "booker", "cashier", "registrar", "producer"] {
        let url = db.account(&format!("kinds_{role}"), &[&format!("seatkeeper_{role}")]).await;
        let mut connection = connect(&url).await;
        for (takes, kind, payload) in kinds() {
            let before = queued(&db).await;
            let (one, many) = (Uuid::now_v7(), Uuid::now_v7());
            let single = ask(&mut connection, one, kind, &payload).await;
            // Beside one that it may ask for: all or nothing.
            let (_, its, its_payload) =
                kinds().into_iter().find(|(takes, ..)| *takes == role).unwrap_or(kinds()[0].clone());
            let items = json!([
                { "request_id": Uuid::now_v7(), "kind": its, "payload": its_payload },
                { "request_id": many, "kind": kind, "payload": payload }
            ]);
            let both = ask_many(&mut connection, &items).await;
            if role == takes || role == "producer" {
                assert_eq!(single, Ok(one), "{role} {kind}");
                assert!(both.is_ok(), "{role} {kind}: {both:?}");
                assert_eq!(queued(&db).await, before + 3);
            } else {
                let (code, field, hint) = single.unwrap_err();
                assert_eq!((code.as_str(), field.as_str()), ("42501", "kind"), "{role} {kind}");
                assert!(hint.contains("may_"), "{hint}");
                let (code, field, hint) = both.unwrap_err();
                assert_eq!((code.as_str(), field.as_str()), ("42501", "kind"), "{role} {kind}");
                assert!(hint.contains("item 2"), "{hint}");
                assert_eq!(queued(&db).await, before, "{role} {kind}: nothing is half done");
            }
        }
        // What is no kind is no matter of rights.
        let (code, field, _) = ask(&mut connection, Uuid::now_v7(), "enrol", &json!({})).await.unwrap_err();
        assert_eq!((code.as_str(), field.as_str()), ("RC422", "kind"));
        connection.close().await.unwrap();
    }
    // It is the account that counts, not the role that it has taken on beside: a label says nothing, and neither does a payload.
    let accounts: Vec<String> =
        sqlx::query_scalar("select distinct enqueued_by from seatkeeper.requests order by 1")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(
        accounts,
        ["kinds_booker", "kinds_cashier", "kinds_enroller", "kinds_producer", "kinds_registrar"]
    );
}

#[tokio::test]
async fn an_account_that_inherits_nothing_acts_as_the_role_that_it_takes_on() {
    let db = with_roles().await;
    let url = db.account("kinds_noinherit", &["seatkeeper_booker"]).await;
    db.run("alter role kinds_noinherit noinherit").await;
    if db.value::<i32>("select current_setting('server_version_num')::integer").await >= 160_000 {
        // There it is said of each membership.
        db.run("grant seatkeeper_booker to kinds_noinherit with inherit false").await;
    }
    let mut connection = connect(&url).await;
    let (_, book, payload) = kinds()[2].clone();
    let (code, ..) = ask(&mut connection, Uuid::now_v7(), book, &payload).await.unwrap_err();
    assert_eq!(code, "42501");
    connection.close().await.unwrap();
    let mut connection = connect(&format!("{url}&options[role]=seatkeeper_booker")).await;
    let id = Uuid::now_v7();
    assert_eq!(ask(&mut connection, id, book, &payload).await, Ok(id));
    let (_, enroll, payload) = kinds()[0].clone();
    let (code, field, _) = ask(&mut connection, Uuid::now_v7(), enroll, &payload).await.unwrap_err();
    assert_eq!((code.as_str(), field.as_str()), ("42501", "kind"));
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_cashier_grants_up_to_what_the_owner_has_set() {
    let db = with_roles().await;
    let url = db.account("limits_cashier", &["seatkeeper_cashier"]).await;
    let mut cashier = connect(&url).await;
    let grant = |amount: i64| json!({ "user_id": 1, "amount": amount });
    let known = Uuid::now_v7();
    assert_eq!(ask(&mut cashier, known, "grant_credits", &grant(1_000)).await, Ok(known), "off by default");
    db.run(
        "insert into seatkeeper.account_limits (account, max_amount) values ('*', 5), ('limits_cashier', 100)",
    )
    .await;
    for amount in [100, -100, 1] {
        let id = Uuid::now_v7();
        assert_eq!(ask(&mut cashier, id, "grant_credits", &grant(amount)).await, Ok(id));
    }
    let before = queued(&db).await;
    for amount in [101, -101, 1_000_000_000_000] {
        let (code, field, hint) =
            ask(&mut cashier, Uuid::now_v7(), "grant_credits", &grant(amount)).await.unwrap_err();
        assert_eq!((code.as_str(), field.as_str()), ("42501", "amount"), "{hint}");
        let items = json!([
            { "request_id": Uuid::now_v7(), "kind": "grant_credits", "payload": grant(1) },
            { "request_id": Uuid::now_v7(), "kind": "grant_credits", "payload": grant(amount) }
        ]);
        let (code, field, hint) = ask_many(&mut cashier, &items).await.unwrap_err();
        assert_eq!((code.as_str(), field.as_str()), ("42501", "amount"));
        assert!(hint.contains("item 2"), "{hint}");
    }
    assert_eq!(queued(&db).await, before);
    // What is not well-formed is that, and what was asked before has its receipt, whatever the limit is now.
    let (code, field, _) =
        ask(&mut cashier, Uuid::now_v7(), "grant_credits", &json!({ "user_id": 1, "amount": "9999" }))
            .await
            .unwrap_err();
    assert_eq!((code.as_str(), field.as_str()), ("RC422", "amount"));
    assert_eq!(ask(&mut cashier, known, "grant_credits", &grant(1_000)).await, Ok(known));
    let again = json!([{ "request_id": known, "kind": "grant_credits", "payload": grant(1_000) }]);
    assert_eq!(ask_many(&mut cashier, &again).await, Ok(known));
    // Who has no row of its own has that of all others.
    let mut other = connect(&db.account("limits_other", &["seatkeeper_producer"]).await).await;
    assert!(ask(&mut other, Uuid::now_v7(), "grant_credits", &grant(5)).await.is_ok());
    let (_, field, _) = ask(&mut other, Uuid::now_v7(), "grant_credits", &grant(6)).await.unwrap_err();
    assert_eq!(field, "amount");
    cashier.close().await.unwrap();
    other.close().await.unwrap();
}

#[tokio::test]
async fn an_account_at_its_limit_of_waiting_requests_is_refused_and_nobody_else_is() {
    let db = with_roles().await;
    db.users(9).await;
    db.semester(1, None, 0).await;
    let url = db.account("waiting_flood", &["seatkeeper_producer"]).await;
    let mut flood = connect(&url).await;
    let enroll = |user: i64| json!({ "user_id": user, "semester_id": 1 });
    let item = |id: Uuid, user: i64| json!({ "request_id": id, "kind": "enroll", "payload": enroll(user) });
    let first = Uuid::now_v7();
    assert_eq!(ask(&mut flood, first, "enroll", &enroll(1)).await, Ok(first), "off by default");
    db.run("insert into seatkeeper.account_limits (account, max_waiting) values ('waiting_flood', 3)").await;

    // It counts what is asked from then on: one, and two for next year at once.
    assert!(ask(&mut flood, Uuid::now_v7(), "enroll", &enroll(2)).await.is_ok());
    let mut later = json!([item(Uuid::now_v7(), 3), item(Uuid::now_v7(), 4)]);
    later[0]["run_at"] = "2099-01-01T00:00:00Z".into();
    assert!(ask_many(&mut flood, &later).await.is_ok());
    let before = queued(&db).await;
    let (code, most, hint) = ask(&mut flood, Uuid::now_v7(), "enroll", &enroll(5)).await.unwrap_err();
    assert_eq!((code.as_str(), most.as_str()), ("RC429", "3"));
    assert!(hint.contains("same ID"), "{hint}");
    let (code, ..) =
        ask_many(&mut flood, &json!([item(first, 1), item(Uuid::now_v7(), 5)])).await.unwrap_err();
    assert_eq!(code, "RC429");
    assert_eq!(queued(&db).await, before, "refused is not half in");
    assert_eq!(ask(&mut flood, first, "enroll", &enroll(1)).await, Ok(first), "a known one has its receipt");
    let text = cli_ends(&url, &["enqueue", "enroll", "--user", "5", "--semester", "1"], 3).await;
    assert!(text.contains("as many requests waiting as it may have: 3"), "{text}");

    // Others go on, and so does this one when some of its requests are answered.
    let mut other = connect(&db.account("waiting_other", &["seatkeeper_enroller"]).await).await;
    for user in 5..9 {
        assert!(ask(&mut other, Uuid::now_v7(), "enroll", &enroll(user)).await.is_ok());
    }
    db.drain().await;
    assert!(ask_many(&mut flood, &json!([item(Uuid::now_v7(), 5), item(Uuid::now_v7(), 6)])).await.is_ok());
    let (code, ..) = ask(&mut flood, Uuid::now_v7(), "enroll", &enroll(7)).await.unwrap_err();
    assert_eq!(code, "RC429", "one is for next year");
    // Nothing at all.
    db.run("update seatkeeper.account_limits set max_waiting = 0").await;
    db.drain().await;
    let (code, most, _) = ask(&mut flood, Uuid::now_v7(), "enroll", &enroll(7)).await.unwrap_err();
    assert_eq!((code.as_str(), most.as_str()), ("RC429", "0"));
    flood.close().await.unwrap();
    other.close().await.unwrap();
    db.assert_follows().await;
}

#[tokio::test]
async fn an_upgrade_takes_nothing_from_who_works_until_the_roles_are_applied() {
    let db = TestDb::empty().await;
    crate::migrations::apply_first(&db, 19).await;
    let [producer, reader, operator] = ["upgraded_producer", "upgraded_reader", "upgraded_operator"];
    let mut urls = Vec::new();
    for account in [producer, reader, operator] {
        urls.push(db.account(account, &[]).await);
        db.run(&format!("grant usage on schema seatkeeper to {account}")).await;
    }
    // As the roles had them.
    db.run(&format!(
        "grant execute on function seatkeeper.enqueue, seatkeeper.get_receipt to {producer};
         grant select on all tables in schema seatkeeper to {reader}, {operator};
         grant execute on function seatkeeper.get_receipt to {reader};
         grant update (status) on seatkeeper.requests to {operator};
         grant insert on seatkeeper.operator_actions, seatkeeper.invariant_results to {operator}"
    ))
    .await;
    seatkeeper::postgres::migrate(&db.pool).await.unwrap();
    // The chores' storage is made beside our migrations.
    db.run(&format!("grant usage on schema apalis to {operator}; grant select on all tables in schema apalis to {operator}")).await;

    let mut asked = Vec::new();
    let mut connection = connect(&urls[0]).await;
    for (_, kind, payload) in kinds() {
        let id = Uuid::now_v7();
        assert_eq!(ask(&mut connection, id, kind, &payload).await, Ok(id), "{kind}");
        asked.push(id);
    }
    connection.close().await.unwrap();
    let mut connection = connect(&urls[1]).await;
    let seen: Option<String> = sqlx::query_scalar("select kind from seatkeeper.get_receipt($1)")
        .bind(asked[0])
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(seen.as_deref(), Some("enroll"));
    connection.close().await.unwrap();
    cli_ends(&urls[2], &["requests", "cancel", &asked[0].to_string(), "--reason", "x"], 0).await;
    cli_ends(&urls[2], &["check", "--only", "INV-01"], 0).await;
}
