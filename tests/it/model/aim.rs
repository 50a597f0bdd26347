//! What is drawn blindly mostly misses. Producers look at what there is, and aim most of their requests at it: an
//! enrollment or a booking by name, a user who is there.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::cancel_booking::{CancelBooking, Which};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::record_attendance::RecordAttendance;
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Request};
use sqlx::PgConnection;

use super::asks::{semester, session, user, with_job};
use super::stage::SESSIONS;

/// The same request for something that is there, if there is anything. Not every time.
pub async fn at_something(
    request: &Request,
    connection: &mut PgConnection,
    rng: &mut ChaCha8Rng,
) -> Option<Request> {
    let job: Option<Job> = match request.job() {
        Job::Unenroll(asked) if rng.random_bool(0.4) => Some(enrollment(asked, connection, rng).await.into()),
        Job::Book(asked) => book(asked, connection, rng).await,
        Job::CancelBooking(asked) => booking(asked, connection, rng).await.map(Job::from),
        Job::RecordAttendance(asked) if asked.session_id.get() <= SESSIONS => {
            attended(asked, connection, rng).await.map(Job::from)
        }
        _ => None,
    };
    job.map(|job| with_job(request, job))
}

/// An enrollment by name: one that is active, also of somebody who is in a session that has started; or the first of the
/// user in the semester; or one that may belong to anybody.
async fn enrollment(asked: &Unenroll, connection: &mut PgConnection, rng: &mut ChaCha8Rng) -> Unenroll {
    let sql = match rng.random_range(0..8) {
        0 => None,
        1 | 2 => Some(
            "select enrollment_id, user_id, semester_id from seatkeeper.enrollments
             where user_id = $1 and semester_id = $2 order by enrollment_id limit 1",
        ),
        3..5 => Some(
            "select e.enrollment_id, e.user_id, e.semester_id
             from seatkeeper.enrollments e
             join seatkeeper.bookings b using (user_id)
             join seatkeeper.sessions s on (s.session_id, s.semester_id) = (b.session_id, e.semester_id)
             where e.is_active and b.status <> 'CANCELLED' and s.starts_at < clock_timestamp()
             order by random() limit 1",
        ),
        _ => Some(
            "select enrollment_id, user_id, semester_id from seatkeeper.enrollments
             where is_active order by user_id = $1 and semester_id = $2 desc, random() limit 1",
        ),
    };
    let (user_id, semester_id) = (asked.user_id.get(), asked.semester_id.get());
    let mut found = None;
    if let Some(sql) = sql {
        found = some(sql, (user_id, semester_id), connection).await;
    }
    let (name, user_id, semester_id) =
        found.unwrap_or_else(|| (rng.random_range(1..400), user_id, semester_id));
    let enrollment_id = Some(name.try_into().unwrap());
    Unenroll { user_id: user(user_id), semester_id: semester(semester_id), enrollment_id }
}

/// Whoever would book without being enrolled enrolls.
async fn enroll_first(asked: &Book, connection: &mut PgConnection) -> Option<Enroll> {
    let sql = "select s.session_id, u.user_id, s.semester_id
               from seatkeeper.users u, seatkeeper.sessions s
               where u.user_id = $1 and s.session_id = $2
                 and not exists (select from seatkeeper.enrollments e
                                 where e.user_id = $1 and e.semester_id = s.semester_id and e.is_active)";
    let pair = (asked.user_id.get(), asked.session_id.get());
    let (_, user_id, semester_id) = some(sql, pair, connection).await?;
    Some(Enroll { user_id: user(user_id), semester_id: semester(semester_id) })
}

