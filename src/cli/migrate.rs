//! `migrate`: the schema, step by step.

use clap::{Args, Subcommand};
use seatkeeper::postgres::{MIGRATOR, migrate};
use seatkeeper::queue::chores::storage;
use serde_json::json;
use sqlx::migrate::{Migration, Migrator};

use super::database::DatabaseFlags;
use super::terminal::{Page, foreign, line, print, print_json, print_line, print_own};
use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Migrate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Apply what is missing
    Up {
        #[command(flatten)]
        database: DatabaseFlags,
        /// Print the result as JSON
        #[arg(long, env = "SEATKEEPER_JSON")]
        json: bool,
    },
    /// Show what is applied and what is missing
    Status {
        #[command(flatten)]
        database: DatabaseFlags,
        /// Print the result as JSON
        #[arg(long, env = "SEATKEEPER_JSON")]
        json: bool,
    },
    /// Print all of it as SQL
    Sql,
}

impl Migrate {
    pub async fn execute(self) -> Result<Exit, Failure> {
        match self.what {
            What::Up { database, json } => {
                let database = database.open(1).await?;
                let before = (applied(&database.pool).await?, storage::applied(&database.pool).await?);
                migrate(&database.pool).await.map_err(|error| {
                    Failure::unable(format!("the schema could not be brought up to date: {}", foreign(error)))
                })?;
                let after = (applied(&database.pool).await?, storage::applied(&database.pool).await?);
                let new = |before: &[i64], after: &[i64]| {
                    after.iter().filter(|version| !before.contains(version)).copied().collect::<Vec<_>>()
                };
                let (ours, storage) = (new(&before.0, &after.0), new(&before.1, &after.1));
                if json {
                    print_json(&json!({ "applied": ours, "storage_applied": storage }))?;
                } else if ours.is_empty() && storage.is_empty() {
                    print_line("nothing to do: the schema is up to date");
                } else {
                    print_line(format_args!(
                        "applied {} migrations, and {} of the chores' storage; the schema is up to date",
                        ours.len(),
                        storage.len()
                    ));
                }
                Ok(Exit::Fine)
            }
            What::Status { database, json } => {
                let database = database.open(1).await?;
                let ours = rows(&MIGRATOR, &applied(&database.pool).await?);
                let storage = rows(&storage::migrator(), &storage::applied(&database.pool).await?);
                if json {
                    print_json(&json!({ "migrations": ours, "storage": storage }))?;
                } else {
                    let mut page = Page::default();
                    for row in ours.iter().chain(&storage) {
                        let state = if row.applied { "applied" } else { "missing" };
                        line!(page, "{:>4}  {state}  {}", row.version, row.description);
                    }
                    print(&page);
                }
                Ok(Exit::Fine)
            }
            What::Sql => {
                let storage = storage::migrator();
                for migration in MIGRATOR.iter().chain(storage.iter()) {
                    print_own(&format!(
                        "-- {:04} {}\n{}\n",
                        migration.version,
                        migration.description,
                        migration.sql.as_str()
                    ));
                }
                Ok(Exit::Fine)
            }
        }
    }
}

/// A migration, and whether the database has it.
#[derive(Debug, serde::Serialize)]
struct Row {
    version: i64,
    description: String,
    applied: bool,
}

fn rows(migrator: &Migrator, applied: &[i64]) -> Vec<Row> {
    let row = |migration: &Migration| Row {
        version: migration.version,
        description: migration.description.to_string(),
        applied: applied.contains(&migration.version),
    };
    migrator.iter().map(row).collect()
}

async fn applied(pool: &sqlx::PgPool) -> Result<Vec<i64>, Failure> {
    let exists: bool = sqlx::query_scalar("select to_regclass('seatkeeper._sqlx_migrations') is not null")
        .fetch_one(pool)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar("select version from seatkeeper._sqlx_migrations where success order by version")
        .fetch_all(pool)
        .await?)
}
