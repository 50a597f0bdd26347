//! What the tables say happened, and the state that came of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use seatkeeper_jobs::{BookingId, EnrollmentId, IdError, Job, Kind, SemesterId, SessionId, UserId};
use serde_json::Value;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::rows::{Attendance, Booking, Enrollment, LedgerKey, LedgerRow, Semester, Session, User};

/// An answered request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request_id: Uuid,
    pub(super) kind: String,
    /// `None`: it cannot be read.
    pub(super) job: Option<Job>,
    pub(super) expires_at: Option<DateTime<Utc>>,
    pub(super) outcome: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) result: Option<Value>,
    pub(super) finished_at: DateTime<Utc>,
    pub(super) answer_seq: i64,
}

/// A change of the catalog by its owners; of the table of bookings: a place that no request filled.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) change_seq: i64,
    pub(super) changed_at: DateTime<Utc>,
    pub(super) table: String,
    pub(super) key: i64,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

/// Everything that an audit looks at.
#[derive(Debug, Default)]
pub(super) struct History {
    /// In the order of their answers.
    pub(super) requests: Vec<Asked>,
    /// In their order.
    pub(super) changes: Vec<Change>,
    /// Answers of which retention has left the outcome only.
    pub(super) removed: i64,
    pub(super) users: BTreeMap<UserId, User>,
    pub(super) semesters: BTreeMap<SemesterId, Semester>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) enrollments: BTreeMap<EnrollmentId, Enrollment>,
    pub(super) bookings: BTreeMap<BookingId, Booking>,
    pub(super) attendance: BTreeMap<BookingId, Attendance>,
    pub(super) ledger: BTreeMap<LedgerKey, LedgerRow>,
}

impl History {
    /// Reads all of it, in a transaction that sees one moment.
    pub(super) async fn read(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let mut history = Self {
            requests: requests(&mut *connection).await?,
            changes: changes(&mut *connection).await?,
            ..Self::default()
        };
        history.removed = sqlx::query_scalar!(
            r#"-- audit.removed
               select count(*) as "count!" from seatkeeper.request_tombstones where status = 'done'"#
        )
        .fetch_one(&mut *connection)
        .await?;
        history.read_catalog(&mut *connection).await?;
        history.read_enrollments(&mut *connection).await?;
        history.read_bookings(connection).await?;
        Ok(history)
    }

    async fn read_catalog(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let users = sqlx::query!(
            "-- audit.users
             select user_id, is_active, credit_balance from seatkeeper.users"
        );
        for row in users.fetch_all(&mut *connection).await? {
            let user = User { is_active: row.is_active, balance: row.credit_balance };
            self.users.insert(id(row.user_id)?, user);
        }
        let semesters = sqlx::query!(
            r#"-- audit.semesters
               select s.semester_id, to_jsonb(s) as "row!: Json<Semester>" from seatkeeper.semesters s"#
        );
        for row in semesters.fetch_all(&mut *connection).await? {
            self.semesters.insert(id(row.semester_id)?, row.row.0);
        }
        let sessions = sqlx::query!(
            r#"-- audit.sessions
               select s.session_id, to_jsonb(s) as "row!: Json<Session>" from seatkeeper.sessions s"#
        );
        for row in sessions.fetch_all(connection).await? {
            self.sessions.insert(id(row.session_id)?, row.row.0);
        }
        Ok(())
    }

