//! What the rules work on: rows as locked and read, and what has to be written.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::record_attendance::AttendanceStatus;
use seatkeeper_jobs::{BookingId, EnrollmentId, SemesterId, SessionId, UserId};
use uuid::Uuid;

/// A user as locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Whether they may enroll.
    pub is_active: bool,
    /// Credits left.
    pub balance: i64,
}

/// A semester as locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Semester {
    /// Where it is in its life.
    pub status: SemesterStatus,
    /// Places; `None` = unlimited.
    pub max_players: Option<i32>,
    /// Credits charged for an enrollment, not negative.
    pub enrollment_cost: i64,
    /// Share of the price paid that an unenroll gives back, 0 to 100.
    pub refund_percent: i32,
    /// No enrollment from this instant on.
    pub enrollment_closes_at: Option<DateTime<Utc>>,
    /// No unenrollment from this instant on.
    pub unenroll_closes_at: Option<DateTime<Utc>>,
    /// Active enrollments.
    pub enrolled_count: i32,
}

/// The life of a semester: `chk_semester_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the contract say it")]
pub enum SemesterStatus {
    Draft,
    EnrollmentOpen,
    EnrollmentClosed,
    InProgress,
    Completed,
    Cancelled,
}

impl SemesterStatus {
    /// Whether one can enroll and unenroll.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::EnrollmentOpen | Self::InProgress)
    }

    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "DRAFT",
            Self::EnrollmentOpen => "ENROLLMENT_OPEN",
            Self::EnrollmentClosed => "ENROLLMENT_CLOSED",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The status of this name in the database.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::Draft,
            Self::EnrollmentOpen,
            Self::EnrollmentClosed,
            Self::InProgress,
            Self::Completed,
            Self::Cancelled,
        ];
        all.into_iter().find(|status| status.as_str() == name)
    }
}

/// A user's place in a semester.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// Its ID.
    pub enrollment_id: EnrollmentId,
    /// Whose.
    pub user_id: UserId,
    /// In what.
    pub semester_id: SemesterId,
    /// Credits really charged.
    pub price_paid: i64,
    /// The request that made it, and when; `None` for one that was there before the batch.
    pub made: Option<(Uuid, DateTime<Utc>)>,
    /// When the batch withdrew it.
    pub withdrawn_at: Option<DateTime<Utc>>,
}

/// What a ledger row is for: `chk_transaction_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the contract say it")]
pub enum TransactionType {
    TournamentEnrollment,
    TournamentUnenrollRefund,
    TournamentCancelRefund,
    Purchase,
    AdminAdjustment,
}

impl TransactionType {
    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TournamentEnrollment => "TOURNAMENT_ENROLLMENT",
            Self::TournamentUnenrollRefund => "TOURNAMENT_UNENROLL_REFUND",
            Self::TournamentCancelRefund => "TOURNAMENT_CANCEL_REFUND",
            Self::Purchase => "PURCHASE",
            Self::AdminAdjustment => "ADMIN_ADJUSTMENT",
        }
    }
}

/// A session as locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Of which semester; never changes.
    pub semester_id: SemesterId,
    /// When it starts.
    pub starts_at: DateTime<Utc>,
    /// When it ends, later than it starts.
    pub ends_at: DateTime<Utc>,
    /// Places.
    pub capacity: i32,
    /// `SCHEDULED`, not `CANCELLED`.
    pub is_scheduled: bool,
    /// No booking from this instant on; `None` = 24 hours before the start.
    pub booking_closes_at: Option<DateTime<Utc>>,
    /// No place is given back from this instant on; `None` = 12 hours before the start.
    pub cancellation_closes_at: Option<DateTime<Utc>>,
    /// CONFIRMED bookings.
    pub confirmed_count: i32,
}

/// The state of a booking: `chk_booking_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the contract say it")]
pub enum BookingStatus {
    Confirmed,
    Waitlisted,
    Cancelled,
}

