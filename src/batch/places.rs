//! The part of the prefetch that concerns sessions: their locks, those who may get a place in them, and bookings.
//!
//! Sessions are locked before users. Who waits is looked up in between, without a lock: the lane keeps others from
//! joining; waits that another lane supersedes meanwhile are found gone when the bookings are read, after the users are
//! locked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use seatkeeper_jobs::record_attendance::AttendanceStatus;
use seatkeeper_jobs::{BookingId, SessionId, UserId};
use sqlx::PgConnection;

use super::BatchError;
use super::prefetch::id;
use crate::decide::{Booking, BookingStatus, Session};

/// The sessions of a batch.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// Locked, as they are now.
    pub(super) locked: HashMap<SessionId, Locked>,
    /// There, but locked by somebody else. Only a cautious batch has any: others wait.
    pub(super) busy: HashSet<SessionId>,
}

/// A session as locked.
#[derive(Debug)]
pub(super) struct Locked {
    pub(super) session: Session,
    /// By the database's clock, when it was locked. It stays so, since it cannot be moved any more.
    has_started: bool,
}

impl Locked {
    /// Whether places in it are given at all.
    pub(super) const fn can_be_filled(&self) -> bool {
        !self.has_started && self.session.is_scheduled
    }

    /// Free places that could be given now.
    pub(super) fn free(&self) -> usize {
        if !self.can_be_filled() {
            return 0;
        }
        usize::try_from(self.session.capacity - self.session.confirmed_count).unwrap_or(0)
    }
}

/// Locks sessions, ascending. A cautious batch does not wait for those that somebody else holds.
pub(super) async fn lock_sessions(
    connection: &mut PgConnection,
    sessions: &BTreeSet<SessionId>,
    cautious: bool,
) -> Result<Sessions, BatchError> {
    let mut found = Sessions::default();
    if sessions.is_empty() {
        return Ok(found);
    }
    let ids: Vec<i64> = sessions.iter().map(|session| session.get()).collect();
    let rows = if cautious {
        sqlx::query_as!(
            SessionRow,
            r#"-- places.lock_free_sessions
               select session_id, semester_id, starts_at, ends_at, capacity, status, booking_closes_at,
                      cancellation_closes_at, confirmed_count, starts_at <= clock_timestamp() as "has_started!"
               from seatkeeper.sessions where session_id = any ($1) order by session_id for no key update skip locked"#,
            &ids
        )
        .fetch_all(&mut *connection)
        .await?
    } else {
        sqlx::query_as!(
            SessionRow,
            r#"-- places.lock_sessions
               select session_id, semester_id, starts_at, ends_at, capacity, status, booking_closes_at,
                      cancellation_closes_at, confirmed_count, starts_at <= clock_timestamp() as "has_started!"
               from seatkeeper.sessions where session_id = any ($1) order by session_id for no key update"#,
            &ids
        )
        .fetch_all(&mut *connection)
        .await?
    };
    for row in rows {
        let (session_id, locked) = row.read()?;
        found.locked.insert(session_id, locked);
    }
    if cautious {
        let present = sqlx::query_scalar!(
            "-- places.present_sessions
             select session_id from seatkeeper.sessions where session_id = any ($1)",
            &ids
        )
        .fetch_all(connection)
        .await?;
        for number in present {
            let session: SessionId = id(number)?;
            if !found.locked.contains_key(&session) {
                found.busy.insert(session);
            }
        }
    }
    Ok(found)
}

#[derive(Debug)]
struct SessionRow {
    session_id: i64,
    semester_id: i64,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    capacity: i32,
    status: String,
    booking_closes_at: Option<DateTime<Utc>>,
    cancellation_closes_at: Option<DateTime<Utc>>,
    confirmed_count: i32,
    has_started: bool,
}

impl SessionRow {
    fn read(self) -> Result<(SessionId, Locked), BatchError> {
        let session = Session {
            semester_id: id(self.semester_id)?,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            capacity: self.capacity,
            is_scheduled: self.status == "SCHEDULED",
            booking_closes_at: self.booking_closes_at,
            cancellation_closes_at: self.cancellation_closes_at,
            confirmed_count: self.confirmed_count,
        };
        Ok((id(self.session_id)?, Locked { session, has_started: self.has_started }))
    }
}

/// Somebody who waits, as seen before their user is locked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) user_id: UserId,
    pub(super) booking_id: BookingId,
    pub(super) ticket: i64,
}

/// The head of a waitlist.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Ascending by ticket.
    pub(super) candidates: Vec<Candidate>,
    /// Behind this ticket there may be more.
    pub(super) unread_after: Option<i64>,
    /// How many of the candidates looked able to take a place.
    pub(super) able: usize,
}

