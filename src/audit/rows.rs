//! Rows as they are stored, and as they would be stored after what the rules decided.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::record_attendance::AttendanceStatus;
use seatkeeper_jobs::{EnrollmentId, SemesterId, SessionId, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::decide::{self, BookingStatus, SemesterStatus};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct User {
    pub(super) is_active: bool,
    pub(super) balance: i64,
}

/// A semester: what its owners wrote, as the changes of the catalog have it, and the counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Semester {
    status: String,
    max_players: Option<i32>,
    enrollment_cost: i64,
    refund_percent: i32,
    enrollment_closes_at: Option<DateTime<Utc>>,
    unenroll_closes_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) enrolled_count: i32,
}

impl Semester {
    /// As the rules see it; `None` for a status that nobody knows.
    pub(super) fn read(self) -> Option<decide::Semester> {
        Some(decide::Semester {
            status: SemesterStatus::from_name(&self.status)?,
            max_players: self.max_players,
            enrollment_cost: self.enrollment_cost,
            refund_percent: self.refund_percent,
            enrollment_closes_at: self.enrollment_closes_at,
            unenroll_closes_at: self.unenroll_closes_at,
            enrolled_count: self.enrolled_count,
        })
    }
}

impl From<&decide::Semester> for Semester {
    fn from(semester: &decide::Semester) -> Self {
        Self {
            status: semester.status.as_str().to_owned(),
            max_players: semester.max_players,
            enrollment_cost: semester.enrollment_cost,
            refund_percent: semester.refund_percent,
            enrollment_closes_at: semester.enrollment_closes_at,
            unenroll_closes_at: semester.unenroll_closes_at,
            enrolled_count: semester.enrolled_count,
        }
    }
}

/// The same of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    semester_id: SemesterId,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: DateTime<Utc>,
    capacity: i32,
    status: String,
    booking_closes_at: Option<DateTime<Utc>>,
    cancellation_closes_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) confirmed_count: i32,
}

const SCHEDULED: &str = "SCHEDULED";
const CANCELLED: &str = "CANCELLED";

impl Session {
    /// As the rules see it.
    pub(super) fn read(self) -> decide::Session {
        decide::Session {
            semester_id: self.semester_id,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            capacity: self.capacity,
            is_scheduled: self.status == SCHEDULED,
            booking_closes_at: self.booking_closes_at,
            cancellation_closes_at: self.cancellation_closes_at,
            confirmed_count: self.confirmed_count,
        }
    }
}

impl From<&decide::Session> for Session {
    fn from(session: &decide::Session) -> Self {
        Self {
            semester_id: session.semester_id,
            starts_at: session.starts_at,
            ends_at: session.ends_at,
            capacity: session.capacity,
            status: if session.is_scheduled { SCHEDULED } else { CANCELLED }.to_owned(),
            booking_closes_at: session.booking_closes_at,
            cancellation_closes_at: session.cancellation_closes_at,
            confirmed_count: session.confirmed_count,
        }
    }
}

/// A place in a semester.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Enrollment {
    pub(super) user_id: UserId,
    pub(super) semester_id: SemesterId,
    pub(super) status: String,
    pub(super) is_active: bool,
    pub(super) price_paid: i64,
    pub(super) enrolled_at: Option<DateTime<Utc>>,
    pub(super) withdrawn_at: Option<DateTime<Utc>>,
    pub(super) request_id: Option<Uuid>,
}

impl From<decide::Enrollment> for Enrollment {
    fn from(enrollment: decide::Enrollment) -> Self {
        let is_active = enrollment.withdrawn_at.is_none();
        let (request_id, enrolled_at) = enrollment.made.unzip();
        Self {
            user_id: enrollment.user_id,
            semester_id: enrollment.semester_id,
            status: if is_active { "APPROVED" } else { "WITHDRAWN" }.to_owned(),
            is_active,
            price_paid: enrollment.price_paid,
            enrolled_at,
            withdrawn_at: enrollment.withdrawn_at,
            request_id,
        }
    }
}

/// A place in a session, or in its waitlist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Booking {
    pub(super) user_id: UserId,
    pub(super) session_id: SessionId,
    pub(super) status: String,
    pub(super) waitlist_ticket: i64,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: DateTime<Utc>,
    pub(super) booked_at: Option<DateTime<Utc>>,
    pub(super) promoted_at: Option<DateTime<Utc>>,
    pub(super) cancelled_at: Option<DateTime<Utc>>,
    pub(super) cancelled_because: Option<String>,
    pub(super) request_id: Option<Uuid>,
}

impl From<decide::Booking> for Booking {
    fn from(booking: decide::Booking) -> Self {
        let (request_id, booked_at) = booking.made.unzip();
        let (cancelled_at, because) = booking.cancelled.unzip();
        Self {
            user_id: booking.user_id,
            session_id: booking.session_id,
            status: BookingStatus::as_str(booking.status).to_owned(),
            waitlist_ticket: booking.ticket,
            starts_at: booking.starts_at,
            ends_at: booking.ends_at,
            booked_at,
            promoted_at: booking.promoted_at,
            cancelled_at,
            cancelled_because: because.map(|because| because.as_str().to_owned()),
            request_id,
        }
    }
}

/// What was recorded of a booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Attendance {
    pub(super) status: Option<AttendanceStatus>,
    pub(super) recorded_at: Option<DateTime<Utc>>,
    pub(super) request_id: Option<Uuid>,
}

impl From<decide::Attendance> for Attendance {
    fn from(attendance: decide::Attendance) -> Self {
        let (request_id, recorded_at) = attendance.recorded.unzip();
        Self { status: attendance.now, recorded_at, request_id }
    }
}

/// What a ledger row hangs on: its request, and the enrollment; where there is no request, its own number.
pub(super) type LedgerKey = (Option<Uuid>, Option<i64>, i64);

/// A ledger row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LedgerRow {
    pub(super) user_id: UserId,
    pub(super) transaction_type: String,
    pub(super) amount: i64,
    pub(super) balance_after: i64,
    pub(super) created_at: DateTime<Utc>,
}

impl LedgerRow {
    /// The row that a decision entered, and what it hangs on.
    pub(super) fn of(entry: decide::LedgerEntry) -> (LedgerKey, Self) {
        let row = Self {
            user_id: entry.user_id,
            transaction_type: entry.transaction_type.as_str().to_owned(),
            amount: entry.amount,
            balance_after: entry.balance_after,
            created_at: entry.at,
        };
        ((Some(entry.request_id), entry.enrollment_id.map(EnrollmentId::get), 0), row)
    }
}
