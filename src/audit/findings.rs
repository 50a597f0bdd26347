//! What an audit says.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

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
    /// What is not as it ought to be, answers and fills first and in their order: a wrong one entails others.
    pub findings: Vec<Finding>,
    /// Where it had to stop; nothing was compared in the end then.
    pub not_covered: Option<NotCovered>,
}

impl Audit {
    /// Whether all of it was worked out again, and came out the same.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.findings.is_empty() && self.not_covered.is_none()
    }

    pub(super) fn found(&mut self, about: About, stored: Value, right: Value) {
        self.findings.push(Finding { about, stored, right });
    }
}

/// Something that is stored otherwise than it came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What.
    pub about: About,
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
        /// Its place in the order.
        answer_seq: i64,
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
            Self::Answer { request_id, kind, answer_seq } => {
                write!(f, "answer {answer_seq} ({kind} {request_id})")
            }
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

/// Compares rows key by key; gives the number of those that are stored.
pub(super) fn compare<K: Ord + Copy, T: PartialEq + Serialize>(
    stored: &BTreeMap<K, T>,
    right: &BTreeMap<K, T>,
    about: impl Fn(K) -> About,
    findings: &mut Vec<Finding>,
) -> usize {
    let missing = right.keys().filter(|key| !stored.contains_key(key));
    let mut keys: Vec<K> = stored.keys().chain(missing).copied().collect();
    keys.sort_unstable();
    for key in keys {
        let (stored, right) = (stored.get(&key), right.get(&key));
        if stored != right {
            let (stored, right) = differing(columns(stored), columns(right));
            findings.push(Finding { about: about(key), stored, right });
        }
    }
    stored.len()
}

fn columns<T: Serialize>(row: Option<&T>) -> Value {
    // A row has plain columns: it is always JSON.
    row.and_then(|row| serde_json::to_value(row).ok()).unwrap_or(Value::Null)
}

/// Only what differs, where both are there.
fn differing(mut stored: Value, mut right: Value) -> (Value, Value) {
    if let (Value::Object(stored), Value::Object(right)) = (&mut stored, &mut right) {
        stored.retain(|column, value| {
            let differs = right.get(column) != Some(value);
            if !differs {
                right.remove(column);
            }
            differs
        });
    }
    (stored, right)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{About, compare};

    #[test]
    fn rows_are_told_by_the_columns_that_differ() {
        let stored = BTreeMap::from([(1, json!({ "a": 1, "b": 2 })), (2, json!({ "a": 1 })), (3, json!({}))]);
        let right = BTreeMap::from([(1, json!({ "a": 1, "b": 3 })), (3, json!({})), (4, json!({ "a": 4 }))]);
        let mut findings = Vec::new();
        let about = |user_id| About::User { user_id };
        assert_eq!(compare(&stored, &right, about, &mut findings), 3);
        let told: Vec<_> =
            findings.into_iter().map(|found| (found.about, found.stored, found.right)).collect();
        let expected = [
            (about(1), json!({ "b": 2 }), json!({ "b": 3 })),
            (about(2), json!({ "a": 1 }), Value::Null),
            (about(4), Value::Null, json!({ "a": 4 })),
        ];
        assert_eq!(told, expected);
    }
}
