//! What an audit says.

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::history::Files;

/// Findings that are kept with their rows; what comes after them is counted.
pub const KEPT: usize = 1_000;

/// What was worked out again, and what came out otherwise.
#[derive(Debug, Default, Serialize)]
pub struct Audit {
    /// Answers that were worked out again.
    pub answers: usize,
    /// Changes of the catalog that were taken over in their turn.
    pub changes: usize,
    /// Fills without a request that were worked out again.
    pub fills: usize,
    /// Users whose balance was compared in the end.
    pub users: usize,
    /// Enrollments that were.
    pub enrollments: usize,
    /// Bookings that were.
    pub bookings: usize,
    /// Ledger rows that were.
    pub ledger: usize,
    /// Rows of attendance that were.
    pub attendance: usize,
    /// How much is not as it ought to be.
    pub differing: usize,
    /// The first [`KEPT`] of it, answers and fills first and in their order: a wrong one entails others.
    pub findings: Vec<Finding>,
    /// Where it had to stop; nothing was compared in the end then.
    pub not_covered: Option<NotCovered>,
    #[serde(skip)]
    pub(super) files: Option<Files>,
}

impl Audit {
    /// Whether all of it was worked out again, and came out the same.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.differing == 0 && self.not_covered.is_none()
    }

    pub(super) fn add(&mut self, finding: Finding) {
        self.differing += 1;
        if self.findings.len() < KEPT {
            self.findings.push(finding);
        }
    }

    pub(super) fn found(&mut self, about: About, asked: Option<Value>, stored: Value, right: Value) {
        self.add(Finding { about, came_of: None, asked, stored, right });
    }

    pub(super) fn found_row(&mut self, about: About, came_of: Option<Uuid>, stored: Value, right: Value) {
        self.add(Finding { about, came_of, asked: None, stored, right });
    }
}

/// Something that is stored otherwise than it came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What.
    #[serde(flatten)]
    pub about: About,
    /// Of a row: the request that it came of, if it did of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub came_of: Option<Uuid>,
    /// Of an answer: what was asked, its note left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Value>,
    /// As it is stored: of a row, the columns that differ. Null: it is not there.
    pub stored: Value,
    /// As it came out. Null: it should not be there.
    pub right: Value,
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "about", rename_all = "snake_case")]
pub enum About {
    /// The answer to a request.
    Answer {
        /// Which request.
        request_id: Uuid,
        /// What was asked.
        kind: String,
        /// Its place in the order; null: it has none.
        answer_seq: Option<i64>,
    },
    /// The record of a change of the catalog.
    Change {
        /// Its place in the order.
        change_seq: i64,
        /// Of which table.
        table: String,
        /// Of which row.
        key: i64,
    },
    /// A place that was given without a request.
    Fill {
        /// Its place in the order.
        change_seq: i64,
        /// In which session.
        session_id: i64,
    },
    /// A user: the balance.
    User {
        /// Which.
        user_id: i64,
    },
    /// A semester: its counter, and what its owners wrote.
    Semester {
        /// Which.
        semester_id: i64,
    },
    /// A session: its counter, and what its owners wrote.
    Session {
        /// Which.
        session_id: i64,
    },
    /// A place in a semester.
    Enrollment {
        /// Which.
        enrollment_id: i64,
    },
    /// A place in a session, or in its waitlist.
    Booking {
        /// Which.
        booking_id: i64,
    },
    /// What was recorded of a booking.
    Attendance {
        /// Of which.
        booking_id: i64,
    },
    /// A ledger row that a request entered.
    Ledger {
        /// Which request.
        request_id: Uuid,
        /// For which enrollment.
        enrollment_id: Option<i64>,
    },
    /// A ledger row that no request entered.
    Unasked {
        /// Which.
        transaction_id: i64,
    },
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer { request_id, kind, answer_seq: Some(answer_seq) } => {
                write!(f, "answer {answer_seq} ({kind} {request_id})")
            }
            Self::Answer { request_id, kind, answer_seq: None } => {
                write!(f, "answer without a number ({kind} {request_id})")
            }
            Self::Change { change_seq, table, key } => write!(f, "change {change_seq} of {table} {key}"),
            Self::Fill { change_seq, session_id } => write!(f, "fill {change_seq} of session {session_id}"),
            Self::User { user_id } => write!(f, "user {user_id}"),
            Self::Semester { semester_id } => write!(f, "semester {semester_id}"),
            Self::Session { session_id } => write!(f, "session {session_id}"),
            Self::Enrollment { enrollment_id } => write!(f, "enrollment {enrollment_id}"),
            Self::Booking { booking_id } => write!(f, "booking {booking_id}"),
            Self::Attendance { booking_id } => write!(f, "attendance of booking {booking_id}"),
            Self::Ledger { request_id, enrollment_id: None } => {
                write!(f, "ledger row of request {request_id}")
            }
            Self::Ledger { request_id, enrollment_id: Some(enrollment) } => {
                write!(f, "ledger row of request {request_id} for enrollment {enrollment}")
            }
            Self::Unasked { transaction_id } => write!(f, "ledger row {transaction_id}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: stored is {}, right is {}", self.about, self.stored, self.right)
    }
}

/// Where the audit had to stop, and why. What it found before holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotCovered {
    /// The place in the order; `None` = before it began.
    pub seq: Option<i64>,
    /// Why.
    pub why: String,
}

impl fmt::Display for NotCovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seq {
            Some(seq) => write!(f, "not covered from number {seq} on: {}", self.why),
            None => write!(f, "not covered: {}", self.why),
        }
    }
}
