//! What is too large, too deep or too long, at the doors: a refusal, and the connection goes on.

use serde_json::json;
use uuid::Uuid;

use crate::support::TestDb;
use crate::support::plain_sql::{Ask, count, send_array, send_many};

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn nested_objects(depth: usize) -> String {
    format!("{}1{}", "{\"a\": ".repeat(depth), "}".repeat(depth))
}

#[tokio::test]
async fn what_is_too_large_or_too_deep_is_refused_and_nothing_of_it_is_stored() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let digits = "9".repeat(100_000);
    // Beyond the depth of its stack, or the length of its numbers, PostgreSQL itself refuses to read it.
    let cases = [
        ("a text of 10 MB", json!("x".repeat(10_000_000)).to_string(), &["RC422"][..]),
        ("10,000 deep", nested(10_000), &["RC422", "54001"]),
        ("10,000 objects deep", nested_objects(10_000), &["RC422", "54001"]),
        ("1,000,000 deep", nested(1_000_000), &["54001"]),
        ("100,000 digits", digits, &["RC422"]),
        ("an exponent that numeric does not hold", "1e200000".to_owned(), &["22003"]),
        ("1,000,000 items", format!("[{}1]", "1,".repeat(999_999)), &["RC422"]),
    ];
    for (what, value, codes) in &cases {
        for payload in [format!("{{\"user_id\": 7, \"semester_id\": 3, \"x\": {value}}}"), value.clone()] {
            let ask = Ask::new(Uuid::now_v7(), "enroll", &payload);
            for refusal in [
                ask.send(&mut connection).await.unwrap_err(),
                send_many(&mut connection, std::slice::from_ref(&ask)).await.unwrap_err(),
            ] {
                assert!(codes.contains(&refusal.code.as_str()), "{what}: {refusal:?}");
                assert!(refusal.code != "RC422" || refusal.detail == "payload", "{what}: {}", refusal.detail);
                assert!(refusal.message.len() < 1000, "{what} is not echoed");
            }
        }
        let array = send_array(&mut connection, &format!("[{value}]")).await.unwrap_err();
        assert!(codes.contains(&array.code.as_str()), "{what}: {array:?}");
        let field = if value.starts_with('{') { "request_id" } else { "requests" };
        assert!(array.code != "RC422" || array.detail == field, "{what}: {}", array.detail);
    }
    assert_eq!(count(&mut connection).await, 0);
    let good = Ask::new(Uuid::now_v7(), "enroll", json!({"user_id": 7, "semester_id": 3}));
    good.send(&mut connection).await.unwrap();
}

#[tokio::test]
async fn texts_of_10_mb_as_the_other_arguments_are_refused_by_name() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let long = Some("é".repeat(5_000_000));
    let good = || Ask::new(Uuid::now_v7(), "enroll", json!({"user_id": 7, "semester_id": 3}));
    let cases = [
        ("kind", Ask { kind: long.clone(), ..good() }),
        ("producer", Ask { producer: long.clone(), ..good() }),
        ("traceparent", Ask { traceparent: long.clone(), ..good() }),
    ];
    for (field, ask) in cases {
        assert_eq!(ask.send(&mut connection).await.unwrap_err().what(), ("RC422", field));
        assert_eq!(send_many(&mut connection, &[ask]).await.unwrap_err().what(), ("RC422", field));
    }
    let surplus = good().item().replace("\"kind\"", &format!("\"{}\": 1, \"kind\"", "é".repeat(5_000_000)));
    let refusal = send_array(&mut connection, &format!("[{surplus}]")).await.unwrap_err();
    assert_eq!(refusal.what(), ("RC422", "é".repeat(100).as_str()));
    assert_eq!(count(&mut connection).await, 0);
}