impl BookingStatus {
    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "CONFIRMED",
            Self::Waitlisted => "WAITLISTED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// The status of this name in the database.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Confirmed, Self::Waitlisted, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == name)
    }

    /// Whether it holds a place, or waits for one.
    #[must_use]
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Cancelled)
    }
}

/// Why a booking was cancelled: `chk_booking_cancelled_because`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the contract say it")]
pub enum Because {
    Requested,
    Unenrolled,
    Superseded,
    SemesterCancelled,
}

impl Because {
    /// The name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Unenrolled => "unenrolled",
            Self::Superseded => "superseded",
            Self::SemesterCancelled => "semester_cancelled",
        }
    }
}

/// A user's place in a session, or in its waitlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// Its ID.
    pub booking_id: BookingId,
    /// Whose.
    pub user_id: UserId,
    /// In what.
    pub session_id: SessionId,
    /// As of now.
    pub status: BookingStatus,
    /// Place in the queue of the session, smallest first (RACE-B03).
    pub ticket: i64,
    /// When the session starts.
    pub starts_at: DateTime<Utc>,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
    /// The request that made it, and when; `None` for one that was there before the batch.
    pub made: Option<(Uuid, DateTime<Utc>)>,
    /// When the batch gave it a place, if it had waited.
    pub promoted_at: Option<DateTime<Utc>>,
    /// When and why the batch cancelled it.
    pub cancelled: Option<(DateTime<Utc>, Because)>,
}

impl Booking {
    /// Whether two of them are at the same time; touching ends are not.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.starts_at < other.ends_at && other.starts_at < self.ends_at
    }
}

/// What was seen of a CONFIRMED user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attendance {
    /// Of which booking.
    pub booking_id: BookingId,
    /// As stored before the batch.
    pub before: Option<AttendanceStatus>,
    /// As of now.
    pub now: Option<AttendanceStatus>,
    /// The latest request that said so, and when.
    pub recorded: Option<(Uuid, DateTime<Utc>)>,
}

/// A place that was given without anybody asking, in a session marked for filling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promotion {
    /// Which booking got it.
    pub booking_id: BookingId,
    /// Whose.
    pub user_id: UserId,
    /// In what.
    pub session_id: SessionId,
    /// When.
    pub at: DateTime<Utc>,
}

/// A row that the ledger gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// Whose balance moved.
    pub user_id: UserId,
    /// Why.
    pub transaction_type: TransactionType,
    /// Credits, signed.
    pub amount: i64,
    /// The balance that it left behind.
    pub balance_after: i64,
    /// The enrollment that was paid for or refunded.
    pub enrollment_id: Option<EnrollmentId>,
    /// The request that caused it.
    pub request_id: Uuid,
    /// The instant of decision.
    pub at: DateTime<Utc>,
}

/// What has to be written: each row once, with its final value.
#[derive(Debug, Default)]
pub struct Changes {
    /// (user, balance before, balance after), ascending by user.
    pub balances: Vec<(UserId, i64, i64)>,
    /// Enrollments from before the batch that it withdrew.
    pub withdrawn: Vec<Enrollment>,
    /// Enrollments that the batch made; those that it withdrew again have `withdrawn_at`.
    pub enrolled: Vec<Enrollment>,
    /// In the order of the decisions.
    pub ledger: Vec<LedgerEntry>,
    /// Semesters that were cancelled, and by which request.
    pub cancelled_semesters: Vec<(SemesterId, Uuid)>,
    /// Bookings from before the batch, with what they were: those that end CANCELLED.
    pub given_up: Vec<(BookingStatus, Booking)>,
    /// The same: those that waited and have a place now.
    pub promoted: Vec<Booking>,
    /// Bookings that the batch made, as they are in the end.
    pub booked: Vec<Booking>,
    /// CONFIRMED bookings of the sessions in which that changed: (session, before, after), ascending by session.
    pub confirmed: Vec<(SessionId, i32, i32)>,
    /// Attendance, as it is in the end.
    pub attendance: Vec<Attendance>,
}
