//! What is asked: few users, few semesters, tight places and little money, so that every answer occurs.

use chrono::{TimeDelta, Utc};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Request, SemesterId, UserId};
use sqlx::PgPool;
use uuid::Uuid;

pub const USERS: i64 = 40;
pub const SEMESTERS: i64 = 8;
/// Those from here on are deactivated and activated.
pub const FICKLE_USERS: i64 = 30;
/// The owners leave the deadlines of the later ones alone.
pub const SEMESTERS_WITHOUT_FIXED_DEADLINE: i64 = 6;

/// Makes the catalog.
pub async fn lay_out(pool: &PgPool) {
    let sql = format!(
        "insert into seatkeeper.users (user_id, is_active) select n, n < {USERS} from generate_series(1, {USERS}) n;
         insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost, refund_percent,
                                           enrollment_closes_at, unenroll_closes_at)
         values (1, 'hot', 'ENROLLMENT_OPEN', 12, 10, 50, null, null),
                (2, 'odd', 'IN_PROGRESS', 5, 33, 50, null, null),
                (3, 'wide', 'ENROLLMENT_OPEN', null, 7, 33, null, null),
                (4, 'free', 'ENROLLMENT_OPEN', 20, 0, 50, null, null),
                (5, 'dear', 'ENROLLMENT_OPEN', 3, 100, 100, null, null),
                (6, 'shut', 'ENROLLMENT_CLOSED', null, 5, 50, null, null),
                (7, 'late', 'ENROLLMENT_OPEN', null, 5, 50, now() - interval '1 hour', null),
                (8, 'bound', 'ENROLLMENT_OPEN', 9, 1, 50, null, now())"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

pub fn user(id: i64) -> UserId {
    UserId::new(id).unwrap()
}

pub fn semester(id: i64) -> SemesterId {
    SemesterId::new(id).unwrap()
}

pub fn grant(user_id: i64, amount: i64) -> Job {
    GrantCredits { user_id: user(user_id), amount: Amount::new(amount).unwrap(), note: None }.into()
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
        3..33 => semester(1),
        _ => semester(rng.random_range(1..=SEMESTERS)),
    };
    match rng.random_range(0..100) {
        0..52 => Enroll { user_id, semester_id }.into(),
        52..80 => Unenroll { user_id, semester_id, enrollment_id: None }.into(),
        _ => {
            let amount =
                if rng.random_bool(0.35) { -rng.random_range(1..90) } else { rng.random_range(1..50) };
            grant(user_id.get(), amount)
        }
    }
}

/// The same ID for something else: another kind, or another payload.
pub fn contradiction(request: &Request) -> Request {
    let job = match request.job() {
        Job::Enroll(asked) => {
            Unenroll { user_id: asked.user_id, semester_id: asked.semester_id, enrollment_id: None }.into()
        }
        Job::Unenroll(asked) => Enroll { user_id: asked.user_id, semester_id: asked.semester_id }.into(),
        other => grant(other.user_id().unwrap().get(), Amount::MAX),
    };
    Request::new(request.request_id(), job)
}

/// An unenroll with the same ID and times, for this enrollment of this user in this semester.
pub fn naming(request: &Request, (enrollment_id, user_id, semester_id): (i64, i64, i64)) -> Request {
    let enrollment_id = Some(enrollment_id.try_into().unwrap());
    let job = Unenroll { user_id: user(user_id), semester_id: semester(semester_id), enrollment_id };
    with_job(request, job)
}

fn with_job(request: &Request, job: impl Into<Job>) -> Request {
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
