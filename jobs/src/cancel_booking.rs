//! `cancel_booking`: Gives a place in a session, or in its waitlist, back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, PayloadError};
use crate::{BookingId, SessionId, UserId};

/// What is asked. Gives a place in a session, or in its waitlist, back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CancelBooking {
    /// Whose booking.
    pub user_id: UserId,
    /// Which one.
    #[serde(flatten)]
    pub which: Which,
}

/// A booking is named by itself or by its session, never by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The user's booking of this session.
    SessionId(SessionId),
    /// This booking.
    BookingId(BookingId),
}

impl CancelBooking {
    pub(crate) fn read(payload: &Value) -> Result<Self, PayloadError> {
        let mut fields = Fields::of(payload)?;
        let user_id = fields.required("user_id", UserId::read)?;
        let which = if fields.has("booking_id") {
            let booking = fields.required("booking_id", BookingId::read)?;
            if fields.has("session_id") {
                return Err(PayloadError::of("booking_id"));
            }
            Which::BookingId(booking)
        } else {
            Which::SessionId(fields.required("session_id", SessionId::read)?)
        };
        fields.finish()?;
        Ok(Self { user_id, which })
    }
}

/// By hand: what is derived for a flattened enum neither forbids naming both nor surplus fields.
#[cfg(feature = "schema")]
impl schemars::JsonSchema for CancelBooking {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CancelBooking".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let described = |mut schema: schemars::Schema, text: &str| {
            schema.insert("description".into(), text.into());
            schema
        };
        schemars::json_schema!({
            "description": "What is asked. Gives a place in a session, or in its waitlist, back.",
            "type": "object",
            "properties": {
                "user_id": described(generator.subschema_for::<UserId>(), "Whose booking."),
                "session_id": described(generator.subschema_for::<SessionId>(), "The user's booking of this session."),
                "booking_id": described(generator.subschema_for::<BookingId>(), "This booking."),
            },
            "required": ["user_id"],
            "oneOf": [{ "required": ["session_id"] }, { "required": ["booking_id"] }],
            "additionalProperties": false
        })
    }
}

/// What is answered when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// The booking given back.
    pub booking_id: BookingId,
    /// Bookings of others that got a place by it, in order of promotion.
    pub promoted_bookings: Vec<BookingId>,
}
