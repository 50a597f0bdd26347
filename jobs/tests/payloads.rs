//! Payloads and requests of others: accepted or refused, and the refusal names the field.

mod support;

use proptest::prelude::*;
use seatkeeper_jobs::{Job, Kind, LineError, Note, Request};
use serde_json::{Value, json};

/// A payload of the kind with every field that can stand together.
fn full(kind: Kind) -> Value {
    match kind {
        Kind::Enroll => json!({"user_id": 7, "semester_id": 3}),
        Kind::Unenroll => json!({"user_id": 7, "semester_id": 3, "enrollment_id": 41}),
        Kind::Book | Kind::CancelBooking => json!({"user_id": 7, "session_id": 5}),
        Kind::RecordAttendance => json!({"user_id": 7, "session_id": 5, "status": "late"}),
        Kind::CancelSemester => json!({"semester_id": 3, "note": "why"}),
        Kind::GrantCredits => json!({"user_id": 7, "amount": 1000, "note": "why"}),
    }
}

/// The field that the refusal names; empty when it is accepted.
fn fault(kind: Kind, payload: &Value) -> String {
    Job::read(kind, payload).err().map(|error| error.field).unwrap_or_default()
}

fn never_an_id() -> Vec<Value> {
    vec![
        Value::Null,
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(9_223_372_036_854_775_808_u64),
        json!(u64::MAX),
        json!(1.5),
        json!(1.0),
        json!(1e300),
        json!("7"),
        json!(""),
        json!(true),
        json!([7]),
        json!({"id": 7}),
        json!("x".repeat(10_000_000)),
    ]
}

#[test]
fn a_full_payload_is_read() {
    for &kind in Kind::ALL {
        assert_eq!(fault(kind, &full(kind)), "");
        assert_eq!(Job::read(kind, &full(kind)).map(|job| job.payload()), Ok(full(kind)));
    }
}

#[test]
fn a_missing_field_is_named() {
    for &kind in Kind::ALL {
        for &field in support::fields(kind) {
            let mut payload = full(kind);
            payload.as_object_mut().expect("an object").remove(field);
            let optional = matches!(field, "note" | "enrollment_id" | "booking_id");
            assert_eq!(fault(kind, &payload), if optional { "" } else { field }, "{kind}");
        }
    }
}

#[test]
fn a_mistyped_field_is_named() {
    for &kind in Kind::ALL {
        for &field in support::fields(kind) {
            for value in never_an_id() {
                let mut payload = full(kind);
                payload[field] = value.clone();
                if field == "booking_id" {
                    payload.as_object_mut().expect("an object").remove("session_id");
                }
                let fits = (field == "amount" && value == json!(-1))
                    || (field == "note" && value.as_str().is_some_and(|text| text.len() <= 500));
                assert_eq!(fault(kind, &payload), if fits { "" } else { field }, "{kind}");
            }
        }
    }
}

#[test]
fn a_surplus_field_is_named() {
    for &kind in Kind::ALL {
        for surplus in ["", "User_id", "userid", "zzz", "a", "kind", "\u{0}"] {
            let mut payload = full(kind);
            payload[surplus] = json!(1);
            assert_eq!(Job::read(kind, &payload).expect_err("surplus").field, surplus, "{kind}");
        }
        let mut payload = full(kind);
        payload["zzz"] = json!(1);
        payload["aaa"] = json!(null);
        assert_eq!(fault(kind, &payload), "aaa", "the first of them in the order of the alphabet");
        payload["aaa".repeat(1000)] = json!(null);
        payload.as_object_mut().expect("an object").remove("aaa");
        assert_eq!(fault(kind, &payload), "a".repeat(100), "a long name is cut");
    }
}

#[test]
fn what_is_no_object_is_named_payload() {
    for &kind in Kind::ALL {
        for payload in [json!(null), json!([]), json!("{}"), json!(7), json!(1.5), json!(true)] {
            assert_eq!(fault(kind, &payload), "payload", "{kind}");
        }
    }
}