/// Reads the waitlists of sessions as far as they have to be known to give `able` places in each: those who cannot take one
/// are passed over, but they belong to the head, since what makes them unable can change until their users are locked.
pub(super) async fn read_heads(
    connection: &mut PgConnection,
    wanted: &BTreeMap<SessionId, usize>,
) -> Result<HashMap<SessionId, Head>, BatchError> {
    let mut heads: HashMap<SessionId, Head> =
        wanted.keys().map(|session| (*session, Head { unread_after: Some(0), ..Head::default() })).collect();
    let mut pages: BTreeMap<SessionId, usize> = wanted.clone();
    pages.retain(|_, able| *able > 0);
    while !pages.is_empty() {
        let sessions: Vec<i64> = pages.keys().map(|session| session.get()).collect();
        let after: Vec<i64> = pages.keys().filter_map(|session| heads.get(session)?.unread_after).collect();
        let sizes: Vec<i64> = pages.values().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        let rows = sqlx::query!(
            r#"-- places.read_heads
               select p.session_id as "session_id!", w.booking_id, w.user_id, w.waitlist_ticket,
                      (select u.is_active from seatkeeper.users u where u.user_id = w.user_id)
                      -- No "exists", which may be turned into a walk through all enrollments.
                      and (select true from seatkeeper.enrollments e
                           where e.user_id = w.user_id and e.semester_id = s.semester_id and e.is_active) is not null as "is_able!"
               from unnest($1::bigint[], $2::bigint[], $3::bigint[]) with ordinality p (session_id, after, size, ord)
               cross join lateral (select s.semester_id from seatkeeper.sessions s where s.session_id = p.session_id limit 1) s
               cross join lateral (
                   select * from seatkeeper.bookings w
                   where w.session_id = p.session_id and w.status = 'WAITLISTED' and w.waitlist_ticket > p.after
                   order by w.waitlist_ticket limit p.size
               ) w
               order by p.ord, w.waitlist_ticket"#,
            &sessions,
            &after,
            &sizes
        )
        .fetch_all(&mut *connection)
        .await?;

        let mut found: HashMap<SessionId, usize> = HashMap::new();
        for row in rows {
            let session: SessionId = id(row.session_id)?;
            let head = heads.entry(session).or_default();
            head.candidates.push(Candidate {
                user_id: id(row.user_id)?,
                booking_id: id(row.booking_id)?,
                ticket: row.waitlist_ticket,
            });
            head.unread_after = Some(row.waitlist_ticket);
            head.able += usize::from(row.is_able);
            *found.entry(session).or_default() += 1;
        }
        let mut next = BTreeMap::new();
        for (session, size) in pages {
            let head = heads.entry(session).or_default();
            if found.get(&session).copied().unwrap_or(0) < size {
                head.unread_after = None;
            } else if wanted.get(&session).is_some_and(|able| head.able < *able) {
                next.insert(session, size.saturating_mul(2));
            }
        }
        pages = next;
    }
    Ok(heads)
}

/// How many wait in each session.
pub(super) async fn count_waiting(
    connection: &mut PgConnection,
    sessions: &BTreeSet<SessionId>,
) -> Result<HashMap<SessionId, i64>, BatchError> {
    if sessions.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<i64> = sessions.iter().map(|session| session.get()).collect();
    let rows = sqlx::query!(
        r#"-- places.count_waiting
           select p.session_id as "session_id!", w.waiting as "waiting!" from unnest($1::bigint[]) p (session_id)
           cross join lateral (select count(*) as waiting from seatkeeper.bookings w
                               where w.session_id = p.session_id and w.status = 'WAITLISTED') w"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((id(row.session_id)?, row.waiting))).collect()
}

/// Which bookings are read.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// The live booking of a user in a session.
    pub(super) pairs: BTreeSet<(UserId, SessionId)>,
    /// All live bookings of a user at a time.
    pub(super) around: BTreeMap<UserId, (DateTime<Utc>, DateTime<Utc>)>,
    /// Everybody's live bookings in a session.
    pub(super) sessions: BTreeSet<SessionId>,
    /// Live or not.
    pub(super) named: BTreeSet<BookingId>,
}

impl Wanted {
    /// Whoever may get a place in the session: their bookings at its time decide, or change.
    pub(super) fn taker(&mut self, user: UserId, session_id: SessionId, session: &Session) {
        self.pairs.insert((user, session_id));
        let (starts_at, ends_at) = (session.starts_at, session.ends_at);
        let around = self.around.entry(user).or_insert((starts_at, ends_at));
        *around = (around.0.min(starts_at), around.1.max(ends_at));
    }
}

