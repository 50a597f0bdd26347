//! Booking, half a million times: the laws of places and waitlists, and that the cut into batches changes no answer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::record_attendance::{AttendanceStatus, RecordAttendance};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Applied, BookingId, EnrollmentId, Job, Reason, SemesterId, SessionId, UserId};
use uuid::Uuid;

use super::{instant, seed};
use crate::decide::{
    Answer, Booking, BookingStatus, Changes, DecideError, Enrollment, Request, Semester, SemesterStatus,
    Session, User, World, decide, fill_marked,
};

const USERS: i64 = 14;
const SEMESTERS: i64 = 3;
const SESSIONS: i64 = 9;
const REQUESTS: usize = 500_000;
const FAR: i64 = 1_000_000_000;

/// The database, as far as the rules of booking can tell.
#[derive(Clone)]
struct Stored {
    users: HashMap<UserId, User>,
    semesters: HashMap<SemesterId, Semester>,
    sessions: BTreeMap<SessionId, Session>,
    active: HashMap<(UserId, SemesterId), Enrollment>,
    bookings: BTreeMap<BookingId, Booking>,
    attendance: HashMap<BookingId, AttendanceStatus>,
    next_enrollment: i64,
    next_booking: i64,
}

fn ids<T: TryFrom<i64>>(last: i64) -> impl Iterator<Item = T> {
    (1..=last).filter_map(|id| T::try_from(id).ok())
}

impl Stored {
    fn new(random: &mut ChaCha8Rng) -> Self {
        let semester = Semester {
            status: SemesterStatus::EnrollmentOpen,
            max_players: None,
            enrollment_cost: 0,
            refund_percent: 50,
            enrollment_closes_at: None,
            unenroll_closes_at: None,
            enrolled_count: 0,
        };
        let sessions = ids::<SessionId>(SESSIONS).map(|id| {
            // Around now, so that some start, and close, on the way; within a few hours, so that they overlap.
            let starts_at = instant(random.random_range(-2..12) * 40_000 + 500_000);
            let session = Session {
                semester_id: SemesterId::new(1 + id.get() % SEMESTERS).unwrap(),
                starts_at,
                ends_at: starts_at + TimeDelta::seconds(random.random_range(1..90_000)),
                capacity: random.random_range(0..4),
                is_scheduled: true,
                booking_closes_at: random.random_ratio(9, 10).then_some(starts_at),
                cancellation_closes_at: random.random_ratio(9, 10).then_some(starts_at),
                confirmed_count: 0,
            };
            (id, session)
        });
        Self {
            users: ids(USERS).map(|id| (id, User { is_active: true, balance: 0 })).collect(),
            semesters: ids(SEMESTERS).map(|id| (id, semester.clone())).collect(),
            sessions: sessions.collect(),
            active: HashMap::new(),
            bookings: BTreeMap::new(),
            attendance: HashMap::new(),
            next_enrollment: 1,
            next_booking: 1,
        }
    }

    /// Everything, but of each waitlist only the head.
    fn world(&self, head: usize) -> World {
        let mut world = World::default();
        let cancelled = self.bookings.values().filter(|booking| !booking.status.is_live());
        let cancelled: HashSet<_> = cancelled.map(|booking| (booking.user_id, booking.session_id)).collect();
        for user in ids(USERS + 1) {
            world.put_user(user, self.users.get(&user).cloned());
            world.put_around(user, instant(-FAR), instant(FAR));
            for semester in ids(SEMESTERS) {
                world.put_active_enrollment(user, semester, self.active.get(&(user, semester)).cloned());
            }
            for session in ids(SESSIONS + 1) {
                world.put_looked(user, session);
                world.put_cancelled(user, session, cancelled.contains(&(user, session)));
            }
        }
        for (id, booking) in &self.bookings {
            world.put_named(*id, Some(booking.clone()));
            world.put_attendance(*id, self.attendance.get(id).copied());
        }
        for semester in ids(SEMESTERS) {
            world.put_semester(semester, self.semesters.get(&semester).cloned());
            world.put_whole(semester);
        }
        for session in ids(SESSIONS + 1) {
            world.put_session(session, self.sessions.get(&session).cloned());
            let all: Vec<_> = self.waiting(session).map(|one| (one.ticket, one.booking_id)).collect();
            let read: BTreeMap<_, _> = all.iter().copied().take(head).collect();
            let edge = (all.len() > head).then(|| read.keys().next_back().copied().unwrap_or(0));
            world.put_queue(session, read, edge, i64::try_from(all.len()).unwrap());
        }
        let from = self.next_booking;
        world.put_fresh_bookings((from..from + 3_000).map(|id| (BookingId::new(id).unwrap(), id)));
        let from = self.next_enrollment;
        world.put_enrollment_ids((from..from + 3_000).map(|id| EnrollmentId::new(id).unwrap()));
        world
    }