#[test]
fn edges_are_inside() {
    let accepted = [
        (Kind::Enroll, json!({"user_id": 1, "semester_id": i64::MAX})),
        (Kind::GrantCredits, json!({"user_id": 1, "amount": 1_000_000_000_000_i64})),
        (Kind::GrantCredits, json!({"user_id": 1, "amount": -1_000_000_000_000_i64})),
        (Kind::GrantCredits, json!({"user_id": 1, "amount": 1, "note": "é".repeat(500)})),
        (Kind::CancelSemester, json!({"semester_id": 1, "note": ""})),
        (Kind::CancelBooking, json!({"user_id": 1, "booking_id": 1})),
    ];
    for (kind, payload) in accepted {
        assert_eq!(fault(kind, &payload), "", "{kind} {payload}");
    }
    let refused = [
        (Kind::GrantCredits, json!({"user_id": 1, "amount": 1_000_000_000_001_i64}), "amount"),
        (Kind::GrantCredits, json!({"user_id": 1, "amount": -1_000_000_000_001_i64}), "amount"),
        (Kind::GrantCredits, json!({"user_id": 1, "amount": i64::MIN}), "amount"),
        (Kind::GrantCredits, json!({"user_id": 1, "amount": 1, "note": "é".repeat(501)}), "note"),
        (Kind::GrantCredits, json!({"user_id": 1, "amount": 1, "note": "a\u{0}"}), "note"),
        (Kind::CancelBooking, json!({"user_id": 1, "booking_id": 1, "session_id": 1}), "booking_id"),
        (Kind::CancelBooking, json!({"user_id": 1, "booking_id": null, "session_id": 1}), "booking_id"),
        (Kind::CancelBooking, json!({"user_id": 1}), "session_id"),
        (Kind::Enroll, json!({"user_id": 0, "semester_id": 0, "aaa": 0}), "user_id"),
    ];
    for (kind, payload, field) in refused {
        assert_eq!(fault(kind, &payload), field, "{kind} {payload}");
    }
}

fn item() -> Value {
    json!({"request_id": "01a20cb7-4aa3-772d-b577-96ede29c98ad", "kind": "enroll",
           "payload": {"user_id": 7, "semester_id": 3}})
}

/// The field that the refusal of a request names; empty when it is accepted.
fn request_fault(item: &Value) -> String {
    Request::read(item).err().map(|error| error.field).unwrap_or_default()
}

#[test]
fn a_request_is_refused_by_the_field_at_fault() {
    assert_eq!(request_fault(&item()), "");
    for item in [json!(null), json!([]), json!("x"), json!(1e300)] {
        assert_eq!(request_fault(&item), "requests");
    }
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let cases = [
        ("request_id", json!(null), false),
        ("request_id", json!(7), false),
        ("request_id", json!("7"), false),
        ("request_id", json!("01A20CB74AA3772DB57796EDE29C98AD"), true),
        ("request_id", json!("{01a20cb7-4aa3-772d-b577-96ede29c98ad}"), false),
        ("request_id", json!("urn:uuid:01a20cb7-4aa3-772d-b577-96ede29c98ad"), false),
        ("kind", json!(null), false),
        ("kind", json!("Enroll"), false),
        ("kind", json!(1), false),
        ("payload", json!(null), false),
        ("payload", json!("{}"), false),
        ("payload", json!({"user_id": 7, "semester_id": 3, "x": "x".repeat(8200)}), false),
        ("run_at", json!(null), true),
        ("run_at", json!("2026-09-01T08:00:00+02:00"), true),
        ("run_at", json!("0001-01-01T00:00:00Z"), true),
        ("run_at", json!("9999-12-31T00:00:00.0000004Z"), true),
        ("run_at", json!("9999-12-31T00:00:00.0000009Z"), false),
        ("run_at", json!("9999-12-31T00:00:00.000001Z"), false),
        ("run_at", json!("0001-01-01T00:00:00+00:01"), false),
        ("run_at", json!("tomorrow"), false),
        ("run_at", json!("infinity"), false),
        ("run_at", json!(1_788_249_600), false),
        ("expires_at", json!("2026-09-01T08:00:60Z"), true),
        ("expires_at", json!("2026-02-30T08:00:00Z"), false),
        ("expires_at", json!("+12026-09-01T08:00:00Z"), false),
        ("producer", json!(null), true),
        ("producer", json!(""), true),
        ("producer", json!("é".repeat(200)), true),
        ("producer", json!("é".repeat(201)), false),
        ("producer", json!("a\u{0}"), false),
        ("producer", json!("a\u{1b}[2J"), false),
        ("producer", json!("a\u{9b}"), false),
        ("producer", json!("\u{2067}a"), false),
        ("producer", json!("\u{200d}\u{a0}\u{2029}"), true),
        ("producer", json!(5), false),
        ("traceparent", json!(trace), true),
        ("traceparent", json!(trace.to_uppercase()), false),
        ("traceparent", json!(format!("{trace}\n")), false),
        ("traceparent", json!(format!("{trace}-00")), false),
        ("traceparent", json!(""), false),
        ("answer_seq", json!(1), false),
    ];
    for (field, value, fits) in cases {
        let mut item = item();
        item[field] = value;
        assert_eq!(request_fault(&item), if fits { "" } else { field }, "{item:.200}");
    }
    for field in ["request_id", "kind", "payload"] {
        let mut item = item();
        item.as_object_mut().expect("an object").remove(field);
        assert_eq!(request_fault(&item), field);
    }
    let mut in_the_payload = item();
    in_the_payload["payload"]["semester_id"] = json!(0);
    assert_eq!(request_fault(&in_the_payload), "semester_id");
}

