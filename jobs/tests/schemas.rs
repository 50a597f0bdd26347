//! `schemas/` is generated, says what `golden/` shows, and agrees with the code that reads payloads.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use jsonschema::Validator;
use proptest::prelude::*;
use seatkeeper_jobs::{Job, Kind, Note, schema};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn Error>>;

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(path: &Path) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The validator of a file of `schemas/`; formats are checked too.
fn validator(name: &str) -> Result<Validator, Box<dyn Error>> {
    let schema = read(&directory("schemas").join(name))?;
    jsonschema::meta::validate(&schema).map_err(|error| format!("{name} is no schema: {error}"))?;
    Ok(jsonschema::options().should_validate_formats(true).build(&schema)?)
}

fn golden(kind: &str, prefix: &str) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory("golden").join(kind))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            found.push(read(&path)?);
        }
    }
    Ok(found)
}

#[test]
fn the_files_are_those_that_the_types_make() -> Outcome {
    let mut made: BTreeMap<String, Value> = schema::documents().into_iter().collect();
    for entry in fs::read_dir(directory("schemas"))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let document = made.remove(&name).ok_or_else(|| format!("nothing makes schemas/{name}"))?;
        assert_eq!(
            read(&path)?,
            document,
            "schemas/{name} is out of date: cargo run -p seatkeeper-jobs --features schema --example schemas"
        );
    }
    assert!(made.is_empty(), "missing in schemas/: {:?}", made.keys());
    Ok(())
}

#[test]
fn they_accept_what_golden_shows() -> Outcome {
    for &kind in Kind::ALL {
        for what in ["payload", "result"] {
            let validator = validator(&format!("{kind}.{what}.json"))?;
            for value in golden(kind.as_str(), what)? {
                validator.validate(&value).map_err(|error| format!("{kind} {what} {value}: {error}"))?;
            }
        }
    }
    for what in ["request", "receipt"] {
        let validator = validator(&format!("{what}.json"))?;
        for value in golden(what, "")? {
            validator.validate(&value).map_err(|error| format!("{what} {value}: {error}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_result_without_one_of_its_fields_is_none() -> Outcome {
    for &kind in Kind::ALL {
        let validator = validator(&format!("{kind}.result.json"))?;
        for value in golden(kind.as_str(), "result")? {
            for field in value.as_object().ok_or("a result is an object")?.keys() {
                let mut less = value.clone();
                less.as_object_mut().ok_or("a result is an object")?.remove(field);
                assert!(!validator.is_valid(&less), "{kind}: {field} may be missing");
            }
        }
    }
    Ok(())
}

#[test]
fn they_refuse_what_is_no_payload() -> Outcome {
    let bad = [
        (Kind::Enroll, json!({})),
        (Kind::Enroll, json!({"user_id": 7})),
        (Kind::Enroll, json!({"user_id": "7", "semester_id": 3})),
        (Kind::Enroll, json!({"user_id": 0, "semester_id": 3})),
        (Kind::Enroll, json!({"user_id": 9_223_372_036_854_775_808_u64, "semester_id": 3})),
        (Kind::Enroll, json!({"user_id": 7, "semester_id": 3, "note": "surplus"})),
        (Kind::Unenroll, json!({"user_id": 7, "semester_id": 3, "enrollment_id": null})),
        (Kind::Book, json!([7, 5])),
        (Kind::CancelBooking, json!({"user_id": 7})),
        (Kind::CancelBooking, json!({"user_id": 7, "session_id": 5, "booking_id": 11})),
        (Kind::CancelBooking, json!({"user_id": 7, "session_id": 5, "surplus": 1})),
        (Kind::CancelBooking, json!({"user_id": 7, "session_id": 5, "booking_id": null})),
        (Kind::RecordAttendance, json!({"user_id": 7, "session_id": 5, "status": "Present"})),
        (Kind::CancelSemester, json!({"semester_id": 3, "note": null})),
        (Kind::CancelSemester, json!({"semester_id": 3, "note": "é".repeat(501)})),
        (Kind::CancelSemester, json!({"semester_id": 3, "user_id": 7})),
        (Kind::GrantCredits, json!({"user_id": 7, "amount": 0})),
        (Kind::GrantCredits, json!({"user_id": 7, "amount": 1_000_000_000_001_i64})),
        (Kind::GrantCredits, json!({"user_id": 7, "amount": 1.5})),
        (Kind::GrantCredits, json!({"user_id": 7, "amount": 1, "note": "a\u{0}b"})),
        (Kind::GrantCredits, json!({"user_id": 7, "amount": 1, "note": "a\nb"})),
        (Kind::CancelSemester, json!({"semester_id": 3, "note": "\u{202e}rain"})),
    ];
    let request = validator("request.json")?;
    for (kind, payload) in bad {
        assert!(!validator(&format!("{kind}.payload.json"))?.is_valid(&payload), "{kind} {payload}");
        let item = json!({"request_id": uuid::Uuid::nil(), "kind": kind, "payload": payload});
        assert!(!request.is_valid(&item), "{item}");
    }
    Ok(())
}

/// What JSON Schema calls an integer and we do not: `1.0` and `1e3`.
fn holds_whole_float(payload: &Value) -> bool {
    payload.as_object().is_some_and(|fields| {
        fields
            .values()
            .any(|value| value.is_f64() && value.as_f64().is_some_and(|number| number.fract() == 0.0))
    })
}

#[test]
fn schema_and_code_accept_the_same_payloads() -> Outcome {
    let mut validators = BTreeMap::new();
    for &kind in Kind::ALL {
        validators.insert(kind, validator(&format!("{kind}.payload.json"))?);
    }
    let config = ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() };
    let accepted = AtomicU32::new(0);
    proptest!(config, |((kind, payload) in support::any_kind_and_payload())| {
        // A job that was taken before is read whatever its note is.
        let read = Job::read(kind, &payload).map_err(|error| error.field);
        let note = payload.get("note").and_then(Value::as_str).is_none_or(|note| Note::new(note).is_ok());
        let read = if note { read.map(|_| ()) } else { Err("note".to_owned()) };
        if !holds_whole_float(&payload) {
            prop_assert_eq!(validators[&kind].is_valid(&payload), read.is_ok(), "{} {}: {:?}", kind, payload, read);
        }
        accepted.fetch_add(u32::from(read.is_ok()), Ordering::Relaxed);
    });
    let accepted = accepted.into_inner();
    assert!((400..3600).contains(&accepted), "{accepted} of 4000 were accepted: too lopsided to mean much");
    Ok(())
}
