//! `roles`: who may do what in the database.

use clap::{ArgGroup, Args};
use seatkeeper::postgres::{ErrorClass, ROLES, ROLES_SQL, apply_roles};
use serde_json::json;

use super::database::DatabaseFlags;
use super::{Exit, Failure, print};

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
            print(&if self.json { format!("{}\n", json!({ "sql": sql })) } else { sql });
            return Ok(Exit::Fine);
        }
        // To who may not look at the schema PostgreSQL refuses all of it, and the words below say who may.
        let database = self.database.open_usable_or_hidden(1).await?;
        apply_roles(&database.pool).await.map_err(|error| {
            let why = seatkeeper::postgres::describe(&error);
            if matches!(ErrorClass::of(&error), ErrorClass::Environment) {
                Failure::unable(format!(
                    "not allowed: {why}; it takes the owner of the schema with the right to create roles: have \
                     that account run what --print-sql prints"
                ))
            } else {
                error.into()
            }
        })?;
        database.close().await?;
        if self.json {
            print(&format!("{}\n", json!({ "applied": true, "roles": ROLES })));
        } else {
            print(&format!(
                "done: {}\ngive them to accounts that log in: create role app login in role seatkeeper_producer\n",
                ROLES.join(", ")
            ));
        }
        Ok(Exit::Fine)
    }
}
