//! What each claimed request is about: its lane, and the sessions that its answer can depend on. Read before anything but the
//! lanes is locked; what cannot change under the lane's lock (which session a booking is in, which semester a session
//! belongs to, who is in a lane's sessions at all) is enough to know what to lock next.

use std::collections::{BTreeSet, HashMap, HashSet};

use seatkeeper_jobs::cancel_booking::Which;
use seatkeeper_jobs::{BookingId, Job, SemesterId, SessionId, UserId};
use sqlx::PgConnection;

use super::prefetch::id;
use super::{BatchError, Claimed};

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Session → semester, of the sessions that exist.
    pub(super) semester_of: HashMap<SessionId, SemesterId>,
    /// Booking → session, of the bookings that are named and exist.
    pub(super) session_of: HashMap<BookingId, SessionId>,
    /// Who leaves which semester, and where they have or may get a live booking.
    pub(super) leaving: HashMap<(UserId, SemesterId), BTreeSet<SessionId>>,
    /// The sessions of semesters that are cancelled.
    pub(super) sessions_in: HashMap<SemesterId, Vec<SessionId>>,
    /// Everybody in semesters that are cancelled: enrolled, or with a live booking.
    pub(super) everybody_in: HashMap<SemesterId, BTreeSet<UserId>>,
}

impl Needs {
    /// The lane in which a request has to be answered; `None` when there is none for it.
    pub(super) fn lane(&self, job: &Job) -> Option<SemesterId> {
        job.semester_id().or_else(|| self.semester_of.get(&self.session(job)?).copied())
    }

    /// The one session that a request names, by itself or by a booking in it, whether it exists or not.
    pub(super) fn session(&self, job: &Job) -> Option<SessionId> {
        match job {
            Job::Book(ask) => Some(ask.session_id),
            Job::RecordAttendance(ask) => Some(ask.session_id),
            Job::CancelBooking(ask) => match ask.which {
                Which::SessionId(session) => Some(session),
                Which::BookingId(booking) => self.session_of.get(&booking).copied(),
            },
            Job::Enroll(_) | Job::Unenroll(_) | Job::GrantCredits(_) | Job::CancelSemester(_) => None,
        }
    }

    /// All sessions that a request's answer can depend on, or change.
    pub(super) fn sessions(&self, job: &Job) -> Vec<SessionId> {
        match job {
            Job::Unenroll(ask) => {
                let sessions = self.leaving.get(&(ask.user_id, ask.semester_id));
                sessions.into_iter().flatten().copied().collect()
            }
            Job::CancelSemester(ask) => self.sessions_in.get(&ask.semester_id).cloned().unwrap_or_default(),
            _ => self.session(job).into_iter().collect(),
        }
    }
}

/// Finds the lanes of requests about sessions. No locks: that a session is there, and where, never changes.
pub(super) async fn find_lanes(
    connection: &mut PgConnection,
    batch: &[Claimed],
) -> Result<Needs, BatchError> {
    let mut needs = Needs::default();
    let jobs = || batch.iter().filter_map(|claimed| claimed.job.as_ref());
    let bookings: BTreeSet<i64> = jobs()
        .filter_map(|job| match job {
            Job::CancelBooking(ask) => match ask.which {
                Which::BookingId(booking) => Some(booking.get()),
                Which::SessionId(_) => None,
            },
            _ => None,
        })
        .collect();
    if !bookings.is_empty() {
        let bookings: Vec<i64> = bookings.into_iter().collect();
        let rows = sqlx::query!(
            "-- needs.session_of
             select b.booking_id, b.session_id from unnest($1::bigint[]) named (booking_id)
             cross join lateral (select * from seatkeeper.bookings b where b.booking_id = named.booking_id limit 1) b",
            &bookings
        )
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            needs.session_of.insert(id(row.booking_id)?, id(row.session_id)?);
        }
    }
    let sessions: BTreeSet<i64> = jobs().filter_map(|job| needs.session(job)).map(SessionId::get).collect();
    if !sessions.is_empty() {
        let sessions: Vec<i64> = sessions.into_iter().collect();
        let rows = sqlx::query!(
            "-- needs.semester_of
             select s.session_id, s.semester_id from unnest($1::bigint[]) named (session_id)
             cross join lateral (select * from seatkeeper.sessions s where s.session_id = named.session_id limit 1) s",
            &sessions
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            needs.semester_of.insert(id(row.session_id)?, id(row.semester_id)?);
        }
    }
    Ok(needs)
}

