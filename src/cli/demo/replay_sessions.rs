//! The rules of places in sessions once more, as plain as they can be.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use seatkeeper_jobs::Reason;
use seatkeeper_jobs::book::BookingStatus;
use seatkeeper_jobs::cancel_booking::Which;

/// A session, for the replay. All of them start long after the demo: no deadline has come.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    pub semester: i64,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub places: i64,
}

impl Session {
    fn overlaps(&self, other: &Self) -> bool {
        self.starts_at < other.ends_at && other.starts_at < self.ends_at
    }
}

/// A booking; its place in the list of all bookings is its place in every queue.
#[derive(Debug, Clone, Copy)]
struct Booking {
    id: i64,
    user: i64,
    session: i64,
    /// `None` = cancelled.
    status: Option<BookingStatus>,
}

/// Sessions and their bookings.
#[derive(Debug, Default)]
pub struct Sessions {
    sessions: BTreeMap<i64, Session>,
    bookings: Vec<Booking>,
    by_id: HashMap<i64, usize>,
    by_user: HashMap<i64, Vec<usize>>,
    /// Session → who waits, in order.
    waiting: BTreeMap<i64, BTreeSet<usize>>,
    /// Session → places taken.
    taken: HashMap<i64, i64>,
}

/// Whether a user has a place in a semester.
pub trait Enrolled: Fn(i64, i64) -> bool {}
impl<F: Fn(i64, i64) -> bool> Enrolled for F {}

impl Sessions {
    /// The owner adds a session, or changes it.
    pub fn set(&mut self, id: i64, session: Session) {
        self.sessions.insert(id, session);
    }

    /// A booking is asked for. `id` is the one that it got, if it got one. Gives what it became, and the user's own waits
    /// that it put an end to.
    pub fn book(
        &mut self,
        user: i64,
        session: i64,
        id: i64,
        enrolled: &impl Enrolled,
    ) -> Result<(BookingStatus, Vec<i64>), Reason> {
        let Some(about) = self.sessions.get(&session).copied() else { return Err(Reason::SessionNotFound) };
        if !enrolled(user, about.semester) {
            return Err(Reason::NotEnrolled);
        }
        if self.live(user).any(|(_, booking)| booking.session == session) {
            return Err(Reason::AlreadyBooked);
        }
        if self.live(user).any(|(_, other)| self.is_confirmed_over(other, &about)) {
            return Err(Reason::ScheduleConflict);
        }
        let index = self.bookings.len();
        self.bookings.push(Booking { id, user, session, status: Some(BookingStatus::Waitlisted) });
        self.by_id.insert(id, index);
        self.by_user.entry(user).or_default().push(index);
        self.waiting.entry(session).or_default().insert(index);
        let mut superseded = self.waits_over(user, &about);
        self.fill(session, enrolled);
        let status = self.bookings[index].status.unwrap_or(BookingStatus::Waitlisted);
        superseded.retain(|wait| status == BookingStatus::Confirmed && self.bookings[*wait].status.is_none());
        Ok((status, self.ids(superseded)))
    }

    /// A booking is given back. Gives which one, and who moved up.
    pub fn cancel(
        &mut self,
        user: i64,
        which: Which,
        enrolled: &impl Enrolled,
    ) -> Result<(i64, Vec<i64>), Reason> {
        let of_user = self.by_user.get(&user).into_iter().flatten().copied();
        let mut named = of_user.filter(|index| match which {
            Which::SessionId(session) => self.bookings[*index].session == session.get(),
            Which::BookingId(booking) => self.bookings[*index].id == booking.get(),
        });
        let first = named.next().ok_or(Reason::BookingNotFound)?;
        let index = std::iter::once(first)
            .chain(named)
            .find(|index| self.bookings[*index].status.is_some())
            .ok_or(Reason::AlreadyCancelled)?;
        self.end(index);
        let Booking { id, session, .. } = self.bookings[index];
        Ok((id, self.fill(session, enrolled)))
    }

