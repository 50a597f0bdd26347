//! The whole story of one request: what was asked, what came of it, and, while it waits, why.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::Kind;
use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::pause::Pause;
use super::place::{About, BookingNow, Conflict, SessionNow, conflicts, place};
use crate::postgres::opening;

/// Those who are before it are counted up to here.
const BEFORE_CAP: i64 = 10_000;

/// A request, with everything that hangs on it. Of the payload only the ids and the amount: notes are for the user.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "mostly the columns of the table requests, whose comments say it")]
pub struct Story {
    pub request_id: Uuid,
    pub seq: i64,
    pub kind: String,
    pub status: String,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub result: Option<Value>,
    pub user_id: Option<i64>,
    pub semester_id: Option<i64>,
    pub session_id: Option<i64>,
    pub booking_id: Option<i64>,
    pub enrollment_id: Option<i64>,
    pub amount: Option<i64>,
    /// The first field that keeps the stored payload from being a well-formed one.
    pub payload_defect: Option<String>,
    pub producer: Option<String>,
    /// The account that asked; `None` = from before the door recorded it.
    pub enqueued_by: Option<String>,
    pub traceparent: Option<String>,
    pub attempts: i32,
    pub last_error: Option<String>,
    pub hold: Option<String>,
    pub run_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub enqueued_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub answer_seq: Option<i64>,
    /// While it is queued: whether its time is still to come.
    pub is_scheduled: bool,
    /// Whether this version knows the kind: the schema may be a version newer.
    pub is_executable: bool,
    /// While it is queued: the pauses that hold it up.
    pub pauses: Vec<Pause>,
    /// While it is queued: who is answered first.
    pub before: Option<Before>,
    /// The session that it is about, as it is now.
    pub session: Option<SessionNow>,
    /// The booking that it made, changed or names, or else the user's live one of the session, as it is now.
    pub booking: Option<BookingNow>,
    /// Of a booking that was not made, or not yet: the user's places at that time, as they are now.
    pub conflicts: Vec<Conflict>,
    /// The enrollments that it made or withdrew.
    pub enrollments: Vec<Enrollment>,
    /// What it moved.
    pub ledger: Vec<LedgerRow>,
    /// What operators did with it.
    pub actions: Vec<Act>,
}

/// The ready requests that arrived before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Before {
    /// In its lane, or among those without a lane.
    pub count: i64,
    /// Whether there are more than were counted.
    pub or_more: bool,
    /// Grants of its user, which are answered first.
    pub grants: i64,
}

/// An enrollment as it is now.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the columns of the table enrollments")]
pub struct Enrollment {
    pub enrollment_id: i64,
    pub user_id: i64,
    pub semester_id: i64,
    pub status: String,
    pub price_paid: i64,
    pub enrolled_at: DateTime<Utc>,
    pub withdrawn_at: Option<DateTime<Utc>>,
}

/// A row of the ledger.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the columns of the table credit_transactions")]
pub struct LedgerRow {
    pub transaction_id: i64,
    pub user_id: i64,
    pub transaction_type: String,
    pub amount: i64,
    pub balance_after: i64,
    pub enrollment_id: Option<i64>,
}

/// What an operator did.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the columns of the table operator_actions")]
pub struct Act {
    pub action_id: i64,
    pub acted_at: DateTime<Utc>,
    pub operator: String,
    /// The role of the database that the operator came with.
    pub role: Option<String>,
    pub action: String,
    pub reason: String,
}

/// The rows that hang on one request; a cancelled semester has thousands.
const ROWS: i64 = 100;

/// Tells the story; `None` when the ID is not known. Everything in it is of one moment.
///
/// # Errors
/// When the database cannot be asked.
pub async fn story(pool: &PgPool, request_id: Uuid) -> sqlx::Result<Option<Story>> {
    // Each is planned on the sizes of the moment, however long the connection has been open.
    let begin =
        "begin isolation level repeatable read read only; set local plan_cache_mode = force_custom_plan";
    let mut snapshot = pool.begin_with(opening(begin)).await?;
    let Some(mut story) = request(&mut snapshot, request_id).await? else {
        return Ok(None);
    };
    if story.status == "queued" {
        story.pauses = sqlx::query_as!(
            Pause,
            "-- story.pauses
             select kind, semester_id, since, paused_by, reason from seatkeeper.pauses
             where kind = $1 or semester_id = $2 or (kind is null and semester_id is null) order by pause_id",
            story.kind,
            story.semester_id
        )
        .fetch_all(&mut *snapshot)
        .await?;
        story.before = Some(before(&mut snapshot, &story).await?);
    }
    let of_answer = story.result.as_ref().and_then(|result| result.get("booking_id")?.as_i64());
    let about = About {
        user_id: story.user_id,
        session_id: story.session_id,
        booking_id: of_answer.or(story.booking_id),
    };
    (story.session, story.booking) = place(&mut snapshot, about).await?;
    if let ("book", None, Some(session), Some(user)) =
        (story.kind.as_str(), of_answer, &story.session, story.user_id)
    {
        story.conflicts = conflicts(&mut snapshot, user, session).await?;
    }
    story.ledger = sqlx::query_as!(
        LedgerRow,
        "-- story.ledger
         select transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id
         from seatkeeper.credit_transactions where request_id = $1 order by transaction_id limit $2",
        request_id,
        ROWS
    )
    .fetch_all(&mut *snapshot)
    .await?;
    // Each of its enrollments has its ledger row: an index on their request_id would serve nothing else.
    let enrollments: Vec<i64> = story.ledger.iter().filter_map(|row| row.enrollment_id).collect();
    story.enrollments = sqlx::query_as!(
        Enrollment,
        "-- story.enrollments
         select enrollment_id, user_id, semester_id, status, price_paid, enrolled_at, withdrawn_at
         from seatkeeper.enrollments where enrollment_id = any ($1) order by enrollment_id",
        &enrollments
    )
    .fetch_all(&mut *snapshot)
    .await?;
    story.actions = sqlx::query_as!(
        Act,
        "-- story.actions
         select action_id, acted_at, operator, account as role, action, reason
         from seatkeeper.operator_actions where request_ids @> array[$1::uuid] order by action_id limit $2",
        request_id,
        ROWS
    )
    .fetch_all(&mut *snapshot)
    .await?;
    snapshot.commit().await?;
    Ok(Some(story))
}

