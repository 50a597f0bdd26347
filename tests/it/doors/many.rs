//! `enqueue_many`: an array of requests, all or nothing.

use seatkeeper_jobs::{Request, postgres as door};
use serde_json::json;
use uuid::Uuid;

use super::{enroll, stored};
use crate::support::TestDb;
use crate::support::plain_sql::{Ask, send_array, send_many};

fn ask(id: Uuid, user: usize) -> Ask {
    Ask::new(id, "enroll", json!({"user_id": user, "semester_id": 1}))
}

#[tokio::test]
async fn receipts_and_arrival_are_in_the_order_of_the_array_whatever_the_ids() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    // Random IDs, so that their own order is another one.
    let ids: Vec<Uuid> = (0..200).map(|_| Uuid::new_v4()).collect();
    let asks: Vec<Ask> = ids.iter().zip(1..).map(|(id, user)| ask(*id, user)).collect();
    let receipts = send_many(&mut connection, &asks).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.request_id).collect::<Vec<_>>(), ids);
    assert!(receipts.iter().all(|receipt| !receipt.duplicate));
    let arrived: Vec<Uuid> =
        db.value("select array_agg(request_id order by seq) from seatkeeper.requests").await;
    assert_eq!(arrived, ids);
    // A later one arrives later.
    let last = Uuid::nil();
    db.ask(last, enroll(1)).await;
    let arrived: Vec<Uuid> =
        db.value("select array_agg(request_id order by seq) from seatkeeper.requests").await;
    assert_eq!(arrived.last(), Some(&last));
}

#[tokio::test]
async fn the_crate_takes_more_than_one_call_holds_and_keeps_their_order() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let requests: Vec<Request> =
        (0..door::MAX_ITEMS + 1).map(|_| Request::new(Uuid::new_v4(), enroll(7))).collect();
    let receipts = door::enqueue_many(&mut connection, &requests).await.unwrap();
    let ids: Vec<Uuid> = requests.iter().map(Request::request_id).collect();
    assert_eq!(receipts.iter().map(|receipt| receipt.request_id).collect::<Vec<_>>(), ids);
    let arrived: Vec<Uuid> =
        db.value("select array_agg(request_id order by seq) from seatkeeper.requests").await;
    assert_eq!(arrived, ids);
    assert_eq!(door::enqueue_many(&mut connection, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn an_array_is_due_and_no_more_than_10000_items() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    assert_eq!(send_array(&mut connection, "[]").await.unwrap(), []);
    for text in ["null", "{}", "7", "\"[]\""] {
        assert_eq!(
            send_array(&mut connection, text).await.unwrap_err().what(),
            ("RC422", "requests"),
            "{text}"
        );
    }
    for text in ["[null]", "[[]]", "[7]", "[\"x\"]"] {
        let refusal = send_array(&mut connection, text).await.unwrap_err();
        assert_eq!(refusal.what(), ("RC422", "requests"), "{text}");
        assert_eq!(refusal.hint, "It is item 1 of the array.");
    }
    let sql = "select count(*) from seatkeeper.enqueue_many((
        select jsonb_agg(jsonb_build_object('request_id', gen_random_uuid(), 'kind', 'enroll',
                                            'payload', '{\"user_id\": 7, \"semester_id\": 3}'::jsonb))
        from generate_series(1, %)))";
    let too_many = sqlx::query(sqlx::AssertSqlSafe(sql.replace('%', "10001")))
        .execute(&mut *connection)
        .await
        .unwrap_err();
    assert_eq!(crate::support::plain_sql::Refusal::of(&too_many).what(), ("RC422", "requests"));
    assert_eq!(db.value::<i64>(&sql.replace('%', "10000")).await, 10_000);
    let null: i64 = db
        .value("select count(*) from (select 1 where exists (select from seatkeeper.enqueue_many('[]'))) x")
        .await;
    assert_eq!(null, 0);
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_named_by_field_and_place() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let cases = [
        ("request_id", json!(7)),
        ("request_id", json!("7")),
        ("request_id", json!(null)),
        ("kind", json!(null)),
        ("kind", json!(["enroll"])),
        ("run_at", json!("not a time")),
        ("run_at", json!("2026-02-30T00:00:00Z")),
        ("run_at", json!("2026-01-01 00:00 Nowhere/Land")),
        // What PostgreSQL reads, each session as it is set or each day anew, and no other program
        ("run_at", json!("tomorrow")),
        ("run_at", json!("now")),
        ("run_at", json!("infinity")),
        ("run_at", json!("04/05/2030 08:00Z")),
        ("run_at", json!("20300405T080000Z")),
        ("run_at", json!("2030-04-05")),
        ("run_at", json!("2030-04-05T08:00:00")),
        ("run_at", json!("2030-04-05T08:00Z")),
        ("run_at", json!("2030-04-05T08:00:00+02")),
        ("run_at", json!("2030-04-05T08:00:00 Europe/Vienna")),
        ("run_at", json!(" 2030-04-05T08:00:00Z")),
        ("run_at", json!("2030-04-05T08:00:00Z\n")),
        ("run_at", json!("2030-04-05T24:00:00Z")),
        ("run_at", json!("2030-04-05T08:00:00.Z")),
        ("expires_at", json!("tomorrow")),
        ("expires_at", json!("2030-04-05 08:00:00+00")),
        ("expires_at", json!("2030-04-05T08:00:00Z BC")),
        ("expires_at", json!("2030-04-05T08:00:00+02:60")),
        ("expires_at", json!(20_300_405)),
        ("run_at", json!({"a": 1})),
        ("expires_at", json!(true)),
        ("answer_seq", json!(1)),
    ];
    for (field, value) in cases {
        let mut bad = json!({"request_id": Uuid::now_v7(), "kind": "enroll",
                             "payload": {"user_id": 7, "semester_id": 3}});
        bad[field] = value;
        let array = format!("[{}, {bad}]", ask(Uuid::now_v7(), 1).item());
        let refusal = send_array(&mut connection, &array).await.unwrap_err();
        assert_eq!(refusal.what(), ("RC422", field), "{bad}");
        assert_eq!(refusal.hint, "It is item 2 of the array.", "{bad}");
    }
    assert_eq!(stored(&db).await, 0);
}

