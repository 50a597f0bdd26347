//! A run: all checks in one snapshot, then what they found in one commit.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::catalogue::Selection;
use super::check;
use super::guards::WORDS;
use super::parse::Invariant;
use super::record::{self, Checked, Outcome, Run, Status};
use crate::postgres::{ErrorClass, describe, opening};

/// A run holds its snapshot, and so keeps vacuum from what was deleted since, for at most so many times the timeout of one
/// check; what has not had its turn by then is unknown.
const CHECKS_AT_THEIR_LONGEST: u32 = 3;
/// A check waits no longer than this for a table that somebody is just rebuilding.
const LONGEST_LOCK_WAIT: Duration = Duration::from_secs(30);

/// Why a run is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Somebody asked.
    Manual,
    /// A slot of a schedule is due.
    Schedule {
        /// Which schedule.
        schedule: &'static str,
        /// Which slot.
        slot: DateTime<Utc>,
    },
}

impl Trigger {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule { .. } => "schedule",
        }
    }

    pub(super) const fn schedule(self) -> Option<&'static str> {
        match self {
            Self::Manual => None,
            Self::Schedule { schedule, .. } => Some(schedule),
        }
    }

    pub(super) const fn slot(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Manual => None,
            Self::Schedule { slot, .. } => Some(slot),
        }
    }
}

/// Evaluates the invariants in one snapshot and stores what was found. `timeout` = the longest that one check may take.
///
/// A check that fails is `unknown`, with its error, and the others go on in the same snapshot. A slot of a schedule is run once:
/// whoever comes second gets the stored run.
///
/// # Errors
/// When the connection breaks, or what was found cannot be stored: the run is not finished then, and nothing of it is stored.
pub async fn call_the_roll(
    pool: &PgPool,
    which: &Selection,
    trigger: Trigger,
    timeout: Duration,
) -> sqlx::Result<Run> {
    if let Some(run) = record::stored(pool, trigger).await? {
        return Ok(run);
    }
    let (started_at, checked) = look(pool, which, timeout).await?;
    let run = record::store(pool, trigger, started_at, &checked).await?;
    // Who asked by hand is told by the verb.
    if matches!(trigger, Trigger::Schedule { .. }) {
        run.results.iter().filter(|outcome| outcome.status != Status::Holds).for_each(|outcome| {
            let Outcome { invariant, status, violations, accepted, error, .. } = outcome;
            let (run_id, status) = (run.run_id, status.as_str());
            tracing::warn!(run_id, invariant, status, violations, accepted, error, "roll call");
        });
    }
    let seconds = (run.finished_at - run.started_at).as_seconds_f64();
    tracing::info!(run_id = run.run_id, checks = run.results.len(), seconds, "roll call finished");
    Ok(run)
}

async fn look(
    pool: &PgPool,
    which: &Selection,
    timeout: Duration,
) -> sqlx::Result<(DateTime<Utc>, Vec<Checked>)> {
    // Its own process alone, interpreted, and in bounded memory: the workers need the other cores more. The snapshot is
    // taken by the first statement; a client that vanished gives it up soon.
    let mut transaction = pool
        .begin_with(opening(
"begin isolation level repeatable read read only; set local search_path = pg_catalog; \
             set local statement_timeout = 10000; set local idle_in_transaction_session_timeout = 10000; \
             set local max_parallel_workers_per_gather = 0; set local jit = off; set local work_mem = '64MB'; \
             set local tcp_user_timeout = 10000; set local tcp_keepalives_idle = 10; \
             set local tcp_keepalives_interval = 2; set local tcp_keepalives_count = 3",
))
        .await?;
    let started_at = sqlx::query_scalar!("-- roll_call.snapshot\n select clock_timestamp() as \"now!\"")
        .fetch_one(&mut *transaction)
        .await?;
    let files = files(&mut transaction).await?;
    let began = Instant::now();
    let mut checked = Vec::new();
    for invariant in which.invariants() {
        let left = (timeout * CHECKS_AT_THEIR_LONGEST).saturating_sub(began.elapsed());
        checked.push(check(&mut transaction, invariant, started_at, timeout.min(left)).await?);
    }
    // TRUNCATE, and an ALTER TABLE that rewrites, leave a table empty to snapshots that are older: nothing was seen there.
    if self::files(&mut transaction).await? != files {
        for each in &mut checked {
            *each = unknown(&each.outcome.invariant, each.outcome.seconds, REWRITTEN.to_owned());
        }
    }
    transaction.rollback().await?;
    Ok((started_at, checked))
}

const REWRITTEN: &str = "a table was truncated or rewritten while the checks ran: run them again";

/// The files behind the tables, as they are at the moment, whatever the snapshot.
pub(crate) async fn files(connection: &mut PgConnection) -> sqlx::Result<Vec<Option<i64>>> {
    sqlx::query_scalar!(
        "-- roll_call.files
         select pg_relation_filenode(c.oid)::bigint from pg_catalog.pg_class c
         where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind = 'r' order by c.oid"
    )
    .fetch_all(connection)
    .await
}

async fn check(
    connection: &mut PgConnection,
    invariant: &Invariant,
    started_at: DateTime<Utc>,
    timeout: Duration,
) -> sqlx::Result<Checked> {
    if timeout.is_zero() {
        let error = "no time was left: the checks before it took too long".to_owned();
        return Ok(unknown(&invariant.id, None, error));
    }
    let began = Instant::now();
    // Rolled back in any case: that gives up the locks on the tables, which would keep a migration waiting, and every query of
    // those tables behind it. The snapshot is the transaction's.
    let mut savepoint = connection.begin().await?;
    let limits = format!(
        "set local statement_timeout = {}; set local lock_timeout = {}",
        timeout.as_millis().max(1),
        timeout.min(LONGEST_LOCK_WAIT).as_millis().max(1)
    );
    // Definitions are compared word by word.
    let words = if invariant.takes_manifest { WORDS } else { "" };
    sqlx::raw_sql(AssertSqlSafe(format!("{limits}; {words}"))).execute(&mut *savepoint).await?;
    let found = check::evaluate(&mut savepoint, invariant).await;
    let seconds = Some(began.elapsed().as_secs_f64());
    match found {
        Err(error) if ErrorClass::of(&error) == ErrorClass::Connection => Err(error),
        Err(error) => {
            savepoint.rollback().await?;
            Ok(unknown(&invariant.id, seconds, describe(&error)))
        }
        Ok(found) => {
            savepoint.rollback().await?;
            let mut sample = match found.sample {
                serde_json::Value::Array(rows) => rows,
                _ => Vec::new(),
            };
            for row in &mut sample {
                if row["first_seen"].is_null() {
                    row["first_seen"] = serde_json::json!(started_at);
                }
            }
            let outcome = Outcome {
                invariant: invariant.id.clone(),
                severity: Some(invariant.severity),
                status: if found.violations > found.accepted { Status::Violated } else { Status::Holds },
                violations: Some(found.violations),
                accepted: found.accepted,
                sample,
                since: found.since.or(found.has_new.then_some(started_at)),
                error: None,
                seconds,
            };
            Ok(Checked { outcome, keys: found.keys })
        }
    }
}

fn unknown(invariant: &str, seconds: Option<f64>, error: String) -> Checked {
    let outcome = Outcome {
        invariant: invariant.to_owned(),
        severity: super::invariant(invariant).map(|known| known.severity),
        status: Status::Unknown,
        violations: None,
        accepted: 0,
        sample: Vec::new(),
        since: None,
        error: Some(error),
        seconds,
    };
    Checked { outcome, keys: Vec::new() }
}
