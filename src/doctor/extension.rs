//! The extension that the guard against two places at once is made with.

use sqlx::PgConnection;

use super::Finding;
use crate::postgres::Schema;

/// Where to begin when it is not there for want of its files.
const FILES: &str =
    "install PostgreSQL's contrib package where the server runs (Debian: it is part of postgresql)";

pub(super) async fn finding(connection: &mut PgConnection, schema: Schema) -> sqlx::Result<Finding> {
    let row = sqlx::query!(
        r#"-- doctor.extension
           select (select extversion from pg_catalog.pg_extension where extname = 'btree_gist') as installed,
                  exists (select from pg_catalog.pg_available_extensions where name = 'btree_gist') as "is_available!""#
    )
    .fetch_one(connection)
    .await?;
    if let Some(version) = row.installed {
        return Ok(Finding::ok("extension", format!("btree_gist {version}")));
    }
    let put_back = match schema {
        // Migrations that are applied already are not applied again.
        Schema::Usable { .. } => {
            "put it back with the statements of the guards, which make its constraint as well"
        }
        _ => "run `seatkeeper migrate up`, which makes it",
    };
    let todo = if row.is_available { put_back.to_owned() } else { format!("{FILES}, then {put_back}") };
    Ok(Finding::problem(
        "extension",
        "btree_gist is not there: nothing keeps a user from being in two places at once",
        todo,
    ))
}
