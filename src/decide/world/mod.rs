//! The rows that a batch has locked and read, and what its decisions changed in them.

mod bookings;
mod moved;
mod places;
mod rows;

use std::collections::{HashMap, VecDeque};

use seatkeeper_jobs::{EnrollmentId, SemesterId, UserId};
use uuid::Uuid;

use super::{DecideError, Request};
use places::Places;

pub use rows::{
    Attendance, Because, Booking, BookingStatus, Changes, Enrollment, LedgerEntry, Promotion, Semester,
    SemesterStatus, Session, TransactionType, User,
};

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
    cancelled: Vec<(SemesterId, Uuid)>,
    places: Places,
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

    /// Takes back the numbers for enrollments and bookings that no decision has used.
    pub fn take_back_numbers(&mut self) {
        self.enrollment_ids.clear();
        self.places.take_back_fresh();
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
        let mut changes = Changes {
            balances,
            withdrawn: self.withdrawn,
            enrolled: self.enrolled,
            ledger: self.ledger,
            cancelled_semesters: self.cancelled,
            ..Changes::default()
        };
        self.places.add_to(&mut changes);
        changes
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

    /// The active enrollments of a semester as of now, ascending by ID.
    pub(super) fn all_enrolled_in(&self, semester: SemesterId) -> Vec<Enrollment> {
        let all = self.active.iter().filter(|((_, of), _)| *of == semester);
        let mut all: Vec<_> = all.filter_map(|(_, enrollment)| enrollment.clone()).collect();
        all.sort_unstable_by_key(|enrollment| enrollment.enrollment_id);
        all
    }

    pub(super) fn cancel_semester(&mut self, id: SemesterId, request: &Request) -> Result<(), DecideError> {
        self.semester_mut(id)?.status = SemesterStatus::Cancelled;
        self.cancelled.push((id, request.id));
        Ok(())
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
    ///
    /// Grants keep to the limit of balances, by their rule. A refund may go beyond it, since nobody is kept in a place, and no
    /// semester from being cancelled, for being rich: it gives back only what was charged before. What a user has, and has paid for places
    /// that are still active, is never more than what was granted to them in all; so for a refund to leave the range, one user must
    /// have been granted nine times the limit, by more than nine million of the largest grants. Only what a hand has written
    /// comes to that: it is an error, told with the request.
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
