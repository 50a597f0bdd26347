//! At random: every door says the same of the same request, and the database is as it was when it says no.

use proptest::prelude::*;
use seatkeeper_jobs::Request;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{as_stored, has_nul, payloads, property};
use crate::support::TestDb;
use crate::support::plain_sql::{Ask, Refusal, count, send_array, send_many};

/// What the Rust door says of a payload that is written like this: the field at fault, or `None`.
fn fault_in_rust(id: Uuid, kind: &str, payload: &str) -> Option<String> {
    let line = format!("{{\"request_id\": \"{id}\", \"kind\": \"{kind}\", \"payload\": {payload}}}");
    match Request::read_line(&line) {
        Ok(_) => None,
        Err(seatkeeper_jobs::LineError::Request(error)) => Some(error.field),
        Err(seatkeeper_jobs::LineError::Json(_)) => Some("payload".to_owned()),
    }
}

async fn is_stored(db: &TestDb, id: Uuid) -> bool {
    db.value(&format!("select exists (select from seatkeeper.requests where request_id = '{id}')")).await
}

/// Both functions say this of the request, and it is stored if and only if they say yes.
async fn assert_said(db: &TestDb, ask: &Ask, expected: Result<(), (&str, &str)>) {
    let said = |sent: Result<bool, Refusal>| match sent {
        Ok(is_duplicate) => {
            assert!(!is_duplicate);
            Ok(())
        }
        Err(refusal) => Err((refusal.code, refusal.detail)),
    };
    let expected = expected.map_err(|(code, field)| (code.to_owned(), field.to_owned()));
    let mut connection = db.pool.acquire().await.unwrap();
    let one = ask.send(&mut connection).await;
    assert_eq!(said(one.map(|receipt| receipt.duplicate)), expected, "enqueue {ask:?}");
    assert_eq!(is_stored(db, ask.id.unwrap()).await, expected.is_ok());

    let ask = Ask { id: Some(Uuid::now_v7()), ..ask.clone() };
    let many = send_many(&mut connection, std::slice::from_ref(&ask)).await;
    assert_eq!(said(many.map(|receipts| receipts[0].duplicate)), expected, "enqueue_many {ask:?}");
    assert_eq!(is_stored(db, ask.id.unwrap()).await, expected.is_ok());
}

#[test]
fn any_payload_is_accepted_by_all_doors_or_refused_by_all_with_the_same_field() {
    property(500, &payloads::any_kind_and_payload(), async |db, (kind, payload)| {
        let id = Uuid::now_v7();
        let ask = Ask::new(id, kind.as_str(), &payload);
        if has_nul(&payload) {
            assert!(fault_in_rust(id, kind.as_str(), &payload.to_string()).is_some());
            let mut connection = db.pool.acquire().await.unwrap();
            assert_eq!(ask.send(&mut connection).await.unwrap_err().code, "22P05");
            assert_eq!(send_many(&mut connection, &[ask]).await.unwrap_err().code, "22P05");
            assert!(!is_stored(db, id).await);
            return;
        }
        // Numbers with an exponent are whole numbers to PostgreSQL and not to Rust: compared as PostgreSQL writes them.
        let stored = as_stored(db, &payload.to_string()).await;
        let fault = if stored.len() > Request::MAX_PAYLOAD_BYTES {
            Some("payload".to_owned())
        } else {
            fault_in_rust(id, kind.as_str(), &stored)
        };
        assert_said(db, &ask, fault.as_deref().map_or(Ok(()), |field| Err(("RC422", field)))).await;
    });
}

/// Numbers as text, so that they may have any form.
fn any_number() -> impl Strategy<Value = String> {
    let edges = [
        "1e400",
        "-1e400",
        "1e3",
        "1E3",
        "10e-1",
        "1.0",
        "1.50",
        "0",
        "-0",
        "0e0",
        "-1",
        "1e-1",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551616",
        "9.223372036854775807e18",
        "9.223372036854775808e18",
        "1000000000000",
        "1000000000001",
        "-1000000000000",
        "-1000000000001",
        "1e12",
        "-1e12",
        "1.0e12",
        "1e13",
        "100000000000000000000e-20",
        "5e-324",
        "1.7976931348623157e308",
    ];
    prop_oneof![
        1 => prop::sample::select(edges.to_vec()).prop_map(str::to_owned),
        2 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
    ]
}

#[test]
fn any_number_is_an_id_or_an_amount_to_all_doors_or_to_none_but_for_exponents() {
    property(500, &(any_number(), prop::bool::ANY), async |db, (number, is_id)| {
        let id = Uuid::now_v7();
        let (kind, field, payload) = if is_id {
            ("enroll", "user_id", format!("{{\"user_id\": {number}, \"semester_id\": 3}}"))
        } else {
            ("grant_credits", "amount", format!("{{\"user_id\": 7, \"amount\": {number}}}"))
        };
        let stored = as_stored(db, &payload).await;
        let value = stored.split(if is_id { "\"user_id\": " } else { "\"amount\": " }).nth(1).unwrap();
        let value = value.split([',', '}']).next().unwrap();
        let is_fine = value.parse::<i64>().is_ok_and(|value| {
            if is_id { value > 0 } else { value != 0 && value.unsigned_abs() <= 1_000_000_000_000 }
        });
        assert_said(db, &Ask::new(id, kind, &payload), if is_fine { Ok(()) } else { Err(("RC422", field)) })
            .await;
        let fine_in_rust = fault_in_rust(id, kind, &payload).is_none();
        let is_exponent = number.contains(['e', 'E']);
        assert!(fine_in_rust == is_fine || (is_fine && is_exponent), "{number} in Rust: {fine_in_rust}");
    });
}

