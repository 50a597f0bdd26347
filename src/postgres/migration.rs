//! Brings the schema up to date, beside those at work and one at a time.

use std::time::{Duration, Instant};

use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool, SqlSafeStr};

use super::ErrorClass;
use super::holders::{self, Holders};
use super::schema::ours;
use crate::queue::chores::storage;

/// The longest that a migration waits for one lock. Whoever comes after it waits behind it.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
/// The pause before a migration that somebody was in the way of is begun again: they get on meanwhile.
const PAUSE: Duration = Duration::from_millis(500);
/// How long somebody may be in the way, of a migration or of its turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the schema is not up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// A migration failed, or the database is away.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// PostgreSQL refused, or is away.
    #[error("{}", super::describe(.0))]
    Database(#[from] sqlx::Error),
    /// Somebody did not let a lock go for a minute.
    #[error("{what} is held up by {holders}; nothing was changed by it")]
    HeldUp {
        /// What had to wait.
        what: &'static str,
        /// Who has the lock.
        holders: Holders,
    },
}

/// Applies what is missing: our migrations, and then those of the chores' storage. Any number may do so at once, and
/// so may an application that brings the storage up to date itself: one after the other.
///
/// Workers and producers may go on beside it. A migration that meets them crosswise, or would have to wait for somebody's transaction, is
/// rolled back and begun again, for a minute at most.
///
/// # Errors
/// When one of them fails, or somebody is in the way for too long, or the database is away.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrationError> {
    until_met_nobody(pool, "the list of migrations", &ledger()).await?;
    // A lock that only the owner of the schema can have, held by a transaction apart. (One of sqlx's kind, whose number everybody
    // knows, is a session's: behind a pooler it would be left with whoever has that session next.)
    let mut apart = PgConnection::connect_with(&pool.connect_options()).await?;
    let timeout = LOCK_TIMEOUT.as_millis();
    let turn = format!(
        "begin; set local lock_timeout = {timeout}; set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0; \
         lock table seatkeeper._sqlx_migrations in share update exclusive mode"
    );
    wait_for(&mut apart, "the turn to migrate", &turn, "rollback", holders::OF_MIGRATIONS).await?;
    until_met_nobody(pool, "a migration", &bounded(ours())).await?;
    let storage = storage::migrator();
    let applied = storage::applied(pool).await?;
    if storage.iter().any(|migration| !applied.contains(&migration.version)) {
        // An application that has apalis-postgres bring it up to date holds sqlx's lock meanwhile.
        let turn = format!(
            "savepoint turn; do $$ begin perform pg_advisory_xact_lock({}); end $$",
            sqlx_lock(&mut apart).await?
        );
        let what = "the turn to migrate the chores' storage";
        wait_for(&mut apart, what, &turn, "rollback to turn", holders::OF_ADVISORY).await?;
        until_met_nobody(pool, "a migration of the chores' storage", &bounded(storage)).await?;
    }
    sqlx::raw_sql("commit").execute(&mut apart).await?;
    Ok(apart.close().await?)
}

/// Runs the migrations until nobody is in their way. Each is a transaction, so nothing is half done.
async fn until_met_nobody(
    pool: &PgPool,
    what: &'static str,
    migrator: &Migrator,
) -> Result<(), MigrationError> {
    let began = Instant::now();
    while let Err(error) = migrator.run(pool).await {
        if !met_others(&error) {
            return Err(error.into());
        }
        let holders = holders::ask(&mut *pool.acquire().await?, holders::OF_TABLES).await?;
        if began.elapsed() > PATIENCE {
            return Err(MigrationError::HeldUp { what, holders });
        }
        tracing::warn!(%error, %holders, "{what} met others; it is begun again");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Takes a lock as soon as it is free. `undo` makes up for a try in vain.
async fn wait_for(
    apart: &mut PgConnection,
    what: &'static str,
    take: &str,
    undo: &'static str,
    whose: &'static str,
) -> Result<(), MigrationError> {
    let began = Instant::now();
    while let Err(error) = sqlx::raw_sql(AssertSqlSafe(take)).execute(&mut *apart).await {
        if ErrorClass::of(&error) != ErrorClass::LockTimeout {
            return Err(error.into());
        }
        sqlx::raw_sql(undo).execute(&mut *apart).await?;
        let holders = holders::ask(&mut *apart, whose).await?;
        if began.elapsed() > PATIENCE {
            return Err(MigrationError::HeldUp { what, holders });
        }
        tracing::warn!(%holders, "waiting for {what}");
    }
    Ok(())
}

/// Makes the schema, and the list of what was applied, where they are missing.
fn ledger() -> Migrator {
    let mut migrator = Migrator::with_migrations(Vec::new());
    migrator.dangerous_set_table_name("seatkeeper._sqlx_migrations");
    migrator.create_schema("seatkeeper");
    migrator.set_locking(false);
    migrator.set_ignore_missing(true);
    migrator
}

/// The same migrations, none of which waits for long.
fn bounded(mut migrator: Migrator) -> Migrator {
    let timeout = LOCK_TIMEOUT.as_millis();
    let in_time = |migration: &Migration| Migration {
        sql: AssertSqlSafe(format!("set local lock_timeout = {timeout}; {}", migration.sql.as_str()))
            .into_sql_str(),
        ..migration.clone()
    };
    migrator.migrations = migrator.iter().map(in_time).collect::<Vec<_>>().into();
    migrator
}

/// Whether this is nobody's fault, and another try may do: somebody was in the way, or made the same at the same moment.
fn met_others(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    let is_made = error.as_database_error().and_then(|error| error.code());
    let is_made = is_made.is_some_and(|code| ["23505", "42P06", "42P07"].contains(&code.as_ref()));
    is_made
        || matches!(
            ErrorClass::of(error),
            ErrorClass::Deadlock | ErrorClass::Serialization | ErrorClass::LockTimeout
        )
}

/// The key of sqlx's lock of the migrations of this database.
async fn sqlx_lock(connection: &mut PgConnection) -> sqlx::Result<i64> {
    let database: String = sqlx::query_scalar("select current_database()").fetch_one(connection).await?;
    Ok(0x3d32_ad9e * i64::from(crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(database.as_bytes())))
}