    fn waiting(&self, session: SessionId) -> impl Iterator<Item = &Booking> {
        let all = self.bookings.values();
        all.filter(move |one| one.session_id == session && one.status == BookingStatus::Waitlisted)
    }

    fn write(&mut self, changes: Changes) {
        for gone in changes.withdrawn {
            self.active.remove(&(gone.user_id, gone.semester_id));
        }
        for made in changes.enrolled {
            self.next_enrollment = self.next_enrollment.max(made.enrollment_id.get() + 1);
            if made.withdrawn_at.is_none() {
                self.active.insert((made.user_id, made.semester_id), Enrollment { made: None, ..made });
            }
        }
        for (semester, _) in changes.cancelled_semesters {
            self.semesters.get_mut(&semester).unwrap().status = SemesterStatus::Cancelled;
        }
        for booking in changes.given_up.into_iter().map(|(_, booking)| booking).chain(changes.promoted) {
            let row = self.bookings.get_mut(&booking.booking_id).unwrap();
            assert!(row.status.is_live(), "what is cancelled stays so");
            row.status = booking.status;
        }
        for booking in changes.booked {
            self.next_booking = self.next_booking.max(booking.booking_id.get() + 1);
            self.bookings.insert(booking.booking_id, Booking { made: None, ..booking });
        }
        for (session, before, after) in changes.confirmed {
            let row = self.sessions.get_mut(&session).unwrap();
            assert_eq!(row.confirmed_count, before);
            row.confirmed_count = after;
        }
        for row in changes.attendance {
            assert_eq!(self.attendance.get(&row.booking_id).copied(), row.before);
            self.attendance.insert(row.booking_id, row.now.unwrap());
        }
    }

    /// The laws, after each batch.
    fn assert_laws(&self, now: DateTime<Utc>) {
        let live: Vec<&Booking> = self.bookings.values().filter(|booking| booking.status.is_live()).collect();
        let mut pairs = HashSet::new();
        for booking in &live {
            assert!(pairs.insert((booking.user_id, booking.session_id)), "INV-B02: {booking:?}");
            let session = &self.sessions[&booking.session_id];
            let enrolled = self.active.contains_key(&(booking.user_id, session.semester_id));
            assert!(enrolled || now >= session.starts_at, "INV-B06: {booking:?}");
        }
        for place in live.iter().filter(|booking| booking.status == BookingStatus::Confirmed) {
            let mut others = live.iter().filter(|other| other.booking_id != place.booking_id);
            let clash = others.find(|other| other.user_id == place.user_id && other.overlaps(place));
            assert!(clash.is_none(), "INV-B08: {place:?} {clash:?}");
        }
        for (id, session) in &self.sessions {
            let confirmed = live
                .iter()
                .filter(|one| one.session_id == *id && one.status == BookingStatus::Confirmed)
                .count();
            assert_eq!(usize::try_from(session.confirmed_count).unwrap(), confirmed, "INV-B01");
            assert!(session.confirmed_count <= session.capacity, "INV-B01: {session:?}");
            let takes_place = session.is_scheduled && now < session.starts_at;
            if takes_place && session.confirmed_count < session.capacity {
                let able = self.waiting(*id).find(|one| {
                    self.users[&one.user_id].is_active
                        && self.active.contains_key(&(one.user_id, session.semester_id))
                });
                assert!(able.is_none(), "INV-B07: {able:?}");
            }
        }
    }

    /// What owners do, except moves, which are the database's business; gives the sessions that it marks.
    fn change(&mut self, random: &mut ChaCha8Rng) -> Vec<SessionId> {
        let session = SessionId::new(random.random_range(1..=SESSIONS)).unwrap();
        let user = UserId::new(random.random_range(1..=USERS)).unwrap();
        let row = self.sessions.get_mut(&session).unwrap();
        match random.random_range(0..4) {
            0 => row.capacity = row.confirmed_count.max(random.random_range(0..5)),
            1 => row.is_scheduled = random.random_ratio(4, 5),
            2 => {
                let semester = SemesterId::new(random.random_range(1..=SEMESTERS)).unwrap();
                self.semesters.get_mut(&semester).unwrap().status = SemesterStatus::EnrollmentOpen;
            }
            _ => {
                self.users.get_mut(&user).unwrap().is_active = random.random_ratio(4, 5);
                return self.sessions.keys().copied().collect();
            }
        }
        vec![session]
    }
}

fn random_job(random: &mut ChaCha8Rng, next_booking: i64) -> Job {
    let user_id = UserId::new(random.random_range(1..=USERS + 1)).unwrap();
    let session_id = SessionId::new(random.random_range(1..=SESSIONS + 1)).unwrap();
    let semester_id = SemesterId::new(random.random_range(1..=SEMESTERS)).unwrap();
    match random.random_range(0..100) {
        0..42 => Book { user_id, session_id }.into(),
        42..62 => CancelBooking { user_id, which: Which::SessionId(session_id) }.into(),
        62..70 if next_booking > 1 => {
            let known = BookingId::new(random.random_range(1..next_booking)).unwrap();
            CancelBooking { user_id, which: Which::BookingId(known) }.into()
        }
        70..75 => RecordAttendance { user_id, session_id, status: AttendanceStatus::Late }.into(),
        75..80 => Unenroll { user_id, semester_id, enrollment_id: None }.into(),
        80 if random.random_ratio(1, 60) => CancelSemester { semester_id, note: None }.into(),
        _ => Enroll { user_id, semester_id }.into(),
    }
}

