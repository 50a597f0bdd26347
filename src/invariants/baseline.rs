//! The baseline: offending rows that somebody has accepted, why, and until when.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::PgPool;

use super::parse::Invariant;
use super::{check, record};
use crate::operate::Operator;
use crate::postgres::opening;

/// An offending row that is accepted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accepted {
    /// The invariant that it breaks.
    pub invariant: String,
    /// The row.
    pub key: Value,
    /// Why that is all right.
    pub reason: String,
    /// Who says so.
    pub accepted_by: String,
    /// Since when.
    pub accepted_at: DateTime<Utc>,
    /// From this instant on it counts again.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether that instant has passed.
    pub is_expired: bool,
}

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is no key of {invariant}: {problem}; its columns are {}", columns.join(", "))]
pub struct BadKey {
    invariant: String,
    key: String,
    problem: String,
    columns: Vec<String>,
}

/// Reads the key of an offending row: a JSON object with the columns of the invariant's key.
///
/// # Errors
/// When it is none.
pub fn key(invariant: &Invariant, text: &str) -> Result<Value, BadKey> {
    let bad = |problem: String| BadKey {
        invariant: invariant.id.clone(),
        key: text.to_owned(),
        problem,
        columns: invariant.key.clone(),
    };
    let key: Map<String, Value> =
        serde_json::from_str(text).map_err(|_| bad("it is not a JSON object".to_owned()))?;
    if let Some(column) = invariant.key.iter().find(|column| !key.contains_key(*column)) {
        return Err(bad(format!("{column} is missing")));
    }
    if let Some(column) = key.keys().find(|column| !invariant.key.contains(column)) {
        return Err(bad(format!("{column} is not one of its columns")));
    }
    Ok(Value::Object(key))
}

/// Every accepted row, expired ones included.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(pool: &PgPool) -> sqlx::Result<Vec<Accepted>> {
    sqlx::query_as!(
        Accepted,
        r#"-- baseline.list
           select invariant, key, reason, accepted_by, accepted_at, expires_at,
                  coalesce(expires_at <= now(), false) as "is_expired!"
           from seatkeeper.invariant_baseline order by invariant collate "C", key"#
    )
    .fetch_all(pool)
    .await
}

/// Those of the keys that offend now.
///
/// # Errors
/// When the check fails.
pub async fn offending(pool: &PgPool, invariant: &Invariant, keys: &[Value]) -> sqlx::Result<Vec<Value>> {
    let mut read = pool
        .begin_with(opening(
            "begin read only; set local search_path = pg_catalog; set local statement_timeout = 300000; \
             set local jit = off",
        ))
        .await?;
    let found = check::offending(&mut read, invariant, keys).await?;
    read.rollback().await?;
    Ok(found)
}

/// What the last run that evaluated the invariant has found, by key.
///
/// # Errors
/// When the database cannot be asked.
pub async fn sighted(pool: &PgPool, invariant: &Invariant) -> sqlx::Result<Vec<Value>> {
    let mut connection = pool.acquire().await?;
    record::sighted(&mut connection, &invariant.id).await
}

/// Until when rows are accepted, and who says so and why.
#[derive(Debug, Clone)]
pub struct Acceptance<'a> {
    /// Who accepts them.
    pub operator: &'a Operator,
    /// Why.
    pub reason: &'a str,
    /// From this instant on they count again; `None` = for good.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Accepts rows; one that was accepted before gets the new reason and expiry. Gives how many, and the record.
///
/// # Errors
/// When the database refuses, or is away; nothing has changed then.
pub async fn accept(
    pool: &PgPool,
    invariant: &Invariant,
    keys: &[Value],
    acceptance: &Acceptance<'_>,
) -> sqlx::Result<(usize, i64)> {
    let mut transaction = pool.begin_with(opening(WRITE)).await?;
    let done = sqlx::query!(
        r#"-- baseline.accept
           select accepted as "accepted!", action_id as "action_id!"
           from seatkeeper.accept_violation($1, $2, $3, $4, $5)"#,
        invariant.id,
        keys,
        acceptance.reason,
        acceptance.expires_at,
        acceptance.operator.name()
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((usize::try_from(done.accepted).unwrap_or_default(), done.action_id))
}

/// Takes rows out of the baseline; they count again. Gives those that were in it, and the record when there were any.
///
/// # Errors
/// When the database refuses, or is away; nothing has changed then.
pub async fn unaccept(
    pool: &PgPool,
    invariant: &Invariant,
    keys: Option<&[Value]>,
    operator: &Operator,
    reason: &str,
) -> sqlx::Result<(Vec<Value>, Option<i64>)> {
    let mut transaction = pool.begin_with(opening(WRITE)).await?;
    let done = sqlx::query!(
        r#"-- baseline.unaccept
           select unaccepted as "unaccepted!: Vec<Value>", action_id
           from seatkeeper.unaccept_violation($1, $2, $3, $4)"#,
        invariant.id,
        keys,
        reason,
        operator.name()
    )
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((done.unaccepted, done.action_id))
}

const WRITE: &str = "begin isolation level read committed read write; set local statement_timeout = 60000; \
    set local lock_timeout = 10000; set local idle_in_transaction_session_timeout = 10000";
