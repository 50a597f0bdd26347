//! What the tables say happened, and the state that came of it: all that any outsider could read.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::reference::{Attendance, Booking, Enrollment, LedgerRow, User};

/// A request as stored, with its answer.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Asked {
    pub request_id: Uuid,
    pub kind: String,
    pub payload: Value,
    pub status: String,
    pub outcome: Option<String>,
    pub reason: Option<String>,
    pub result: Option<Value>,
    pub attempts: i32,
    pub run_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub enqueued_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub answer_seq: Option<i64>,
    pub last_error: Option<String>,
}

impl Asked {
    pub fn user_id(&self) -> Option<i64> {
        self.payload["user_id"].as_i64()
    }

    pub fn was_applied(&self) -> bool {
        self.outcome.as_deref() == Some("applied")
    }

    /// The bookings that the result names in this field.
    pub fn bookings(&self, field: &str) -> Vec<i64> {
        let named = self.result.as_ref().and_then(|result| result[field].as_array());
        named.into_iter().flatten().filter_map(Value::as_i64).collect()
    }

    /// What came of it: the reason, or that it was applied, or its status.
    pub fn ending(&self) -> &str {
        self.reason.as_deref().or(self.outcome.as_deref()).unwrap_or(&self.status)
    }
}

/// A change of the catalog by its owners; or, of the table of bookings, a place that no request filled.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Change {
    pub change_seq: i64,
    pub statement_seq: i64,
    pub changed_at: DateTime<Utc>,
    pub table: String,
    pub key: i64,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// A semester as it is now: what its owners wrote, and the counter.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct SemesterRow {
    pub semester_id: i64,
    pub catalog: Value,
    pub enrolled_count: i32,
}

/// The same of a session.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct SessionRow {
    pub session_id: i64,
    pub semester_id: i64,
    pub catalog: Value,
    pub confirmed_count: i32,
}

/// The state at the end.
#[derive(Debug, Clone, Default)]
pub struct End {
    pub users: BTreeMap<i64, User>,
    pub semesters: Vec<SemesterRow>,
    pub sessions: Vec<SessionRow>,
    pub enrollments: BTreeMap<i64, Enrollment>,
    /// In the order of their numbers.
    pub ledger: Vec<LedgerRow>,
    pub bookings: BTreeMap<i64, Booking>,
    /// By booking.
    pub attendance: BTreeMap<i64, Attendance>,
    /// Sessions that still wait to be filled.
    pub marks: i64,
    /// When this was read, on the database's clock.
    pub at: DateTime<Utc>,
}

/// Before the first request: additions of users are recorded nowhere. Those of semesters and sessions are among the changes.
#[derive(Debug, Clone, Default)]
pub struct Before {
    pub users: BTreeMap<i64, User>,
    pub ledger: Vec<LedgerRow>,
}

/// Everything that is needed to say whether the answers are right.
#[derive(Debug, Clone)]
pub struct History {
    pub before: Before,
    pub requests: Vec<Asked>,
    pub changes: Vec<Change>,
    pub end: End,
}

#[derive(sqlx::FromRow)]
struct Numbered<T> {
    booking_id: i64,
    #[sqlx(flatten)]
    row: T,
}

#[derive(sqlx::FromRow)]
struct EnrollmentRow {
    enrollment_id: i64,
    user_id: i64,
    semester_id: i64,
    status: String,
    is_active: bool,
    price_paid: i64,
    request_id: Option<Uuid>,
    enrolled_at: DateTime<Utc>,
    withdrawn_at: Option<DateTime<Utc>>,
}