/// Finds what those who leave have in their lanes, and what there is in lanes that are cancelled.
pub(super) async fn find_leaving(
    connection: &mut PgConnection,
    batch: &[Claimed],
    needs: &mut Needs,
) -> Result<(), BatchError> {
    let jobs = || batch.iter().filter_map(|claimed| claimed.job.as_ref());
    let leaving: HashSet<(UserId, SemesterId)> = jobs()
        .filter_map(|job| match job {
            Job::Unenroll(ask) => Some((ask.user_id, ask.semester_id)),
            _ => None,
        })
        .collect();
    for pair in &leaving {
        needs.leaving.insert(*pair, BTreeSet::new());
    }
    if !leaving.is_empty() {
        find_sessions_of(&mut *connection, &leaving, needs).await?;
        // What is booked in this very batch, before they leave.
        for job in jobs() {
            let Job::Book(ask) = job else { continue };
            let Some(semester) = needs.lane(job) else { continue };
            if let Some(sessions) = needs.leaving.get_mut(&(ask.user_id, semester)) {
                sessions.insert(ask.session_id);
            }
        }
    }

    let cancelled: BTreeSet<i64> = jobs()
        .filter_map(|job| match job {
            Job::CancelSemester(ask) => Some(ask.semester_id.get()),
            _ => None,
        })
        .collect();
    if !cancelled.is_empty() {
        let cancelled: Vec<i64> = cancelled.into_iter().collect();
        find_everything_in(connection, &cancelled, needs).await?;
    }
    Ok(())
}

async fn find_sessions_of(
    connection: &mut PgConnection,
    leaving: &HashSet<(UserId, SemesterId)>,
    needs: &mut Needs,
) -> Result<(), BatchError> {
    let (users, semesters): (Vec<i64>, Vec<i64>) =
        leaving.iter().map(|(user, semester)| (user.get(), semester.get())).unzip();
    let rows = sqlx::query!(
        "-- needs.leaving
         select l.user_id as \"user_id!\", l.semester_id as \"semester_id!\", b.session_id
         from unnest($1::bigint[], $2::bigint[]) l (user_id, semester_id)
         cross join lateral (
             select b.session_id from seatkeeper.bookings b
             cross join lateral (select s.semester_id from seatkeeper.sessions s where s.session_id = b.session_id limit 1) s
             where b.user_id = l.user_id and b.status <> 'CANCELLED' and s.semester_id = l.semester_id
             order by b.ends_at
         ) b",
        &users,
        &semesters
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let (session, semester) = (id(row.session_id)?, id(row.semester_id)?);
        needs.semester_of.insert(session, semester);
        needs.leaving.entry((id(row.user_id)?, semester)).or_default().insert(session);
    }
    Ok(())
}

async fn find_everything_in(
    connection: &mut PgConnection,
    semesters: &[i64],
    needs: &mut Needs,
) -> Result<(), BatchError> {
    let sessions = sqlx::query!(
        "-- needs.sessions_in
         select s.session_id, s.semester_id from unnest($1::bigint[]) c (semester_id)
         cross join lateral (select * from seatkeeper.sessions s where s.semester_id = c.semester_id offset 0) s",
        semesters
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in sessions {
        let (session, semester) = (id(row.session_id)?, id(row.semester_id)?);
        needs.semester_of.insert(session, semester);
        needs.sessions_in.entry(semester).or_default().push(session);
    }
    let people = sqlx::query!(
        "-- needs.everybody_in
         select c.semester_id as \"semester_id!\", p.user_id as \"user_id!\" from unnest($1::bigint[]) c (semester_id)
         cross join lateral (
             select e.user_id from seatkeeper.enrollments e where e.semester_id = c.semester_id and e.is_active
             union all
             select b.user_id from seatkeeper.sessions s
             cross join lateral (
                 select w.user_id from seatkeeper.bookings w where w.session_id = s.session_id and w.status = 'WAITLISTED'
                 union all
                 select c.user_id from seatkeeper.bookings c where c.session_id = s.session_id and c.status = 'CONFIRMED'
             ) b
             where s.semester_id = c.semester_id
         ) p",
        semesters
    )
    .fetch_all(connection)
    .await?;
    for row in people {
        needs.everybody_in.entry(id(row.semester_id)?).or_default().insert(id(row.user_id)?);
    }
    Ok(())
}