    /// Somebody leaves a semester. Gives the bookings that went with it, and who moved up.
    pub fn leave(&mut self, user: i64, semester: i64, enrolled: &impl Enrolled) -> (Vec<i64>, Vec<i64>) {
        let mut gone: Vec<(i64, usize)> = self
            .live(user)
            .filter(|(_, booking)| self.sessions[&booking.session].semester == semester)
            .map(|(index, booking)| (booking.session, index))
            .collect();
        gone.sort_unstable();
        for (_, index) in &gone {
            self.end(*index);
        }
        let promoted = gone.iter().flat_map(|(session, _)| self.fill(*session, enrolled)).collect();
        (self.ids(gone.into_iter().map(|(_, index)| index)), promoted)
    }

    /// A place was filled that nobody asked for. Gives whether it is the right booking that got it.
    pub fn filled(&mut self, booking: i64, enrolled: &impl Enrolled) -> bool {
        let Some(session) = self.by_id.get(&booking).map(|index| self.bookings[*index].session) else {
            return false;
        };
        match self.next(session, enrolled) {
            Some(index) if self.bookings[index].id == booking => {
                self.confirm(index);
                true
            }
            _ => false,
        }
    }

    /// Every booking and what it is in the end, as it is written in the database.
    pub fn ended(&self) -> impl Iterator<Item = (i64, &'static str)> {
        self.bookings.iter().map(|booking| {
            let status = match booking.status {
                Some(BookingStatus::Confirmed) => "CONFIRMED",
                Some(BookingStatus::Waitlisted) => "WAITLISTED",
                None => "CANCELLED",
            };
            (booking.id, status)
        })
    }

    fn fill(&mut self, session: i64, enrolled: &impl Enrolled) -> Vec<i64> {
        let mut promoted = Vec::new();
        while let Some(index) = self.next(session, enrolled) {
            self.confirm(index);
            promoted.push(self.bookings[index].id);
        }
        promoted
    }

    /// Who gets the next place, if there is one.
    fn next(&self, session: i64, enrolled: &impl Enrolled) -> Option<usize> {
        let about = self.sessions.get(&session)?;
        let is_free = self.taken.get(&session).copied().unwrap_or_default() < about.places;
        let mut waiting = self.waiting.get(&session).into_iter().flatten().copied().filter(|_| is_free);
        waiting.find(|index| enrolled(self.bookings[*index].user, about.semester))
    }

    fn confirm(&mut self, index: usize) {
        let Booking { user, session, .. } = self.bookings[index];
        self.bookings[index].status = Some(BookingStatus::Confirmed);
        self.waiting.entry(session).or_default().remove(&index);
        *self.taken.entry(session).or_default() += 1;
        for wait in self.waits_over(user, &self.sessions[&session]) {
            self.end(wait);
        }
    }

    fn end(&mut self, index: usize) {
        let booking = &mut self.bookings[index];
        if booking.status.take() == Some(BookingStatus::Confirmed) {
            *self.taken.entry(booking.session).or_default() -= 1;
        }
        self.waiting.entry(booking.session).or_default().remove(&index);
    }

    fn live(&self, user: i64) -> impl Iterator<Item = (usize, &Booking)> {
        let of_user = self.by_user.get(&user).into_iter().flatten();
        of_user.map(|index| (*index, &self.bookings[*index])).filter(|(_, booking)| booking.status.is_some())
    }

    fn is_confirmed_over(&self, booking: &Booking, session: &Session) -> bool {
        booking.status == Some(BookingStatus::Confirmed) && self.sessions[&booking.session].overlaps(session)
    }

    /// The waits of a user that overlap the session, ascending by ID.
    fn waits_over(&self, user: i64, session: &Session) -> Vec<usize> {
        let mut waits: Vec<(i64, usize)> = self
            .live(user)
            .filter(|(_, booking)| booking.status == Some(BookingStatus::Waitlisted))
            .filter(|(_, booking)| self.sessions[&booking.session].overlaps(session))
            .map(|(index, booking)| (booking.id, index))
            .collect();
        waits.sort_unstable();
        waits.into_iter().map(|(_, index)| index).collect()
    }

    fn ids(&self, indexes: impl IntoIterator<Item = usize>) -> Vec<i64> {
        indexes.into_iter().map(|index| self.bookings[index].id).collect()
    }
}