#[derive(sqlx::FromRow)]
struct TransactionRow {
    user_id: i64,
    transaction_type: String,
    amount: i64,
    balance_after: i64,
    enrollment_id: Option<i64>,
    request_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

async fn users(pool: &PgPool) -> BTreeMap<i64, User> {
    let rows: Vec<(i64, bool, i64)> =
        sqlx::query_as("select user_id, is_active, credit_balance from seatkeeper.users")
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter().map(|(id, is_active, balance)| (id, User { is_active, balance })).collect()
}

async fn ledger(pool: &PgPool) -> Vec<LedgerRow> {
    let rows: Vec<TransactionRow> = sqlx::query_as(
        "select user_id, transaction_type, amount, balance_after, enrollment_id, request_id, created_at
         from seatkeeper.credit_transactions order by transaction_id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    rows.into_iter().map(TransactionRow::plain).collect()
}

impl Before {
    pub async fn read(pool: &PgPool) -> Self {
        Self { users: users(pool).await, ledger: ledger(pool).await }
    }
}

impl History {
    /// Reads it, once nobody works any more.
    pub async fn read(pool: &PgPool, before: Before) -> Self {
        let requests = sqlx::query_as(
            "select request_id, kind, payload, status, outcome, reason, result, attempts, run_at, expires_at,
                    enqueued_at, finished_at, answer_seq, last_error
             from seatkeeper.requests order by answer_seq",
        );
        let changes = sqlx::query_as(
            r#"select change_seq, statement_seq, changed_at, "table", key, before, after
               from seatkeeper.catalog_changes order by change_seq"#,
        );
        let semesters = sqlx::query_as(
            "select semester_id, to_jsonb(s) as catalog, enrolled_count from seatkeeper.semesters s order by semester_id",
        );
        let sessions = sqlx::query_as(
            "select session_id, semester_id, to_jsonb(s) as catalog, confirmed_count
             from seatkeeper.sessions s order by session_id",
        );
        let bookings: Vec<Numbered<Booking>> =
            sqlx::query_as("select * from seatkeeper.bookings").fetch_all(pool).await.unwrap();
        let attendance: Vec<Numbered<Attendance>> =
            sqlx::query_as("select * from seatkeeper.attendance").fetch_all(pool).await.unwrap();
        let (marks, at) = sqlx::query_as("select count(*), clock_timestamp() from seatkeeper.fill_marks")
            .fetch_one(pool)
            .await
            .unwrap();
        let enrollments: Vec<EnrollmentRow> = sqlx::query_as(
            "select enrollment_id, user_id, semester_id, status, is_active, price_paid, request_id, enrolled_at,
                    withdrawn_at
             from seatkeeper.enrollments",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        let end = End {
            users: users(pool).await,
            semesters: semesters.fetch_all(pool).await.unwrap(),
            sessions: sessions.fetch_all(pool).await.unwrap(),
            enrollments: enrollments.into_iter().map(EnrollmentRow::named).collect(),
            ledger: ledger(pool).await,
            bookings: bookings.into_iter().map(|numbered| (numbered.booking_id, numbered.row)).collect(),
            attendance: attendance.into_iter().map(|numbered| (numbered.booking_id, numbered.row)).collect(),
            marks,
            at,
        };
        Self {
            before,
            requests: requests.fetch_all(pool).await.unwrap(),
            changes: changes.fetch_all(pool).await.unwrap(),
            end,
        }
    }

    /// The semester whose queue a request waits in, if there is one: its own, or its session's.
    pub fn lane(&self, asked: &Asked) -> Option<i64> {
        let number = |field: &str| asked.payload[field].as_i64();
        if let Some(semester) = number("semester_id") {
            return self.end.semesters.iter().map(|row| row.semester_id).find(|id| *id == semester);
        }
        let of_booking = || Some(self.end.bookings.get(&number("booking_id")?)?.session_id);
        self.lane_of_session(number("session_id").or_else(of_booking)?)
    }

    pub fn lane_of_session(&self, session_id: i64) -> Option<i64> {
        self.end.sessions.iter().find(|row| row.session_id == session_id).map(|row| row.semester_id)
    }
}

impl EnrollmentRow {
    fn named(self) -> (i64, Enrollment) {
        let enrollment = Enrollment {
            user_id: self.user_id,
            semester_id: self.semester_id,
            status: self.status,
            is_active: self.is_active,
            price_paid: self.price_paid,
            request_id: self.request_id,
            enrolled_at: self.enrolled_at,
            withdrawn_at: self.withdrawn_at,
        };
        (self.enrollment_id, enrollment)
    }
}

impl TransactionRow {
    fn plain(self) -> LedgerRow {
        LedgerRow {
            user_id: self.user_id,
            transaction_type: self.transaction_type,
            amount: self.amount,
            balance_after: self.balance_after,
            enrollment_id: self.enrollment_id,
            request_id: self.request_id,
            created_at: self.created_at,
        }
    }
}
