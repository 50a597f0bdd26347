//! `unenroll`: Gives a place in a semester back.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, PayloadError};
use crate::{BookingId, EnrollmentId, SemesterId, UserId};

/// What is asked. Gives a place in a semester back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Unenroll {
    /// Who leaves.
    pub user_id: UserId,
    /// What.
    pub semester_id: SemesterId,
    /// Only this enrollment: a later one of the same user is left alone; may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "EnrollmentId", default))]
    pub enrollment_id: Option<EnrollmentId>,
}

impl Unenroll {
    pub(crate) fn read(payload: &Value) -> Result<Self, PayloadError> {
        let mut fields = Fields::of(payload)?;
        let read = Self {
            user_id: fields.required("user_id", UserId::read)?,
            semester_id: fields.required("semester_id", SemesterId::read)?,
            enrollment_id: fields.optional("enrollment_id", EnrollmentId::read)?,
        };
        fields.finish()?;
        Ok(read)
    }
}

/// What is answered when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// The place given back.
    pub enrollment_id: EnrollmentId,
    /// Credits given back, not negative.
    pub refunded: i64,
    /// Credits left.
    pub balance: i64,
    /// The user's bookings that went with it, in the order of their sessions.
    pub cancelled_bookings: Vec<BookingId>,
    /// Bookings of others that got a place by it, in order of promotion.
    pub promoted_bookings: Vec<BookingId>,
}
