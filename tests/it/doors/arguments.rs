//! What is not accepted: by SQLSTATE, and by the name of the field alone.

use seatkeeper_jobs::Outcome;
use serde_json::json;
use uuid::Uuid;

use super::stored;
use crate::support::TestDb;
use crate::support::plain_sql::{Ask, send_array, send_many};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Refused by both functions with this field, and not a word of the payload.
async fn refused(db: &TestDb, ask: &Ask, field: &str) {
    let mut connection = db.pool.acquire().await.unwrap();
    let one = ask.send(&mut connection).await.unwrap_err();
    assert_eq!(one.what(), ("RC422", field), "{ask:.300?}");
    assert_eq!(one.hint, "");
    let good = Ask::new(Uuid::now_v7(), "enroll", json!({"user_id": 7, "semester_id": 3}));
    let many = send_many(&mut connection, &[good, ask.clone()]).await.unwrap_err();
    assert_eq!(many.what(), ("RC422", field), "{ask:.300?}");
    assert_eq!(many.hint, "It is item 2 of the array.");
    for refusal in [one, many] {
        assert!(!refusal.message.contains("secret"), "the payload is not echoed: {refusal:?}");
    }
}

#[tokio::test]
async fn a_malformed_payload_is_refused_by_the_name_of_the_first_field_at_fault() {
    let db = TestDb::new().await;
    let cases = [
        ("enroll", r#"{"semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": null, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": "secret", "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": "7", "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": 7.5, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": 7.0, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": 1e400, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": -0, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": 0, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": -1, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": 9223372036854775808, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": true, "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": [7], "semester_id": 3}"#, "user_id"),
        ("enroll", r#"{"user_id": 7}"#, "semester_id"),
        ("enroll", r#"{"user_id": 7, "semester_id": 3, "note": "secret"}"#, "note"),
        ("enroll", r#"{"user_id": 7, "semester_id": 3, "zzz": 1, "aaa": "secret"}"#, "aaa"),
        ("enroll", r#"{"user_id": 7, "semester_id": 3, "": 1}"#, ""),
        ("enroll", "null", "payload"),
        ("enroll", "[]", "payload"),
        ("enroll", "\"secret\"", "payload"),
        ("enroll", "7", "payload"),
        ("unenroll", r#"{"user_id": 7, "semester_id": 3, "enrollment_id": null}"#, "enrollment_id"),
        ("unenroll", r#"{"user_id": 7, "semester_id": 3, "enrollment_id": 0}"#, "enrollment_id"),
        ("book", r#"{"user_id": 7}"#, "session_id"),
        ("book", r#"{"user_id": 7, "session_id": 1.5}"#, "session_id"),
        ("cancel_booking", r#"{"user_id": 7}"#, "session_id"),
        ("cancel_booking", r#"{"user_id": 7, "session_id": 1, "booking_id": 1}"#, "booking_id"),
        ("cancel_booking", r#"{"user_id": 7, "booking_id": null}"#, "booking_id"),
        ("record_attendance", r#"{"user_id": 7, "session_id": 1}"#, "status"),
        ("record_attendance", r#"{"user_id": 7, "session_id": 1, "status": "secret"}"#, "status"),
        ("cancel_semester", r#"{"semester_id": 3, "user_id": 7}"#, "user_id"),
        ("cancel_semester", r#"{"semester_id": 3, "note": null}"#, "note"),
        ("cancel_semester", r#"{"semester_id": 3, "note": 5}"#, "note"),
        ("grant_credits", r#"{"user_id": 7}"#, "amount"),
        ("grant_credits", r#"{"user_id": 7, "amount": 0}"#, "amount"),
        ("grant_credits", r#"{"user_id": 7, "amount": 1.5}"#, "amount"),
        ("grant_credits", r#"{"user_id": 7, "amount": 1000000000001}"#, "amount"),
        ("grant_credits", r#"{"user_id": 7, "amount": -1000000000001}"#, "amount"),
    ];
    for (kind, payload, field) in cases {
        refused(&db, &Ask::new(Uuid::now_v7(), kind, payload), field).await;
    }
    let long = json!({"user_id": 7, "amount": 1, "note": "é".repeat(501)});
    refused(&db, &Ask::new(Uuid::now_v7(), "grant_credits", long), "note").await;
    let long_name = json!({"user_id": 7, "amount": 1, "é".repeat(300): 1});
    refused(&db, &Ask::new(Uuid::now_v7(), "grant_credits", long_name), &"é".repeat(100)).await;
    assert_eq!(stored(&db).await, 0);
}

#[tokio::test]
async fn every_kind_is_accepted_with_the_largest_and_the_smallest_of_its_fields() {
    let db = TestDb::new().await;
    let max = i64::MAX;
    let cases = [
        ("enroll", json!({"user_id": 1, "semester_id": max})),
        ("unenroll", json!({"user_id": max, "semester_id": 1})),
        ("unenroll", json!({"user_id": max, "semester_id": 1, "enrollment_id": max})),
        ("book", json!({"user_id": max, "session_id": max})),
        ("cancel_booking", json!({"user_id": max, "session_id": max})),
        ("cancel_booking", json!({"user_id": max, "booking_id": max})),
        ("record_attendance", json!({"user_id": max, "session_id": max, "status": "excused"})),
        ("cancel_semester", json!({"semester_id": max, "note": "é".repeat(500)})),
        ("grant_credits", json!({"user_id": max, "amount": 1_000_000_000_000_i64, "note": ""})),
        ("grant_credits", json!({"user_id": max, "amount": -1_000_000_000_000_i64})),
        ("grant_credits", json!({"user_id": max, "amount": 1, "note": "\u{1f4a9}".repeat(500)})),
    ];
    let mut connection = db.pool.acquire().await.unwrap();
    for (kind, payload) in &cases {
        Ask::new(Uuid::now_v7(), kind, payload).send(&mut connection).await.unwrap();
    }
    let asks: Vec<Ask> =
        cases.iter().map(|(kind, payload)| Ask::new(Uuid::now_v7(), kind, payload)).collect();
    send_many(&mut connection, &asks).await.unwrap();
    assert_eq!(stored(&db).await, 22);
}

/// What acts on a terminal, or has a text read otherwise than it is written.
#[tokio::test]
async fn free_text_has_neither_controls_nor_directions_of_writing() {
    let db = TestDb::new().await;
    let codes = (0x01..0x20)
        .chain(0x7f..0xa0)
        .chain([0x61c, 0x200e, 0x200f])
        .chain(0x202a..0x202f)
        .chain(0x2066..0x206a);
    let acting: Vec<char> = codes.map(|code| char::from_u32(code).unwrap()).collect();
    assert_eq!(acting.len(), 76);
    for sign in acting {
        let text = format!("we{sign}b");
        let good = Ask::new(Uuid::now_v7(), "book", json!({"user_id": 7, "session_id": 3}));
        refused(&db, &Ask { producer: Some(text.clone()), ..good }, "producer").await;
        for (kind, payload) in [
            ("grant_credits", json!({"user_id": 7, "amount": 1, "note": text})),
            ("cancel_semester", json!({"semester_id": 3, "note": text})),
        ] {
            refused(&db, &Ask::new(Uuid::now_v7(), kind, payload), "note").await;
        }
    }
    // Its neighbours, and what people write.
    let mut connection = db.pool.acquire().await.unwrap();
    for text in
        [" ~\u{a0}", "\u{61b}\u{61d}\u{200d}\u{2010}\u{2029}\u{202f}\u{2065}\u{206a}", "Ünï — שלום 🎾", ""]
    {
        let payload = json!({"user_id": 7, "amount": 1, "note": text});
        let ask = Ask { producer: Some(text.into()), ..Ask::new(Uuid::now_v7(), "grant_credits", payload) };
        ask.send(&mut connection).await.unwrap();
        send_many(&mut connection, &[Ask { id: Some(Uuid::now_v7()), ..ask }]).await.unwrap();
    }
    assert_eq!(stored(&db).await, 8);
}

/// Whoever sends again what was taken before gets the receipt, and what waits is answered.
#[tokio::test]
async fn what_was_taken_with_such_a_text_before_is_answered() {
    let db = TestDb::new().await;
    db.users(1).await;
    let id = Uuid::now_v7();
    let payload = json!({"user_id": 1, "amount": 5, "note": "two\nlines"});
    db.run(&format!(
        "insert into seatkeeper.requests (request_id, kind, payload, producer, user_id)
         values ('{id}', 'grant_credits', '{payload}', E'we\x1bb', 1)"
    ))
    .await;
    db.drain().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let again = Ask { producer: Some("we\u{1b}b".into()), ..Ask::new(id, "grant_credits", &payload) };
    for receipt in [
        again.send(&mut connection).await.unwrap(),
        send_many(&mut connection, std::slice::from_ref(&again)).await.unwrap().remove(0),
    ] {
        assert!(receipt.duplicate);
        assert_eq!(receipt.outcome, Some(Outcome::Applied));
    }
}

#[tokio::test]
async fn the_other_arguments_are_refused_by_their_names() {
    let db = TestDb::new().await;
    let good = || Ask::new(Uuid::now_v7(), "enroll", json!({"user_id": 7, "semester_id": 3}));
    let text = |text: &str| Some(text.to_owned());
    for kind in ["", "Enroll", "enroll ", "no_such_kind", "'; drop table seatkeeper.requests; --"] {
        refused(&db, &Ask { kind: text(kind), ..good() }, "kind").await;
    }
    refused(&db, &Ask { kind: None, ..good() }, "kind").await;
    refused(&db, &Ask { id: None, ..good() }, "request_id").await;
    refused(&db, &Ask { payload: None, ..good() }, "payload").await;
    for instant in ["infinity", "-infinity", "10000-01-01T00:00:00Z", "0001-01-01T00:00:00Z BC"] {
        refused(&db, &Ask { run_at: text(instant), ..good() }, "run_at").await;
        refused(&db, &Ask { expires_at: text(instant), ..good() }, "expires_at").await;
    }
    refused(&db, &Ask { producer: Some("é".repeat(201)), ..good() }, "producer").await;
    for trace in [
        "",
        "x",
        &TRACE.to_uppercase(),
        &format!("{TRACE}\n"),
        &format!("{TRACE}-00"),
        &format!(" {TRACE}"),
        &TRACE.replace('0', "g"),
    ] {
        refused(&db, &Ask { traceparent: text(trace), ..good() }, "traceparent").await;
    }
    assert_eq!(stored(&db).await, 0);

    let mut connection = db.pool.acquire().await.unwrap();
    let edges = Ask {
        run_at: text("0001-01-01T00:00:00Z"),
        expires_at: text("9999-12-31T00:00:00Z"),
        producer: text(""),
        traceparent: text(TRACE),
        ..good()
    };
    edges.send(&mut connection).await.unwrap();
    send_many(&mut connection, &[Ask { id: Some(Uuid::now_v7()), ..edges }]).await.unwrap();
    assert_eq!(stored(&db).await, 2);
}

#[tokio::test]
async fn a_payload_over_8_kib_as_text_is_refused_whatever_is_in_it() {
    let db = TestDb::new().await;
    // {"user_id": 7, "semester_id": 3, "x": ""} as PostgreSQL writes it
    let around = json!({"user_id": 7, "semester_id": 3, "x": ""}).to_string().len() + 5;
    for (length, field) in [(8192, "x"), (8193, "payload"), (10_000_000, "payload")] {
        let payload = json!({"user_id": 7, "semester_id": 3, "x": "a".repeat(length - around)});
        refused(&db, &Ask::new(Uuid::now_v7(), "enroll", payload), field).await;
    }
    // White space is no part of it.
    let spacious = format!("{{\"user_id\": 7, {} \"semester_id\": 3}}", " ".repeat(100_000));
    let mut connection = db.pool.acquire().await.unwrap();
    Ask::new(Uuid::now_v7(), "enroll", spacious).send(&mut connection).await.unwrap();
    assert_eq!(stored(&db).await, 1);
}

#[tokio::test]
async fn what_is_no_jsonb_is_refused_by_postgresql_itself() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let cases = [
        ("", "22P02"),
        ("{", "22P02"),
        ("{'user_id': 7}", "22P02"),
        (r#"{"user_id": 07, "semester_id": 3}"#, "22P02"),
        (r#"{"user_id": NaN, "semester_id": 3}"#, "22P02"),
        (r#"{"user_id": 7, "semester_id": 3, "\u0000": 1}"#, "22P05"),
        (r#"{"user_id": 7, "amount": 3, "note": "\u0000"}"#, "22P05"),
        (r#"{"user_id": 7, "amount": 3, "note": "\ud800"}"#, "22P02"),
        ("{\"user_id\": 7, \"amount\": 3, \"note\": \"\0\"}", "22021"),
    ];
    for (payload, code) in cases {
        let ask = Ask::new(Uuid::now_v7(), "grant_credits", payload);
        assert_eq!(ask.send(&mut connection).await.unwrap_err().code, code, "{payload}");
        assert_eq!(send_many(&mut connection, &[ask]).await.unwrap_err().code, code, "{payload}");
    }
    assert_eq!(send_array(&mut connection, "[{]").await.unwrap_err().code, "22P02");
    assert_eq!(stored(&db).await, 0);
}
