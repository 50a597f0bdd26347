//! What the tables say happened, row by row, and the state that came of it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use futures::{Stream, TryStreamExt};
use seatkeeper_jobs::{Job, Kind, Reason, UserId};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{Attendance, Booking, Enrollment, LedgerKey, LedgerRow, Semester, Session, User};
use crate::invariants::files;

/// The files behind the tables: a table that was truncated or rewritten after the snapshot was taken looks empty to it.
pub(super) type Files = Vec<Option<i64>>;

/// An answered request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request_id: Uuid,
    pub(super) kind: String,
    /// `None`: it cannot be read.
    pub(super) job: Option<Job>,
    pub(super) status: String,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) outcome: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) result: Option<Value>,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) answer_seq: Option<i64>,
}

/// A change of the catalog by its owners; of the table of bookings: a place that no request filled.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) change_seq: i64,
    /// Shared by all changes of one statement, which take effect together.
    pub(super) statement_seq: i64,
    pub(super) changed_at: DateTime<Utc>,
    pub(super) table: String,
    pub(super) key: i64,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// A thing that happened.
#[derive(Debug)]
pub(super) enum Event {
    Answered(Box<Asked>),
    Changed(Box<Change>),
}

/// What has to be known before the first event.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) files: Files,
    /// Answers of which retention has left the outcome only.
    pub(super) removed: i64,
    /// How many events there are.
    pub(super) events: i64,
    /// Everybody, ascending, and whether they are active now.
    pub(super) users: Vec<(i64, bool)>,
    /// Whether they were active before the first change of that.
    pub(super) active_at_first: HashMap<i64, bool>,
    /// Who was told that there is no such user.
    pub(super) told_none: HashSet<UserId>,
    /// The enrollments, ascending, and what they came of.
    pub(super) enrollments: Vec<(i64, Option<Uuid>)>,
    /// The bookings, ascending, with their tickets, and what they came of.
    pub(super) bookings: Vec<(i64, i64, Option<Uuid>)>,
}

impl Before {
    pub(super) async fn read(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let counted = sqlx::query!(
            r#"-- audit.extent
               select (select count(*) from seatkeeper.request_tombstones where status = 'done') as "removed!",
                      (select count(*) from seatkeeper.requests where status = 'done')
                      + (select count(*) from seatkeeper.catalog_changes) as "events!""#
        )
        .fetch_one(&mut *connection)
        .await?;
        let mut before = Self {
            files: files(&mut *connection).await?,
            removed: counted.removed,
            events: counted.events,
            ..Self::default()
        };
        let users = sqlx::query!(
            "-- audit.users_before
             select user_id, is_active from seatkeeper.users order by user_id"
        );
        let users = users.fetch(&mut *connection).map_ok(|row| (row.user_id, row.is_active));
        before.users = users.try_collect().await?;
        let at_first = sqlx::query!(
            r#"-- audit.active_at_first
               select distinct on (key) key, (before ->> 'is_active') = 'true' as "is_active!"
               from seatkeeper.catalog_changes
               where "table" = 'users' and before ->> 'is_active' is not null order by key, change_seq"#
        );
        let at_first = at_first.fetch(&mut *connection).map_ok(|row| (row.key, row.is_active));
        before.active_at_first = at_first.try_collect().await?;
        let told_none = sqlx::query!(
            r#"-- audit.told_none
               select distinct payload ->> 'user_id' as "user_id!" from seatkeeper.requests
               where reason = $1 and payload ->> 'user_id' is not null"#,
            Reason::UserNotFound.as_str()
        );
        let told_none = told_none.fetch(&mut *connection).map_ok(|row| row.user_id.parse::<UserId>().ok());
        before.told_none =
            told_none.try_filter_map(|user| std::future::ready(Ok(user))).try_collect().await?;
        let enrollments = sqlx::query!(
            "-- audit.enrollment_numbers
             select enrollment_id, request_id from seatkeeper.enrollments order by enrollment_id"
        );
        let enrollments =
            enrollments.fetch(&mut *connection).map_ok(|row| (row.enrollment_id, row.request_id));
        before.enrollments = enrollments.try_collect().await?;
        let bookings = sqlx::query!(
            "-- audit.booking_numbers
             select booking_id, waitlist_ticket, request_id from seatkeeper.bookings order by booking_id"
        );
        let bookings = bookings
            .fetch(&mut *connection)
            .map_ok(|row| (row.booking_id, row.waitlist_ticket, row.request_id));
        before.bookings = bookings.try_collect().await?;
        Ok(before)
    }
}

