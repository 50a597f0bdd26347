//! Ids of the catalog and of what Seatkeeper makes: 1 … 2⁶³−1, one type each so that they cannot be mixed up.

use serde::Serialize;
use serde_json::Value;

/// A number that is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no id: ids are 1 to 2^63-1")]
pub struct IdError(
    /// The number.
    pub i64,
);

macro_rules! id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// The id of this number.
            ///
            /// # Errors
            /// When it is below 1.
            pub const fn new(number: i64) -> Result<Self, IdError> {
                if number >= 1 { Ok(Self(number)) } else { Err(IdError(number)) }
            }

            /// The number of this id, at least 1.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }

            pub(crate) fn read(value: &Value) -> Option<Self> {
                value.as_i64().and_then(|number| Self::new(number).ok())
            }
        }

        impl TryFrom<i64> for $name {
            type Error = IdError;

            fn try_from(number: i64) -> Result<Self, IdError> {
                Self::new(number)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let number: i64 = text.parse().map_err(|_| format!("{text:?} is no id: a whole number is due"))?;
                Self::new(number).map_err(|error| error.to_string())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = i64::deserialize(deserializer)?;
                Self::new(number).map_err(serde::de::Error::custom)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "integer", "minimum": 1, "maximum": i64::MAX })
            }
        }
    };
}

id!(
    /// A user: `users.user_id`.
    UserId
);
id!(
    /// A semester, and its lane: `semesters.semester_id`.
    SemesterId
);
id!(
    /// A session of a semester: `sessions.session_id`.
    SessionId
);
id!(
    /// A place in a semester: `enrollments.enrollment_id`.
    EnrollmentId
);
id!(
    /// A place in a session, or in its waitlist: `bookings.booking_id`.
    BookingId
);
