//! The roles: who may do what in the database.
//!
//! What they have to be is `roles.sql`, which makes them so. What a database has, after whatever anybody did to it, is compared
//! with a manifest of that.

mod catalog;
mod drift;
mod manifest;
mod prefix;
mod repair;

use sqlx::{AssertSqlSafe, PgPool};

use super::{ErrorClass, MigrationError, Schema, holders, needed, schema};

pub use drift::{Advice, Drift, Kind, Look, look};
pub use manifest::{Entry, MANIFEST, as_manifest, live};
pub use prefix::{RolePrefix, UnusablePrefix};

/// Their names, with the prefix that they have when nobody says otherwise.
pub const ROLES: [&str; 10] = [
    "seatkeeper_enroller",
    "seatkeeper_booker",
    "seatkeeper_cashier",
    "seatkeeper_registrar",
    "seatkeeper_producer",
    "seatkeeper_reader",
    "seatkeeper_catalog",
    "seatkeeper_worker",
    "seatkeeper_monitor",
    "seatkeeper_operator",
];

/// Makes the roles that are missing, and gives all of them exactly the rights that they are to have. To be run in one
/// transaction. With the names of [`ROLES`]; for others, [`RolePrefix::sql`].
pub const ROLES_SQL: &str = include_str!("../roles.sql");

/// Runs [`ROLES_SQL`] on a database with an up-to-date schema, and takes away what is too much besides. Any number may do so at once.
///
/// # Errors
/// As of [`apply`].
pub async fn apply_roles(pool: &PgPool) -> Result<(), MigrationError> {
    apply(pool, &RolePrefix::default()).await.map(drop)
}

/// Runs [`ROLES_SQL`] with this prefix on a database with an up-to-date schema, then puts right what it may of what differs still
/// (of our roles and of PUBLIC, as far as PostgreSQL lets this account), and gives what is left. Any number may do so at once.
///
/// What others were given is left to them who gave it, and nothing is compared where the schema is newer than this build.
///
/// # Errors
/// When PostgreSQL refuses (42501: it takes the right to create roles, and to grant what the schema's owner has), somebody else who
/// migrates or applies the roles takes too long, or the database is away; nothing has changed then.
pub async fn apply(pool: &PgPool, prefix: &RolePrefix) -> Result<Vec<Drift>, MigrationError> {
    let is_known = matches!(schema(pool).await?, Schema::Usable { applied } if applied == needed());
    let mut transaction = pool.begin().await?;
    let applied = async {
        // What a role of ours has passed on depends on its own right, which could not be revoked.
        repair::take_grant_options(&mut transaction, prefix).await?;
        sqlx::raw_sql(AssertSqlSafe(prefix.sql())).execute(&mut *transaction).await?;
        if is_known { repair::put_right(&mut transaction, prefix).await } else { Ok(Vec::new()) }
    };
    match applied.await {
        Ok(left) => {
            transaction.commit().await?;
            Ok(left)
        }
        Err(error) if ErrorClass::of(&error) == ErrorClass::LockTimeout => {
            transaction.rollback().await?;
            let holders = holders::ask(&mut *pool.acquire().await?, holders::OF_MIGRATIONS).await?;
            Err(MigrationError::HeldUp { what: "the turn to apply the roles", holders })
        }
        Err(error) => Err(error.into()),
    }
}
