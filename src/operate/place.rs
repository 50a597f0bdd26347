//! The place that a request is about: the session and the user's booking of it as they are now, and, while the booking
//! waits, what keeps it waiting.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Postgres, Transaction};

use super::pause::Pause;

/// A session as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "mostly the columns of the table sessions, whose comments say it")]
pub struct SessionNow {
    pub session_id: i64,
    pub semester_id: i64,
    pub status: String,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub has_started: bool,
    /// As a decision would take it: derived from the start where the session says nothing.
    pub booking_closes_at: DateTime<Utc>,
    /// For a CONFIRMED booking; derived from the start where the session says nothing.
    pub cancellation_closes_at: DateTime<Utc>,
    pub capacity: i32,
    pub confirmed_count: i32,
    /// WAITLISTED bookings.
    pub waiting: i64,
    /// Since when a worker is to look whether the waitlist can move.
    pub fill_marked_at: Option<DateTime<Utc>>,
    /// When that ended in an error: when it is tried again, and the error.
    pub fill_retry_at: Option<DateTime<Utc>>,
    pub fill_last_error: Option<String>,
}

/// A booking as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the columns of the tables bookings and attendance")]
pub struct BookingNow {
    pub booking_id: i64,
    pub user_id: i64,
    pub session_id: i64,
    pub status: String,
    /// 1 = next; only while it is WAITLISTED.
    pub waitlist_position: Option<i64>,
    /// Those before it that can take a place; only while it is WAITLISTED.
    pub able_before: Option<i64>,
    pub booked_at: DateTime<Utc>,
    pub promoted_at: Option<DateTime<Utc>>,
    pub cancelled_at: Option<DateTime<Utc>>,
    pub cancelled_because: Option<String>,
    pub user_is_active: bool,
    pub user_is_enrolled: bool,
    /// Whether another CONFIRMED booking of the user overlaps it; no wait is left beside one, but by hand.
    pub user_is_elsewhere: bool,
    pub attendance: Option<String>,
    pub attendance_recorded_at: Option<DateTime<Utc>>,
    /// While it is WAITLISTED: why it has not moved.
    pub kept_waiting_by: Vec<KeptBy>,
    /// While it is WAITLISTED: the pauses because of which nobody looks at the session.
    pub pauses: Vec<Pause>,
}

/// A place of the user at the time of the session, because of which no other can be booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the columns of the table bookings")]
pub struct Conflict {
    pub booking_id: i64,
    pub session_id: i64,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
}

/// What keeps a booking in the waitlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBy {
    /// The session is cancelled: nobody moves.
    SessionCancelled,
    /// The session has started: nobody moves any more.
    SessionStarted,
    /// Its user is not active, and is passed over.
    UserInactive,
    /// Its user has no active enrollment in the semester, and is passed over.
    NotEnrolled,
    /// Its user has a place at that time elsewhere, and is passed over.
    PlaceElsewhere,
    /// Every place is taken.
    SessionFull,
    /// There is a free place, and others who can take it are before it.
    OthersFirst,
    /// The semester, or everything, is paused.
    Paused,
    /// The session is marked: a worker is about to look.
    FillPending,
}

impl BookingNow {
    fn kept_by(&self, session: &SessionNow) -> Vec<KeptBy> {
        let is_free = session.confirmed_count < session.capacity;
        let can_move = session.status == "SCHEDULED" && !session.has_started && is_free;
        [
            (session.status != "SCHEDULED", KeptBy::SessionCancelled),
            (session.has_started, KeptBy::SessionStarted),
            (!self.user_is_active, KeptBy::UserInactive),
            (!self.user_is_enrolled, KeptBy::NotEnrolled),
            (self.user_is_elsewhere, KeptBy::PlaceElsewhere),
            (!is_free, KeptBy::SessionFull),
            (can_move && self.able_before > Some(0), KeptBy::OthersFirst),
            (can_move && !self.pauses.is_empty(), KeptBy::Paused),
            (can_move && session.fill_marked_at.is_some(), KeptBy::FillPending),
        ]
        .into_iter()
        .filter_map(|(is_so, why)| is_so.then_some(why))
        .collect()
    }
}

/// What a request says about its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub user_id: Option<i64>,
    pub session_id: Option<i64>,
    /// The booking that the answer or else the payload names.
    pub booking_id: Option<i64>,
}

