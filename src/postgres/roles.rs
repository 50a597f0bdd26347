//! The roles: who may do what in the database.

use sqlx::PgPool;

/// Their names.
pub const ROLES: [&str; 5] = [
    "seatkeeper_producer",
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
/// When PostgreSQL refuses (42501: it takes the right to create roles, and to grant what the schema's owner has), or
/// is away; nothing has changed then.
pub async fn apply_roles(pool: &PgPool) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql(ROLES_SQL).execute(&mut *transaction).await?;
    transaction.commit().await
}
