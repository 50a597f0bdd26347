//! `cancel_semester`: Cancels a semester and refunds everybody in full.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, PayloadError};
use crate::{Note, SemesterId};

/// What is asked. Cancels a semester and refunds everybody in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct CancelSemester {
    /// What.
    pub semester_id: SemesterId,
    /// Why; may be left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Note", default))]
    pub note: Option<Note>,
}

impl CancelSemester {
    pub(crate) fn read(payload: &Value) -> Result<Self, PayloadError> {
        let mut fields = Fields::of(payload)?;
        let read = Self {
            semester_id: fields.required("semester_id", SemesterId::read)?,
            note: fields.optional("note", Note::read)?,
        };
        fields.finish()?;
        Ok(read)
    }
}

/// What is answered when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// Enrollments withdrawn.
    pub withdrawn: i64,
    /// Credits given back in all.
    pub refunded: i64,
    /// Bookings cancelled.
    pub cancelled_bookings: i64,
}
