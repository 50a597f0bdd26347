//! The schema in the database against the one that this build needs.

use std::sync::LazyLock;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection, PgPool};

use super::pool::in_full;
use super::{ErrorClass, opening};
use crate::queue::chores::storage;

/// The migrations in `migrations/`, kept in the table `seatkeeper._sqlx_migrations`.
/// To be run by [`migrate`], which sees to it that nobody else does at the same time.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!();
    migrator.set_locking(false);
    migrator
});

/// How the database compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// There is none.
    Absent,
    /// There is one, and this account may not see what was applied: neither owner nor worker, monitor or operator.
    Hidden,
    /// It lacks migrations that this build needs.
    Older {
        /// The latest migration that was applied; 0 when none was.
        applied: i64,
        /// The latest that this build knows.
        needed: i64,
    },
    /// Just as this build knows it, or newer: newer ones stay compatible for a version.
    Usable {
        /// The latest migration that was applied.
        applied: i64,
    },
    /// The storage of the chores is missing, or too old.
    WithoutChores,
    /// A migration was started and did not finish.
    Dirty {
        /// Which.
        version: i64,
    },
}

/// The latest migration that this build knows.
#[must_use]
pub fn needed() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// How often a migration is begun again that those at work were in the way of.
const MEETINGS: usize = 30;

/// Applies what is missing: our migrations, and then those of the chores' storage. Any number may do so at once, and
/// so may an application that brings the storage up to date itself: one after the other.
///
/// Workers and producers may go on beside it. A migration that meets them crosswise is rolled back and begun again.
///
/// # Errors
/// When one of them fails, or meets others crosswise again and again, or the database is away.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    // sqlx's lock of migrations, held by a transaction apart. As sqlx takes it, it is a session's: behind a pooler it
    // would be left with whoever has that session next, and nobody could ever migrate again.
    let mut apart = PgConnection::connect_with(&pool.connect_options()).await?;
    let mut alone = apart
        .begin_with(opening(
            "begin; set local lock_timeout = 0; set local statement_timeout = 0; \
             set local idle_in_transaction_session_timeout = 0",
        ))
        .await?;
    let database: String = sqlx::query_scalar("select current_database()").fetch_one(&mut *alone).await?;
    sqlx::query("-- migrate.alone\nselect pg_advisory_xact_lock($1)")
        .bind(lock_of(&database))
        .execute(&mut *alone)
        .await?;
    let mut meetings = 0;
    // Not paused between: that somebody is in the way takes PostgreSQL a second to find out.
    while let Err(error) = apply(pool).await {
        meetings += 1;
        if meetings > MEETINGS || !met_others(&error) {
            return Err(error);
        }
        tracing::info!(%error, "a migration met others crosswise; it is begun again");
    }
    alone.commit().await?;
    Ok(apart.close().await?)
}

async fn apply(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await?;
    storage::migrator().run(pool).await
}

/// Whether this is nobody's fault and over by now. Each migration is a transaction, so nothing is half done.
fn met_others(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    matches!(
        ErrorClass::of(error),
        ErrorClass::Deadlock | ErrorClass::Serialization | ErrorClass::LockTimeout
    )
}

/// The key of sqlx's lock of the migrations of a database.
fn lock_of(database: &str) -> i64 {
    0x3d32_ad9e * i64::from(crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(database.as_bytes()))
}

/// Looks at the schema.
///
/// # Errors
/// When the database cannot be asked; where no connection was to be had, in the words of whoever refused it.
pub async fn schema(pool: &PgPool) -> sqlx::Result<Schema> {
    match look(pool).await {
        Err(error) => Err(in_full(pool, error).await),
        schema => schema,
    }
}

async fn look(pool: &PgPool) -> sqlx::Result<Schema> {
    // Asked of the catalog, which everybody may read: `to_regclass` is an error for who may not use the schema.
    let is_shown: Option<bool> = sqlx::query_scalar(
        "select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
         from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'seatkeeper' and c.relname = '_sqlx_migrations'",
    )
    .fetch_optional(pool)
    .await?;
    match is_shown {
        None => return Ok(Schema::Absent),
        Some(false) => return Ok(Schema::Hidden),
        Some(true) => {}
    }
    let rows: Vec<(i64, bool)> =
        sqlx::query_as("select version, success from seatkeeper._sqlx_migrations order by version")
            .fetch_all(pool)
            .await?;
    if let Some((version, _)) = rows.iter().find(|(_, success)| !success) {
        return Ok(Schema::Dirty { version: *version });
    }
    let applied = rows.last().map_or(0, |(version, _)| *version);
    let missing =
        MIGRATOR.iter().any(|migration| !rows.iter().any(|(version, _)| *version == migration.version));
    if missing {
        return Ok(Schema::Older { applied, needed: needed() });
    }
    Ok(if storage::is_ready(pool).await? { Schema::Usable { applied } } else { Schema::WithoutChores })
}