async fn request(snapshot: &mut Transaction<'_, Postgres>, request_id: Uuid) -> sqlx::Result<Option<Story>> {
    // What is stored may be any jsonb, also one that no client library reads: only what is an id is taken out of it.
    let row = sqlx::query!(
        r#"
        -- story.request
        select r.request_id, r.seq, r.kind, r.status, r.outcome, r.reason, r.result as "result: Json<Value>",
               r.user_id, r.semester_id,
               case when seatkeeper.is_id(r.payload -> 'session_id') then (r.payload ->> 'session_id')::bigint end as session_id,
               case when seatkeeper.is_id(r.payload -> 'booking_id') then (r.payload ->> 'booking_id')::bigint end as booking_id,
               case when seatkeeper.is_id(r.payload -> 'enrollment_id') then (r.payload ->> 'enrollment_id')::bigint end as enrollment_id,
               case when seatkeeper.payload_defect(r.kind, r.payload) is null then (r.payload ->> 'amount')::bigint end as amount,
               left(seatkeeper.payload_defect(r.kind, r.payload), 100) as payload_defect,
               r.producer, r.enqueued_by, r.traceparent, r.attempts, r.last_error, r.hold, r.run_at, r.expires_at, r.enqueued_at,
               r.finished_at, r.answer_seq,
               (r.status = 'queued' and r.run_at > statement_timestamp()) is true as "is_scheduled!"
        from seatkeeper.requests r where r.request_id = $1
        "#,
        request_id
    )
    .fetch_optional(&mut **snapshot)
    .await?;
    Ok(row.map(|row| Story {
        is_executable: row.kind.parse::<Kind>().is_ok(),
        request_id: row.request_id,
        seq: row.seq,
        kind: row.kind,
        status: row.status,
        outcome: row.outcome,
        reason: row.reason,
        result: row.result.map(|Json(result)| result),
        user_id: row.user_id,
        semester_id: row.semester_id,
        session_id: row.session_id,
        booking_id: row.booking_id,
        enrollment_id: row.enrollment_id,
        amount: row.amount,
        payload_defect: row.payload_defect,
        producer: row.producer,
        enqueued_by: row.enqueued_by,
        traceparent: row.traceparent,
        attempts: row.attempts,
        last_error: row.last_error,
        hold: row.hold,
        run_at: row.run_at,
        expires_at: row.expires_at,
        enqueued_at: row.enqueued_at,
        finished_at: row.finished_at,
        answer_seq: row.answer_seq,
        is_scheduled: row.is_scheduled,
        pauses: Vec::new(),
        before: None,
        session: None,
        booking: None,
        conflicts: Vec::new(),
        enrollments: Vec::new(),
        ledger: Vec::new(),
        actions: Vec::new(),
    }))
}

async fn before(snapshot: &mut Transaction<'_, Postgres>, story: &Story) -> sqlx::Result<Before> {
    // Two forms, since `is not distinct from` walks no index.
    let count = match story.semester_id {
        Some(lane) => {
            sqlx::query_scalar!(
                r#"-- story.before_in_lane
                   select count(*) as "count!" from (select from seatkeeper.requests r
                       where r.semester_id = $1 and r.status = 'queued' and r.hold is null and r.seq < $2 limit $3) b"#,
                lane,
                story.seq,
                BEFORE_CAP + 1
            )
            .fetch_one(&mut **snapshot)
            .await?
        }
        None => {
            sqlx::query_scalar!(
                r#"-- story.before_without_lane
                   select count(*) as "count!" from (select from seatkeeper.requests r
                       where r.semester_id is null and r.status = 'queued' and r.hold is null and r.seq < $1 limit $2) b"#,
                story.seq,
                BEFORE_CAP + 1
            )
            .fetch_one(&mut **snapshot)
            .await?
        }
    };
    let grants = sqlx::query_scalar!(
        r#"-- story.grants_before
           select count(*) as "count!" from (select from seatkeeper.requests r
               where r.user_id = $1 and r.kind = 'grant_credits' and r.status = 'queued' and r.hold is null
                 and r.seq < $2 limit $3) b"#,
        story.user_id,
        story.seq,
        BEFORE_CAP
    )
    .fetch_one(&mut **snapshot)
    .await?;
    Ok(Before { count: count.min(BEFORE_CAP), or_more: count > BEFORE_CAP, grants })
}
