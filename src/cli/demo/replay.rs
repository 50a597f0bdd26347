//! The rules once more, as plain as they can be: one request after the other, no batches, no database.
//!
//! The workers' answers have to be the same as these. It knows only what the demo asks for.

use std::collections::HashMap;

use seatkeeper_jobs::book::BookingStatus;
use seatkeeper_jobs::{Applied, BookingId, Job, Reason};

use super::replay_sessions::Sessions;

/// What a semester is, for the replay.
#[derive(Debug, Clone, Copy)]
pub struct Semester {
    /// Places; `None` = unlimited.
    pub places: Option<i64>,
    /// Credits for a place.
    pub cost: i64,
    /// Percent of the price that come back.
    pub refund_percent: i64,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Credits moved (negative = charged), credits left.
    Moved { moved: i64, balance: i64 },
    /// Left a semester: credits that came back, bookings that went, bookings of others that moved up.
    Left { moved: i64, balance: i64, cancelled: Vec<BookingId>, promoted: Vec<BookingId> },
    /// Got a place or has to wait; the user's own waits that this put an end to.
    Booked { status: BookingStatus, superseded: Vec<BookingId> },
    /// Gave a booking back; bookings of others that moved up.
    GaveBack { booking: BookingId, promoted: Vec<BookingId> },
    /// Refused.
    Refused(Reason),
}

impl Answer {
    /// What a stored answer comes to. The position in a waitlist is left out: it is a hint of its moment.
    pub fn of(applied: Applied, job: &Job) -> Option<Self> {
        match (applied, job) {
            (Applied::Enroll(done), _) => Some(Self::Moved { moved: -done.charged, balance: done.balance }),
            (Applied::GrantCredits(done), Job::GrantCredits(asked)) => {
                Some(Self::Moved { moved: asked.amount.get(), balance: done.balance })
            }
            (Applied::Unenroll(done), _) => Some(Self::Left {
                moved: done.refunded,
                balance: done.balance,
                cancelled: done.cancelled_bookings,
                promoted: done.promoted_bookings,
            }),
            (Applied::Book(done), _) => {
                Some(Self::Booked { status: done.status, superseded: done.superseded_bookings })
            }
            (Applied::CancelBooking(done), _) => {
                Some(Self::GaveBack { booking: done.booking_id, promoted: done.promoted_bookings })
            }
            _ => None,
        }
    }
}

/// Everything that the rules look at.
#[derive(Debug, Default)]
pub struct Replay {
    pub semesters: HashMap<i64, Semester>,
    /// User → credits; whoever is not in here does not exist.
    pub balances: HashMap<i64, i64>,
    pub sessions: Sessions,
    /// User and semester → price paid.
    active: HashMap<(i64, i64), i64>,
    taken: HashMap<i64, i64>,
}

impl Replay {
    /// Decides one request; `None` for what the demo never asks. `booking_id` is the one that a new booking got.
    pub fn decide(&mut self, job: &Job, booking_id: Option<i64>) -> Option<Answer> {
        Some(self.answer(job, booking_id)?.unwrap_or_else(Answer::Refused))
    }

    /// A place was filled that nobody asked for. Gives whether it is the right booking that got it.
    pub fn filled(&mut self, booking: i64) -> bool {
        let active = &self.active;
        self.sessions.filled(booking, &|user, semester| active.contains_key(&(user, semester)))
    }

    fn answer(&mut self, job: &Job, booking_id: Option<i64>) -> Option<Result<Answer, Reason>> {
        let user = job.user_id()?.get();
        let semester = match job.semester_id() {
            Some(id) => match self.semesters.get(&id.get()) {
                Some(semester) => Some((id.get(), *semester)),
                None => return Some(Err(Reason::SemesterNotFound)),
            },
            None => None,
        };
        let Some(&balance) = self.balances.get(&user) else { return Some(Err(Reason::UserNotFound)) };
        let active = &self.active;
        let enrolled = |user, semester| active.contains_key(&(user, semester));
        Some(match (job, semester) {
            (Job::Enroll(_), Some((id, semester))) => {
                let taken = self.taken.entry(id).or_default();
                if self.active.contains_key(&(user, id)) {
                    return Some(Err(Reason::AlreadyEnrolled));
                }
                if semester.places.is_some_and(|places| *taken >= places) {
                    return Some(Err(Reason::SemesterFull));
                }
                if balance < semester.cost {
                    return Some(Err(Reason::InsufficientCredits));
                }
                *taken += 1;
                self.active.insert((user, id), semester.cost);
                let balance = self.moves(user, -semester.cost);
                Ok(Answer::Moved { moved: -semester.cost, balance })
            }
            (Job::Unenroll(_), Some((id, semester))) => match self.active.remove(&(user, id)) {
                Some(price) => {
                    *self.taken.entry(id).or_default() -= 1;
                    let moved = price * semester.refund_percent / 100;
                    let balance = self.moves(user, moved);
                    let active = &self.active;
                    let (cancelled, promoted) = self
                        .sessions
                        .leave(user, id, &|user, semester| active.contains_key(&(user, semester)));
                    Ok(Answer::Left { moved, balance, cancelled: ids(cancelled)?, promoted: ids(promoted)? })
                }
                None => Err(Reason::NotEnrolled),
            },
            (Job::GrantCredits(grant), None) => {
                let moved = grant.amount.get();
                let balance = self.moves(user, moved);
                Ok(Answer::Moved { moved, balance })
            }
            (Job::Book(book), None) => {
                match self.sessions.book(
                    user,
                    book.session_id.get(),
                    booking_id.unwrap_or_default(),
                    &enrolled,
                ) {
                    Ok((status, superseded)) => Ok(Answer::Booked { status, superseded: ids(superseded)? }),
                    Err(reason) => Err(reason),
                }
            }
            (Job::CancelBooking(cancel), None) => match self.sessions.cancel(user, cancel.which, &enrolled) {
                Ok((booking, promoted)) => {
                    Ok(Answer::GaveBack { booking: BookingId::new(booking).ok()?, promoted: ids(promoted)? })
                }
                Err(reason) => Err(reason),
            },
            _ => return None,
        })
    }

    /// Gives the balance that it leaves.
    fn moves(&mut self, user: i64, moved: i64) -> i64 {
        let balance = self.balances.entry(user).or_default();
        *balance += moved;
        *balance
    }
}

fn ids(numbers: Vec<i64>) -> Option<Vec<BookingId>> {
    numbers.into_iter().map(|number| BookingId::new(number).ok()).collect()
}
