//! `book`: A place in a session, or in its waitlist.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, PayloadError};
use crate::{BookingId, SessionId, UserId};

/// What is asked. A place in a session, or in its waitlist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Book {
    /// Who books.
    pub user_id: UserId,
    /// What.
    pub session_id: SessionId,
}

impl Book {
    pub(crate) fn read(payload: &Value) -> Result<Self, PayloadError> {
        let mut fields = Fields::of(payload)?;
        let read = Self {
            user_id: fields.required("user_id", UserId::read)?,
            session_id: fields.required("session_id", SessionId::read)?,
        };
        fields.finish()?;
        Ok(read)
    }
}

/// What is answered when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// The booking.
    pub booking_id: BookingId,
    /// CONFIRMED or WAITLISTED.
    pub status: BookingStatus,
    /// Place in the waitlist, 1 = next; a hint of the moment.
    pub waitlist_position: Option<i64>,
    /// The requester's own waits that the place took over, ascending.
    pub superseded_bookings: Vec<BookingId>,
}

/// The state of a live booking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BookingStatus {
    /// Has a place.
    Confirmed,
    /// Waits for one.
    Waitlisted,
}
