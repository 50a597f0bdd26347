//! Places in sessions, and the waitlists behind them.

use chrono::{DateTime, TimeDelta, Utc};
use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::record_attendance::RecordAttendance;
use serde_json::{Value, json};

use super::{Answer, Attendance, Booking, Model, Question, Session, refused};

/// A booking that got a place, and the waits of the same user that ended with it, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub booking_id: i64,
    pub superseded: Vec<i64>,
}

impl Session {
    pub fn has_started(&self, now: DateTime<Utc>) -> bool {
        now >= self.starts_at
    }

    fn is_closed_for_booking(&self, now: DateTime<Utc>) -> bool {
        now >= self.booking_closes_at.unwrap_or(self.starts_at - TimeDelta::hours(24))
    }

    fn is_closed_for_cancellation(&self, now: DateTime<Utc>) -> bool {
        now >= self.cancellation_closes_at.unwrap_or(self.starts_at - TimeDelta::hours(12))
    }
}

impl Booking {
    fn is_live(&self) -> bool {
        self.status != "CANCELLED"
    }

    pub fn is_confirmed(&self) -> bool {
        self.status == "CONFIRMED"
    }

    pub fn is_waiting(&self) -> bool {
        self.status == "WAITLISTED"
    }

    /// Whether the two take place at the same time. One may begin when the other ends.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.starts_at < other.ends_at && other.starts_at < self.ends_at
    }
}

impl Model {
    /// The live bookings, by their names.
    pub fn live(&self) -> impl Iterator<Item = (i64, &Booking)> {
        self.bookings.iter().filter(|(_, booking)| booking.is_live()).map(|(id, booking)| (*id, booking))
    }

    /// Places taken of a session.
    pub fn confirmed(&self, session_id: i64) -> i64 {
        let taken = self.live().filter(|(_, b)| b.session_id == session_id && b.is_confirmed());
        i64::try_from(taken.count()).unwrap()
    }

    fn live_booking_of(&self, user_id: i64, session_id: i64) -> Option<i64> {
        self.live().find(|(_, b)| b.user_id == user_id && b.session_id == session_id).map(|(id, _)| id)
    }

    pub(super) fn book(&mut self, question: &Question<'_>, asked: &Book) -> Answer {
        let (user_id, session_id) = (asked.user_id.get(), asked.session_id.get());
        let Some(session) = self.sessions.get(&session_id).cloned() else {
            return refused("session_not_found");
        };
        let Some(user) = self.users.get(&user_id) else {
            return refused("user_not_found");
        };
        if !user.is_active {
            return refused("user_inactive");
        }
        if session.status == "CANCELLED" {
            return refused("session_cancelled");
        }
        if session.is_closed_for_booking(question.now) {
            return refused("booking_closed");
        }
        if !self.active.contains_key(&(user_id, session.semester_id)) {
            return refused("not_enrolled");
        }
        if self.live_booking_of(user_id, session_id).is_some() {
            return refused("already_booked");
        }
        // Without a name from the database, numbers that it never gives.
        let (booking_id, waitlist_ticket) = question.new_booking.unwrap_or((-1, -1));
        let booking = Booking {
            user_id,
            session_id,
            status: "WAITLISTED".to_owned(),
            waitlist_ticket,
            starts_at: session.starts_at,
            ends_at: session.ends_at,
            booked_at: question.now,
            promoted_at: None,
            cancelled_at: None,
            cancelled_because: None,
            request_id: Some(question.request_id),
        };
        if self.live().any(|(_, b)| b.user_id == user_id && b.is_confirmed() && b.overlaps(&booking)) {
            return refused("schedule_conflict");
        }

        self.bookings.insert(booking_id, booking);
        let places = self.fill(session_id, question.now);
        let own = places.into_iter().find(|place| place.booking_id == booking_id);
        let booking = self.bookings.get_mut(&booking_id).unwrap();
        // Nobody promoted it: it had its place from the beginning.
        booking.promoted_at = None;
        // The position is a hint, which is not compared.
        Answer::Applied(json!({
            "booking_id": booking_id, "status": booking.status, "waitlist_position": Value::Null,
            "superseded_bookings": own.map(|place| place.superseded).unwrap_or_default(),
        }))
    }

