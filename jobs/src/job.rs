//! All kinds together.

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    PayloadError, SemesterId, UserId, book, cancel_booking, cancel_semester, enroll, grant_credits,
    record_attendance, unenroll,
};

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $module:ident :: $payload:ident;)*) => {
        /// What can be asked. The name is the wire form.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$meta])* $variant,)* }

        /// A request's kind and payload, valid by construction.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Job { $($(#[$meta])* $variant($module::$payload),)* }

        /// What an applied request is answered.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Applied { $($(#[$meta])* $variant($module::Applied),)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The wire form.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl Job {
            /// Which kind it is.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$variant(_) => Kind::$variant,)* }
            }

            /// Reads the payload of a kind.
            ///
            /// # Errors
            /// When it is not a well-formed one; the error names the first field at fault.
            pub fn read(kind: Kind, payload: &Value) -> Result<Self, PayloadError> {
                match kind { $(Kind::$variant => $module::$payload::read(payload).map(Self::$variant),)* }
            }
        }

        $(impl From<$module::$payload> for Job {
            fn from(payload: $module::$payload) -> Self {
                Self::$variant(payload)
            }
        })*

        impl Applied {
            /// Reads the stored result of an applied request.
            ///
            /// # Errors
            /// When it is not the result of that kind.
            pub fn read(kind: Kind, result: &Value) -> Result<Self, serde_json::Error> {
                use serde::Deserialize;
                match kind { $(Kind::$variant => $module::Applied::deserialize(result).map(Self::$variant),)* }
            }
        }

        #[cfg(feature = "schema")]
        impl Kind {
            /// The payload's JSON Schema.
            pub(crate) fn payload_schema(self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                match self { $(Self::$variant => generator.subschema_for::<$module::$payload>(),)* }
            }

            /// The result's JSON Schema, once applied.
            pub(crate) fn result_schema(self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                match self { $(Self::$variant => generator.subschema_for::<$module::Applied>(),)* }
            }
        }

        impl Serialize for Job {
            /// The payload alone; the kind travels beside it.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(payload) => payload.serialize(serializer),)* }
            }
        }

        impl Serialize for Applied {
            /// The result alone; the kind travels beside it.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(result) => result.serialize(serializer),)* }
            }
        }
    };
}

kinds! {
    /// A place in a semester, paid in credits.
    Enroll = "enroll", enroll::Enroll;
    /// Gives a place in a semester back.
    Unenroll = "unenroll", unenroll::Unenroll;
    /// A place in a session, or in its waitlist.
    Book = "book", book::Book;
    /// Gives a place in a session, or in its waitlist, back.
    CancelBooking = "cancel_booking", cancel_booking::CancelBooking;
    /// Who was there.
    RecordAttendance = "record_attendance", record_attendance::RecordAttendance;
    /// Cancels a semester and refunds everybody in full.
    CancelSemester = "cancel_semester", cancel_semester::CancelSemester;
    /// Moves a balance: a purchase, or an adjustment down.
    GrantCredits = "grant_credits", grant_credits::GrantCredits;
}

/// A name that is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such kind of request; kinds are {}", Kind::ALL.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", "))]
pub struct UnknownKind;

impl std::str::FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name).ok_or(UnknownKind)
    }
}

crate::words::spelt_as_words!(Kind);

impl Job {
    /// The user that it is about, if it is about one.
    #[must_use]
    pub const fn user_id(&self) -> Option<UserId> {
        match self {
            Self::Enroll(job) => Some(job.user_id),
            Self::Unenroll(job) => Some(job.user_id),
            Self::Book(job) => Some(job.user_id),
            Self::CancelBooking(job) => Some(job.user_id),
            Self::RecordAttendance(job) => Some(job.user_id),
            Self::GrantCredits(job) => Some(job.user_id),
            Self::CancelSemester(_) => None,
        }
    }

    /// The semester that its payload names, if it names one.
    #[must_use]
    pub const fn semester_id(&self) -> Option<SemesterId> {
        match self {
            Self::Enroll(job) => Some(job.semester_id),
            Self::Unenroll(job) => Some(job.semester_id),
            Self::CancelSemester(job) => Some(job.semester_id),
            Self::Book(_) | Self::CancelBooking(_) | Self::RecordAttendance(_) | Self::GrantCredits(_) => {
                None
            }
        }
    }

    /// The payload as JSON, as it goes over the wire.
    ///
    /// # Panics
    /// Never: payloads have string keys and finite numbers.
    #[must_use]
    #[expect(clippy::expect_used, reason = "payloads have string keys and finite numbers")]
    pub fn payload(&self) -> Value {
        serde_json::to_value(self).expect("a payload is always JSON")
    }
}
