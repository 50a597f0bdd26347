//! The doctor: what is wrong with an installation, and what to do about it.
//!
//! It only reads. Each finding is of the moment.

mod connection;
mod extension;
mod fills;
mod guards;
mod of_roles;
mod queue;
mod replication;
mod roles;
mod roll_call;
mod schedules;
mod sequences;
mod server;
mod transactions;

use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};

use crate::operate;
use crate::postgres::roles::RolePrefix;
use crate::postgres::{self, Schema, opening};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be, or good to know.
    Ok,
    /// Not as it should be; the promises hold.
    Warning,
    /// Something does not work, or a promise does not hold.
    Problem,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at, in a word.
    pub subject: &'static str,
    /// How it is.
    pub what: String,
    /// What to do about it.
    pub todo: Option<String>,
    /// The statements that do it, each to be run by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sql: Vec<String>,
}

impl Finding {
    fn ok(subject: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, subject, what: what.into(), todo: None, sql: Vec::new() }
    }

    fn warning(subject: &'static str, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { level: Level::Warning, subject, what: what.into(), todo: Some(todo.into()), sql: Vec::new() }
    }

    fn problem(subject: &'static str, what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { level: Level::Problem, subject, what: what.into(), todo: Some(todo.into()), sql: Vec::new() }
    }

    fn with(self, sql: Vec<String>) -> Self {
        Self { sql, ..self }
    }
}

/// Looks at everything. `workers` = batches in parallel of one `seatkeeper run`, for its need of connections.
///
/// # Errors
/// When the database cannot be asked.
pub async fn examine(pool: &PgPool, workers: u16) -> sqlx::Result<Vec<Finding>> {
    examine_with(pool, workers, &RolePrefix::default()).await
}

/// The same where the roles have names of their own.
///
/// # Errors
/// When the database cannot be asked.
pub async fn examine_with(pool: &PgPool, workers: u16, prefix: &RolePrefix) -> sqlx::Result<Vec<Finding>> {
    let schema = postgres::schema(pool).await?;
    let mut connection = pool.acquire().await?;
    let mut findings = vec![schema_finding(schema)];
    findings.push(connection::finding(&mut connection, &pool.connect_options()).await?);
    findings.extend(server::findings(&mut connection, workers).await?);
    findings.push(replication::finding(&mut connection).await?);
    findings.push(extension::finding(&mut connection, schema).await?);
    if schema == Schema::Hidden {
        findings.extend(roles::findings(&mut connection, schema, prefix).await?);
    }
    // Half a schema has nothing to be compared with.
    if matches!(schema, Schema::Usable { .. }) {
        findings.extend(of_roles::findings(&mut connection).await?);
        findings.extend(guards::findings(&mut connection).await?);
        // What a guard is missing, nobody can be given a right on.
        findings.extend(roles::findings(&mut connection, schema, prefix).await?);
        findings.push(sequences::finding(&mut connection).await?);
        findings.push(transactions::finding(&mut connection).await?);
        findings.push(roll_call::finding(&mut connection).await?);
        findings.extend(queue_findings(&mut connection).await?);
        findings.extend(schedules::findings(&mut connection).await?);
        drop(connection);
        findings.extend(operate::pauses(pool).await?.iter().map(queue::pause_finding));
    }
    Ok(findings)
}

async fn queue_findings(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    // By the indexes of the queue: among millions of answered requests any other way is a scan of all of them.
    let mut read = connection
        .begin_with(opening(
            "begin read only; set local statement_timeout = 10000; set local enable_seqscan = off; \
             set local enable_bitmapscan = off; set local jit = off",
        ))
        .await?;
    let mut findings = queue::findings(&mut read).await?;
    findings.push(queue::scheduled(&mut read).await?);
    findings.push(fills::finding(&mut read).await?);
    read.commit().await?;
    Ok(findings)
}

fn schema_finding(schema: Schema) -> Finding {
    const UP: &str = "run `seatkeeper migrate up`";
    let needed = postgres::needed();
    match schema {
        Schema::Usable { applied } if applied > needed => Finding::warning(
            "schema",
            format!("migration {applied} is applied, this version knows {needed}: the schema is newer"),
            "bring this program up to date soon; it works with a schema that is one version newer",
        ),
        Schema::Usable { applied } => Finding::ok("schema", format!("up to date, migration {applied}")),
        Schema::Absent => Finding::problem("schema", "there is no schema seatkeeper in this database", UP),
        Schema::Hidden => Finding::problem(
            "schema",
            "this account may not look into the schema: only what everybody may see was examined",
            "ask as a member of seatkeeper_monitor",
        ),
        Schema::Older { applied, needed } => Finding::problem(
            "schema",
            format!("too old: migration {applied} is applied, {needed} is needed; nothing is worked off"),
            UP,
        ),
        Schema::WithoutChores => Finding::problem(
            "schema",
            "the storage of the chores (schema apalis) is missing, incomplete or too old; nothing is worked off",
            "run `seatkeeper migrate up`; when that finds nothing to do, a restore has left a table out: `drop schema apalis cascade` \
             (unless an application shares it), then `seatkeeper migrate up`",
        ),
        Schema::Dirty { version } => Finding::problem(
            "schema",
            format!("migration {version} was started and did not finish"),
            "see what `seatkeeper migrate status` says, repair by hand, and run `seatkeeper migrate up` again",
        ),
    }
}
