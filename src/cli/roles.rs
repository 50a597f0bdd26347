//! `roles`: who may do what in the database.

use clap::{ArgGroup, Args};
use seatkeeper::postgres::{ErrorClass, MigrationError, ROLES, ROLES_SQL, apply_roles};
use serde_json::json;

use super::database::DatabaseFlags;
use super::terminal::{Page, foreign, line, print, print_json, print_own};
use super::{Exit, Failure};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["print_sql", "apply"]).required(true))]
pub struct Roles {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Print the SQL, for somebody who may run it; needs no database
    #[arg(long, env = "SEATKEEPER_PRINT_SQL")]
    print_sql: bool,
    /// Make the roles, and give them exactly their rights; again after each `migrate up`
    #[arg(long, env = "SEATKEEPER_APPLY")]
    apply: bool,
    /// Print what was done as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Roles {
    pub async fn execute(self) -> Result<Exit, Failure> {
        if self.print_sql {
            let sql = format!("begin;\n{ROLES_SQL}commit;\n");
            if self.json {
                print_json(&json!({ "sql": sql }))?;
            } else {
                print_own(&sql);
            }
            return Ok(Exit::Fine);
        }
        // To who may not look at the schema PostgreSQL refuses all of it, and the words below say who may.
        let database = self.database.open_usable_or_hidden(1).await?;
        apply_roles(&database.pool).await.map_err(|error| match error {
            MigrationError::Database(error) if ErrorClass::of(&error) == ErrorClass::Environment => {
                let why = foreign(seatkeeper::postgres::describe(&error));
                Failure::unable(format!(
                    "not allowed: {why}; it takes the owner of the schema with the right to create roles: have \
                     that account run what --print-sql prints"
                ))
            }
            MigrationError::Database(error) => error.into(),
            error => Failure::unable(error.to_string()),
        })?;
        database.close().await?;
        if self.json {
            print_json(&json!({ "applied": true, "roles": ROLES }))?;
        } else {
            let mut page = Page::default();
            line!(page, "done: {}", ROLES.join(", "));
            page.line("give them to accounts that log in: create role app login in role seatkeeper_producer");
            print(&page);
        }
        Ok(Exit::Fine)
    }
}
