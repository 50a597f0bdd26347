//! The storage of the chores: its schema, and what apalis-postgres leaves to its users.
//!
//! Tasks are pushed by plain SQL, since a duplicate is an error in apalis; and never by more than a key.

use std::borrow::Cow;

use apalis_postgres::PostgresStorage;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use sqlx::migrate::{Migration, Migrator};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, SqlSafeStr};
use ulid::Ulid;

use crate::postgres::ErrorClass;
use crate::schedule::Schedule;

/// The name of our queue among those of `apalis.jobs`, which an application may share.
pub const QUEUE: &str = "seatkeeper_chores";
/// No task of ours has a tenth of these bytes.
const LONGEST_TASK: i32 = 8192;
/// What is over is kept for this long, for whoever looks into `apalis.jobs`.
const KEEP: &str = "7 days";

/// "Do this step of that slot."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What.
    pub chore: Schedule,
    /// The slot that it answers to.
    pub slot: DateTime<Utc>,
    /// The how manieth task for this slot.
    pub step: u32,
}

impl Task {
    /// The task that comes after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { step: self.step + 1, ..self }
    }

    /// What all keys of this slot begin with.
    pub(super) fn slot_key(chore: Schedule, slot: DateTime<Utc>) -> String {
        format!("{}/{}/", chore.as_str(), slot.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

/// The migrations of apalis-postgres, kept in `apalis._sqlx_migrations`: those of the crate, with two changes that
/// keep them off the application's own things. Their checksums stay, so an application that uses apalis-postgres
/// itself finds them applied.
///
/// - They run with a `search_path` of `apalis`: as they are, they would put a function (and replace one of the same
///   name) and two extensions into whatever schema comes first, most often `public`. hstore is used where it is.
/// - `public.generate_ulid()` is not dropped: if there is one, it is not theirs.
#[must_use]
pub fn migrator() -> Migrator {
    let original = PostgresStorage::migrations();
    let migrations: Vec<Migration> = original.iter().map(confined).collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name("apalis._sqlx_migrations");
    migrator.create_schema("apalis");
    // `postgres::migrate` takes that lock, in its own way.
    migrator.set_locking(false);
    // An application may have a later apalis-postgres.
    migrator.set_ignore_missing(true);
    migrator
}

fn confined(migration: &Migration) -> Migration {
    const CONFINE: &str = "select set_config('search_path', concat_ws(', ', 'apalis', (\
        select quote_ident(n.nspname) from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace \
        where e.extname = 'hstore' and n.nspname <> 'apalis')), true);\n";
    const FOREIGN: &str = "DROP FUNCTION IF EXISTS public.generate_ulid();";
    let sql = format!("{CONFINE}{}", migration.sql.as_str().replace(FOREIGN, ""));
    Migration {
        version: migration.version,
        description: Cow::clone(&migration.description),
        migration_type: migration.migration_type,
        sql: AssertSqlSafe(sql).into_sql_str(),
        checksum: Cow::clone(&migration.checksum),
        no_tx: migration.no_tx,
    }
}

/// The migrations of the storage that are applied.
///
/// # Errors
/// When the database cannot be asked.
pub async fn applied(pool: &PgPool) -> sqlx::Result<Vec<i64>> {
    let is_there: bool = sqlx::query_scalar(
        "select exists (select from pg_catalog.pg_class where relnamespace = (
             select oid from pg_catalog.pg_namespace where nspname = 'apalis') and relname = '_sqlx_migrations')",
    )
    .fetch_one(pool)
    .await?;
    if !is_there {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("select version from apalis._sqlx_migrations where success order by version")
        .fetch_all(pool)
        .await
}

/// Whether the storage is there as this build needs it: a dump without the extensions that its columns are made of is restored
/// without the table of the tasks, and with the record that all migrations were applied.
///
/// # Errors
/// When the database cannot be asked.
pub async fn is_ready(pool: &PgPool) -> sqlx::Result<bool> {
    let applied = applied(pool).await?;
    let tables: i64 = sqlx::query_scalar(
        "select count(*) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'apalis' and c.relname in ('jobs', 'workers') and c.relkind = 'r'",
    )
    .fetch_one(pool)
    .await?;
    Ok(tables == 2
        && PostgresStorage::migrations().iter().all(|migration| applied.contains(&migration.version)))
}

/// Pushes a task, to be run in `delay_seconds`. `false` when it has been pushed before.
///
/// # Errors
/// When the database cannot be reached, or refuses.
pub async fn push(connection: &mut PgConnection, task: Task, delay_seconds: f64) -> sqlx::Result<bool> {
    let payload = serde_json::to_vec(&task).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let pushed = sqlx::query(
        "-- chores.push
         insert into apalis.jobs (id, job_type, job, status, attempts, max_attempts, run_at, priority, idempotency_key)
         values ($1, $2, $3, 'Pending', 0, 1, clock_timestamp() + make_interval(secs => $4), 0, $5)
         on conflict (job_type, idempotency_key) do nothing",
    )
    .bind(Ulid::generate().to_string())
    .bind(QUEUE)
    .bind(payload)
    .bind(delay_seconds)
    .bind(format!("{}{}", Task::slot_key(task.chore, task.slot), task.step))
    .execute(connection)
    .await?;
    Ok(pushed.rows_affected() == 1)
}

/// Takes the chore's lock, waiting no longer than the transaction lets it. Whoever has it is at the chore; it ends with the transaction.
///
/// # Errors
/// 55P03 when somebody else has it.
pub async fn lock(connection: &mut PgConnection, chore: Schedule) -> sqlx::Result<()> {
    let lock = format!("-- chores.lock\nlock table {} in share update exclusive mode", lock_of(chore));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(connection).await.map(drop)
}

/// Takes the chore's lock when nobody has it. When somebody does, the transaction is as good as rolled back.
///
/// # Errors
/// When the database cannot be asked.
pub async fn try_lock(connection: &mut PgConnection, chore: Schedule) -> sqlx::Result<bool> {
    let lock =
        format!("-- chores.try_lock\nlock table {} in share update exclusive mode nowait", lock_of(chore));
    match sqlx::raw_sql(AssertSqlSafe(lock)).execute(connection).await {
        Ok(_) => Ok(true),
        Err(error) if ErrorClass::of(&error) == ErrorClass::LockTimeout => Ok(false),
        Err(error) => Err(error),
    }
}

/// The table that only workers can lock.
const fn lock_of(chore: Schedule) -> &'static str {
    match chore {
        Schedule::RollCall => "seatkeeper.lock_roll_call",
        Schedule::CriticalChecks => "seatkeeper.lock_critical_checks",
        Schedule::Retention => "seatkeeper.lock_retention",
        Schedule::Statistics => "seatkeeper.lock_statistics",
    }
}

