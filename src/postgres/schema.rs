//! The schema in the database against the one that this build needs.

use std::sync::LazyLock;

use sqlx::PgPool;
use sqlx::migrate::Migrator;

use super::pool::in_full;
use crate::queue::chores::storage;

/// The migrations in `migrations/`, kept in the table `seatkeeper._sqlx_migrations`.
/// To be run by [`migrate`](super::migrate), which sees to it that nobody else does at the same time.
pub static MIGRATOR: LazyLock<Migrator> = LazyLock::new(ours);

/// The same, for who changes something about them.
pub(super) fn ours() -> Migrator {
    let mut migrator = sqlx::migrate!();
    migrator.set_locking(false);
    migrator
}

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