#[test]
fn a_line_that_is_no_request_is_an_error_and_no_panic() {
    let with_user = |user: &str| item().to_string().replace(":7", &format!(":{user}"));
    assert!(Request::read_line(&with_user("7")).is_ok());
    let digits = "9".repeat(100_000);
    for number in
        ["1e400", "-1e400", "1e308", "1e-400", "7.0", "-0", "9223372036854775808", &digits, "NaN", "07"]
    {
        assert!(Request::read_line(&with_user(number)).is_err(), "{number:.40}");
    }
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for line in ["", " ", "{", "null", "{}", "[{}]", "\u{feff}{}", "\"\\ud800\"", &deep, &with_user(&deep)] {
        assert!(Request::read_line(line).is_err(), "{line:.40}");
    }
    assert!(matches!(Request::read_line("{"), Err(LineError::Json(_))));
    assert!(
        matches!(Request::read_line("{}"), Err(LineError::Request(error)) if error.field == "request_id")
    );
}

#[test]
fn the_far_ends_of_time_are_refused_without_a_panic() {
    let request = || Request::read(&item()).expect("a request");
    for instant in [chrono::DateTime::<chrono::Utc>::MIN_UTC, chrono::DateTime::<chrono::Utc>::MAX_UTC] {
        assert_eq!(request().with_run_at(instant).expect_err("far away").field, "run_at");
        assert_eq!(request().with_expires_at(instant).expect_err("far away").field, "expires_at");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A refusal names a field that is there, or one that should be.
    #[test]
    fn any_payload_is_read_whole_or_refused_by_a_field((kind, payload) in support::any_kind_and_payload()) {
        match Job::read(kind, &payload) {
            Ok(job) => prop_assert_eq!(job.payload(), payload),
            Err(error) => {
                let known = error.field == "payload" || support::fields(kind).contains(&error.field.as_str());
                prop_assert!(known || payload.get(&error.field).is_some(), "{} {}: {}", kind, payload, error);
            }
        }
    }

    #[test]
    fn any_json_as_a_request_is_no_panic(value in support::any_json(), field in "request_id|kind|payload|run_at|producer") {
        let mut item = item();
        item[field] = value.clone();
        // Both are answers; that they come at all is what is shown.
        let _ = (Request::read(&item), Request::read(&value));
    }

    #[test]
    fn any_text_as_a_line_is_no_panic(line in any::<String>()) {
        prop_assert!(Request::read_line(&line).is_err());
    }

    /// What is written is read back, to the microsecond.
    #[test]
    fn a_request_survives_its_line(
        (kind, payload) in support::any_kind_and_payload(),
        seconds in -62_135_596_800_i64..253_402_214_400,
        nanoseconds in 0_u32..1_000_000_000,
        producer in "\\PC{0,200}",
    ) {
        let Ok(job) = Job::read(kind, &payload) else { return Ok(()) };
        // What was taken before with another note than doors take now is still read, but not sent again as new.
        let is_taken = payload.get("note").and_then(Value::as_str).is_none_or(|note| Note::new(note).is_ok());
        let instant = chrono::DateTime::from_timestamp(seconds, nanoseconds).expect("within the years 1 to 9999");
        let request = Request::new(uuid::Uuid::now_v7(), job)
            .with_run_at(instant)
            .and_then(|request| request.with_expires_at(instant))
            .and_then(|request| request.with_producer(producer))
            .expect("all within bounds");
        let line = serde_json::to_string(&request).expect("a request is always JSON");
        prop_assert_eq!(Request::read_line(&line).ok(), is_taken.then_some(request));
    }
}
