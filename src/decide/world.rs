//! The rows that a batch has locked and read, and what its decisions changed in them.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{EnrollmentId, SemesterId, UserId};
use uuid::Uuid;

use super::{DecideError, Request};

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

    /// The status of this name in the database.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "DRAFT" => Self::Draft,
            "ENROLLMENT_OPEN" => Self::EnrollmentOpen,
            "ENROLLMENT_CLOSED" => Self::EnrollmentClosed,
            "IN_PROGRESS" => Self::InProgress,
            "COMPLETED" => Self::Completed,
            "CANCELLED" => Self::Cancelled,
            _ => return None,
        })
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
            Self::Purchase => "PURCHASE",
            Self::AdminAdjustment => "ADMIN_ADJUSTMENT",
        }
    }
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
}

/// A row read under lock: what it was, and what it is by now.
#[derive(Debug, Clone)]
struct Row<T> {
    before: T,
    now: T,
}

/// The rows of a batch. A key that was looked for and not found is there as `None`; a key that nobody looked for is
/// an error, never "not found".
#[derive(Debug, Default)]
pub struct World {
    users: HashMap<UserId, Option<Row<User>>>,
    semesters: HashMap<SemesterId, Option<Row<Semester>>>,
    active: HashMap<(UserId, SemesterId), Option<Enrollment>>,
    enrollment_ids: VecDeque<EnrollmentId>,
    withdrawn: Vec<Enrollment>,
    enrolled: Vec<Enrollment>,
    /// Where in `enrolled` an enrollment of this batch is.
    made: HashMap<EnrollmentId, usize>,
    ledger: Vec<LedgerEntry>,
}

impl World {
    /// Adds a user as locked; `None` when there is none.
    pub fn put_user(&mut self, id: UserId, user: Option<User>) {
        self.users.insert(id, user.map(|user| Row { before: user.clone(), now: user }));
    }

    /// Adds a semester as locked; `None` when there is none.
    pub fn put_semester(&mut self, id: SemesterId, semester: Option<Semester>) {
        self.semesters.insert(id, semester.map(|semester| Row { before: semester.clone(), now: semester }));
    }

    /// Adds what the user has in the semester as read under lock; `None` when there is no active enrollment.
    pub fn put_active_enrollment(
        &mut self,
        user: UserId,
        semester: SemesterId,
        enrollment: Option<Enrollment>,
    ) {
        self.active.insert((user, semester), enrollment);
    }

    /// Adds IDs for new enrollments, used in this order.
    pub fn put_enrollment_ids(&mut self, ids: impl IntoIterator<Item = EnrollmentId>) {
        self.enrollment_ids.extend(ids);
    }

    /// The user as of now.
    ///
    /// # Errors
    /// When it was not prefetched; so for the two below.
    pub fn user(&self, id: UserId) -> Result<Option<&User>, DecideError> {
        let row = self.users.get(&id).ok_or(DecideError::NotPrefetched("a user"))?;
        Ok(row.as_ref().map(|row| &row.now))
    }

    /// The semester as of now.
    pub fn semester(&self, id: SemesterId) -> Result<Option<&Semester>, DecideError> {
        let row = self.semesters.get(&id).ok_or(DecideError::NotPrefetched("a semester"))?;
        Ok(row.as_ref().map(|row| &row.now))
    }

    /// The user's active enrollment in the semester as of now.
    pub fn active_enrollment(
        &self,
        user: UserId,
        semester: SemesterId,
    ) -> Result<Option<&Enrollment>, DecideError> {
        let found = self.active.get(&(user, semester)).ok_or(DecideError::NotPrefetched("an enrollment"))?;
        Ok(found.as_ref())
    }

    /// Active enrollments of a semester as read, and as of now; `None` when there is no such semester.
    #[must_use]
    pub fn enrolled_counts(&self, id: SemesterId) -> Option<(i32, i32)> {
        let row = self.semesters.get(&id)?.as_ref()?;
        Some((row.before.enrolled_count, row.now.enrolled_count))
    }

