//! The contract as JSON Schema (draft 2020-12), for producers in other languages.
//!
//! A payload schema accepts what [`crate::Job::read`] accepts, with one exception: to JSON Schema `1.0` and `1e3` are
//! integers, here they are refused. (PostgreSQL refuses `1.0` too, and makes `1000` of `1e3` before anybody sees it.)
//! A result schema is open, since a later version may add fields.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::note::NOT_ACTING;
use crate::{Kind, Receipt, Request};

/// Every file of `schemas/`: its name and its content.
#[must_use]
pub fn documents() -> Vec<(String, Value)> {
    let mut documents = vec![
        (
            "receipt.json".to_owned(),
            document("receipt", answers(), |generator| generator.subschema_for::<Receipt>()),
        ),
        ("request.json".to_owned(), document("request", questions(), request)),
    ];
    for &kind in Kind::ALL {
        documents.push((format!("{kind}.payload.json"), payload(kind)));
        documents.push((format!("{kind}.result.json"), result(kind)));
    }
    documents
}

/// What may be asked.
#[must_use]
pub fn payload(kind: Kind) -> Value {
    document(&format!("{kind}: payload"), questions(), |generator| kind.payload_schema(generator))
}

/// What is answered when it is applied.
#[must_use]
pub fn result(kind: Kind) -> Value {
    document(&format!("{kind}: result when applied"), answers(), |generator| kind.result_schema(generator))
}

/// What is asked is read by us: what may be left out is not required, what is surplus is refused.
fn questions() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

/// What is answered is written by us: every field is there, if only as null.
fn answers() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_serialize().into_generator()
}

/// An item of `enqueue_many`, and a line of an NDJSON file.
fn request(generator: &mut SchemaGenerator) -> Schema {
    let kinds: Vec<Value> = Kind::ALL
        .iter()
        .map(|kind| {
            json!({ "properties": { "kind": { "const": kind.as_str() }, "payload": kind.payload_schema(generator) } })
        })
        .collect();
    let instant =
        |what: &str| json!({ "description": what, "type": ["string", "null"], "format": "date-time" });
    json_schema!({
        "description": "What a producer sends: an item of enqueue_many, and a line of an NDJSON file.",
        "type": "object",
        "properties": {
            "request_id": { "description": "One for each intention.", "type": "string", "format": "uuid" },
            "kind": { "description": "What is asked.", "type": "string" },
            "payload": { "description": "The fields of the kind.", "type": "object" },
            "run_at": instant("Not to be answered before this instant."),
            "expires_at": instant("To be refused as request_expired from this instant on."),
            "producer": {
                "description": "Who asks: a name for people to read.",
                "type": ["string", "null"], "maxLength": Request::MAX_PRODUCER_CHARACTERS, "pattern": NOT_ACTING
            },
            "traceparent": {
                "description": "W3C trace context.",
                "type": ["string", "null"], "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"
            }
        },
        "required": ["request_id", "kind", "payload"],
        "additionalProperties": false,
        "oneOf": kinds
    })
}

/// One self-contained file: the root written out, what it refers to in `$defs`.
fn document(
    title: &str,
    mut generator: SchemaGenerator,
    root: impl FnOnce(&mut SchemaGenerator) -> Schema,
) -> Value {
    let mut root = root(&mut generator).to_value();
    let mut definitions = generator.take_definitions(true);
    let reference = root.get("$ref").and_then(Value::as_str).map(str::to_owned);
    let named = reference.and_then(|reference| definitions.remove(reference.strip_prefix("#/$defs/")?));
    if let Some(definition) = named {
        root = definition;
    }
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = title.into();
    if !definitions.is_empty() {
        root["$defs"] = definitions.into();
    }
    root
}