/// Reads bookings, after the users that they belong to are locked.
pub(super) async fn read_bookings(
    connection: &mut PgConnection,
    wanted: &Wanted,
) -> Result<Vec<Booking>, BatchError> {
    let (users, sessions): (Vec<i64>, Vec<i64>) =
        wanted.pairs.iter().map(|(user, session)| (user.get(), session.get())).unzip();
    let at_a_time: Vec<i64> = wanted.around.keys().map(|user| user.get()).collect();
    let (from, until): (Vec<DateTime<Utc>>, Vec<DateTime<Utc>>) = wanted.around.values().copied().unzip();
    let whole: Vec<i64> = wanted.sessions.iter().map(|session| session.get()).collect();
    let named: Vec<i64> = wanted.named.iter().map(|booking| booking.get()).collect();
    if users.is_empty() && at_a_time.is_empty() && whole.is_empty() && named.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"-- places.read_bookings
           select b.booking_id as "booking_id!", b.user_id as "user_id!", b.session_id as "session_id!",
                  b.status as "status!", b.waitlist_ticket as "waitlist_ticket!", b.starts_at as "starts_at!",
                  b.ends_at as "ends_at!"
           from unnest($1::bigint[], $2::bigint[]) p (user_id, session_id)
           -- By an order that only the index of the pairs has.
           cross join lateral (select * from seatkeeper.bookings b
                               where b.user_id = p.user_id and b.session_id >= p.session_id and b.status <> 'CANCELLED'
                               order by b.session_id limit 1) b
           where b.session_id = p.session_id
           union all
           select b.booking_id, b.user_id, b.session_id, b.status, b.waitlist_ticket, b.starts_at, b.ends_at
           from unnest($3::bigint[], $4::timestamptz[], $5::timestamptz[]) p (user_id, "from", until)
           cross join lateral (select * from seatkeeper.bookings b
                               where b.user_id = p.user_id and b.status <> 'CANCELLED'
                                 and b.ends_at > p."from" and b.starts_at < p.until
                               order by b.ends_at) b
           union all
           select b.booking_id, b.user_id, b.session_id, b.status, b.waitlist_ticket, b.starts_at, b.ends_at
           from unnest($6::bigint[]) p (session_id)
           cross join lateral (
               select * from seatkeeper.bookings w where w.session_id = p.session_id and w.status = 'WAITLISTED'
               union all
               select * from seatkeeper.bookings c where c.session_id = p.session_id and c.status = 'CONFIRMED'
           ) b
           union all
           select b.booking_id, b.user_id, b.session_id, b.status, b.waitlist_ticket, b.starts_at, b.ends_at
           from unnest($7::bigint[]) p (booking_id)
           cross join lateral (select * from seatkeeper.bookings b where b.booking_id = p.booking_id limit 1) b"#,
        &users,
        &sessions,
        &at_a_time,
        &from,
        &until,
        &whole,
        &named
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let status = BookingStatus::from_name(&row.status).ok_or_else(|| {
                BatchError::Inconsistent(format!("booking {} has an unknown status", row.booking_id))
            })?;
            Ok(Booking {
                booking_id: id(row.booking_id)?,
                user_id: id(row.user_id)?,
                session_id: id(row.session_id)?,
                status,
                ticket: row.waitlist_ticket,
                starts_at: row.starts_at,
                ends_at: row.ends_at,
                made: None,
                promoted_at: None,
                cancelled: None,
            })
        })
        .collect()
}

/// Who of these has ever cancelled in these sessions.
pub(super) async fn read_cancelled(
    connection: &mut PgConnection,
    pairs: &BTreeSet<(UserId, SessionId)>,
) -> Result<HashSet<(UserId, SessionId)>, BatchError> {
    if pairs.is_empty() {
        return Ok(HashSet::new());
    }
    let (users, sessions): (Vec<i64>, Vec<i64>) =
        pairs.iter().map(|(user, session)| (user.get(), session.get())).unzip();
    let rows = sqlx::query!(
        "-- places.read_cancelled
         select b.user_id, b.session_id from unnest($1::bigint[], $2::bigint[]) p (user_id, session_id)
         cross join lateral (select * from seatkeeper.bookings b
                             where b.user_id = p.user_id and b.session_id = p.session_id and b.status = 'CANCELLED'
                             limit 1) b",
        &users,
        &sessions
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|row| Ok((id(row.user_id)?, id(row.session_id)?))).collect()
}

/// What was recorded of these bookings.
pub(super) async fn read_attendance(
    connection: &mut PgConnection,
    bookings: &[i64],
) -> Result<HashMap<BookingId, AttendanceStatus>, BatchError> {
    if bookings.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        "-- places.read_attendance
         select a.booking_id, a.status from unnest($1::bigint[]) p (booking_id)
         cross join lateral (select * from seatkeeper.attendance a where a.booking_id = p.booking_id limit 1) a",
        bookings
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let status = serde_json::from_value(row.status.into()).map_err(|_| {
                BatchError::Inconsistent(format!("attendance of {} has an unknown status", row.booking_id))
            })?;
            Ok((id(row.booking_id)?, status))
        })
        .collect()
}
