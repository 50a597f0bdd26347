//! One invariant, evaluated by one statement: all offending rows counted, a bounded number of them shown.

use std::fmt::Write as _;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use super::guards;
use super::parse::Invariant;

/// Offending rows that are kept to be shown.
pub const SAMPLE: usize = 20;
/// Offending rows whose first sighting is remembered.
pub const KEPT_KEYS: usize = 10_000;

/// What a check found.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct Found {
    /// All offending rows.
    pub violations: i64,
    /// Those among them that are accepted.
    pub accepted: i64,
    /// The first rows in the order of their keys: `{key, row, first_seen, accepted}`.
    pub sample: Value,
    /// The first keys in order.
    pub keys: Vec<Value>,
    /// When the longest-standing of the keys was first seen; `None` = they are all new.
    pub since: Option<chrono::DateTime<chrono::Utc>>,
    /// Whether a key was not seen before.
    pub has_new: bool,
}

/// Columns of the SELECT, quoted: none of them is anything but a name, as the header's reader has seen to.
fn columns(invariant: &Invariant) -> String {
    invariant.key.iter().map(|column| format!("o.{column}")).collect::<Vec<_>>().join(", ")
}

/// The offending rows with their keys, whether they are accepted, as `keyed`. Binds `$1` the manifest, `$2` the invariant.
fn keyed(invariant: &Invariant) -> String {
    let mut key = String::new();
    for column in &invariant.key {
        let comma = if key.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(key, "{comma}'{column}', o.{column}");
    }
    format!(
        "with offending as materialized ({select}\n),
         keyed as materialized (
             select k.key, o as found, row_number() over (order by {columns}) as place, b.key is not null as accepted
             from offending o
             cross join lateral (select jsonb_build_object({key}) as key) k
             left join seatkeeper.invariant_baseline b
                 on b.invariant = $2 and b.key = k.key and (b.expires_at is null or b.expires_at > now())
             where $1::jsonb is not null)",
        select = invariant.select,
        columns = columns(invariant),
    )
}

/// Evaluates it in the snapshot of the transaction.
pub(super) async fn evaluate(connection: &mut PgConnection, invariant: &Invariant) -> sqlx::Result<Found> {
    let sql = format!(
        "-- roll_call.{id}
         {keyed},
         kept as materialized (
             select k.key, k.found, k.place, k.accepted, s.first_seen
             from (select * from keyed order by place limit {KEPT_KEYS}) k
             left join seatkeeper.invariant_sightings s on s.invariant = $2 and s.key = k.key)
         select (select count(*) from keyed) as violations,
                (select count(*) from keyed where accepted) as accepted,
                coalesce((select jsonb_agg(jsonb_build_object('key', key, 'row', to_jsonb(found), 'first_seen', first_seen,
                                                              'accepted', accepted) order by place)
                          from kept where place <= {SAMPLE}), '[]') as sample,
                array(select key from kept order by place) as keys,
                (select min(first_seen) from kept) as since,
                exists (select from kept where first_seen is null) as has_new",
        id = invariant.id,
        keyed = keyed(invariant),
    );
    // Not kept as a prepared statement: it runs once an hour at most, and a pooler's connection belongs to nobody.
    sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .bind(guards::manifest_for(invariant))
        .bind(&invariant.id)
        .fetch_one(connection)
        .await
}

/// Which of these keys offend now.
pub(super) async fn offending(
    connection: &mut PgConnection,
    invariant: &Invariant,
    keys: &[Value],
) -> sqlx::Result<Vec<Value>> {
    let sql = format!(
        "-- roll_call.offending
         {} select distinct key from keyed where key = any ($3)",
        keyed(invariant)
    );
    sqlx::query_scalar(AssertSqlSafe(sql))
        .persistent(false)
        .bind(guards::manifest_for(invariant))
        .bind(&invariant.id)
        .bind(keys)
        .fetch_all(connection)
        .await
}
