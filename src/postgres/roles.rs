//! The roles: who may do what in the database.

use sqlx::PgPool;

use super::{ErrorClass, MigrationError, holders};

/// Their names.
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
/// transaction.
pub const ROLES_SQL: &str = include_str!("roles.sql");

/// Runs [`ROLES_SQL`] on a database with an up-to-date schema. Any number may do so at once.
///
/// # Errors
/// When PostgreSQL refuses (42501: it takes the right to create roles, and to grant what the schema's owner has), somebody else who
/// migrates or applies the roles takes too long, or the database is away; nothing has changed then.
pub async fn apply_roles(pool: &PgPool) -> Result<(), MigrationError> {
    let mut transaction = pool.begin().await?;
    match sqlx::raw_sql(ROLES_SQL).execute(&mut *transaction).await {
        Ok(_) => Ok(transaction.commit().await?),
        Err(error) if ErrorClass::of(&error) == ErrorClass::LockTimeout => {
            transaction.rollback().await?;
            let holders = holders::ask(&mut *pool.acquire().await?, holders::OF_MIGRATIONS).await?;
            Err(MigrationError::HeldUp { what: "the turn to apply the roles", holders })
        }
        Err(error) => Err(error.into()),
    }
}
