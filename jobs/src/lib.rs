//! The contract of Seatkeeper: what a producer may ask, and what it is answered.
//!
//! A [`Job`] is valid by construction: whoever holds one can be sure that every id, amount and note in it is
//! acceptable, whichever door it came through. One file per kind holds the payload that is asked and the result
//! that is answered; `golden/` holds the wire form of each, and `schemas/` the same as JSON Schema.
//!
//! A [`Request`] is a job with an ID. With the feature `postgres`, `postgres::enqueue` asks in the caller's own
//! transaction.

mod booking;
mod fields;
mod id;
mod job;
mod note;
mod reason;
mod receipt;
mod refusals;
mod request;
mod words;

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "schema")]
pub mod schema;

pub mod book;
pub mod cancel_booking;
pub mod cancel_semester;
pub mod enroll;
pub mod grant_credits;
pub mod record_attendance;
pub mod unenroll;

pub use booking::{Booking, BookingState, CancelledBecause};
pub use fields::PayloadError;
pub use id::{BookingId, EnrollmentId, IdError, SemesterId, SessionId, UserId};
pub use job::{Applied, Job, Kind, UnknownKind};
pub use note::{Note, NoteError};
pub use reason::{Reason, UnknownReason};
pub use receipt::{Outcome, Receipt, Status, UnknownState};
pub use request::{LineError, Request, RequestError};