/// Everything that happened, in its order. The changes of one statement follow each other, in the place of the first of
/// them. Any place up to that of the last would do as well: the statement held its locks before it drew its first number and
/// keeps them beyond its last, so whatever else has a number in between touches nothing of what it read and wrote.
pub(super) fn events(connection: &mut PgConnection) -> impl Stream<Item = sqlx::Result<Event>> + '_ {
    let rows = sqlx::query!(
        r#"-- audit.events
           select e.place, e.seq, e.is_change as "is_change!", e.request_id, e.what as "what!", e.key, e.status, e.outcome,
                  e.reason, e.payload_or_before as "payload_or_before: Json<Value>",
                  e.result_or_after as "result_or_after: Json<Value>", e.expires_at, e.at
           from (select answer_seq as place, answer_seq as seq, false as is_change, request_id, kind as what,
                        null::bigint as key, status, outcome, reason, payload as payload_or_before,
                        result as result_or_after, expires_at, finished_at as at
                 from seatkeeper.requests where status = 'done' or answer_seq is not null
                 union all
                 select statement_seq, change_seq, true, null, "table", key, null, null, null, before, after, null, changed_at
                 from seatkeeper.catalog_changes) e
           order by e.place, e.is_change, e.seq"#
    );
    rows.fetch(connection).map_ok(|row| {
        let (first, second) =
            (row.payload_or_before.map(|Json(value)| value), row.result_or_after.map(|Json(value)| value));
        if row.is_change {
            return Event::Changed(Box::new(Change {
                change_seq: row.seq.unwrap_or_default(),
                statement_seq: row.place.unwrap_or_default(),
                changed_at: row.at.unwrap_or_default(),
                table: row.what,
                key: row.key.unwrap_or_default(),
                before: first,
                after: second,
            }));
        }
        let job = row.what.parse::<Kind>().ok().zip(first);
        Event::Answered(Box::new(Asked {
            request_id: row.request_id.unwrap_or_default(),
            job: job.and_then(|(kind, payload)| Job::read(kind, &payload).ok()),
            kind: row.what,
            status: row.status.unwrap_or_default(),
            expires_at: row.expires_at,
            outcome: row.outcome,
            reason: row.reason,
            result: second,
            finished_at: row.at,
            answer_seq: row.seq,
        }))
    })
}

/// Rows as they are stored, ascending by their key.
pub(super) fn users(connection: &mut PgConnection) -> impl Stream<Item = sqlx::Result<(i64, User)>> + '_ {
    let rows = sqlx::query!(
        "-- audit.users
         select user_id, is_active, credit_balance from seatkeeper.users order by user_id"
    );
    rows.fetch(connection)
        .map_ok(|row| (row.user_id, User { is_active: row.is_active, credit_balance: row.credit_balance }))
}

/// The same of the semesters; so for those below.
pub(super) fn semesters(
    connection: &mut PgConnection,
) -> impl Stream<Item = sqlx::Result<(i64, Semester)>> + '_ {
    let rows = sqlx::query!(
        r#"-- audit.semesters
           select s.semester_id, to_jsonb(s) as "row!: Json<Semester>" from seatkeeper.semesters s order by s.semester_id"#
    );
    rows.fetch(connection).map_ok(|row| (row.semester_id, row.row.0))
}

