//! The rules once more, as plainly as they can be put: one request at a time, on maps, with the time handed in.
//!
//! Written from the rules and not from the code under test, and sharing nothing with it: where the two differ, one of
//! them is wrong.

mod booking;
mod enrolling;
mod moving;
mod scenarios;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::Job;
use seatkeeper_jobs::grant_credits::GrantCredits;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub is_active: bool,
    pub balance: i64,
}

/// The part of a semester that its owners decide on, as `catalog_changes` records it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Semester {
    pub name: String,
    pub status: String,
    pub max_players: Option<i64>,
    pub enrollment_cost: i64,
    pub refund_percent: i64,
    pub enrollment_closes_at: Option<DateTime<Utc>>,
    pub unenroll_closes_at: Option<DateTime<Utc>>,
}

/// The same of a session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Session {
    pub semester_id: i64,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub capacity: i64,
    pub status: String,
    pub booking_closes_at: Option<DateTime<Utc>>,
    pub cancellation_closes_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    pub user_id: i64,
    pub semester_id: i64,
    pub status: String,
    pub is_active: bool,
    pub price_paid: i64,
    pub request_id: Option<Uuid>,
    pub enrolled_at: DateTime<Utc>,
    pub withdrawn_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    pub user_id: i64,
    pub transaction_type: String,
    pub amount: i64,
    pub balance_after: i64,
    pub enrollment_id: Option<i64>,
    pub request_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Booking {
    pub user_id: i64,
    pub session_id: i64,
    pub status: String,
    pub waitlist_ticket: i64,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub booked_at: DateTime<Utc>,
    pub promoted_at: Option<DateTime<Utc>>,
    pub cancelled_at: Option<DateTime<Utc>>,
    pub cancelled_because: Option<String>,
    pub request_id: Option<Uuid>,
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Attendance {
    pub status: String,
    pub recorded_at: DateTime<Utc>,
    pub request_id: Option<Uuid>,
}

/// A request with what the answer has to be made of.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    pub request_id: Uuid,
    pub job: &'a Job,
    pub expires_at: Option<DateTime<Utc>>,
    /// The instant of decision.
    pub now: DateTime<Utc>,
    /// What a new enrollment would be called: numbers are the database's to give.
    pub new_enrollment_id: Option<i64>,
    /// The same of a new booking, with its ticket.
    pub new_booking: Option<(i64, i64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Applied(Value),
    /// The reason, and what a refusal may say to explain itself.
    Refused(&'static str, Value),
}

/// A refusal that has nothing to explain.
fn refused(reason: &'static str) -> Answer {
    Answer::Refused(reason, json!({}))
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub users: BTreeMap<i64, User>,
    pub semesters: BTreeMap<i64, Semester>,
    pub sessions: BTreeMap<i64, Session>,
    pub enrollments: BTreeMap<i64, Enrollment>,
    /// The active ones: (user, semester) → enrollment.
    pub active: BTreeMap<(i64, i64), i64>,
    pub ledger: Vec<LedgerRow>,
    pub bookings: BTreeMap<i64, Booking>,
    /// By booking.
    pub attendance: BTreeMap<i64, Attendance>,
    /// Semesters that a request cancelled, as long as nobody gave them another status, and that request.
    pub cancelled_by: BTreeMap<i64, Uuid>,
}

impl Model {
    pub fn answer(&mut self, question: &Question<'_>) -> Answer {
        if question.expires_at.is_some_and(|expires_at| question.now >= expires_at) {
            return refused("request_expired");
        }
        match question.job {
            Job::Enroll(asked) => self.enroll(question, asked),
            Job::Unenroll(asked) => self.unenroll(question, asked),
            Job::Book(asked) => self.book(question, asked),
            Job::CancelBooking(asked) => self.cancel_booking(question, asked),
            Job::RecordAttendance(asked) => self.record_attendance(question, asked),
            Job::CancelSemester(asked) => self.cancel_semester(question, asked),
            Job::GrantCredits(asked) => self.grant(question, asked),
        }
    }

    fn grant(&mut self, question: &Question<'_>, asked: &GrantCredits) -> Answer {
        let (user_id, amount) = (asked.user_id.get(), asked.amount.get());
        let Some(user) = self.users.get(&user_id) else {
            return refused("user_not_found");
        };
        if amount < 0 && user.balance < -amount {
            return Answer::Refused(
                "insufficient_credits",
                json!({ "balance": user.balance, "cost": -amount }),
            );
        }
        let most = 10_i64.pow(18);
        if amount > 0 && user.balance > most - amount {
            return Answer::Refused("balance_limit", json!({ "balance": user.balance, "limit": most }));
        }
        let transaction_type = if amount > 0 { "PURCHASE" } else { "ADMIN_ADJUSTMENT" };
        let balance = self.move_balance(question, user_id, transaction_type, amount, None);
        Answer::Applied(json!({ "balance": balance }))
    }

    /// Moves a balance and says so in the ledger; gives what is left.
    fn move_balance(
        &mut self,
        question: &Question<'_>,
        user_id: i64,
        transaction_type: &str,
        amount: i64,
        enrollment_id: Option<i64>,
    ) -> i64 {
        let user = self.users.get_mut(&user_id).unwrap();
        user.balance += amount;
        self.ledger.push(LedgerRow {
            user_id,
            transaction_type: transaction_type.to_owned(),
            amount,
            balance_after: user.balance,
            enrollment_id,
            request_id: Some(question.request_id),
            created_at: question.now,
        });
        user.balance
    }
}
