//! The sessions and bookings of a [`World`](super::World): who has a place, who waits, and in what order.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use chrono::{DateTime, Utc};
use seatkeeper_jobs::record_attendance::AttendanceStatus;
use seatkeeper_jobs::{BookingId, SemesterId, SessionId, UserId};

use super::{Attendance, Because, Booking, BookingStatus, Changes, Row, Session};
use crate::decide::{DecideError, Request};

/// A booking as read or made, and what it was before the batch.
#[derive(Debug)]
struct Known {
    before: Option<BookingStatus>,
    now: Booking,
}

/// The part of a waitlist that was read, and those who joined it since.
#[derive(Debug, Default)]
struct Queue {
    /// Ascending by ticket.
    waiting: BTreeMap<i64, BookingId>,
    /// Behind this ticket there are waiters that were not read.
    unread_after: Option<i64>,
    /// How many wait, as far as this batch can tell: a hint.
    count: i64,
}

#[derive(Debug, Default)]
pub(super) struct Places {
    sessions: HashMap<SessionId, Option<Row<Session>>>,
    bookings: HashMap<BookingId, Known>,
    of_user: HashMap<UserId, Vec<BookingId>>,
    /// Whose live bookings at which time are all known.
    around: HashMap<UserId, (DateTime<Utc>, DateTime<Utc>)>,
    /// Who was looked for in which session.
    looked: HashSet<(UserId, SessionId)>,
    /// Who has ever cancelled in which session.
    cancelled: HashMap<(UserId, SessionId), bool>,
    named: HashMap<BookingId, bool>,
    queues: HashMap<SessionId, Queue>,
    attendance: HashMap<BookingId, Attendance>,
    /// Semesters all of whose live bookings and active enrollments are known.
    whole: HashSet<SemesterId>,
    fresh: VecDeque<(BookingId, i64)>,
    made: Vec<BookingId>,
}

/// What the prefetch puts in.
impl Places {
    pub(super) fn put_session(&mut self, id: SessionId, session: Option<Session>) {
        self.sessions.insert(id, session.map(|session| Row { before: session.clone(), now: session }));
    }

    pub(super) fn put_booking(&mut self, booking: Booking) {
        let id = booking.booking_id;
        if self.bookings.contains_key(&id) {
            return;
        }
        self.of_user.entry(booking.user_id).or_default().push(id);
        self.bookings.insert(id, Known { before: Some(booking.status), now: booking });
    }

    pub(super) fn put_around(&mut self, user: UserId, from: DateTime<Utc>, until: DateTime<Utc>) {
        self.around.insert(user, (from, until));
    }

    pub(super) fn put_looked(&mut self, user: UserId, session: SessionId) {
        self.looked.insert((user, session));
    }

    pub(super) fn put_cancelled(&mut self, user: UserId, session: SessionId, ever: bool) {
        self.cancelled.insert((user, session), ever);
    }

    pub(super) fn put_named(&mut self, id: BookingId, booking: Option<Booking>) {
        self.named.insert(id, booking.is_some());
        if let Some(booking) = booking {
            self.put_booking(booking);
        }
    }

    pub(super) fn put_queue(
        &mut self,
        session: SessionId,
        waiting: BTreeMap<i64, BookingId>,
        unread_after: Option<i64>,
        count: i64,
    ) {
        self.queues.insert(session, Queue { waiting, unread_after, count });
    }

    pub(super) fn put_attendance(&mut self, booking: BookingId, status: Option<AttendanceStatus>) {
        let row = Attendance { booking_id: booking, before: status, now: status, recorded: None };
        self.attendance.insert(booking, row);
    }

    pub(super) fn put_whole(&mut self, semester: SemesterId) {
        self.whole.insert(semester);
    }

    pub(super) fn put_fresh(&mut self, ids: impl IntoIterator<Item = (BookingId, i64)>) {
        self.fresh.extend(ids);
    }

    pub(super) fn take_back_fresh(&mut self) {
        self.fresh.clear();
    }
}

/// What the rules read.
impl Places {
    pub(super) fn session(&self, id: SessionId) -> Result<Option<&Session>, DecideError> {
        let row = self.sessions.get(&id).ok_or(DecideError::NotPrefetched("a session"))?;
        Ok(row.as_ref().map(|row| &row.now))
    }

    pub(super) fn booking(&self, id: BookingId) -> Result<&Booking, DecideError> {
        self.bookings.get(&id).map(|known| &known.now).ok_or(DecideError::NotPrefetched("a booking"))
    }

    pub(super) fn named(&self, id: BookingId) -> Result<Option<&Booking>, DecideError> {
        match self.named.get(&id) {
            Some(true) => self.booking(id).map(Some),
            Some(false) => Ok(None),
            None => Err(DecideError::NotPrefetched("a named booking")),
        }
    }

    pub(super) fn live(&self, user: UserId, session: SessionId) -> Result<Option<&Booking>, DecideError> {
        if !self.looked.contains(&(user, session)) {
            return Err(DecideError::NotPrefetched("the booking of a user in a session"));
        }
        Ok(self.live_of(user).find(|booking| booking.session_id == session))
    }

