//! Asking in the caller's own transaction: the request is there if and only if the caller's own changes are.
//!
//! Every function takes `&mut PgConnection`: pass `&mut *tx` for a transaction, `&mut *connection` for a pooled
//! connection. After an error of the database the transaction is aborted, as after any other: roll it back.
//!
//! Nothing here waits for an answer. [`get_receipt`] reads it once it is there.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::postgres::{PgConnection, PgDatabaseError, PgRow};
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::{Booking, BookingId, IdError, Receipt, Request, UserId};

/// The most requests of one call of `seatkeeper.enqueue_many`.
pub const MAX_ITEMS: usize = 10_000;

/// A request that did not get in.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    /// The ID was used before, with another kind or payload (SQLSTATE `RC409`). Sending it again is of no use: a new
    /// request needs a new ID.
    #[error("request {0} was asked before, with another kind or payload; a new request needs a new ID")]
    Conflict(
        /// The ID.
        Uuid,
    ),
    /// The server does not accept the request (SQLSTATE `RC422`). A [`Request`] is valid by construction, so the
    /// server is of another version than this crate.
    #[error("request not accepted: `{field}` is missing, malformed or not allowed here{}", in_brackets(hint.as_deref()))]
    Invalid {
        /// The first field at fault.
        field: String,
        /// Which of many it is.
        hint: Option<String>,
    },
    /// The account has as many requests waiting as it may have (SQLSTATE `RC429`). Nothing of the call is there: send it again, with
    /// the same IDs, when some are answered.
    #[error(
        "this account has as many requests waiting as it may have: {most}; send it again when some are answered"
    )]
    TooManyWaiting {
        /// How many it may have.
        most: i64,
    },
    /// Anything else. 42501 means that the account may not ask for this kind, or not for this amount. Worth sending again with the same ID when it is 40001, 40P01 or a lost connection.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A receipt, or a booking, that holds a word that this version of the crate does not know: the server is newer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's {column} {value:?} is not known to this version of seatkeeper-jobs; upgrade the crate")]
pub struct NewerServer {
    /// Of the receipt: kind, status, outcome or reason. Of the booking: status or cancelled_because.
    pub column: &'static str,
    /// The word.
    pub value: String,
}

/// Asks once. A known ID with the same job gets its receipt as it is now, with `duplicate` set.
///
/// It waits for nobody but a concurrent insert of the same ID, and takes no lock on the catalog. Several requests in
/// one transaction are better asked with [`enqueue_many`]: two producers that send the same IDs crosswise, one by one,
/// deadlock.
///
/// # Errors
/// See [`EnqueueError`]. In `REPEATABLE READ` and above a concurrent duplicate is a serialization failure (40001):
/// run the transaction again, with the same ID.
pub async fn enqueue(connection: &mut PgConnection, request: &Request) -> Result<Receipt, EnqueueError> {
    let row = sqlx::query(
        "select request_id, kind, status, outcome, reason, result, duplicate, enqueued_at, finished_at, attempts
         from seatkeeper.enqueue($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(request.request_id())
    .bind(request.job().kind().as_str())
    .bind(Json(request.job()))
    .bind(request.run_at())
    .bind(request.expires_at())
    .bind(request.producer())
    .bind(request.traceparent())
    .fetch_one(connection)
    .await
    .map_err(refusal)?;
    Ok(Receipt::from_row(&row)?)
}

/// Asks for many at once, all or nothing, also outside a transaction. Receipts and arrival are in the order of the
/// requests; the same ID twice counts as a duplicate, or as a conflict.
///
/// They travel in one statement, [`MAX_ITEMS`] to a call of the SQL function, so a `statement_timeout` counts for all
/// of them: some ten thousand take a second.
///
/// # Errors
/// See [`EnqueueError`] and [`enqueue`]. Two producers that send the same IDs in another order deadlock (40P01) only
/// when there are more than [`MAX_ITEMS`] of them.
pub async fn enqueue_many(
    connection: &mut PgConnection,
    requests: &[Request],
) -> Result<Vec<Receipt>, EnqueueError> {
    let calls: Vec<Json<&[Request]>> = requests.chunks(MAX_ITEMS).map(Json).collect();
    let in_one_call = calls.len() == 1;
    let rows = sqlx::query(
        "select receipt.request_id, receipt.kind, receipt.status, receipt.outcome, receipt.reason, receipt.result,
                receipt.duplicate, receipt.enqueued_at, receipt.finished_at, receipt.attempts
         from unnest($1::jsonb[]) with ordinality call (items, ord),
              lateral seatkeeper.enqueue_many(call.items) with ordinality
                  receipt (request_id, kind, status, outcome, reason, result, duplicate, enqueued_at, finished_at,
                           attempts, ord)
         order by call.ord, receipt.ord",
    )
    .bind(calls)
    .fetch_all(connection)
    .await
    .map_err(|error| match refusal(error) {
        // The hint counts within its call, which would mislead where there are several.
        EnqueueError::Invalid { field, .. } if !in_one_call => EnqueueError::Invalid { field, hint: None },
        error => error,
    })?;
    Ok(rows.iter().map(Receipt::from_row).collect::<Result<_, _>>()?)
}

/// The receipt as it is now; `None` when the ID is not known, or was asked by an account whose rights this one has not.
///
/// # Errors
/// When the database cannot answer, or answers what this version does not know ([`NewerServer`]).
pub async fn get_receipt(
    connection: &mut PgConnection,
    request_id: Uuid,
) -> Result<Option<Receipt>, sqlx::Error> {
    // An unknown ID is a row of nulls.
    let row = sqlx::query(
        "select request_id, kind, status, outcome, reason, result, duplicate, enqueued_at, finished_at, attempts
         from seatkeeper.get_receipt($1) where request_id is not null",
    )
    .bind(request_id)
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(Receipt::from_row).transpose()
}

/// The receipts of those of these IDs that are known, in their order.
///
/// # Errors
/// As [`get_receipt`].
pub async fn get_receipts(
    connection: &mut PgConnection,
    request_ids: &[Uuid],
) -> Result<Vec<Receipt>, sqlx::Error> {
    let rows = sqlx::query(
        "select request_id, kind, status, outcome, reason, result, duplicate, enqueued_at, finished_at, attempts
         from seatkeeper.get_receipts($1)",
    )
    .bind(request_ids)
    .fetch_all(connection)
    .await?;
    rows.iter().map(Receipt::from_row).collect()
}

/// The booking as it is now; `None` when there is none, or it came of another account's request. Its place in the waitlist is in it.
///
/// # Errors
/// As [`get_receipt`].
pub async fn get_booking(
    connection: &mut PgConnection,
    booking_id: BookingId,
) -> Result<Option<Booking>, sqlx::Error> {
    // An unknown ID is a row of nulls.
    let row = sqlx::query(
        "select booking_id, user_id, session_id, status, waitlist_position, booked_at, promoted_at, cancelled_at,
                cancelled_because
         from seatkeeper.get_booking($1) where booking_id is not null",
    )
    .bind(booking_id.get())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(Booking::from_row).transpose()
}

/// Credits left; `None` when there is no such user, or no request of this account has moved the user's credits.
///
/// # Errors
/// When the database cannot answer.
pub async fn get_balance(connection: &mut PgConnection, user_id: UserId) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("select seatkeeper.get_balance($1)").bind(user_id.get()).fetch_one(connection).await
}

/// Reads the columns of `seatkeeper.receipt`.
impl FromRow<'_, PgRow> for Receipt {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            request_id: row.try_get("request_id")?,
            kind: word("kind", &row.try_get::<String, _>("kind")?)?,
            status: word("status", &row.try_get::<String, _>("status")?)?,
            outcome: optional_word("outcome", row)?,
            reason: optional_word("reason", row)?,
            result: row.try_get::<Option<Json<Value>>, _>("result")?.map(|Json(result)| result),
            duplicate: row.try_get("duplicate")?,
            enqueued_at: row.try_get::<DateTime<Utc>, _>("enqueued_at")?,
            finished_at: row.try_get("finished_at")?,
            attempts: row.try_get("attempts")?,
        })
    }
}

