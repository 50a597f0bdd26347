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

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use seatkeeper_jobs::Reason;
    use seatkeeper_jobs::book::BookingStatus::{Confirmed, Waitlisted};
    use seatkeeper_jobs::cancel_booking::Which;

    use super::{Session, Sessions};

    const EVERYBODY: fn(i64, i64) -> bool = |_, _| true;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hour * 3600, 0).unwrap_or_default()
    }

    /// Sessions 1 (8 to 10), 2 (9 to 11) and 3 (11 to 12), with one place each.
    fn three() -> Sessions {
        let mut sessions = Sessions::default();
        for (id, from, to) in [(1, 8, 10), (2, 9, 11), (3, 11, 12)] {
            sessions.set(id, Session { semester: 7, starts_at: at(from), ends_at: at(to), places: 1 });
        }
        sessions
    }

    fn by_session(session: i64) -> Which {
        Which::SessionId(session.try_into().unwrap_or_else(|_| unreachable!("an id")))
    }

    #[test]
    fn places_go_in_order_and_waits_that_overlap_are_given_up() {
        let mut sessions = three();
        assert_eq!(sessions.book(1, 1, 11, &EVERYBODY), Ok((Confirmed, vec![])));
        assert_eq!(sessions.book(1, 2, 12, &EVERYBODY), Err(Reason::ScheduleConflict));
        assert_eq!(
            sessions.book(1, 3, 12, &EVERYBODY),
            Ok((Confirmed, vec![])),
            "touching ends do not overlap"
        );
        assert_eq!(sessions.book(1, 1, 13, &EVERYBODY), Err(Reason::AlreadyBooked));
        assert_eq!(sessions.book(2, 1, 21, &EVERYBODY), Ok((Waitlisted, vec![])));
        assert_eq!(sessions.book(3, 1, 31, &EVERYBODY), Ok((Waitlisted, vec![])));
        // Who gets a place at nine need not wait for one at eight.
        assert_eq!(sessions.book(2, 2, 22, &EVERYBODY), Ok((Confirmed, vec![21])));
        assert_eq!(sessions.cancel(1, by_session(1), &EVERYBODY), Ok((11, vec![31])));
        assert_eq!(sessions.cancel(1, by_session(1), &EVERYBODY), Err(Reason::AlreadyCancelled));
        assert_eq!(sessions.cancel(4, by_session(1), &EVERYBODY), Err(Reason::BookingNotFound));
        let ended: Vec<_> = sessions.ended().collect();
        let expected =
            [(11, "CANCELLED"), (12, "CONFIRMED"), (21, "CANCELLED"), (31, "CONFIRMED"), (22, "CONFIRMED")];
        assert_eq!(ended, expected);
    }

    #[test]
    fn who_leaves_leaves_all_sessions_and_others_move_up() {
        let mut sessions = three();
        for (user, session, id) in [(1, 3, 13), (1, 1, 11), (2, 1, 21), (3, 3, 33)] {
            assert!(sessions.book(user, session, id, &EVERYBODY).is_ok());
        }
        let without_the_first = |user, _| user != 1;
        assert_eq!(sessions.leave(1, 7, &without_the_first), (vec![11, 13], vec![21, 33]));
        assert_eq!(sessions.book(1, 1, 14, &without_the_first), Err(Reason::NotEnrolled));
    }

    #[test]
    fn a_fill_is_right_for_the_next_who_can_take_the_place_and_for_nobody_else() {
        let mut sessions = three();
        for (user, id) in [(1, 11), (2, 21), (3, 31), (4, 41)] {
            assert!(sessions.book(user, 1, id, &EVERYBODY).is_ok());
        }
        assert!(!sessions.filled(21, &EVERYBODY), "no place is free");
        sessions.set(1, Session { semester: 7, starts_at: at(8), ends_at: at(10), places: 3 });
        assert!(!sessions.filled(31, &EVERYBODY), "somebody else is next");
        let without_the_second = |user, _| user != 2;
        assert!(sessions.filled(31, &without_the_second));
        assert!(sessions.filled(21, &EVERYBODY));
        assert!(!sessions.filled(41, &EVERYBODY), "all places are taken again");
        assert!(!sessions.filled(99, &EVERYBODY), "no such booking");
    }
}
