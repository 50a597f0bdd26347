//! `enroll`: A place in a semester, paid in credits.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, PayloadError};
use crate::{EnrollmentId, SemesterId, UserId};

/// What is asked. A place in a semester, paid in credits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Enroll {
    /// Who enrolls.
    pub user_id: UserId,
    /// In what.
    pub semester_id: SemesterId,
}

impl Enroll {
    pub(crate) fn read(payload: &Value) -> Result<Self, PayloadError> {
        let mut fields = Fields::of(payload)?;
        let read = Self {
            user_id: fields.required("user_id", UserId::read)?,
            semester_id: fields.required("semester_id", SemesterId::read)?,
        };
        fields.finish()?;
        Ok(read)
    }
}

/// What is answered when it is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Applied {
    /// The place.
    pub enrollment_id: EnrollmentId,
    /// Credits taken, not negative.
    pub charged: i64,
    /// Credits left.
    pub balance: i64,
}
