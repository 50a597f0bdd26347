//! Runs as they are stored: what was found, since when, and the last word on each invariant.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection, PgPool};

use super::catalogue::invariant;
use super::check::KEPT_KEYS;
use super::parse::Severity;
use super::run::Trigger;
use crate::postgres::opening;

impl Serialize for Severity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How an invariant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No row offends that is not accepted.
    Holds,
    /// Rows offend.
    Violated,
    /// It could not be evaluated.
    Unknown,
}

impl Status {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Holds, Self::Violated, Self::Unknown];

    /// The name, as it is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Violated => "violated",
            Self::Unknown => "unknown",
        }
    }

    /// From its stored name; a newer version's name is not known here.
    pub(crate) fn of(name: &str) -> Self {
        Self::ALL.into_iter().find(|status| status.as_str() == name).unwrap_or(Self::Unknown)
    }
}

/// What a run found of one invariant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Its ID.
    pub invariant: String,
    /// Its severity; `None` when this version does not know the invariant.
    pub severity: Option<Severity>,
    /// How it stands.
    pub status: Status,
    /// All offending rows, accepted ones included; `None` when they could not be counted.
    pub violations: Option<i64>,
    /// Those among them that are accepted.
    pub accepted: i64,
    /// Some of the rows, in the order of their keys: `{key, row, first_seen, accepted}`.
    pub sample: Vec<Value>,
    /// When the longest-standing of them was first seen.
    pub since: Option<DateTime<Utc>>,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    /// How long it took.
    pub seconds: Option<f64>,
}

impl Outcome {
    /// Whether this is bad news: more rows than may be, of an invariant whose violation is.
    #[must_use]
    pub fn is_bad_news(&self) -> bool {
        invariant(&self.invariant).zip(self.violations).is_some_and(|(invariant, violations)| {
            invariant.breaches(violations, self.accepted)
                && (invariant.severity == Severity::Critical || invariant.counts_accepted)
        })
    }
}

/// A run that was finished.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its number.
    pub run_id: i64,
    /// `schedule` or `manual`.
    pub trigger: String,
    /// The schedule whose slot it was.
    pub schedule: Option<String>,
    /// The slot.
    pub slot: Option<DateTime<Utc>>,
    /// When the snapshot was taken that everything was seen in.
    pub started_at: DateTime<Utc>,
    /// When it was finished and stored.
    pub finished_at: DateTime<Utc>,
    /// What was found, by invariant.
    pub results: Vec<Outcome>,
}

/// What is stored of a check besides its [`Outcome`].
#[derive(Debug)]
pub(super) struct Checked {
    pub outcome: Outcome,
    /// The first keys; the sightings of an invariant that could not be evaluated stay as they are.
    pub keys: Vec<Value>,
}

impl Checked {
    /// As the door takes it.
    fn told(&self) -> Value {
        let Outcome { invariant, status, violations, accepted, sample, since, error, seconds, .. } =
            &self.outcome;
        json!({ "invariant": invariant, "status": status, "violations": violations, "accepted": accepted,
                "sample": sample, "error": error, "seconds": seconds, "since": since, "keys": self.keys })
    }
}

/// Stores a run as finished. When its slot has been run already, gives that run instead and stores nothing.
pub(super) async fn store(
    pool: &PgPool,
    trigger: Trigger,
    started_at: DateTime<Utc>,
    checked: &[Checked],
) -> sqlx::Result<Run> {
    // After the checks: their snapshot is let go, and what is written here hurts nobody.
    let mut transaction = pool
        .begin_with(opening(
            "begin isolation level read committed read write; set local statement_timeout = 60000; \
             set local lock_timeout = 30000; set local idle_in_transaction_session_timeout = 10000",
        ))
        .await?;
    let results: Vec<Value> = checked.iter().map(Checked::told).collect();
    let run_id = sqlx::query_scalar!(
        "-- roll_call.store
         select seatkeeper.record_check($1, $2, $3, $4, $5)",
        trigger.as_str(),
        trigger.schedule(),
        trigger.slot(),
        started_at,
        Value::Array(results)
    )
    .fetch_one(&mut *transaction)
    .await?;
    let Some(run_id) = run_id else {
        transaction.rollback().await?;
        return stored(pool, trigger).await?.ok_or(sqlx::Error::RowNotFound);
    };
    let run = read(&mut transaction, run_id).await?;
    transaction.commit().await?;
    Ok(run)
}

