//! Places in semesters.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::unenroll::Unenroll;
use serde_json::json;

use super::{Answer, Enrollment, Model, Question, Semester, refused};

impl Semester {
    fn is_open(&self) -> bool {
        self.status == "ENROLLMENT_OPEN" || self.status == "IN_PROGRESS"
    }
}

impl Model {
    /// Active enrollments of a semester.
    pub fn enrolled(&self, semester_id: i64) -> i64 {
        i64::try_from(self.active.keys().filter(|(_, semester)| *semester == semester_id).count()).unwrap()
    }

    pub(super) fn enroll(&mut self, question: &Question<'_>, asked: &Enroll) -> Answer {
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

    pub(super) fn unenroll(&mut self, question: &Question<'_>, asked: &Unenroll) -> Answer {
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

        let price_paid = self.withdraw(enrollment_id, question.now);
        let share = i128::from(price_paid) * i128::from(semester.refund_percent) / 100;
        let refund = i64::try_from(share).unwrap();
        let balance =
            self.move_balance(question, user_id, "TOURNAMENT_UNENROLL_REFUND", refund, Some(enrollment_id));

        // One live booking in a session at most, so this is in the order of sessions.
        let mut given_back: Vec<(i64, i64)> = self
            .live()
            .filter(|(_, booking)| {
                let session = &self.sessions[&booking.session_id];
                booking.user_id == user_id
                    && session.semester_id == semester_id
                    && !session.has_started(question.now)
            })
            .map(|(id, booking)| (booking.session_id, id))
            .collect();
        given_back.sort_unstable();
        for (_, booking_id) in &given_back {
            self.cancel(*booking_id, "unenrolled", question.now);
        }
        let mut promoted = Vec::new();
        for (session_id, _) in &given_back {
            promoted.extend(self.fill(*session_id, question.now).into_iter().map(|place| place.booking_id));
        }
        let cancelled: Vec<i64> = given_back.into_iter().map(|(_, booking_id)| booking_id).collect();
        Answer::Applied(json!({
            "enrollment_id": enrollment_id, "refunded": refund, "balance": balance,
            "cancelled_bookings": cancelled, "promoted_bookings": promoted,
        }))
    }

    pub(super) fn cancel_semester(&mut self, question: &Question<'_>, asked: &CancelSemester) -> Answer {
        let semester_id = asked.semester_id.get();
        let Some(semester) = self.semesters.get_mut(&semester_id) else {
            return refused("semester_not_found");
        };
        if semester.status == "CANCELLED" {
            return refused("already_cancelled");
        }

        "CANCELLED".clone_into(&mut semester.status);
        self.cancelled_by.insert(semester_id, question.request_id);
        let mut enrolled: Vec<(i64, i64)> = self
            .active
            .iter()
            .filter(|((_, semester), _)| *semester == semester_id)
            .map(|((user_id, _), enrollment_id)| (*enrollment_id, *user_id))
            .collect();
        enrolled.sort_unstable();
        let mut refunded = 0_i64;
        for (enrollment_id, user_id) in &enrolled {
            let price_paid = self.withdraw(*enrollment_id, question.now);
            refunded = refunded.saturating_add(price_paid);
            let refund = "TOURNAMENT_CANCEL_REFUND";
            self.move_balance(question, *user_id, refund, price_paid, Some(*enrollment_id));
        }

        let given_back: Vec<i64> = self
            .live()
            .filter(|(_, booking)| {
                let session = &self.sessions[&booking.session_id];
                session.semester_id == semester_id && !session.has_started(question.now)
            })
            .map(|(id, _)| id)
            .collect();
        for booking_id in &given_back {
            self.cancel(*booking_id, "semester_cancelled", question.now);
        }
        Answer::Applied(json!({
            "withdrawn": enrolled.len(), "refunded": refunded, "cancelled_bookings": given_back.len(),
        }))
    }

    /// Ends an enrollment; gives what was paid for it.
    fn withdraw(&mut self, enrollment_id: i64, now: DateTime<Utc>) -> i64 {
        let enrollment = self.enrollments.get_mut(&enrollment_id).unwrap();
        "WITHDRAWN".clone_into(&mut enrollment.status);
        enrollment.is_active = false;
        enrollment.withdrawn_at = Some(now);
        self.active.remove(&(enrollment.user_id, enrollment.semester_id));
        enrollment.price_paid
    }
}