/// The same instant, however the session is set.
#[tokio::test]
async fn instants_of_rfc_3339_are_read_alike_in_every_session() {
    let db = TestDb::new().await;
    let written = [
        "2030-04-05T08:00:00Z",
        "2030-04-05t08:00:00z",
        "2030-04-05T08:00:00.000Z",
        "2030-04-05T10:00:00+02:00",
        "2030-04-05T02:30:00.000000-05:30",
        "2030-04-05T08:00:00-00:00",
    ];
    for settings in
        ["set datestyle = 'SQL, DMY'", "set timezone = 'Asia/Kolkata'", "set datestyle = 'German'"]
    {
        let mut connection = db.pool.acquire().await.unwrap();
        sqlx::query(settings).execute(&mut *connection).await.unwrap();
        let asks: Vec<Ask> = written
            .iter()
            .map(|text| Ask {
                run_at: Some((*text).into()),
                expires_at: Some((*text).into()),
                ..ask(Uuid::now_v7(), 1)
            })
            .collect();
        send_many(&mut connection, &asks).await.unwrap();
        // Not back to the others as it is.
        connection.close().await.unwrap();
    }
    let same: bool = db
        .value(
            "select bool_and(run_at = '2030-04-05 08:00Z' and expires_at = run_at) and count(*) = 18 from seatkeeper.requests",
        )
        .await;
    assert!(same);
}

#[tokio::test]
async fn it_is_all_or_nothing() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let known = Uuid::now_v7();
    send_many(&mut connection, &[ask(known, 1)]).await.unwrap();
    let fresh = || ask(Uuid::now_v7(), 2);
    let malformed = Ask::new(Uuid::now_v7(), "enroll", json!({"user_id": 2}));
    let refusal = send_many(&mut connection, &[fresh(), malformed, fresh()]).await.unwrap_err();
    assert_eq!(
        (refusal.what(), refusal.hint.as_str()),
        (("RC422", "semester_id"), "It is item 2 of the array.")
    );
    let refusal = send_many(&mut connection, &[fresh(), fresh(), ask(known, 2)]).await.unwrap_err();
    assert_eq!(refusal.what(), ("RC409", known.to_string().as_str()));
    assert_eq!(stored(&db).await, 1);

    // Known ones among new ones are no obstacle.
    let receipts = send_many(&mut connection, &[fresh(), ask(known, 1), fresh()]).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.duplicate).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(stored(&db).await, 3);
}

#[tokio::test]
async fn the_same_id_twice_inside_is_a_duplicate_and_arrives_where_it_stood_first() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let (twice, other) = (Uuid::max(), Uuid::nil());
    let asks = [ask(twice, 1), ask(other, 2), ask(twice, 1)];
    let receipts = send_many(&mut connection, &asks).await.unwrap();
    assert_eq!(receipts.iter().map(|receipt| receipt.duplicate).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(receipts[0].enqueued_at, receipts[2].enqueued_at);
    let arrived: Vec<Uuid> =
        db.value("select array_agg(request_id order by seq) from seatkeeper.requests").await;
    assert_eq!(arrived, [twice, other]);
    assert_eq!(db.value::<i64>("select last_value from seatkeeper.duplicates_seq").await, 1);
}

#[tokio::test]
async fn the_same_id_twice_inside_with_something_else_is_a_conflict_also_when_the_second_is_malformed() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let id = Uuid::now_v7();
    let seconds = [
        ask(id, 2),
        Ask::new(id, "grant_credits", json!({"user_id": 1, "amount": 1})),
        Ask::new(id, "enroll", json!({"user_id": 1})),
        Ask::new(id, "no_such_kind", json!({"user_id": 1, "semester_id": 1})),
    ];
    for second in seconds {
        let refusal = send_many(&mut connection, &[ask(id, 1), second.clone()]).await.unwrap_err();
        assert_eq!(refusal.what(), ("RC409", id.to_string().as_str()), "{second:?}");
    }
    assert_eq!(stored(&db).await, 0);
    // As one by one: the second is known by then, and what is not compared is not validated.
    let second = Ask { producer: Some("x".repeat(500)), ..ask(id, 1) };
    let receipts = send_many(&mut connection, &[ask(id, 1), second]).await.unwrap();
    assert!(!receipts[0].duplicate && receipts[1].duplicate);
}
