//! `record_attendance`: Who was there.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fields::{Fields, PayloadError};
use crate::{BookingId, SessionId, UserId};

/// What is asked. Who was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct RecordAttendance {
    /// Whose booking.
    pub user_id: UserId,
    /// Where.
    pub session_id: SessionId,
    /// What was seen.
    pub status: AttendanceStatus,
}

impl RecordAttendance {
    pub(crate) fn read(payload: &Value) -> Result<Self, PayloadError> {
        let mut fields = Fields::of(payload)?;
        let read = Self {
            user_id: fields.required("user_id", UserId::read)?,
            session_id: fields.required("session_id", SessionId::read)?,
            status: fields.required("status", AttendanceStatus::read)?,
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
    /// As recorded now.
    pub status: AttendanceStatus,
    /// As recorded before.
    pub replaced: Option<AttendanceStatus>,
}

/// How somebody attended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttendanceStatus {
    /// Was there.
    Present,
    /// Was not.
    Absent,
    /// Came late.
    Late,
    /// Was not, with leave.
    Excused,
}

impl AttendanceStatus {
    fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }
}