/// A session that the user can book, often one at the time of another one that the user waits for; or an enrollment first.
async fn book(asked: &Book, connection: &mut PgConnection, rng: &mut ChaCha8Rng) -> Option<Job> {
    let at_the_same_time = "select s.semester_id, e.user_id, s.session_id
         from seatkeeper.enrollments e
         join seatkeeper.sessions s using (semester_id)
         join seatkeeper.bookings w on w.user_id = e.user_id and w.status = 'WAITLISTED'
              and w.starts_at < s.ends_at and s.starts_at < w.ends_at and w.session_id <> s.session_id
         where e.user_id = $1 and e.is_active and s.status = 'SCHEDULED'
           and coalesce(s.booking_closes_at, s.starts_at - interval '24 hours') > clock_timestamp()
           and not exists (select from seatkeeper.bookings b
                           where b.user_id = $1 and b.session_id = s.session_id and b.status <> 'CANCELLED')
         order by random() limit 1";
    let any = "select s.semester_id, e.user_id, s.session_id
         from seatkeeper.enrollments e join seatkeeper.sessions s using (semester_id)
         where e.user_id = $1 and e.is_active and s.status = 'SCHEDULED'
           and coalesce(s.booking_closes_at, s.starts_at - interval '24 hours') > clock_timestamp()
           and not exists (select from seatkeeper.bookings b
                           where b.user_id = $1 and b.session_id = s.session_id and b.status <> 'CANCELLED')
         order by random() limit 1";
    let queries: &[&'static str] = match rng.random_range(0..10) {
        0 => return None,
        1..4 => &[],
        4..6 => &[any],
        _ => &[at_the_same_time, any],
    };
    let pair = (asked.user_id.get(), asked.session_id.get());
    for sql in queries {
        if let Some((_, user_id, session_id)) = some(sql, pair, connection).await {
            return Some(Book { user_id: user(user_id), session_id: session(session_id) }.into());
        }
    }
    enroll_first(asked, connection).await.map(Job::from)
}

/// A booking of the user or of anybody, by its own name or the session's.
async fn booking(
    asked: &CancelBooking,
    connection: &mut PgConnection,
    rng: &mut ChaCha8Rng,
) -> Option<CancelBooking> {
    let Which::SessionId(drawn) = asked.which else { return None };
    let sql = match rng.random_range(0..100) {
        // As it was drawn, or a name that no booking ever has
        0..15 => return None,
        15..20 => {
            let which = Which::BookingId((i64::MAX - rng.random_range(0..5)).try_into().unwrap());
            return Some(CancelBooking { which, ..asked.clone() });
        }
        // Cancelled ones
        20..30 => {
            "select booking_id, user_id, session_id from seatkeeper.bookings
             where status = 'CANCELLED' order by random() limit 1"
        }
        // The user's, preferably one that has a place
        30..60 => {
            "select booking_id, user_id, session_id from seatkeeper.bookings
             where status <> 'CANCELLED' order by user_id = $1 desc, status, random() limit 1"
        }
        60..70 => {
            "select booking_id, user_id, session_id from seatkeeper.bookings
             where status = 'WAITLISTED' order by random() limit 1"
        }
        // One that somebody waits for
        _ => {
            "select b.booking_id, b.user_id, b.session_id from seatkeeper.bookings b
             where b.status = 'CONFIRMED' and exists (select from seatkeeper.bookings w
                   where w.session_id = b.session_id and w.status = 'WAITLISTED')
             order by random() limit 1"
        }
    };
    let (name, owner, session_id) = some(sql, (asked.user_id.get(), drawn.get()), connection).await?;
    let which = if rng.random_bool(0.5) {
        Which::SessionId(session(session_id))
    } else {
        Which::BookingId(name.try_into().unwrap())
    };
    // Now and then in somebody else's name
    let user_id = if rng.random_bool(0.1) { asked.user_id } else { user(owner) };
    Some(CancelBooking { user_id, which })
}

/// Somebody with a place, mostly in a session that has started.
async fn attended(
    asked: &RecordAttendance,
    connection: &mut PgConnection,
    rng: &mut ChaCha8Rng,
) -> Option<RecordAttendance> {
    let sql = match rng.random_range(0..10) {
        0 | 1 => return None,
        2 | 3 => {
            "select booking_id, user_id, session_id from seatkeeper.bookings
             where status = 'CONFIRMED' order by random() limit 1"
        }
        _ => {
            "select b.booking_id, b.user_id, b.session_id
             from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)
             where b.status = 'CONFIRMED' and s.starts_at <= clock_timestamp() order by random() limit 1"
        }
    };
    let (_, user_id, session_id) = some(sql, (0, 0), connection).await?;
    Some(RecordAttendance { user_id: user(user_id), session_id: session(session_id), status: asked.status })
}

/// The row that a query gives, if it gives one. Whatever it does not use of the pair it need not name.
async fn some(sql: &'static str, pair: (i64, i64), connection: &mut PgConnection) -> Option<(i64, i64, i64)> {
    let mut query = sqlx::query_as(sql);
    for (parameter, value) in [("$1", pair.0), ("$2", pair.1)] {
        if sql.contains(parameter) {
            query = query.bind(value);
        }
    }
    query.fetch_optional(connection).await.ok().flatten()
}
