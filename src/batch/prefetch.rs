//! The part of the prefetch that every batch has: its users, its semesters, who is enrolled, and the draw.
//!
//! A constant number of statements, whatever the batch.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{BookingId, EnrollmentId, SemesterId, UserId};
use sqlx::PgConnection;

use super::BatchError;
use crate::decide::{Enrollment, Semester, SemesterStatus, User};

/// The users of a batch.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// Locked, as they are now.
    pub(super) locked: HashMap<UserId, User>,
    /// There, but locked by somebody else. Only a cautious batch has any: others wait.
    pub(super) busy: HashSet<UserId>,
}

/// Locks users, ascending. A cautious batch does not wait for those that somebody else holds.
pub(super) async fn lock_users(
    connection: &mut PgConnection,
    users: &BTreeSet<UserId>,
    cautious: bool,
) -> Result<Users, BatchError> {
    let ids: Vec<i64> = users.iter().map(|user| user.get()).collect();
    let mut found = Users::default();
    if cautious {
        let rows = sqlx::query!(
            "-- prefetch.lock_free_users
             select user_id, is_active, credit_balance from seatkeeper.users
             where user_id = any ($1) order by user_id for no key update skip locked",
            &ids
        )
        .fetch_all(&mut *connection)
        .await?;
        for row in rows {
            let user = User { is_active: row.is_active, balance: row.credit_balance };
            found.locked.insert(id(row.user_id)?, user);
        }
        let present = sqlx::query_scalar!(
            "-- prefetch.present_users
             select user_id from seatkeeper.users where user_id = any ($1)",
            &ids
        )
        .fetch_all(connection)
        .await?;
        for number in present {
            let user: UserId = id(number)?;
            if !found.locked.contains_key(&user) {
                found.busy.insert(user);
            }
        }
    } else {
        let rows = sqlx::query!(
            "-- prefetch.lock_users
             select user_id, is_active, credit_balance from seatkeeper.users
             where user_id = any ($1) order by user_id for no key update",
            &ids
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let user = User { is_active: row.is_active, balance: row.credit_balance };
            found.locked.insert(id(row.user_id)?, user);
        }
    }
    Ok(found)
}

/// A semester as read under its lane's lock.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) semester: Semester,
    pub(super) last_decided_at: Option<DateTime<Utc>>,
}

/// Those of these semesters that exist.
pub(super) async fn read_semesters(
    connection: &mut PgConnection,
    semesters: &BTreeSet<SemesterId>,
) -> Result<HashMap<SemesterId, Lane>, BatchError> {
    let ids: Vec<i64> = semesters.iter().map(|semester| semester.get()).collect();
    let rows = sqlx::query!(
        "-- prefetch.read_semesters
         select semester_id, status, max_players, enrollment_cost, refund_percent, enrollment_closes_at,
                unenroll_closes_at, enrolled_count, last_decided_at
         from seatkeeper.semesters where semester_id = any ($1)",
        &ids
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let status = SemesterStatus::from_name(&row.status).ok_or_else(|| {
                BatchError::Inconsistent(format!("semester {} has an unknown status", row.semester_id))
            })?;
            let semester = Semester {
                status,
                max_players: row.max_players,
                enrollment_cost: row.enrollment_cost,
                refund_percent: row.refund_percent,
                enrollment_closes_at: row.enrollment_closes_at,
                unenroll_closes_at: row.unenroll_closes_at,
                enrolled_count: row.enrolled_count,
            };
            Ok((id(row.semester_id)?, Lane { semester, last_decided_at: row.last_decided_at }))
        })
        .collect()
}

/// The active enrollments of these users in these semesters, pair by pair.
pub(super) async fn read_enrollments(
    connection: &mut PgConnection,
    pairs: &BTreeSet<(UserId, SemesterId)>,
) -> Result<HashMap<(UserId, SemesterId), Enrollment>, BatchError> {
    if pairs.is_empty() {
        return Ok(HashMap::new());
    }
    let (users, semesters): (Vec<i64>, Vec<i64>) =
        pairs.iter().map(|(user, semester)| (user.get(), semester.get())).unzip();
    let rows = sqlx::query!(
        "-- prefetch.read_enrollments
         select e.enrollment_id, e.user_id, e.semester_id, e.price_paid
         from unnest($1::bigint[], $2::bigint[]) p (user_id, semester_id)
         cross join lateral (
             select * from seatkeeper.enrollments e
             where e.user_id = p.user_id and e.semester_id = p.semester_id and e.is_active limit 1
         ) e",
        &users,
        &semesters
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let (user_id, semester_id) = (id(row.user_id)?, id(row.semester_id)?);
            let enrollment = Enrollment {
                enrollment_id: id(row.enrollment_id)?,
                user_id,
                semester_id,
                price_paid: row.price_paid,
                made: None,
                withdrawn_at: None,
            };
            Ok(((user_id, semester_id), enrollment))
        })
        .collect()
}

/// The instant of decision and the numbers that go with it.
#[derive(Debug)]
pub(super) struct Draw {
    /// The database's clock, read when all locks were held.
    pub(super) clock: DateTime<Utc>,
    /// Assigned in the order of the decisions, so that they are in that order: first to those who get a place without a
    /// request, then to the answers.
    pub(super) fill_seqs: Vec<i64>,
    /// One for each answer.
    pub(super) answer_seqs: Vec<i64>,
    /// One for each enrollment that could come about.
    pub(super) enrollment_ids: Vec<EnrollmentId>,
    /// An ID and a ticket for each booking that could.
    pub(super) bookings: Vec<(BookingId, i64)>,
}

/// How many numbers are drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) fills: usize,
    pub(super) answers: usize,
    pub(super) enrollments: usize,
    pub(super) bookings: usize,
}

/// Draws the instant and the numbers: one statement, with all locks held. `now()` would be the transaction's start,
/// before the waits.
pub(super) async fn draw(connection: &mut PgConnection, wanted: Wanted) -> Result<Draw, BatchError> {
    let many = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let row = sqlx::query!(
        r#"-- prefetch.draw
           select clock_timestamp() as "clock!",
                  array(select nextval('seatkeeper.answer_seq') from generate_series(1, $1::bigint)) as "answer_seqs!",
                  array(select nextval('seatkeeper.enrollments_enrollment_id_seq') from generate_series(1, $2::bigint))
                      as "enrollment_ids!",
                  array(select nextval('seatkeeper.bookings_booking_id_seq') from generate_series(1, $3::bigint))
                      as "booking_ids!",
                  array(select nextval('seatkeeper.waitlist_ticket_seq') from generate_series(1, $3::bigint)) as "tickets!""#,
        many(wanted.fills + wanted.answers),
        many(wanted.enrollments),
        many(wanted.bookings)
    )
    .fetch_one(connection)
    .await?;
    let mut fill_seqs = row.answer_seqs;
    let answer_seqs = fill_seqs.split_off(wanted.fills.min(fill_seqs.len()));
    let booking_ids = row.booking_ids.into_iter().map(id).collect::<Result<Vec<_>, _>>()?;
    Ok(Draw {
        clock: row.clock,
        fill_seqs,
        answer_seqs,
        enrollment_ids: row.enrollment_ids.into_iter().map(id).collect::<Result<_, _>>()?,
        bookings: booking_ids.into_iter().zip(row.tickets).collect(),
    })
}

/// Ids in the database are positive by constraint, or drawn from a sequence.
pub(super) fn id<T: TryFrom<i64, Error = seatkeeper_jobs::IdError>>(number: i64) -> Result<T, BatchError> {
    T::try_from(number).map_err(|error| BatchError::Inconsistent(error.to_string()))
}