    pub(super) fn cancel_booking(&mut self, question: &Question<'_>, asked: &CancelBooking) -> Answer {
        let user_id = asked.user_id.get();
        let named = match asked.which {
            Which::SessionId(session) => {
                let of_the_user =
                    |(_, b): &(&i64, &Booking)| b.user_id == user_id && b.session_id == session.get();
                let past = || self.bookings.iter().find(of_the_user).map(|(id, _)| *id);
                self.live_booking_of(user_id, session.get()).or_else(past)
            }
            Which::BookingId(booking) => Some(booking.get()),
        };
        let found = named.and_then(|id| Some((id, self.bookings.get(&id)?)));
        let Some((booking_id, booking)) = found.filter(|(_, booking)| booking.user_id == user_id) else {
            return refused("booking_not_found");
        };
        if !booking.is_live() {
            return refused("already_cancelled");
        }
        let (session_id, session) = (booking.session_id, &self.sessions[&booking.session_id]);
        let is_closed = if booking.is_confirmed() {
            session.is_closed_for_cancellation(question.now)
        } else {
            session.has_started(question.now)
        };
        if is_closed {
            return refused("cancellation_closed");
        }

        self.cancel(booking_id, "requested", question.now);
        let places = self.fill(session_id, question.now);
        let promoted: Vec<i64> = places.into_iter().map(|place| place.booking_id).collect();
        Answer::Applied(json!({ "booking_id": booking_id, "promoted_bookings": promoted }))
    }

    pub(super) fn record_attendance(&mut self, question: &Question<'_>, asked: &RecordAttendance) -> Answer {
        let (user_id, session_id) = (asked.user_id.get(), asked.session_id.get());
        let Some(session) = self.sessions.get(&session_id) else {
            return refused("session_not_found");
        };
        let booking = self.live_booking_of(user_id, session_id);
        let Some(booking_id) = booking.filter(|id| self.bookings[id].is_confirmed()) else {
            return refused("booking_not_found");
        };
        if !session.has_started(question.now) {
            return refused("session_not_started");
        }

        let status = json!(asked.status);
        let recorded = Attendance {
            status: status.as_str().unwrap().to_owned(),
            recorded_at: question.now,
            request_id: Some(question.request_id),
        };
        let replaced = self.attendance.insert(booking_id, recorded).map(|before| before.status);
        Answer::Applied(json!({ "booking_id": booking_id, "status": status, "replaced": replaced }))
    }

    pub(super) fn cancel(&mut self, booking_id: i64, because: &str, now: DateTime<Utc>) {
        let booking = self.bookings.get_mut(&booking_id).unwrap();
        "CANCELLED".clone_into(&mut booking.status);
        booking.cancelled_at = Some(now);
        booking.cancelled_because = Some(because.to_owned());
    }

    /// Gives free places to those who wait, the first first.
    pub(super) fn fill(&mut self, session_id: i64, now: DateTime<Utc>) -> Vec<Place> {
        let mut places = Vec::new();
        while let Some(booking_id) = self.next_in(session_id, now) {
            places.push(self.promote(booking_id, now));
        }
        places
    }

    /// The booking that is due a place at this instant, if there is a place and somebody who can take it.
    pub fn next_in(&self, session_id: i64, now: DateTime<Utc>) -> Option<i64> {
        let session = &self.sessions[&session_id];
        let is_free = session.status == "SCHEDULED"
            && !session.has_started(now)
            && self.confirmed(session_id) < session.capacity;
        let able = |booking: &Booking| {
            self.users[&booking.user_id].is_active
                && self.active.contains_key(&(booking.user_id, session.semester_id))
        };
        self.live()
            .filter(|(_, b)| is_free && b.session_id == session_id && b.is_waiting() && able(b))
            .min_by_key(|(_, booking)| booking.waitlist_ticket)
            .map(|(id, _)| id)
    }

    /// Gives a place to somebody who waits. Their waits at the same time, wherever they are, end.
    pub fn promote(&mut self, booking_id: i64, now: DateTime<Utc>) -> Place {
        let promoted = self.bookings.get_mut(&booking_id).unwrap();
        "CONFIRMED".clone_into(&mut promoted.status);
        promoted.promoted_at = Some(now);
        let promoted = promoted.clone();
        let superseded: Vec<i64> = self
            .live()
            .filter(|(_, b)| b.user_id == promoted.user_id && b.is_waiting() && b.overlaps(&promoted))
            .map(|(id, _)| id)
            .collect();
        for wait in &superseded {
            self.cancel(*wait, "superseded", now);
        }
        Place { booking_id, superseded }
    }
}
