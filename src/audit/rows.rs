//! Rows as they are stored, and as they would be stored after what the rules decided.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{EnrollmentId, SemesterId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::decide::{self, BookingStatus, SemesterStatus};

/// A word of the database.
type Word = Cow<'static, str>;

/// A row that may say which request it came of.
pub(super) trait Row: PartialEq + Serialize {
    fn request_id(&self) -> Option<Uuid> {
        None
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct User {
    pub(super) is_active: bool,
    pub(super) credit_balance: i64,
}

impl Row for User {}

/// A semester: what its owners wrote, as the changes of the catalog have it, and what Seatkeeper writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Semester {
    code: String,
    name: String,
    status: String,
    max_players: Option<i32>,
    enrollment_cost: i64,
    refund_percent: i32,
    enrollment_closes_at: Option<DateTime<Utc>>,
    unenroll_closes_at: Option<DateTime<Utc>>,
    #[serde(default)]
    enrolled_count: i32,
    #[serde(default)]
    cancelled_by: Option<Uuid>,
}

impl Row for Semester {}

impl Semester {
    /// As the rules see it; `None` for a status that nobody knows.
    pub(super) fn read(&self) -> Option<decide::Semester> {
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

    /// What its owners wrote, with what has come of it since.
    pub(super) fn after(mut self, semester: &decide::Semester, cancelled_by: Option<Uuid>) -> Self {
        semester.status.as_str().clone_into(&mut self.status);
        self.enrolled_count = semester.enrolled_count;
        self.cancelled_by = cancelled_by;
        self
    }

    /// Without what Seatkeeper writes, as the changes of the catalog have it.
    pub(super) fn image(mut self) -> Self {
        self.enrolled_count = 0;
        self.cancelled_by = None;
        self
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

impl Row for Session {}

impl Session {
    /// Without what Seatkeeper writes, as the changes of the catalog have it.
    pub(super) fn image(mut self) -> Self {
        self.confirmed_count = 0;
        self
    }
}

const SCHEDULED: &str = "SCHEDULED";
const CANCELLED: &str = "CANCELLED";

impl Session {
    /// As the rules see it.
    pub(super) fn read(&self) -> decide::Session {
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
    pub(super) user_id: i64,
    pub(super) semester_id: i64,
    pub(super) status: Word,
    pub(super) is_active: bool,
    pub(super) price_paid: i64,
    pub(super) enrolled_at: Option<DateTime<Utc>>,
    pub(super) withdrawn_at: Option<DateTime<Utc>>,
    pub(super) request_id: Option<Uuid>,
}

impl Row for Enrollment {
    fn request_id(&self) -> Option<Uuid> {
        self.request_id
    }
}

impl From<decide::Enrollment> for Enrollment {
    fn from(enrollment: decide::Enrollment) -> Self {
        let is_active = enrollment.withdrawn_at.is_none();
        let (request_id, enrolled_at) = enrollment.made.unzip();
        Self {
            user_id: enrollment.user_id.get(),
            semester_id: enrollment.semester_id.get(),
            status: if is_active { "APPROVED" } else { "WITHDRAWN" }.into(),
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
    pub(super) user_id: i64,
    pub(super) session_id: i64,
    pub(super) status: Word,
    pub(super) waitlist_ticket: i64,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: DateTime<Utc>,
    pub(super) booked_at: Option<DateTime<Utc>>,
    pub(super) promoted_at: Option<DateTime<Utc>>,
    pub(super) cancelled_at: Option<DateTime<Utc>>,
    pub(super) cancelled_because: Option<Word>,
    pub(super) request_id: Option<Uuid>,
}

impl Row for Booking {
    fn request_id(&self) -> Option<Uuid> {
        self.request_id
    }
}

impl From<decide::Booking> for Booking {
    fn from(booking: decide::Booking) -> Self {
        let (request_id, booked_at) = booking.made.unzip();
        let (cancelled_at, because) = booking.cancelled.unzip();
        Self {
            user_id: booking.user_id.get(),
            session_id: booking.session_id.get(),
            status: BookingStatus::as_str(booking.status).into(),
            waitlist_ticket: booking.ticket,
            starts_at: booking.starts_at,
            ends_at: booking.ends_at,
            booked_at,
            promoted_at: booking.promoted_at,
            cancelled_at,
            cancelled_because: because.map(|because| because.as_str().into()),
            request_id,
        }
    }
}

/// What was recorded of a booking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Attendance {
    pub(super) status: Option<Value>,
    pub(super) recorded_at: Option<DateTime<Utc>>,
    pub(super) request_id: Option<Uuid>,
}

impl Row for Attendance {
    fn request_id(&self) -> Option<Uuid> {
        self.request_id
    }
}

impl From<decide::Attendance> for Attendance {
    fn from(attendance: decide::Attendance) -> Self {
        let (request_id, recorded_at) = attendance.recorded.unzip();
        Self { status: attendance.now.map(|status| json!(status)), recorded_at, request_id }
    }
}

/// What a ledger row hangs on: its request, and the enrollment (0 = none); where there is no request, its own number.
pub(super) type LedgerKey = (Option<Uuid>, i64, i64);

/// A ledger row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct LedgerRow {
    pub(super) user_id: i64,
    pub(super) transaction_type: Word,
    pub(super) amount: i64,
    pub(super) balance_after: i64,
    pub(super) enrollment_id: Option<i64>,
    pub(super) created_at: DateTime<Utc>,
}

impl Row for LedgerRow {}

/// What a decision's row hangs on.
pub(super) fn ledger_key(entry: &decide::LedgerEntry) -> LedgerKey {
    (Some(entry.request_id), entry.enrollment_id.map_or(0, EnrollmentId::get), 0)
}

impl From<decide::LedgerEntry> for LedgerRow {
    fn from(entry: decide::LedgerEntry) -> Self {
        Self {
            user_id: entry.user_id.get(),
            transaction_type: entry.transaction_type.as_str().into(),
            amount: entry.amount,
            balance_after: entry.balance_after,
            enrollment_id: entry.enrollment_id.map(EnrollmentId::get),
            created_at: entry.at,
        }
    }
}