    pub(super) fn ever_cancelled(&self, user: UserId, session: SessionId) -> Result<bool, DecideError> {
        let stored = self.cancelled.get(&(user, session));
        let stored = *stored.ok_or(DecideError::NotPrefetched("the cancelled bookings of a user"))?;
        let in_batch = |booking: &Booking| booking.session_id == session && !booking.status.is_live();
        Ok(stored || self.known_of(user).any(in_batch))
    }

    /// The user's live bookings at the time of the session, other than those in it.
    pub(super) fn at_the_time_of(
        &self,
        user: UserId,
        session: SessionId,
    ) -> Result<impl Iterator<Item = &Booking>, DecideError> {
        let row = self.session(session)?.ok_or(DecideError::NotPrefetched("a session"))?;
        let (starts_at, ends_at) = (row.starts_at, row.ends_at);
        match self.around.get(&user) {
            Some(&(from, until)) if from <= starts_at && ends_at <= until => {}
            _ => return Err(DecideError::NotPrefetched("the bookings of a user at a time")),
        }
        Ok(self.live_of(user).filter(move |other| {
            other.session_id != session && other.starts_at < ends_at && starts_at < other.ends_at
        }))
    }

    /// The user's live bookings in the sessions of the semester that have not started, ascending by session.
    pub(super) fn not_started_in(
        &self,
        user: UserId,
        semester: SemesterId,
        at: DateTime<Utc>,
    ) -> Result<Vec<BookingId>, DecideError> {
        let mut found = Vec::new();
        for booking in self.live_of(user) {
            // A session that nobody locked is one of another semester: all of this one's were looked for.
            let Some(Some(session)) = self.sessions.get(&booking.session_id) else { continue };
            if session.now.semester_id == semester && at < session.now.starts_at {
                found.push((booking.session_id, booking.booking_id));
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, booking)| booking).collect())
    }

    /// All live bookings in the sessions of the semester that have not started, ascending.
    pub(super) fn all_not_started_in(
        &self,
        semester: SemesterId,
        at: DateTime<Utc>,
    ) -> Result<Vec<BookingId>, DecideError> {
        if !self.whole.contains(&semester) {
            return Err(DecideError::NotPrefetched("a whole semester"));
        }
        let mut found = Vec::new();
        for Known { now: booking, .. } in self.bookings.values().filter(|known| known.now.status.is_live()) {
            let Some(Some(session)) = self.sessions.get(&booking.session_id) else { continue };
            if session.now.semester_id == semester && at < session.now.starts_at {
                found.push(booking.booking_id);
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Those who wait in the session, in the order of their tickets, as far as they are known.
    pub(super) fn waiting(&self, session: SessionId) -> Result<Waiting<'_>, DecideError> {
        let queue = self.queues.get(&session).ok_or(DecideError::NotPrefetched("a waitlist"))?;
        Ok(Waiting { queue, next: queue.waiting.iter(), session })
    }

    /// How many wait in the session: a hint.
    pub(super) fn waiting_count(&self, session: SessionId) -> i64 {
        self.queues.get(&session).map_or(0, |queue| queue.count)
    }

    fn known_of(&self, user: UserId) -> impl Iterator<Item = &Booking> {
        let ids = self.of_user.get(&user).into_iter().flatten();
        ids.filter_map(|id| self.bookings.get(id)).map(|known| &known.now)
    }

    pub(super) fn live_in(&self, sessions: &BTreeSet<SessionId>) -> impl Iterator<Item = &Booking> {
        let all = self.bookings.values().map(|known| &known.now);
        all.filter(|booking| booking.status.is_live() && sessions.contains(&booking.session_id))
    }

    pub(super) fn live_of(&self, user: UserId) -> impl Iterator<Item = &Booking> {
        self.known_of(user).filter(|booking| booking.status.is_live())
    }
}

/// Walks a waitlist; an error where the part that was read ends and somebody may come next.
pub(super) struct Waiting<'a> {
    queue: &'a Queue,
    next: std::collections::btree_map::Iter<'a, i64, BookingId>,
    session: SessionId,
}

impl Iterator for Waiting<'_> {
    type Item = Result<BookingId, DecideError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next.next();
        if let Some(edge) = self.queue.unread_after
            && next.is_none_or(|(ticket, _)| *ticket > edge)
        {
            return Some(Err(DecideError::WindowTooSmall { session_id: self.session.get() }));
        }
        next.map(|(_, booking)| Ok(*booking))
    }
}