/// An item of an array with one field that is something else, missing, or one too many.
fn any_item() -> impl Strategy<Value = (String, Value)> {
    let field = prop_oneof![
        8 => "request_id|kind|payload|run_at|expires_at|producer|traceparent",
        1 => "[a-zA-Z_]{0,12}",
    ];
    let instant = prop_oneof![
        Just(json!("2026-09-01T08:00:00+02:00")),
        Just(json!("infinity")),
        Just(json!("epoch")),
        Just(json!("24:00")),
        Just(json!("9999-12-31T00:00:00.000001Z")),
        Just(json!("J2451187")),
        Just(json!("99999999-01-01")),
        Just(json!("2026-01-01 00:00+99")),
        Just(json!("2026-01-01 00:00 x/y")),
        Just(json!("allballs")),
        Just(json!(null)),
    ];
    let value =
        prop_oneof![4 => payloads::any_json(), 2 => instant, 1 => "\\PC{190,210}".prop_map(Value::from)];
    (field, value)
}

#[test]
fn any_item_is_accepted_or_refused_with_the_field_that_the_rust_door_names() {
    property(700, &any_item(), async |db, (field, value)| {
        let id = Uuid::now_v7();
        let mut item =
            json!({"request_id": id, "kind": "enroll", "payload": {"user_id": 7, "semester_id": 3}});
        item[&field] = value;
        let in_rust = Request::read(&item).map_err(|error| error.field);
        let mut connection = db.pool.acquire().await.unwrap();
        let before: i64 = count(&mut connection).await;
        let sent = send_array(&mut connection, &format!("[{item}]")).await;
        let after = count(&mut connection).await;
        match sent {
            Ok(receipts) => {
                assert_eq!((receipts.len(), after - before), (1, 1));
                // PostgreSQL reads more as a text, an instant or an ID than any other program.
                let lenient = ["request_id", "run_at", "expires_at", "producer"];
                assert!(in_rust.is_ok() || lenient.contains(&field.as_str()), "{item}: {in_rust:?}");
            }
            Err(refusal) if has_nul(&item) => assert_eq!((refusal.code.as_str(), after), ("22P05", before)),
            Err(refusal) => {
                assert_eq!(refusal.what(), ("RC422", in_rust.unwrap_err().as_str()), "{item}");
                assert_eq!(after, before);
            }
        }
    });
}

/// Texts that mean something to some program.
fn any_text() -> impl Strategy<Value = String> {
    let meant = [
        "'; drop table seatkeeper.requests; --",
        "'); select pg_terminate_backend(pg_backend_pid()); --",
        "$$; drop schema seatkeeper cascade; $$",
        "%s %n %1$s",
        "\\",
        "\\'",
        "${jndi:ldap://x}",
        "null",
        "NULL",
        "\u{feff}",
        "\u{202e}",
        "\u{0}",
        "a\u{0}b",
        "E'\\x00'",
        "enroll",
        "grant_credits",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "\u{10ffff}",
        "é",
        "e\u{301}",
    ];
    prop_oneof![1 => prop::sample::select(meant.to_vec()).prop_map(str::to_owned), 2 => any::<String>(), 1 => "\\PC{150,250}"]
}

/// The shape of the whole database and what is in its definitions.
const SHAPE: &str = "select md5((select string_agg(c.oid::regclass || c.relkind::text || c.relnatts, ',' order by c.oid) from pg_class c)
                            || (select string_agg(p.oid || md5(p.prosrc), ',' order by p.oid) from pg_proc p)
                            || (select string_agg(r.rolname, ',' order by r.oid) from pg_roles r where rolname !~ '^(role|seatkeeper)'))";

#[test]
fn any_text_is_only_ever_a_text() {
    let texts = (any_text(), prop::option::of(any_text()), prop::option::weighted(0.3, any_text()));
    property(400, &texts, async |db, (kind, producer, traceparent)| {
        let mut connection = db.pool.acquire().await.unwrap();
        let shape: String = db.value(SHAPE).await;
        let id = Uuid::now_v7();
        let payload = json!({"user_id": 7, "semester_id": 3});
        let ask = Ask { producer, traceparent, ..Ask::new(id, &kind, &payload) };
        let sent = ask.send(&mut connection).await;

        // The Rust door reads the same texts, a NUL excepted, which no client can send to PostgreSQL at all.
        let mut item = json!({"request_id": id, "kind": kind, "payload": payload});
        for (field, text) in [("producer", &ask.producer), ("traceparent", &ask.traceparent)] {
            if let Some(text) = text {
                item[field] = Value::from(text.as_str());
            }
        }
        match (sent, Request::read(&item)) {
            (Ok(_), Ok(request)) => {
                let producer: Option<String> = db
                    .value(&format!("select producer from seatkeeper.requests where request_id = '{id}'"))
                    .await;
                assert_eq!(producer.as_deref(), request.producer());
            }
            (Err(refusal), Err(_)) if has_nul(&item) => assert_eq!(refusal.code, "22021"),
            (Err(refusal), Err(error)) => assert_eq!(refusal.what(), ("RC422", error.field.as_str())),
            (sent, read) => panic!("{item}: {sent:?} in SQL, {read:?} in Rust"),
        }
        assert_eq!(is_stored(db, id).await, Request::read(&item).is_ok());
        assert_eq!(db.value::<String>(SHAPE).await, shape);
    });
}