/// The finished run of a slot. A run by hand has none.
pub(super) async fn stored(pool: &PgPool, trigger: Trigger) -> sqlx::Result<Option<Run>> {
    let (Some(schedule), Some(slot)) = (trigger.schedule(), trigger.slot()) else { return Ok(None) };
    let mut connection = pool.acquire().await?;
    let run_id = sqlx::query_scalar!(
        "-- roll_call.stored
         select run_id from seatkeeper.invariant_runs
         where schedule = $1 and slot = $2 and finished_at is not null",
        schedule,
        slot
    )
    .fetch_optional(&mut *connection)
    .await?;
    match run_id {
        Some(run_id) => read(&mut connection, run_id).await.map(Some),
        None => Ok(None),
    }
}

/// The last finished run, whatever it looked at.
///
/// # Errors
/// When the database cannot be asked.
pub async fn last_run(connection: &mut PgConnection) -> sqlx::Result<Option<Run>> {
    let run_id = sqlx::query_scalar!(
        "-- roll_call.last
         select run_id from seatkeeper.invariant_runs where finished_at is not null order by run_id desc limit 1"
    )
    .fetch_optional(&mut *connection)
    .await?;
    match run_id {
        Some(run_id) => read(connection, run_id).await.map(Some),
        None => Ok(None),
    }
}

async fn read(connection: &mut PgConnection, run_id: i64) -> sqlx::Result<Run> {
    let run = sqlx::query!(
        r#"-- roll_call.run
           select run_id, trigger, schedule, slot, started_at, finished_at as "finished_at!"
           from seatkeeper.invariant_runs where run_id = $1"#,
        run_id
    )
    .fetch_one(&mut *connection)
    .await?;
    let results = sqlx::query!(
        "-- roll_call.results
         select invariant, status, violations, accepted, sample, error, seconds, since
         from seatkeeper.invariant_results where run_id = $1 order by invariant collate \"C\"",
        run_id
    )
    .fetch_all(connection)
    .await?;
    let results = results.into_iter().map(|row| Outcome {
        severity: invariant(&row.invariant).map(|known| known.severity),
        invariant: row.invariant,
        status: Status::of(&row.status),
        violations: row.violations,
        accepted: row.accepted,
        sample: if let Value::Array(rows) = row.sample { rows } else { Vec::new() },
        since: row.since,
        error: row.error,
        seconds: row.seconds,
    });
    Ok(Run {
        run_id: run.run_id,
        trigger: run.trigger,
        schedule: run.schedule,
        slot: run.slot,
        started_at: run.started_at,
        finished_at: run.finished_at,
        results: results.collect(),
    })
}

/// The last word on an invariant.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Last {
    /// Its ID.
    pub invariant: String,
    /// How it stood.
    pub status: String,
    /// All offending rows, accepted ones included; `None` when they could not be counted.
    pub violations: Option<i64>,
    /// Those among them that are accepted.
    pub accepted: i64,
    /// When that run was finished.
    pub finished_at: DateTime<Utc>,
}

impl Last {
    /// Of each invariant that was ever part of a finished run. By an index, however many runs there were.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn of_each(connection: &mut PgConnection) -> sqlx::Result<Vec<Self>> {
        let ids: Vec<String> = super::catalogue().iter().map(|each| each.id.clone()).collect();
        sqlx::query_as!(
            Self,
            r#"-- roll_call.last_of_each
               select l.invariant, l.status, l.violations, l.accepted, r.finished_at as "finished_at!"
               from unnest($1::text[]) i (invariant)
               cross join lateral (
                   select * from seatkeeper.invariant_results l where l.invariant = i.invariant
                   order by l.run_id desc limit 1) l
               cross join lateral (
                   select r.finished_at from seatkeeper.invariant_runs r where r.run_id = l.run_id limit 1) r
               order by l.invariant collate "C""#,
            &ids
        )
        .fetch_all(connection)
        .await
    }
}

/// The sightings of an invariant by key, at most [`KEPT_KEYS`].
pub(super) async fn sighted(connection: &mut PgConnection, invariant: &str) -> sqlx::Result<Vec<Value>> {
    let sql = format!(
        "-- roll_call.sighted
         select s.key from seatkeeper.invariant_sightings s where s.invariant = $1 order by s.key limit {KEPT_KEYS}"
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).bind(invariant).fetch_all(connection).await
}