/// What the rules change.
impl Places {
    /// A new booking at the end of the session's queue.
    pub(super) fn join(
        &mut self,
        user_id: UserId,
        session_id: SessionId,
        request: &Request,
    ) -> Result<BookingId, DecideError> {
        let (booking_id, ticket) = self.fresh.pop_front().ok_or(DecideError::IdsExhausted)?;
        let session = self.session(session_id)?.ok_or(DecideError::NotPrefetched("a session"))?;
        let booking = Booking {
            booking_id,
            user_id,
            session_id,
            status: BookingStatus::Waitlisted,
            ticket,
            starts_at: session.starts_at,
            ends_at: session.ends_at,
            made: Some((request.id, request.at)),
            promoted_at: None,
            cancelled: None,
        };
        let queue = self.queues.get_mut(&session_id).ok_or(DecideError::NotPrefetched("a waitlist"))?;
        queue.waiting.insert(ticket, booking_id);
        queue.count += 1;
        self.of_user.entry(user_id).or_default().push(booking_id);
        self.bookings.insert(booking_id, Known { before: None, now: booking });
        self.made.push(booking_id);
        // Nobody can have recorded anything of a booking that did not exist.
        self.put_attendance(booking_id, None);
        Ok(booking_id)
    }

    /// From the queue into a place. `promoted_at` is set for those who had waited since an earlier decision.
    pub(super) fn confirm(
        &mut self,
        id: BookingId,
        promoted_at: Option<DateTime<Utc>>,
    ) -> Result<(), DecideError> {
        let known = self.bookings.get_mut(&id).ok_or(DecideError::NotPrefetched("a booking"))?;
        known.now.status = BookingStatus::Confirmed;
        known.now.promoted_at = promoted_at;
        let (session, ticket) = (known.now.session_id, known.now.ticket);
        self.leave_queue(session, ticket);
        self.count_confirmed(session, 1)
    }

    /// Out of the queue, or out of the place.
    pub(super) fn cancel(
        &mut self,
        id: BookingId,
        at: DateTime<Utc>,
        because: Because,
    ) -> Result<(), DecideError> {
        let known = self.bookings.get_mut(&id).ok_or(DecideError::NotPrefetched("a booking"))?;
        let was = std::mem::replace(&mut known.now.status, BookingStatus::Cancelled);
        known.now.cancelled = Some((at, because));
        let (session, ticket) = (known.now.session_id, known.now.ticket);
        match was {
            BookingStatus::Confirmed => self.count_confirmed(session, -1)?,
            BookingStatus::Waitlisted => self.leave_queue(session, ticket),
            BookingStatus::Cancelled => return Err(DecideError::NotPrefetched("a live booking")),
        }
        Ok(())
    }

    /// A booking follows its session to another time.
    pub(super) fn put_times(
        &mut self,
        id: BookingId,
        starts_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
    ) -> Result<(), DecideError> {
        let known = self.bookings.get_mut(&id).ok_or(DecideError::NotPrefetched("a booking"))?;
        (known.now.starts_at, known.now.ends_at) = (starts_at, ends_at);
        Ok(())
    }

    /// Gives what was recorded before.
    pub(super) fn record(
        &mut self,
        id: BookingId,
        status: AttendanceStatus,
        request: &Request,
    ) -> Result<Option<AttendanceStatus>, DecideError> {
        let row = self.attendance.get_mut(&id).ok_or(DecideError::NotPrefetched("an attendance"))?;
        row.recorded = Some((request.id, request.at));
        Ok(row.now.replace(status))
    }

    /// The queue of a session in another lane is nobody's here, and needs no correction: it is read under its own lane.
    fn leave_queue(&mut self, session: SessionId, ticket: i64) {
        if let Some(queue) = self.queues.get_mut(&session) {
            queue.waiting.remove(&ticket);
            queue.count -= 1;
        }
    }

    fn count_confirmed(&mut self, session: SessionId, more: i32) -> Result<(), DecideError> {
        let row = self.sessions.get_mut(&session).and_then(Option::as_mut);
        row.ok_or(DecideError::NotPrefetched("a session"))?.now.confirmed_count += more;
        Ok(())
    }

    pub(super) fn add_to(self, changes: &mut Changes) {
        let mut bookings = self.bookings;
        changes.booked =
            self.made.iter().filter_map(|id| bookings.remove(id)).map(|known| known.now).collect();
        for Known { before, now } in bookings.into_values() {
            match before {
                Some(before) if before != now.status && now.status == BookingStatus::Confirmed => {
                    changes.promoted.push(now);
                }
                Some(before) if before != now.status => changes.given_up.push((before, now)),
                _ => {}
            }
        }
        changes.promoted.sort_unstable_by_key(|booking| booking.booking_id);
        changes.given_up.sort_unstable_by_key(|(_, booking)| booking.booking_id);
        let sessions = self.sessions.into_iter().filter_map(|(id, row)| Some((id, row?)));
        let counts = sessions.map(|(id, row)| (id, row.before.confirmed_count, row.now.confirmed_count));
        changes.confirmed = counts.filter(|(_, before, now)| before != now).collect();
        changes.confirmed.sort_unstable();
        changes.attendance = self.attendance.into_values().filter(|row| row.recorded.is_some()).collect();
        changes.attendance.sort_unstable_by_key(|row| row.booking_id);
    }
}
