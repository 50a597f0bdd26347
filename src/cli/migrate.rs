//! `migrate`: the schema, step by step.

use clap::{Args, Subcommand};
use seatkeeper::postgres::MIGRATOR;
use serde_json::json;

use super::database::DatabaseFlags;
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
                let before = applied(&database.pool).await?;
                MIGRATOR.run(&database.pool).await.map_err(|error| {
                    Failure::unable(format!("the schema could not be brought up to date: {error}"))
                })?;
                let after = applied(&database.pool).await?;
                if json {
                    println!(
                        "{}",
                        json!({ "applied": after.iter().filter(|v| !before.contains(v)).collect::<Vec<_>>() })
                    );
                } else if before.len() == after.len() {
                    println!("nothing to do: the schema is up to date");
                } else {
                    println!("applied {} migrations; the schema is up to date", after.len() - before.len());
                }
                Ok(Exit::Fine)
            }
            What::Status { database, json } => {
                let database = database.open(1).await?;
                let applied = applied(&database.pool).await?;
                let rows: Vec<_> = MIGRATOR
                    .iter()
                    .map(|migration| {
                        (
                            migration.version,
                            migration.description.to_string(),
                            applied.contains(&migration.version),
                        )
                    })
                    .collect();
                if json {
                    let rows: Vec<_> = rows
                        .iter()
                        .map(|(version, description, applied)| {
                            json!({ "version": version, "description": description, "applied": applied })
                        })
                        .collect();
                    println!("{}", json!({ "migrations": rows }));
                } else {
                    for (version, description, applied) in &rows {
                        println!(
                            "{version:>4}  {}  {description}",
                            if *applied { "applied" } else { "missing" }
                        );
                    }
                }
                Ok(Exit::Fine)
            }
            What::Sql => {
                for migration in MIGRATOR.iter() {
                    println!(
                        "-- {:04} {}\n{}",
                        migration.version,
                        migration.description,
                        migration.sql.as_str()
                    );
                }
                Ok(Exit::Fine)
            }
        }
    }
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
