//! The doors as producers use them: plain SQL, one request or an array of them, and the Rust crate.

use seatkeeper_jobs::postgres::{self as door, EnqueueError};
use seatkeeper_jobs::{Job, Receipt, Request};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};
use uuid::Uuid;

/// An error of the database, as a producer in any language sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// SQLSTATE.
    pub code: String,
    /// DETAIL; for a malformed request the field.
    pub detail: String,
    pub hint: String,
    pub message: String,
}

impl Refusal {
    pub fn of(error: &sqlx::Error) -> Self {
        let refused =
            error.as_database_error().unwrap_or_else(|| panic!("no refusal of the database: {error}"));
        let refused = refused.downcast_ref::<sqlx::postgres::PgDatabaseError>();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Self {
            code: refused.code().to_owned(),
            detail: text(refused.detail()),
            hint: text(refused.hint()),
            message: refused.message().to_owned(),
        }
    }

    /// What tells refusals apart.
    pub fn what(&self) -> (&str, &str) {
        (&self.code, &self.detail)
    }
}

/// A request as text, so that it may be anything but well-formed. `None` is NULL.
#[derive(Debug, Clone)]
pub struct Ask {
    pub id: Option<Uuid>,
    pub kind: Option<String>,
    pub payload: Option<String>,
    pub run_at: Option<String>,
    pub expires_at: Option<String>,
    pub producer: Option<String>,
    pub traceparent: Option<String>,
}

impl Ask {
    pub fn new(id: Uuid, kind: &str, payload: impl ToString) -> Self {
        Self {
            id: Some(id),
            kind: Some(kind.to_owned()),
            payload: Some(payload.to_string()),
            run_at: None,
            expires_at: None,
            producer: None,
            traceparent: None,
        }
    }

    /// `seatkeeper.enqueue`.
    pub async fn send(&self, connection: &mut PgConnection) -> Result<Receipt, Refusal> {
        sqlx::query_as(
            "select * from seatkeeper.enqueue($1, $2, $3::text::jsonb, $4::text::timestamptz, $5::text::timestamptz, $6, $7)",
        )
        .bind(self.id)
        .bind(&self.kind)
        .bind(&self.payload)
        .bind(&self.run_at)
        .bind(&self.expires_at)
        .bind(&self.producer)
        .bind(&self.traceparent)
        .fetch_one(connection)
        .await
        .map_err(|error| Refusal::of(&error))
    }

    /// The item of an array of requests. The payload must be JSON; what is NULL is left out.
    pub fn item(&self) -> String {
        let text = |value: &Option<String>| value.as_ref().map(|text| Value::from(text.as_str()).to_string());
        let id = self.id.map(|id| json!(id).to_string());
        let fields = [
            ("request_id", id),
            ("kind", text(&self.kind)),
            ("payload", self.payload.clone()),
            ("run_at", text(&self.run_at)),
            ("expires_at", text(&self.expires_at)),
            ("producer", text(&self.producer)),
            ("traceparent", text(&self.traceparent)),
        ];
        let fields: Vec<String> =
            fields.into_iter().filter_map(|(name, value)| Some(format!("\"{name}\": {}", value?))).collect();
        format!("{{{}}}", fields.join(", "))
    }
}

/// `seatkeeper.enqueue_many` with this text as the array.
pub async fn send_array(connection: &mut PgConnection, array: &str) -> Result<Vec<Receipt>, Refusal> {
    sqlx::query_as("select * from seatkeeper.enqueue_many($1::text::jsonb)")
        .bind(array)
        .fetch_all(connection)
        .await
        .map_err(|error| Refusal::of(&error))
}

/// `seatkeeper.enqueue_many` with these items.
pub async fn send_many(connection: &mut PgConnection, asks: &[Ask]) -> Result<Vec<Receipt>, Refusal> {
    let items: Vec<String> = asks.iter().map(Ask::item).collect();
    send_array(connection, &format!("[{}]", items.join(", "))).await
}

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Sql,
    SqlMany,
    Crate,
    CrateMany,
}

impl Door {
    pub const ALL: [Self; 4] = [Self::Sql, Self::SqlMany, Self::Crate, Self::CrateMany];

    /// Asks through this door.
    pub async fn send(self, connection: &mut PgConnection, id: Uuid, job: &Job) -> Result<Receipt, Refusal> {
        let ask = Ask::new(id, job.kind().as_str(), job.payload());
        let request = Request::new(id, job.clone());
        match self {
            Self::Sql => ask.send(connection).await,
            Self::SqlMany => send_many(connection, &[ask]).await.map(only),
            Self::Crate => door::enqueue(connection, &request).await.map_err(in_sql),
            Self::CrateMany => door::enqueue_many(connection, &[request]).await.map(only).map_err(in_sql),
        }
    }
}

fn only(mut receipts: Vec<Receipt>) -> Receipt {
    assert_eq!(receipts.len(), 1, "one receipt for one request");
    receipts.remove(0)
}

/// The crate's error in the terms of the database.
fn in_sql(error: EnqueueError) -> Refusal {
    let message = error.to_string();
    match error {
        EnqueueError::Conflict(id) => {
            Refusal { code: "RC409".into(), detail: id.to_string(), hint: String::new(), message }
        }
        EnqueueError::Invalid { field, hint } => {
            Refusal { code: "RC422".into(), detail: field, hint: hint.unwrap_or_default(), message }
        }
        EnqueueError::TooManyWaiting { most } => {
            Refusal { code: "RC429".into(), detail: most.to_string(), hint: String::new(), message }
        }
        EnqueueError::Database(error) => Refusal::of(&error),
    }
}

/// The number that the server knows the connection of this transaction by. Of a transaction: behind a pooler the next one may
/// be on another connection.
pub async fn pid(transaction: &mut Transaction<'_, Postgres>) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut **transaction).await.unwrap()
}

/// Runs SQL of the test's own on this connection.
pub async fn run_on(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// How many requests are stored.
pub async fn count(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from seatkeeper.requests").fetch_one(connection).await.unwrap()
}
