//! A booking as it is now.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::words::states;
use crate::{BookingId, SessionId, UserId};

states!(
    /// Where a booking is.
    BookingState {
        /// Has a place.
        Confirmed = "CONFIRMED",
        /// Waits for one.
        Waitlisted = "WAITLISTED",
        /// Given back or taken away, for good.
        Cancelled = "CANCELLED",
    }
);

states!(
    /// Why a booking was cancelled.
    CancelledBecause {
        /// Somebody asked for it.
        Requested = "requested",
        /// The user left the semester.
        Unenrolled = "unenrolled",
        /// A wait: the user got a place at that time in another session.
        Superseded = "superseded",
        /// The semester was cancelled.
        SemesterCancelled = "semester_cancelled",
    }
);

/// A booking as it is now: `seatkeeper.booking`. The result of a `book` request is what it was at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Which one.
    pub booking_id: BookingId,
    /// Whose.
    pub user_id: UserId,
    /// Of what.
    pub session_id: SessionId,
    /// Where it is.
    pub status: BookingState,
    /// While it is WAITLISTED: its place in the waitlist, 1 = next.
    pub waitlist_position: Option<i64>,
    /// When it was answered, on the database's clock.
    pub booked_at: DateTime<Utc>,
    /// When it came from the waitlist to a place.
    pub promoted_at: Option<DateTime<Utc>>,
    /// When it was cancelled.
    pub cancelled_at: Option<DateTime<Utc>>,
    /// Why.
    pub cancelled_because: Option<CancelledBecause>,
}
