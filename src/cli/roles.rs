//! `roles`: who may do what in the database.

use clap::{ArgGroup, Args};
use seatkeeper::postgres::roles::{self, Advice, Drift, RolePrefix};
use seatkeeper::postgres::{self, ErrorClass, MigrationError, Schema};
use serde_json::json;

use super::database::{Database, DatabaseFlags, usable};
use super::terminal::{Page, foreign, line, print, print_json, print_own};
use super::{Exit, Failure};

/// The flag that says what the names of the roles begin with.
#[derive(Debug, Args)]
pub struct RolePrefixFlag {
    /// What the names of the roles begin with. Roles are the whole server's: where it has several installations, each needs its own
    #[arg(long, env = "SEATKEEPER_ROLE_PREFIX", value_name = "PREFIX", default_value = "seatkeeper_")]
    pub role_prefix: RolePrefix,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").args(["print_sql", "apply", "check"]).required(true))]
pub struct Roles {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Print the SQL, for somebody who may run it; needs no database
    #[arg(long, env = "SEATKEEPER_PRINT_SQL")]
    print_sql: bool,
    /// Make the roles, and give them exactly their rights; again after each `migrate up`. What others were given is left as it is, and
    /// named
    #[arg(long, env = "SEATKEEPER_APPLY")]
    apply: bool,
    /// Say where the roles, and everybody's rights, differ from what they have to be; changes nothing, and any account may
    #[arg(long, env = "SEATKEEPER_CHECK")]
    check: bool,
    #[command(flatten)]
    names: RolePrefixFlag,
    /// Print what was done or found as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Roles {
    pub async fn execute(self) -> Result<Exit, Failure> {
        if self.print_sql {
            let sql = format!("begin;\n{}commit;\n", self.names.role_prefix.sql());
            if self.json {
                print_json(&json!({ "sql": sql }))?;
            } else {
                print_own(&sql);
            }
            return Ok(Exit::Fine);
        }
        // To who may not look at the schema PostgreSQL refuses to change anything, and the words below say who may.
        let database = self.database.open(1).await?;
        match postgres::schema(&database.pool).await? {
            Schema::Hidden => {}
            Schema::Usable { applied } if applied > postgres::needed() => {
                return Err(Failure::unable(format!(
                    "the schema is newer than this version: migration {applied} is applied, {} is known; the rights on what is new are \
                     known to the version that has made it",
                    postgres::needed()
                )));
            }
            schema => usable(schema)?,
        }
        let is_fine = if self.apply { self.apply(&database).await? } else { self.check(&database).await? };
        database.close().await?;
        Ok(if is_fine { Exit::Fine } else { Exit::BadNews })
    }

    async fn apply(&self, database: &Database) -> Result<bool, Failure> {
        let prefix = &self.names.role_prefix;
        let left = roles::apply(&database.pool, prefix).await.map_err(|error| match error {
            MigrationError::Database(error) if ErrorClass::of(&error) == ErrorClass::Environment => {
                let why = foreign(postgres::describe(&error));
                Failure::unable(format!(
                    "not allowed: {why}; it takes the owner of the schema with the right to create roles: have \
                     that account run what --print-sql prints"
                ))
            }
            MigrationError::Database(error) => error.into(),
            error => Failure::unable(error.to_string()),
        })?;
        if self.json {
            print_json(&json!({ "applied": true, "roles": prefix.names(), "left": left }))?;
        } else {
            let mut page = Page::default();
            line!(page, "done: {}", prefix.names().join(", "));
            line!(
                page,
                "give them to accounts that log in: create role app login in role {}",
                prefix.name("producer")
            );
            if !left.is_empty() {
                line!(page, "{} differences are left, for you to look at:", left.len());
                left.iter().for_each(|one| tell(&mut page, one));
            }
            print(&page);
        }
        Ok(left.is_empty())
    }

    async fn check(&self, database: &Database) -> Result<bool, Failure> {
        let mut connection = database.pool.acquire().await?;
        let found = roles::look(&mut connection, &self.names.role_prefix).await?;
        drop(connection);
        let is_fine = found.drift.is_empty();
        if self.json {
            print_json(&json!({ "as_it_has_to_be": is_fine, "drift": found.drift, "advice": found.advice }))?;
        } else {
            let mut page = Page::default();
            found.drift.iter().for_each(|one| tell(&mut page, one));
            for Advice { what, sql } in &found.advice {
                line!(page, "good to know: {what}");
                line!(page, "    {sql};");
            }
            match found.drift.len() {
                0 => page.line("the roles, and everybody's rights, are as they have to be"),
                1 => page.line("1 difference"),
                several => line!(page, "{several} differences"),
            }
            print(&page);
        }
        Ok(is_fine)
    }
}

fn tell(page: &mut Page, one: &Drift) {
    line!(page, "{}", one.problem);
    if let Some(why) = &one.refused {
        line!(page, "    PostgreSQL refuses to change that: {}", foreign(why));
    }
    if let Some(sql) = &one.sql {
        line!(page, "    {sql};");
    }
}