pub(super) fn sessions(
    connection: &mut PgConnection,
) -> impl Stream<Item = sqlx::Result<(i64, Session)>> + '_ {
    let rows = sqlx::query!(
        r#"-- audit.sessions
           select s.session_id, to_jsonb(s) as "row!: Json<Session>" from seatkeeper.sessions s order by s.session_id"#
    );
    rows.fetch(connection).map_ok(|row| (row.session_id, row.row.0))
}

pub(super) fn enrollments(
    connection: &mut PgConnection,
) -> impl Stream<Item = sqlx::Result<(i64, Enrollment)>> + '_ {
    let rows = sqlx::query!(
        "-- audit.enrollments
         select enrollment_id, user_id, semester_id, status, is_active, price_paid, enrolled_at, withdrawn_at, request_id
         from seatkeeper.enrollments order by enrollment_id"
    );
    rows.fetch(connection).map_ok(|row| {
        let enrollment = Enrollment {
            user_id: row.user_id,
            semester_id: row.semester_id,
            status: row.status.into(),
            is_active: row.is_active,
            price_paid: row.price_paid,
            enrolled_at: Some(row.enrolled_at),
            withdrawn_at: row.withdrawn_at,
            request_id: row.request_id,
        };
        (row.enrollment_id, enrollment)
    })
}

pub(super) fn ledger(
    connection: &mut PgConnection,
) -> impl Stream<Item = sqlx::Result<(LedgerKey, LedgerRow)>> + '_ {
    let rows = sqlx::query!(
        r#"-- audit.ledger
           select transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id, request_id, created_at,
                  coalesce(enrollment_id, 0) as "enrollment!"
           from seatkeeper.credit_transactions
           order by request_id nulls first, case when request_id is not null then coalesce(enrollment_id, 0) end, transaction_id"#
    );
    rows.fetch(connection).map_ok(|row| {
        // With a request, request and enrollment are unique.
        let (enrollment, number) =
            if row.request_id.is_some() { (row.enrollment, 0) } else { (0, row.transaction_id) };
        let key = (row.request_id, enrollment, number);
        let entry = LedgerRow {
            user_id: row.user_id,
            transaction_type: row.transaction_type.into(),
            amount: row.amount,
            balance_after: row.balance_after,
            enrollment_id: row.enrollment_id,
            created_at: row.created_at,
        };
        (key, entry)
    })
}

pub(super) fn bookings(
    connection: &mut PgConnection,
) -> impl Stream<Item = sqlx::Result<(i64, Booking)>> + '_ {
    let rows = sqlx::query!(
        "-- audit.bookings
         select booking_id, user_id, session_id, status, waitlist_ticket, starts_at, ends_at, booked_at, promoted_at,
                cancelled_at, cancelled_because, request_id
         from seatkeeper.bookings order by booking_id"
    );
    rows.fetch(connection).map_ok(|row| {
        let booking = Booking {
            user_id: row.user_id,
            session_id: row.session_id,
            status: row.status.into(),
            waitlist_ticket: row.waitlist_ticket,
            starts_at: row.starts_at,
            ends_at: row.ends_at,
            booked_at: Some(row.booked_at),
            promoted_at: row.promoted_at,
            cancelled_at: row.cancelled_at,
            cancelled_because: row.cancelled_because.map(Into::into),
            request_id: row.request_id,
        };
        (row.booking_id, booking)
    })
}

pub(super) fn attendance(
    connection: &mut PgConnection,
) -> impl Stream<Item = sqlx::Result<(i64, Attendance)>> + '_ {
    let rows = sqlx::query!(
        "-- audit.attendance
         select booking_id, status, recorded_at, request_id from seatkeeper.attendance order by booking_id"
    );
    rows.fetch(connection).map_ok(|row| {
        let attendance = Attendance {
            status: Some(row.status.into()),
            recorded_at: Some(row.recorded_at),
            request_id: row.request_id,
        };
        (row.booking_id, attendance)
    })
}

/// Whether a table was truncated or rewritten since.
pub(super) async fn was_rewritten(
    connection: &mut PgConnection,
    before: Option<Files>,
) -> sqlx::Result<bool> {
    let now = files(connection).await?;
    Ok(before.is_some_and(|before| before != now))
}
