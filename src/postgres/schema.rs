//! The schema in the database against the one that this build needs.

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};

use crate::queue::chores::storage;

/// The migrations in `migrations/`, kept in the table `seatkeeper._sqlx_migrations`.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// How the database compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// There is none.
    Absent,
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

/// Applies what is missing: our migrations, and then those of the chores' storage.
///
/// # Errors
/// When one of them fails, or the database is away.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await?;
    storage::migrator().run(pool).await
}

/// Looks at the schema.
///
/// # Errors
/// When the database cannot be asked.
pub async fn schema(pool: &PgPool) -> sqlx::Result<Schema> {
    let exists: bool = sqlx::query_scalar("select to_regclass('seatkeeper._sqlx_migrations') is not null")
        .fetch_one(pool)
        .await?;
    if !exists {
        return Ok(Schema::Absent);
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