/// Runs a history in batches of at most `batch`, reading `head` waiters at first; gives how often each outcome came, and a
/// digest of all answers. What is asked and what owners change depends on the seed alone.
fn history(seed: u64, requests: usize, batch: usize, head: usize) -> (BTreeMap<String, usize>, u64) {
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut outcomes = BTreeMap::new();
    let mut digest = std::hash::DefaultHasher::new();
    let mut done = 0;
    while done < requests {
        // A new world now and then, or everything would be over after a while.
        let mut stored = Stored::new(random);
        for _ in 0..40 {
            let marked = stored.change(random);
            let jobs: Vec<Job> = (0..25).map(|_| random_job(random, stored.next_booking)).collect();
            let start = i64::try_from(done % 1_000).unwrap() * 1_000;
            for (number, chunk) in jobs.chunks(batch).enumerate() {
                let marks = if number == 0 { marked.as_slice() } else { &[] };
                let first = start + i64::try_from(number * batch).unwrap() * 1_000;
                let (changes, answers) = one_batch(&stored, marks, chunk, first, head);
                stored.write(changes);
                stored.assert_laws(instant(first + 1_000 * i64::try_from(chunk.len() - 1).unwrap()));
                for (job, answer) in chunk.iter().zip(answers) {
                    format!("{answer:?}").hash(&mut digest);
                    let outcome = match answer {
                        Answer::Applied(Applied::Book(book)) => format!("{:?}", book.status),
                        Answer::Applied(_) => "applied".to_owned(),
                        Answer::Refused(reason, _) => reason.as_str().to_owned(),
                    };
                    *outcomes.entry(format!("{} {outcome}", job.kind().as_str())).or_insert(0) += 1;
                }
            }
            done += jobs.len();
        }
    }
    (outcomes, digest.finish())
}

/// Makes one batch, again with more of the waitlists where that was too little.
fn one_batch(
    stored: &Stored,
    marks: &[SessionId],
    jobs: &[Job],
    first: i64,
    head: usize,
) -> (Changes, Vec<Answer>) {
    let mut head = head;
    loop {
        let mut world = stored.world(head);
        let made = marks
            .iter()
            .try_for_each(|session| fill_marked(&mut world, *session, instant(first), usize::MAX).map(|_| ()))
            .and_then(|()| {
                let numbered = (0_i64..).zip(jobs);
                numbered
                    .map(|(number, job)| {
                        let at = instant(first + 1_000 * number);
                        let id = Uuid::from_u128(u128::try_from(first + number).unwrap());
                        decide(&mut world, &Request { id, job: job.clone(), expires_at: None, at })
                    })
                    .collect::<Result<Vec<_>, _>>()
            });
        match made {
            Ok(answers) => return (world.into_changes(), answers),
            Err(DecideError::WindowTooSmall { .. }) => head = head * 2 + 1,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn half_a_million_bookings_keep_every_law() {
    let seed = seed();
    let (outcomes, _) = history(seed, REQUESTS, 25, usize::MAX);
    println!("{outcomes:?}");
    assert!(outcomes.values().sum::<usize>() >= REQUESTS);
    for kind in [
        seatkeeper_jobs::Kind::Book,
        seatkeeper_jobs::Kind::CancelBooking,
        seatkeeper_jobs::Kind::RecordAttendance,
    ] {
        for reason in kind.refusals().iter().filter(|reason| **reason != Reason::RequestExpired) {
            let outcome = format!("{} {}", kind.as_str(), reason.as_str());
            assert!(outcomes.get(&outcome).is_some_and(|count| *count > 20), "hardly ever seen: {outcome}");
        }
    }
    for outcome in ["book Confirmed", "book Waitlisted", "cancel_semester applied", "unenroll applied"] {
        assert!(outcomes.get(outcome).is_some_and(|count| *count > 20), "hardly ever seen: {outcome}");
    }
}

#[test]
fn neither_the_cut_into_batches_nor_the_part_of_a_waitlist_that_is_read_changes_an_answer() {
    let seed = seed();
    let ways = [(1, usize::MAX), (25, usize::MAX), (7, 0), (25, 1), (1, 0)];
    let histories = std::thread::scope(|scope| {
        let running = ways.map(|(batch, head)| scope.spawn(move || history(seed, 40_000, batch, head)));
        running.map(|history| history.join().unwrap())
    });
    for ((batch, head), history) in ways.iter().zip(&histories) {
        assert_eq!(history, &histories[0], "batches of {batch}, {head} read");
    }
}
