//! `cancel_booking`: Gives a place in a session, or in its waitlist, back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, PayloadError};
use crate::{BookingId, SessionId, UserId};

/// What is asked. Gives a place in a session, or in its waitlist, back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CancelBooking {
    /// Whose booking.
    pub user_id: UserId,
    /// Which one.
    #[serde(flatten)]
    pub which: Which,
}

/// A booking is named by itself or by its session, never by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// What is answered when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// The booking given back.
    pub booking_id: BookingId,
    /// Bookings of others that got a place by it, in order of promotion.
    pub promoted_bookings: Vec<BookingId>,
}