/// Reads the columns of `seatkeeper.booking`.
impl FromRow<'_, PgRow> for Booking {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            booking_id: id("booking_id", row)?,
            user_id: id("user_id", row)?,
            session_id: id("session_id", row)?,
            status: word("status", &row.try_get::<String, _>("status")?)?,
            waitlist_position: row.try_get("waitlist_position")?,
            booked_at: row.try_get("booked_at")?,
            promoted_at: row.try_get("promoted_at")?,
            cancelled_at: row.try_get("cancelled_at")?,
            cancelled_because: optional_word("cancelled_because", row)?,
        })
    }
}

fn id<T: TryFrom<i64, Error = IdError>>(column: &'static str, row: &PgRow) -> Result<T, sqlx::Error> {
    T::try_from(row.try_get(column)?)
        .map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) })
}

fn optional_word<T: std::str::FromStr>(column: &'static str, row: &PgRow) -> Result<Option<T>, sqlx::Error> {
    row.try_get::<Option<String>, _>(column)?.map(|value| word(column, &value)).transpose()
}

fn word<T: std::str::FromStr>(column: &'static str, value: &str) -> Result<T, sqlx::Error> {
    value.parse().map_err(|_| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: Box::new(NewerServer { column, value: value.to_owned() }),
    })
}

/// What the SQL functions refuse on purpose, told apart from what went wrong.
fn refusal(error: sqlx::Error) -> EnqueueError {
    let Some(refused) = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>())
    else {
        return EnqueueError::Database(error);
    };
    match (refused.code(), refused.detail()) {
        ("RC409", Some(detail)) => match Uuid::try_parse(detail) {
            Ok(request_id) => EnqueueError::Conflict(request_id),
            Err(_) => EnqueueError::Database(error),
        },
        ("RC422", Some(field)) => {
            EnqueueError::Invalid { field: field.to_owned(), hint: refused.hint().map(str::to_owned) }
        }
        ("RC429", Some(most)) => match most.parse() {
            Ok(most) => EnqueueError::TooManyWaiting { most },
            Err(_) => EnqueueError::Database(error),
        },
        _ => EnqueueError::Database(error),
    }
}

fn in_brackets(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" ({hint})")).unwrap_or_default()
}
