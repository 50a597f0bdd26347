//! Payloads that are nearly right, for the tests of those who read them.

use proptest::prelude::*;
use seatkeeper_jobs::{Kind, Note};
use serde_json::{Map, Number, Value, json};

/// A kind and the payload of a kind, often another.
pub(crate) fn any_kind_and_payload() -> impl Strategy<Value = (Kind, Value)> {
    let kind = || prop::sample::select(Kind::ALL);
    let of_the_kind = kind().prop_flat_map(|kind| payload_for(kind).prop_map(move |payload| (kind, payload)));
    let of_another = (kind(), kind()).prop_flat_map(|(kind, other)| (Just(kind), payload_for(other)));
    prop_oneof![8 => of_the_kind, 1 => of_another, 1 => (kind(), any_json())]
}

/// The fields that a payload of the kind may have.
pub(crate) fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Enroll => &["user_id", "semester_id"],
        Kind::Unenroll => &["user_id", "semester_id", "enrollment_id"],
        Kind::Book => &["user_id", "session_id"],
        Kind::CancelBooking => &["user_id", "session_id", "booking_id"],
        Kind::RecordAttendance => &["user_id", "session_id", "status"],
        Kind::CancelSemester => &["semester_id", "note"],
        Kind::GrantCredits => &["user_id", "amount", "note"],
    }
}

/// Mostly the fields of the kind, mostly with fitting values, sometimes with a field too many.
fn payload_for(kind: Kind) -> impl Strategy<Value = Value> {
    let values: Vec<_> = fields(kind)
        .iter()
        .map(|&field| {
            let value = prop_oneof![12 => fitting(field), 1 => number(), 1 => any_json()];
            (Just(field), prop::option::weighted(0.8, value))
        })
        .collect();
    let surplus = prop::option::weighted(0.1, ("[a-z_]{0,12}", any_json()));
    (values, surplus).prop_map(|(values, surplus)| {
        let mut payload = Map::new();
        for (field, value) in values {
            if let Some(value) = value {
                payload.insert(field.to_owned(), value);
            }
        }
        payload.extend(surplus);
        Value::Object(payload)
    })
}

fn fitting(field: &str) -> BoxedStrategy<Value> {
    match field {
        "status" => {
            prop::sample::select(vec!["present", "absent", "late", "excused"]).prop_map(Value::from).boxed()
        }
        "note" => {
            let length = prop::sample::select(vec![0_usize, 1, 499, 500, 501]);
            // Any character is one that no door takes so often that no long note would be without one.
            let taken =
                any::<char>().prop_map(|sign| if Note::new(sign.to_string()).is_ok() { sign } else { 'x' });
            let text = length.prop_flat_map(move |length| prop::collection::vec(taken.clone(), length));
            let acting = prop::sample::select(vec![
                '\0', '\n', '\u{1b}', '\u{7f}', '\u{9b}', '\u{200f}', '\u{202e}', '\u{2069}',
            ]);
            (text, prop::option::weighted(0.15, acting))
                .prop_map(|(mut characters, acting)| {
                    if let (Some(sign), Some(first)) = (acting, characters.first_mut()) {
                        *first = sign;
                    }
                    Value::from(characters.into_iter().collect::<String>())
                })
                .boxed()
        }
        "amount" => prop_oneof![
            -1_000_000_000_001_i64..=1_000_000_000_001,
            -3_i64..=3,
            prop::sample::select(vec![
                -1_000_000_000_001_i64,
                -1_000_000_000_000,
                1_000_000_000_000,
                1_000_000_000_001
            ])
        ]
        .prop_map(Value::from)
        .boxed(),
        _ => prop_oneof![4 => 1..=i64::MAX, 1 => -1..=2_i64].prop_map(Value::from).boxed(),
    }
}

/// Numbers at the edges of what computers call a number.
fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| Number::from_f64(number).map_or(Value::Null, Value::Number)),
        prop::sample::select(vec![
            json!(0),
            json!(-1),
            json!(1.5),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(9_223_372_036_854_775_808_u64),
            json!(u64::MAX),
            json!(1e300),
        ]),
    ]
}

/// Any JSON, not very deep.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,12}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