    /// What the decisions so far have changed.
    #[must_use]
    pub fn into_changes(self) -> Changes {
        let rows = self.users.into_iter().filter_map(|(id, row)| Some((id, row?)));
        let balances = rows.map(|(id, row)| (id, row.before.balance, row.now.balance));
        let mut balances: Vec<_> = balances.filter(|(_, before, now)| before != now).collect();
        balances.sort_unstable();
        Changes { balances, withdrawn: self.withdrawn, enrolled: self.enrolled, ledger: self.ledger }
    }

    pub(super) fn enroll(
        &mut self,
        user_id: UserId,
        semester_id: SemesterId,
        price_paid: i64,
        request: &Request,
    ) -> Result<EnrollmentId, DecideError> {
        let enrollment_id = self.enrollment_ids.pop_front().ok_or(DecideError::IdsExhausted)?;
        let made = Some((request.id, request.at));
        let enrollment =
            Enrollment { enrollment_id, user_id, semester_id, price_paid, made, withdrawn_at: None };
        self.made.insert(enrollment_id, self.enrolled.len());
        self.enrolled.push(enrollment.clone());
        self.active.insert((user_id, semester_id), Some(enrollment));
        self.semester_mut(semester_id)?.enrolled_count += 1;
        Ok(enrollment_id)
    }

    pub(super) fn withdraw(
        &mut self,
        user_id: UserId,
        semester_id: SemesterId,
        request: &Request,
    ) -> Result<EnrollmentId, DecideError> {
        let active = self.active.insert((user_id, semester_id), None).flatten();
        let mut enrollment = active.ok_or(DecideError::NotPrefetched("an active enrollment"))?;
        let enrollment_id = enrollment.enrollment_id;
        match self.made.get(&enrollment_id) {
            Some(&index) => self.enrolled[index].withdrawn_at = Some(request.at),
            None => {
                enrollment.withdrawn_at = Some(request.at);
                self.withdrawn.push(enrollment);
            }
        }
        self.semester_mut(semester_id)?.enrolled_count -= 1;
        Ok(enrollment_id)
    }

    /// Takes the price of an enrollment; 0 is entered too. Gives the balance left.
    pub(super) fn charge(
        &mut self,
        user: UserId,
        enrollment: EnrollmentId,
        price: i64,
        request: &Request,
    ) -> Result<i64, DecideError> {
        self.enter(user, TransactionType::TournamentEnrollment, -price, Some(enrollment), request)
    }

    /// Gives credits for an enrollment back; 0 is entered too. Gives the balance left.
    pub(super) fn refund(
        &mut self,
        user: UserId,
        enrollment: EnrollmentId,
        credits: i64,
        why: TransactionType,
        request: &Request,
    ) -> Result<i64, DecideError> {
        self.enter(user, why, credits, Some(enrollment), request)
    }

    /// Moves a balance by a grant. Gives the balance left.
    pub(super) fn grant(&mut self, user: UserId, amount: i64, request: &Request) -> Result<i64, DecideError> {
        let why = if amount > 0 { TransactionType::Purchase } else { TransactionType::AdminAdjustment };
        self.enter(user, why, amount, None, request)
    }

    /// The one place where a balance moves: never without its ledger row.
    fn enter(
        &mut self,
        user_id: UserId,
        transaction_type: TransactionType,
        amount: i64,
        enrollment_id: Option<EnrollmentId>,
        request: &Request,
    ) -> Result<i64, DecideError> {
        let user = self.users.get_mut(&user_id).and_then(Option::as_mut);
        let user = &mut user.ok_or(DecideError::NotPrefetched("a user"))?.now;
        let balance_after = user
            .balance
            .checked_add(amount)
            .ok_or(DecideError::BalanceOverflow { user_id: user_id.get() })?;
        user.balance = balance_after;
        self.ledger.push(LedgerEntry {
            user_id,
            transaction_type,
            amount,
            balance_after,
            enrollment_id,
            request_id: request.id,
            at: request.at,
        });
        Ok(balance_after)
    }

    fn semester_mut(&mut self, id: SemesterId) -> Result<&mut Semester, DecideError> {
        let row = self.semesters.get_mut(&id).and_then(Option::as_mut);
        Ok(&mut row.ok_or(DecideError::NotPrefetched("a semester"))?.now)
    }
}
