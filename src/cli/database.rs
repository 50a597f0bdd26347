//! Which database a verb works on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{self, ErrorClass, Schema, UnusableUrl};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use super::Failure;
use super::terminal::foreign;

/// How long the connections have to close.
const CLOSES_WITHIN: Duration = Duration::from_secs(5);

/// The flags that say which.
#[derive(Debug, Clone, Args)]
pub struct DatabaseFlags {
    /// The database: postgres://user:password@host/name?sslmode=verify-full. Another machine is reached
    /// encrypted; sslmode=verify-full (and sslrootcert=FILE, where no public authority issued its certificate)
    /// has it prove who it is, and only sslmode=disable does without encryption
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// Work on an embedded PostgreSQL of this machine instead, kept in the data directory
    #[arg(long, env = "SEATKEEPER_EMBEDDED")]
    embedded: bool,
    /// Where the embedded PostgreSQL lives
    #[arg(long, env = "SEATKEEPER_DATA_DIR", default_value = ".seatkeeper")]
    data_dir: PathBuf,
}

/// The account of the workers on an embedded server.
const WORKER: &str = "seatkeeper_embedded_worker";

/// With whose rights an embedded server is worked on. Of any other database the URL says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// All of them.
    Owner,
    /// Those of `seatkeeper_worker`.
    Worker,
}

/// Connections to a database of an embedded server with the rights of a worker only. Its roles are made, or put right.
pub async fn as_worker(
    embedded: &Embedded,
    owner: &PgPool,
    database: &str,
) -> Result<PgConnectOptions, Failure> {
    postgres::apply_roles(owner).await.map_err(|error| Failure::unable(error.to_string()))?;
    Ok(embedded.account(WORKER, "seatkeeper_worker", database).await?)
}

/// A database to work on.
#[derive(Debug)]
pub struct Database {
    /// Connections, opened when they are needed.
    pub pool: PgPool,
    /// The server, when it is ours.
    embedded: Option<Embedded>,
}

impl Database {
    /// Lets everything go, and stops a server of our own.
    pub async fn close(self) -> Result<(), Failure> {
        // A connection that has fallen silent would be waited for without end.
        if tokio::time::timeout(CLOSES_WITHIN, self.pool.close()).await.is_err() {
            tracing::warn!("a connection did not close in time, and is left");
        }
        if let Some(embedded) = self.embedded {
            embedded.stop().await?;
        }
        Ok(())
    }

    /// Starts the embedded server of a data directory and, as its owner, brings its schema up to date.
    pub async fn embedded(data_dir: &Path, connections: u32, rights: Rights) -> Result<Self, Failure> {
        let embedded = Embedded::start(Options::new(data_dir)).await?;
        let admin = postgres::pool(embedded.connect_options("postgres"), 1);
        let exists: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = 'seatkeeper')")
                .fetch_one(&admin)
                .await?;
        if !exists {
            sqlx::query("create database seatkeeper").execute(&admin).await?;
        }
        admin.close().await;
        let options = embedded.connect_options("seatkeeper").application_name("seatkeeper");
        let pool = postgres::pool_set_up(options, connections);
        postgres::migrate(&pool).await.map_err(|error| Failure::unable(foreign(error).to_string()))?;
        let pool = match rights {
            Rights::Owner => pool,
            Rights::Worker => {
                let options = as_worker(&embedded, &pool, "seatkeeper").await?;
                pool.close().await;
                postgres::pool_set_up(options.application_name("seatkeeper"), connections)
            }
        };
        Ok(Self { pool, embedded: Some(embedded) })
    }
}

impl DatabaseFlags {
    /// Opens it, with at most `connections` at a time. An embedded server is started and migrated; any other database
    /// is not even looked at yet.
    pub async fn open(&self, connections: u32) -> Result<Database, Failure> {
        self.open_with(connections, Rights::Owner).await
    }

    /// The same for a verb that needs no more than these rights.
    pub async fn open_with(&self, connections: u32, rights: Rights) -> Result<Database, Failure> {
        match (&self.database_url, self.embedded) {
            (_, true) => Database::embedded(&self.data_dir, connections, rights).await,
            (Some(url), false) => {
                let options = connect_options(url)?;
                Ok(Database { pool: postgres::pool_set_up(options, connections), embedded: None })
            }
            (None, false) => Err(Failure::usage(
                "which database? Give --database-url or DATABASE_URL, or --embedded for one on this machine",
            )),
        }
    }

    /// Opens it for a verb that needs a usable schema at once.
    pub async fn open_usable(&self, connections: u32) -> Result<Database, Failure> {
        let database = self.open(connections).await?;
        usable(postgres::schema(&database.pool).await?)?;
        Ok(database)
    }

    /// Opens it for a verb that does with the rights of producers, or of the catalog's owners, who may not see which
    /// migrations are applied. Where that is hidden, PostgreSQL says itself what the verb lacks.
    pub async fn open_usable_or_hidden(&self, connections: u32) -> Result<Database, Failure> {
        let database = self.open(connections).await?;
        match postgres::schema(&database.pool).await? {
            Schema::Hidden => {}
            schema => usable(schema)?,
        }
        Ok(database)
    }
}

/// Reads what --database-url says.
pub fn connect_options(url: &str) -> Result<PgConnectOptions, Failure> {
    postgres::connect_options(url).map_err(|error| match error {
        UnusableUrl::NotUnderstood(why) => {
            Failure::usage(format!("--database-url (or DATABASE_URL) cannot be used: {why}"))
        }
        UnusableUrl::NoRelay(_) => Failure::unable(error.to_string()),
    })
}

/// Refuses a schema that is older than this build needs.
pub fn usable(schema: Schema) -> Result<(), Failure> {
    match schema {
        Schema::Usable { .. } => Ok(()),
        Schema::Absent => {
            Err(Failure::unable("the database has no schema seatkeeper; run `seatkeeper migrate up` first"))
        }
        Schema::Hidden => Err(Failure::unable(
            "this account may not see whether the schema is up to date: it takes the rights of seatkeeper_monitor, \
             seatkeeper_operator or seatkeeper_worker (`seatkeeper roles`)",
        )),
        Schema::Older { applied, needed } => Err(Failure::unable(format!(
            "the schema is too old: migration {applied} is applied, {needed} is needed; run `seatkeeper migrate up`"
        ))),
        Schema::WithoutChores => Err(Failure::unable(
            "the schema is too old: the storage of the chores (schema apalis) is incomplete or not up to date; run `seatkeeper migrate up`, or see `seatkeeper doctor`",
        )),
        Schema::Dirty { version } => Err(Failure::unable(format!(
            "migration {version} was started and did not finish; see `seatkeeper migrate status`"
        ))),
    }
}

/// Why the database could not be used, and what to look at when it could not even be reached.
pub fn refusal(error: &sqlx::Error) -> String {
    if let Some(distrust) = postgres::distrust(error) {
        return format!("the server is there, but not trusted: {}; {}", distrust.what, distrust.todo);
    }
    let words = foreign(postgres::describe(error));
    match ErrorClass::of(error) {
        ErrorClass::Connection => {
            format!(
                "the database is not there: {words}; check --database-url (or DATABASE_URL), and that the server runs"
            )
        }
        _ => format!("the database refused: {words}"),
    }
}

/// The same of what reads payloads, which a monitor may not.
pub fn refusal_to_read(error: &sqlx::Error) -> String {
    let why = refusal(error);
    match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("42501") => {
            format!(
                "{why}; to read what was asked takes the rights of seatkeeper_reader or seatkeeper_operator"
            )
        }
        _ => why,
    }
}