    async fn read_enrollments(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let enrollments = sqlx::query!(
            "-- audit.enrollments
             select enrollment_id, user_id, semester_id, status, is_active, price_paid, enrolled_at, withdrawn_at, request_id
             from seatkeeper.enrollments"
        );
        for row in enrollments.fetch_all(&mut *connection).await? {
            let enrollment = Enrollment {
                user_id: id(row.user_id)?,
                semester_id: id(row.semester_id)?,
                status: row.status,
                is_active: row.is_active,
                price_paid: row.price_paid,
                enrolled_at: Some(row.enrolled_at),
                withdrawn_at: row.withdrawn_at,
                request_id: row.request_id,
            };
            self.enrollments.insert(id(row.enrollment_id)?, enrollment);
        }
        let ledger = sqlx::query!(
            "-- audit.ledger
             select transaction_id, user_id, transaction_type, amount, balance_after, enrollment_id, request_id, created_at
             from seatkeeper.credit_transactions"
        );
        for row in ledger.fetch_all(connection).await? {
            // With a request, request and enrollment are unique.
            let number = if row.request_id.is_some() { 0 } else { row.transaction_id };
            let key = (row.request_id, row.enrollment_id, number);
            let row = LedgerRow {
                user_id: id(row.user_id)?,
                transaction_type: row.transaction_type,
                amount: row.amount,
                balance_after: row.balance_after,
                created_at: row.created_at,
            };
            self.ledger.insert(key, row);
        }
        Ok(())
    }

    async fn read_bookings(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let bookings = sqlx::query!(
            "-- audit.bookings
             select booking_id, user_id, session_id, status, waitlist_ticket, starts_at, ends_at, booked_at, promoted_at,
                    cancelled_at, cancelled_because, request_id
             from seatkeeper.bookings"
        );
        for row in bookings.fetch_all(&mut *connection).await? {
            let booking = Booking {
                user_id: id(row.user_id)?,
                session_id: id(row.session_id)?,
                status: row.status,
                waitlist_ticket: row.waitlist_ticket,
                starts_at: row.starts_at,
                ends_at: row.ends_at,
                booked_at: Some(row.booked_at),
                promoted_at: row.promoted_at,
                cancelled_at: row.cancelled_at,
                cancelled_because: row.cancelled_because,
                request_id: row.request_id,
            };
            self.bookings.insert(id(row.booking_id)?, booking);
        }
        let attendance = sqlx::query!(
            "-- audit.attendance
             select booking_id, status, recorded_at, request_id from seatkeeper.attendance"
        );
        for row in attendance.fetch_all(connection).await? {
            let status = serde_json::from_value(row.status.into());
            let status = Some(status.map_err(|error| sqlx::Error::Decode(error.into()))?);
            let attendance =
                Attendance { status, recorded_at: Some(row.recorded_at), request_id: row.request_id };
            self.attendance.insert(id(row.booking_id)?, attendance);
        }
        Ok(())
    }
}

async fn requests(connection: &mut PgConnection) -> sqlx::Result<Vec<Asked>> {
    let rows = sqlx::query!(
        r#"-- audit.requests
           select request_id, kind, payload as "payload: Json<Value>", expires_at, outcome, reason,
                  result as "result: Json<Value>", finished_at as "finished_at!", answer_seq as "answer_seq!"
           from seatkeeper.requests where status = 'done' order by answer_seq"#
    )
    .fetch_all(connection)
    .await?;
    let asked = rows.into_iter().map(|row| Asked {
        request_id: row.request_id,
        job: row.kind.parse::<Kind>().ok().and_then(|kind| Job::read(kind, &row.payload.0).ok()),
        kind: row.kind,
        expires_at: row.expires_at,
        outcome: row.outcome,
        reason: row.reason,
        result: row.result.map(|Json(result)| result),
        finished_at: row.finished_at,
        answer_seq: row.answer_seq,
    });
    Ok(asked.collect())
}

async fn changes(connection: &mut PgConnection) -> sqlx::Result<Vec<Change>> {
    let rows = sqlx::query!(
        r#"-- audit.changes
           select change_seq, changed_at, "table", key, before as "before: Json<Value>", after as "after: Json<Value>"
           from seatkeeper.catalog_changes order by change_seq"#
    )
    .fetch_all(connection)
    .await?;
    let changes = rows.into_iter().map(|row| Change {
        change_seq: row.change_seq,
        changed_at: row.changed_at,
        table: row.table,
        key: row.key,
        before: row.before.map(|Json(before)| before),
        after: row.after.map(|Json(after)| after),
    });
    Ok(changes.collect())
}

/// Ids in the database are positive by constraint, or drawn from a sequence.
fn id<T: TryFrom<i64, Error = IdError>>(number: i64) -> sqlx::Result<T> {
    T::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}
