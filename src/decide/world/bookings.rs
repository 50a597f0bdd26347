//! The doors of the [`World`] to its sessions and bookings: for the prefetch to fill, for the rules to read and change.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::record_attendance::AttendanceStatus;
use seatkeeper_jobs::{BookingId, SemesterId, SessionId, UserId};

use super::{Because, Booking, BookingStatus, Session, World};
use crate::decide::{DecideError, Request};

impl World {
    /// Adds a session as locked; `None` when there is none.
    pub fn put_session(&mut self, id: SessionId, session: Option<Session>) {
        self.places.put_session(id, session);
    }

    /// Adds a booking as read under the lock of its user. A live one counts for every look-up that it fits.
    pub fn put_booking(&mut self, booking: Booking) {
        self.places.put_booking(booking);
    }

    /// Says that every live booking of the user at this time was added.
    pub fn put_around(&mut self, user: UserId, from: DateTime<Utc>, until: DateTime<Utc>) {
        self.places.put_around(user, from, until);
    }

    /// Says that the live booking of the user in the session was added, if there is one.
    pub fn put_looked(&mut self, user: UserId, session: SessionId) {
        self.places.put_looked(user, session);
    }

    /// Says whether the user has a cancelled booking in the session.
    pub fn put_cancelled(&mut self, user: UserId, session: SessionId, ever: bool) {
        self.places.put_cancelled(user, session, ever);
    }

    /// Adds a booking that a request names, live or not; `None` when there is none.
    pub fn put_named(&mut self, id: BookingId, booking: Option<Booking>) {
        self.places.put_named(id, booking);
    }

    /// Adds the head of a session's waitlist, by ticket. Behind `unread_after` there may be more. `count` is the length of
    /// the whole list, as a hint for those who join it.
    pub fn put_queue(
        &mut self,
        session: SessionId,
        waiting: BTreeMap<i64, BookingId>,
        unread_after: Option<i64>,
        count: i64,
    ) {
        self.places.put_queue(session, waiting, unread_after, count);
    }

    /// Adds what was recorded of a booking; `None` when nothing was.
    pub fn put_attendance(&mut self, booking: BookingId, status: Option<AttendanceStatus>) {
        self.places.put_attendance(booking, status);
    }

    /// Says that all active enrollments and all live bookings of the semester were added.
    pub fn put_whole(&mut self, semester: SemesterId) {
        self.places.put_whole(semester);
    }

    /// Adds IDs and tickets for new bookings, used in this order; both grow.
    pub fn put_fresh_bookings(&mut self, ids: impl IntoIterator<Item = (BookingId, i64)>) {
        self.places.put_fresh(ids);
    }

    /// The session as of now.
    ///
    /// # Errors
    /// When it was not prefetched; so for those below.
    pub fn session(&self, id: SessionId) -> Result<Option<&Session>, DecideError> {
        self.places.session(id)
    }

    /// A booking that is known, as of now.
    pub fn booking(&self, id: BookingId) -> Result<&Booking, DecideError> {
        self.places.booking(id)
    }

    /// The booking of this ID; `None` when there is none.
    pub(in crate::decide) fn named_booking(&self, id: BookingId) -> Result<Option<&Booking>, DecideError> {
        self.places.named(id)
    }

    /// The user's live booking in the session.
    pub fn live_booking(&self, user: UserId, session: SessionId) -> Result<Option<&Booking>, DecideError> {
        self.places.live(user, session)
    }

    pub(in crate::decide) fn has_cancelled(
        &self,
        user: UserId,
        session: SessionId,
    ) -> Result<bool, DecideError> {
        self.places.ever_cancelled(user, session)
    }

    /// Whether the user has a place elsewhere at the time of the session.
    pub(in crate::decide) fn is_taken(&self, user: UserId, session: SessionId) -> Result<bool, DecideError> {
        let mut others = self.places.at_the_time_of(user, session)?;
        Ok(others.any(|other| other.status == BookingStatus::Confirmed))
    }

    pub(in crate::decide) fn not_started_bookings(
        &self,
        user: UserId,
        semester: SemesterId,
        at: DateTime<Utc>,
    ) -> Result<Vec<BookingId>, DecideError> {
        self.places.not_started_in(user, semester, at)
    }

    pub(in crate::decide) fn all_not_started_bookings(
        &self,
        semester: SemesterId,
        at: DateTime<Utc>,
    ) -> Result<Vec<BookingId>, DecideError> {
        self.places.all_not_started_in(semester, at)
    }

    /// Those who wait in the session, in the order of their tickets; an error where the part that was read ends.
    ///
    /// # Errors
    /// When its waitlist was not prefetched.
    pub fn waiting(
        &self,
        session: SessionId,
    ) -> Result<impl Iterator<Item = Result<BookingId, DecideError>>, DecideError> {
        self.places.waiting(session)
    }

    /// How many wait in the session: a hint.
    pub(in crate::decide) fn waiting_count(&self, session: SessionId) -> i64 {
        self.places.waiting_count(session)
    }

    pub(in crate::decide) fn join_queue(
        &mut self,
        user: UserId,
        session: SessionId,
        request: &Request,
    ) -> Result<BookingId, DecideError> {
        self.places.join(user, session, request)
    }

    /// Gives a waiter a place: whoever has one gives up their own waits at the same time, in whatever semester. Gives
    /// those, ascending.
    pub(in crate::decide) fn confirm(
        &mut self,
        id: BookingId,
        at: DateTime<Utc>,
        has_waited: bool,
    ) -> Result<Vec<BookingId>, DecideError> {
        let (user, session) = (self.booking(id)?.user_id, self.booking(id)?.session_id);
        self.places.confirm(id, has_waited.then_some(at))?;
        let others = self.places.at_the_time_of(user, session)?;
        let waits = others.filter(|other| other.status == BookingStatus::Waitlisted);
        let mut superseded: Vec<_> = waits.map(|wait| wait.booking_id).collect();
        superseded.sort_unstable();
        for wait in &superseded {
            self.places.cancel(*wait, at, Because::Superseded)?;
        }
        Ok(superseded)
    }

    pub(in crate::decide) fn cancel_booking(
        &mut self,
        id: BookingId,
        at: DateTime<Utc>,
        because: Because,
    ) -> Result<(), DecideError> {
        self.places.cancel(id, at, because)
    }

    pub(in crate::decide) fn record_attendance(
        &mut self,
        id: BookingId,
        status: AttendanceStatus,
        request: &Request,
    ) -> Result<Option<AttendanceStatus>, DecideError> {
        self.places.record(id, status, request)
    }
}