/// Reads the session and the booking that a request is about; without a name for the booking it is the user's live one.
pub(super) async fn place(
    snapshot: &mut Transaction<'_, Postgres>,
    about: About,
) -> sqlx::Result<(Option<SessionNow>, Option<BookingNow>)> {
    // First which one, then what it is: a condition for both would walk no index.
    let booking_id = match (about.booking_id, about.user_id, about.session_id) {
        (Some(booking), ..) => Some(booking),
        (None, Some(user), Some(session)) => {
            sqlx::query_scalar!(
                "-- story.live_booking
                 select booking_id from seatkeeper.bookings
                 where user_id = $1 and session_id = $2 and status <> 'CANCELLED'",
                user,
                session
            )
            .fetch_optional(&mut **snapshot)
            .await?
        }
        _ => None,
    };
    let mut booking = match booking_id {
        Some(booking) => self::booking(snapshot, booking).await?,
        None => None,
    };
    let Some(session_id) = booking.as_ref().map(|booking| booking.session_id).or(about.session_id) else {
        return Ok((None, None));
    };
    let session = sqlx::query_as!(
        SessionNow,
        r#"-- story.session
           select s.session_id, s.semester_id, s.status, s.starts_at, s.ends_at,
                  statement_timestamp() >= s.starts_at as "has_started!",
                  coalesce(s.booking_closes_at, s.starts_at - interval '24 hours') as "booking_closes_at!",
                  coalesce(s.cancellation_closes_at, s.starts_at - interval '12 hours') as "cancellation_closes_at!",
                  s.capacity, s.confirmed_count,
                  (select count(*) from seatkeeper.bookings w
                   where w.session_id = s.session_id and w.status = 'WAITLISTED') as "waiting!",
                  m.marked_at as "fill_marked_at?", m.retry_at as "fill_retry_at?", m.last_error as "fill_last_error?"
           from seatkeeper.sessions s
           left join lateral (
               select min(m.marked_at) as marked_at, max(m.retry_at) as retry_at, max(m.last_error) as last_error
               from seatkeeper.fill_marks m
               where m.semester_id = s.semester_id and m.session_id = s.session_id) m on true
           where s.session_id = $1"#,
        session_id
    )
    .fetch_optional(&mut **snapshot)
    .await?;
    if let (Some(session), Some(booking)) = (&session, &mut booking)
        && booking.status == "WAITLISTED"
    {
        booking.pauses = sqlx::query_as!(
            Pause,
            "-- story.pauses_of_session
             select kind, semester_id, since, paused_by, reason from seatkeeper.pauses
             where semester_id = $1 or (kind is null and semester_id is null) order by pause_id",
            session.semester_id
        )
        .fetch_all(&mut **snapshot)
        .await?;
        booking.kept_waiting_by = booking.kept_by(session);
    }
    Ok((session, booking))
}

/// The CONFIRMED bookings of a user that overlap the session.
pub(super) async fn conflicts(
    snapshot: &mut Transaction<'_, Postgres>,
    user_id: i64,
    session: &SessionNow,
) -> sqlx::Result<Vec<Conflict>> {
    sqlx::query_as!(
        Conflict,
        "-- story.conflicts
         select booking_id, session_id, starts_at, ends_at from seatkeeper.bookings
         where user_id = $1 and status = 'CONFIRMED' and ends_at > $2 and starts_at < $3 and session_id <> $4
         order by starts_at, booking_id",
        user_id,
        session.starts_at,
        session.ends_at,
        session.session_id
    )
    .fetch_all(&mut **snapshot)
    .await
}

async fn booking(
    snapshot: &mut Transaction<'_, Postgres>,
    booking_id: i64,
) -> sqlx::Result<Option<BookingNow>> {
    let row = sqlx::query!(
        r#"-- story.booking
           select b.booking_id, b.user_id, b.session_id, b.status, b.booked_at, b.promoted_at, b.cancelled_at,
                  b.cancelled_because, u.is_active, w.position as "position?", w.able as "able?",
                  exists (select from seatkeeper.enrollments e where e.user_id = b.user_id
                              and e.semester_id = s.semester_id and e.is_active) as "is_enrolled!",
                  exists (select from seatkeeper.bookings c where c.user_id = b.user_id and c.status = 'CONFIRMED'
                              and c.booking_id <> b.booking_id and c.ends_at > s.starts_at
                              and c.starts_at < s.ends_at) as "is_elsewhere!",
                  a.status as "attendance?", a.recorded_at as "recorded_at?"
           from seatkeeper.bookings b
           join seatkeeper.sessions s using (session_id)
           join seatkeeper.users u on u.user_id = b.user_id
           left join seatkeeper.attendance a using (booking_id)
           left join lateral (
               select count(*) + 1 as position,
                      count(*) filter (where v.is_active and exists (
                          select from seatkeeper.enrollments e where e.user_id = o.user_id
                              and e.semester_id = s.semester_id and e.is_active)
                          and not exists (
                          select from seatkeeper.bookings c where c.user_id = o.user_id and c.status = 'CONFIRMED'
                              and c.ends_at > s.starts_at and c.starts_at < s.ends_at)) as able
               from seatkeeper.bookings o join seatkeeper.users v on v.user_id = o.user_id
               where o.session_id = b.session_id and o.status = 'WAITLISTED' and o.waitlist_ticket < b.waitlist_ticket
           ) w on b.status = 'WAITLISTED'
           where b.booking_id = $1"#,
        booking_id
    )
    .fetch_optional(&mut **snapshot)
    .await?;
    Ok(row.map(|row| BookingNow {
        booking_id: row.booking_id,
        user_id: row.user_id,
        session_id: row.session_id,
        status: row.status,
        waitlist_position: row.position,
        able_before: row.able,
        booked_at: row.booked_at,
        promoted_at: row.promoted_at,
        cancelled_at: row.cancelled_at,
        cancelled_because: row.cancelled_because,
        user_is_active: row.is_active,
        user_is_enrolled: row.is_enrolled,
        user_is_elsewhere: row.is_elsewhere,
        attendance: row.attendance,
        attendance_recorded_at: row.recorded_at,
        kept_waiting_by: Vec::new(),
        pauses: Vec::new(),
    }))
}
