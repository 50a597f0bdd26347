//! What is asked in a measurement: who, for what, and on how many lanes.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, RngCore as _};
use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::{IdError, Job, Request};
use serde::Serialize;
use uuid::Uuid;

/// The semester that everybody wants in a hot load.
pub const HOT: i64 = 1;
/// Sessions of the hot semester, and of each of the others.
pub const HOT_SESSIONS: i64 = 40;
pub const SESSIONS: i64 = 4;
/// Of ten requests about bookings, so many book; the others cancel.
const BOOK_OF_TEN: u32 = 7;
/// A cancellation means a place that was asked for so many requests before.
const CANCELS_BEHIND: usize = 300;

/// How large a measurement is.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Scale {
    /// Users, all active and rich.
    pub users: i64,
    /// Semesters, the hot one included; at least 2.
    pub semesters: i64,
    /// Requests of one measurement.
    pub requests: usize,
    /// Requests that wait behind those in the measurement of a long queue.
    pub waiting: i64,
    /// Requests one after the other, each of which meets idle workers.
    pub alone: usize,
}

/// What is asked, and whether all of it meets in one semester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Places in one semester.
    EnrollHot,
    /// Places in any semester.
    EnrollSpread,
    /// Places in the sessions of one semester, and cancellations.
    BookingsHot,
    /// The same in any semester.
    BookingsSpread,
}

impl Load {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::EnrollHot, Self::EnrollSpread, Self::BookingsHot, Self::BookingsSpread];

    /// Whether all of it meets in one semester.
    pub const fn is_hot(self) -> bool {
        matches!(self, Self::EnrollHot | Self::BookingsHot)
    }

    /// Whether it is about sessions.
    pub const fn is_bookings(self) -> bool {
        matches!(self, Self::BookingsHot | Self::BookingsSpread)
    }

    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EnrollHot => "enroll, one hot semester",
            Self::EnrollSpread => "enroll, spread",
            Self::BookingsHot => "bookings, one hot semester",
            Self::BookingsSpread => "bookings, spread",
        }
    }
}

/// One thing that is asked.
#[derive(Debug, Clone, Copy)]
pub enum What {
    Enroll { user: i64, semester: i64 },
    Book { user: i64, session: i64 },
    Cancel { user: i64, session: i64 },
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub id: Uuid,
    pub what: What,
}

impl Ask {
    /// As producers send it.
    pub fn request(&self) -> Result<Request, IdError> {
        let job = match self.what {
            What::Enroll { user, semester } => {
                Job::from(Enroll { user_id: user.try_into()?, semester_id: semester.try_into()? })
            }
            What::Book { user, session } => {
                Job::from(Book { user_id: user.try_into()?, session_id: session.try_into()? })
            }
            What::Cancel { user, session } => Job::from(CancelBooking {
                user_id: user.try_into()?,
                which: Which::SessionId(session.try_into()?),
            }),
        };
        Ok(Request::new(self.id, job))
    }
}

/// The semester, other than the hot one, in whose sessions a user takes part.
pub const fn home(user: i64, scale: &Scale) -> i64 {
    HOT + 1 + user % (scale.semesters - 1)
}

/// Draws the requests of one measurement.
pub fn draw(load: Load, scale: &Scale, random: &mut StdRng) -> Vec<Ask> {
    // Everybody once before anybody a second time: in a hot semester a second request is only refused.
    let mut everybody: Vec<i64> = (1..=scale.users).collect();
    everybody.shuffle(random);
    let users = everybody.into_iter().cycle();
    let mut booked: Vec<(i64, i64)> = Vec::new();
    let what = |(number, user): (usize, i64)| match load {
        Load::EnrollHot => What::Enroll { user, semester: HOT },
        Load::EnrollSpread => What::Enroll { user, semester: random.random_range(HOT + 1..=scale.semesters) },
        Load::BookingsHot | Load::BookingsSpread => {
            let may_cancel = number >= CANCELS_BEHIND && booked.len() > CANCELS_BEHIND;
            if may_cancel && !random.random_ratio(BOOK_OF_TEN, 10) {
                let (user, session) = booked[random.random_range(0..booked.len() - CANCELS_BEHIND)];
                return What::Cancel { user, session };
            }
            let session = if load.is_hot() {
                random.random_range(1..=HOT_SESSIONS)
            } else {
                first_session(home(user, scale)) + random.random_range(0..SESSIONS)
            };
            booked.push((user, session));
            What::Book { user, session }
        }
    };
    let whats: Vec<What> = users.take(scale.requests).enumerate().map(what).collect();
    whats
        .into_iter()
        .map(|what| Ask { id: Uuid::from_u64_pair(random.next_u64(), random.next_u64()), what })
        .collect()
}

/// The first session of a semester; the others follow.
pub const fn first_session(semester: i64) -> i64 {
    if semester == HOT { 1 } else { HOT_SESSIONS + 1 + (semester - HOT - 1) * SESSIONS }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::{Load, SESSIONS, Scale, What, draw, first_session};

    #[test]
    fn a_load_is_what_its_name_says() {
        let scale = Scale { users: 500, semesters: 10, requests: 2_000, waiting: 0, alone: 0 };
        for load in Load::ALL {
            let asks = draw(load, &scale, &mut StdRng::seed_from_u64(1));
            assert_eq!(asks.len(), 2_000);
            assert!(asks.iter().all(|ask| ask.request().is_ok()));
            let cancels = asks.iter().filter(|ask| matches!(ask.what, What::Cancel { .. })).count();
            assert_eq!(cancels > 300, load.is_bookings(), "{load:?}: {cancels}");
        }
        assert_eq!(first_session(3) - first_session(2), SESSIONS);
        assert_ne!(
            draw(Load::EnrollHot, &scale, &mut StdRng::seed_from_u64(1))[0].id,
            draw(Load::EnrollHot, &scale, &mut StdRng::seed_from_u64(2))[0].id
        );
    }
}
