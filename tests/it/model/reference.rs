//! The rules once more, as plainly as they can be put: one request at a time, on maps, with the time handed in.
//!
//! Written from the rules and not from the code under test, and sharing nothing with it: where the two differ, one of
//! them is wrong.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::Job;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::GrantCredits;
use seatkeeper_jobs::unenroll::Unenroll;
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
    pub status: String,
    pub max_players: Option<i64>,
    pub enrollment_cost: i64,
    pub refund_percent: i64,
    pub enrollment_closes_at: Option<DateTime<Utc>>,
    pub unenroll_closes_at: Option<DateTime<Utc>>,
}

impl Semester {
    fn is_open(&self) -> bool {
        self.status == "ENROLLMENT_OPEN" || self.status == "IN_PROGRESS"
    }
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
    pub enrollments: BTreeMap<i64, Enrollment>,
    /// The active ones: (user, semester) → enrollment.
    pub active: BTreeMap<(i64, i64), i64>,
    pub ledger: Vec<LedgerRow>,
}

impl Model {
    /// Active enrollments of a semester.
    pub fn enrolled(&self, semester_id: i64) -> i64 {
        i64::try_from(self.active.keys().filter(|(_, semester)| *semester == semester_id).count()).unwrap()
    }

    pub fn answer(&mut self, question: &Question<'_>) -> Answer {
        if question.expires_at.is_some_and(|expires_at| question.now >= expires_at) {
            return refused("request_expired");
        }
        match question.job {
            Job::Enroll(asked) => self.enroll(question, asked),
            Job::Unenroll(asked) => self.unenroll(question, asked),
            Job::GrantCredits(asked) => self.grant(question, asked),
            other => panic!("the reference has no rule for {}", other.kind().as_str()),
        }
    }

    fn enroll(&mut self, question: &Question<'_>, asked: &Enroll) -> Answer {
        let (user_id, semester_id) = (asked.user_id.get(), asked.semester_id.get());
        let Some(semester) = self.semesters.get(&semester_id).cloned() else {
            return refused("semester_not_found");
        };
        let Some(user) = self.users.get(&user_id).cloned() else {
            return refused("user_not_found");
        };
        if !user.is_active {
            return refused("user_inactive");
        }
        if !semester.is_open() {
            return refused("semester_not_open");
        }
        if semester.enrollment_closes_at.is_some_and(|deadline| question.now >= deadline) {
            return refused("enrollment_closed");
        }
        if self.active.contains_key(&(user_id, semester_id)) {
            return refused("already_enrolled");
        }
        if semester.max_players.is_some_and(|places| self.enrolled(semester_id) >= places) {
            return refused("semester_full");
        }
        let cost = semester.enrollment_cost;
        if user.balance < cost {
            return Answer::Refused("insufficient_credits", json!({ "balance": user.balance, "cost": cost }));
        }

        // Without a name from the database, a number that it never gives.
        let enrollment_id = question.new_enrollment_id.unwrap_or(-1);
        let enrollment = Enrollment {
            user_id,
            semester_id,
            status: "APPROVED".to_owned(),
            is_active: true,
            price_paid: cost,
            request_id: Some(question.request_id),
            enrolled_at: question.now,
            withdrawn_at: None,
        };
        self.enrollments.insert(enrollment_id, enrollment);
        self.active.insert((user_id, semester_id), enrollment_id);
        let balance =
            self.move_balance(question, user_id, "TOURNAMENT_ENROLLMENT", -cost, Some(enrollment_id));
        Answer::Applied(json!({ "enrollment_id": enrollment_id, "charged": cost, "balance": balance }))
    }

    fn unenroll(&mut self, question: &Question<'_>, asked: &Unenroll) -> Answer {
        let (user_id, semester_id) = (asked.user_id.get(), asked.semester_id.get());
        let Some(semester) = self.semesters.get(&semester_id).cloned() else {
            return refused("semester_not_found");
        };
        if !self.users.contains_key(&user_id) {
            return refused("user_not_found");
        }
        if !semester.is_open() {
            return refused("semester_not_open");
        }
        if semester.unenroll_closes_at.is_some_and(|deadline| question.now >= deadline) {
            return refused("unenroll_closed");
        }
        let Some(enrollment_id) = self.active.get(&(user_id, semester_id)).copied() else {
            return refused("not_enrolled");
        };
        if asked.enrollment_id.is_some_and(|named| named.get() != enrollment_id) {
            return refused("not_enrolled");
        }

        let enrollment = self.enrollments.get_mut(&enrollment_id).unwrap();
        enrollment.status = "WITHDRAWN".to_owned();
        enrollment.is_active = false;
        enrollment.withdrawn_at = Some(question.now);
        let share = i128::from(enrollment.price_paid) * i128::from(semester.refund_percent) / 100;
        let refund = i64::try_from(share).unwrap();
        self.active.remove(&(user_id, semester_id));
        let balance =
            self.move_balance(question, user_id, "TOURNAMENT_UNENROLL_REFUND", refund, Some(enrollment_id));
        Answer::Applied(json!({
            "enrollment_id": enrollment_id, "refunded": refund, "balance": balance,
            "cancelled_bookings": [], "promoted_bookings": [],
        }))
    }

    fn grant(&mut self, question: &Question<'_>, asked: &GrantCredits) -> Answer {
        let (user_id, amount) = (asked.user_id.get(), asked.amount.get());
        let Some(user) = self.users.get(&user_id) else {
            return refused("user_not_found");
        };
        if user.balance + amount < 0 {
            return Answer::Refused(
                "insufficient_credits",
                json!({ "balance": user.balance, "cost": -amount }),
            );
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