/// Takes rows off the queue that would end every worker that fetches them: an ID that is no ULID, a payload that is
/// no JSON or longer than any task, a time that is none.
///
/// # Errors
/// When the database cannot be reached, or refuses.
pub async fn sweep(pool: &PgPool) -> sqlx::Result<u64> {
    type Waiting = (String, Vec<u8>, bool);
    let rows: Vec<Waiting> = sqlx::query_as(
        "-- chores.waiting
         select id, case when octet_length(job) <= $2 then job else ''::bytea end, (run_at >= '1971-01-01' and run_at < '9999-01-01' and metadata::text !~ '=>NULL') is not false
         from apalis.jobs
         where job_type = $1 and (status = 'Pending' or (status = 'Failed' and attempts < max_attempts))
         limit 1000",
    )
    .bind(QUEUE)
    .bind(LONGEST_TASK)
    .fetch_all(pool)
    .await?;
    let bad: Vec<String> = rows
        .into_iter()
        .filter(|(id, payload, sound)| {
            !sound
                || Ulid::from_string(id).is_err()
                || serde_json::from_slice::<serde_json::Value>(payload).is_err()
        })
        .map(|(id, _, _)| id)
        .collect();
    if bad.is_empty() {
        return Ok(0);
    }
    for id in &bad {
        tracing::warn!(id = %id.chars().take(100).collect::<String>(), "a row in the queue of chores is none, and is removed");
    }
    let gone = sqlx::query("-- chores.remove\ndelete from apalis.jobs where job_type = $1 and id = any ($2)")
        .bind(QUEUE)
        .bind(&bad)
        .execute(pool)
        .await?;
    Ok(gone.rows_affected())
}

/// Removes what has been over for a week: tasks, and workers that nothing refers to any more. apalis never does.
///
/// # Errors
/// When the database cannot be reached, or refuses.
pub async fn prune(pool: &PgPool) -> sqlx::Result<u64> {
    let tasks = sqlx::query(
        "-- chores.prune_tasks
         delete from apalis.jobs
         where job_type = $1 and status in ('Done', 'Killed', 'Failed')
           and coalesce(done_at, lock_at, run_at) < clock_timestamp() - $2::interval",
    )
    .bind(QUEUE)
    .bind(KEEP)
    .execute(pool)
    .await?;
    sqlx::query(
        "-- chores.prune_workers
         delete from apalis.workers w
         where w.worker_type = $1 and w.last_seen < clock_timestamp() - $2::interval
           and not exists (select from apalis.jobs j where j.lock_by = w.id)",
    )
    .bind(QUEUE)
    .bind(KEEP)
    .execute(pool)
    .await?;
    Ok(tasks.rows_affected())
}
