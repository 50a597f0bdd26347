//! What is asked: few users, few semesters and sessions, tight places and little money, so that every answer occurs.

use chrono::{TimeDelta, Utc};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::record_attendance::{AttendanceStatus, RecordAttendance};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Note, Request, SemesterId, SessionId, UserId};
use uuid::Uuid;

use super::stage::{CLUBS, SEMESTERS, SESSIONS, USERS};

const SEEN: [AttendanceStatus; 4] =
    [AttendanceStatus::Present, AttendanceStatus::Absent, AttendanceStatus::Late, AttendanceStatus::Excused];

pub fn user(id: i64) -> UserId {
    UserId::new(id).unwrap()
}

pub fn semester(id: i64) -> SemesterId {
    SemesterId::new(id).unwrap()
}

pub fn session(id: i64) -> SessionId {
    SessionId::new(id).unwrap()
}

pub fn grant(user_id: i64, amount: i64) -> Job {
    GrantCredits { user_id: user(user_id), amount: Amount::new(amount).unwrap(), note: None }.into()
}

pub fn cancel_semester(semester_id: i64, note: Option<&str>) -> CancelSemester {
    let note = note.map(|note| Note::new(note).unwrap());
    CancelSemester { semester_id: semester(semester_id), note }
}

/// Draws a request.
pub fn draw(rng: &mut ChaCha8Rng) -> Request {
    let id = uuid::Builder::from_random_bytes(rng.random()).into_uuid();
    let now = Utc::now();
    let later = |milliseconds: i64| now + TimeDelta::milliseconds(milliseconds);
    let request = Request::new(id, draw_job(rng));
    match rng.random_range(0..100) {
        0..3 => request.with_expires_at(later(-1_000)).unwrap(),
        3..9 => request.with_expires_at(later(rng.random_range(0..60))).unwrap(),
        9..14 => request.with_run_at(later(rng.random_range(-5..400))).unwrap(),
        14 => {
            let due = rng.random_range(20..200);
            let expires = later(due + rng.random_range(-10..20));
            request.with_run_at(later(due)).unwrap().with_expires_at(expires).unwrap()
        }
        _ => request,
    }
}

fn draw_job(rng: &mut ChaCha8Rng) -> Job {
    let user_id = match rng.random_range(0..100) {
        0 => user(i64::MAX),
        1 | 2 => user(USERS + 1),
        _ => user(rng.random_range(1..=USERS)),
    };
    let semester_id = match rng.random_range(0..100) {
        0 => semester(i64::MAX),
        1 | 2 => semester(SEMESTERS + 1),
        3..23 => semester(1),
        23..40 => semester(rng.random_range(CLUBS)),
        _ => semester(rng.random_range(1..=SEMESTERS)),
    };
    let session_id = match rng.random_range(0..100) {
        0 => session(i64::MAX),
        1 | 2 => session(SESSIONS + 1),
        3..12 => session(1),
        _ => session(rng.random_range(1..=SESSIONS)),
    };
    match rng.random_range(0..1_000) {
        0..150 => Enroll { user_id, semester_id }.into(),
        150..270 => Unenroll { user_id, semester_id, enrollment_id: None }.into(),
        270..690 => Book { user_id, session_id }.into(),
        690..820 => CancelBooking { user_id, which: Which::SessionId(session_id) }.into(),
        820..890 => RecordAttendance { user_id, session_id, status: seen(rng) }.into(),
        890..898 => {
            // Mostly the last one, or one that is not there; anything else only so often that people are still enrolled.
            let semester_id = match rng.random_range(0..10) {
                0..4 => semester(SEMESTERS),
                4..7 => semester(SEMESTERS + 1),
                _ => semester_id,
            };
            cancel_semester(semester_id.get(), rng.random_bool(0.5).then_some("rain")).into()
        }
        _ => {
            let amount =
                if rng.random_bool(0.35) { -rng.random_range(1..90) } else { rng.random_range(1..50) };
            grant(user_id.get(), amount)
        }
    }
}

fn seen(rng: &mut ChaCha8Rng) -> AttendanceStatus {
    SEEN[rng.random_range(0..SEEN.len())]
}

/// The same ID for something else: another kind, or another payload.
pub fn contradiction(request: &Request) -> Request {
    let job: Job = match request.job() {
        Job::Enroll(asked) => {
            Unenroll { user_id: asked.user_id, semester_id: asked.semester_id, enrollment_id: None }.into()
        }
        Job::Unenroll(asked) => Enroll { user_id: asked.user_id, semester_id: asked.semester_id }.into(),
        Job::Book(asked) => {
            let which = Which::SessionId(asked.session_id);
            CancelBooking { user_id: asked.user_id, which }.into()
        }
        Job::CancelBooking(asked) => {
            let which = match asked.which {
                Which::SessionId(session) => Which::BookingId(session.get().try_into().unwrap()),
                Which::BookingId(booking) => Which::SessionId(session(booking.get())),
            };
            CancelBooking { user_id: asked.user_id, which }.into()
        }
        Job::RecordAttendance(asked) => {
            let other = SEEN.into_iter().find(|status| *status != asked.status);
            RecordAttendance { status: other.unwrap(), ..asked.clone() }.into()
        }
        Job::CancelSemester(asked) => {
            let note = asked.note.is_none().then_some("snow");
            cancel_semester(asked.semester_id.get(), note).into()
        }
        Job::GrantCredits(asked) => grant(asked.user_id.get(), Amount::MAX),
    };
    Request::new(request.request_id(), job)
}

/// Another job with the same ID and times.
pub fn with_job(request: &Request, job: impl Into<Job>) -> Request {
    let mut other = Request::new(request.request_id(), job);
    if let Some(run_at) = request.run_at() {
        other = other.with_run_at(run_at).unwrap();
    }
    if let Some(expires_at) = request.expires_at() {
        other = other.with_expires_at(expires_at).unwrap();
    }
    other
}

/// The same request without its times: a duplicate all the same.
pub fn without_times(request: &Request) -> Request {
    Request::new(request.request_id(), request.job().clone())
}

/// An ID that nobody has drawn.
pub fn fresh_id(rng: &mut ChaCha8Rng) -> Uuid {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid()
}
