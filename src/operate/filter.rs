//! Which requests: by what they are about, where they are, and how old they are.

use std::time::Duration;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{Kind, Outcome, Reason, Status};
use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

/// Every part that is given has to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Where the request is.
    pub status: Option<Status>,
    /// What was asked.
    pub kind: Option<Kind>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Why it was refused, or failed.
    pub reason: Option<Reason>,
    /// Whom it is about.
    pub user: Option<i64>,
    /// The lane that it is in.
    pub semester: Option<i64>,
    /// The session that it is about: it names it, or one of its bookings.
    pub session: Option<i64>,
    /// The account that asked.
    pub enqueued_by: Option<String>,
    /// Arrived longer ago than this.
    pub older_than: Option<Duration>,
    /// Arrived less long ago than this.
    pub newer_than: Option<Duration>,
}

impl Filter {
    /// Whether it lets everything through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// An age as PostgreSQL takes it. Ages beyond what it can hold are as good as the longest that it can.
pub(super) fn interval(age: Option<Duration>) -> Option<PgInterval> {
    age.map(|age| PgInterval {
        months: 0,
        days: 0,
        // Some 3,000 years: still a timestamp when it is taken from the clock.
        microseconds: i64::try_from(age.as_micros()).unwrap_or(i64::MAX).min(100_000_000_000_000_000),
    })
}

/// A request in a list: its ids and where it is, never the rest of its payload.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the columns of the table requests, whose comments say it")]
pub struct Listed {
    pub request_id: Uuid,
    pub seq: i64,
    pub kind: String,
    pub status: String,
    pub hold: Option<String>,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub user_id: Option<i64>,
    pub semester_id: Option<i64>,
    pub enqueued_by: Option<String>,
    pub attempts: i32,
    pub enqueued_at: DateTime<Utc>,
    pub run_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
}

/// The statement of [`list`], by its name and what it says about the session.
macro_rules! listed {
    ($name:literal, $about:literal, $pool:ident, $filter:ident, $before:ident, $limit:ident) => {
        sqlx::query_as!(
            Listed,
            $name
                + r#"
        select r.request_id, r.seq, r.kind, r.status, r.hold, r.outcome, r.reason, r.user_id, r.semester_id,
               r.enqueued_by, r.attempts, r.enqueued_at, r.run_at, r.finished_at, r.last_error
        from seatkeeper.requests r
        where ($1::text is null or r.status = $1)
          and ($2::text is null or r.kind = $2)
          and ($3::text is null or r.outcome = $3)
          and ($4::text is null or r.reason = $4)
          and ($5::bigint is null or r.user_id = $5)
          and ($6::bigint is null or r.semester_id = $6)
          and ($7::text is null or r.enqueued_by = $7)
          and ($8::interval is null or r.enqueued_at < statement_timestamp() - $8::interval)
          and ($9::interval is null or r.enqueued_at > statement_timestamp() - $9::interval)
          and ($10::bigint is null or r.seq < $10)
          "#
                + $about
                + r#"
        order by r.seq desc
        limit $12
        "#,
            $filter.status.map(Status::as_str),
            $filter.kind.map(Kind::as_str),
            $filter.outcome.map(Outcome::as_str),
            $filter.reason.map(Reason::as_str),
            $filter.user,
            $filter.semester,
            $filter.enqueued_by,
            interval($filter.older_than),
            interval($filter.newer_than),
            $before,
            $filter.session,
            $limit
        )
        .fetch_all($pool)
        .await
    };
}

/// The latest requests that the filter lets through, latest first: those that arrived before the one with the number
/// `before`, at most `limit`.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(
    pool: &PgPool,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> sqlx::Result<Vec<Listed>> {
    // Only who asks for a session reads payloads, for which a monitor has no right.
    match filter.session {
        None => listed!("-- operate.list", "and $11::bigint is null", pool, filter, before, limit),
        Some(_) => listed!(
            "-- operate.list_of_session",
            "and (r.payload -> 'session_id' = to_jsonb($11::bigint)
                  or r.payload -> 'booking_id' in (
                      select to_jsonb(b.booking_id) from seatkeeper.bookings b where b.session_id = $11))",
            pool,
            filter,
            before,
            limit
        ),
    }
}
