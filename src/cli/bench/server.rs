//! The server that is measured, and the databases that a measurement makes on it: each of its own, from a template, so
//! that none meets the leavings of another.

use std::path::Path;
use std::time::Duration;

use seatkeeper::postgres;
use seatkeeper::postgres::embedded::{Embedded, Options};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgPool};

use crate::cli::{Failure, database};

/// What the server lets in: clients, workers and whoever looks on.
const MAX_CONNECTIONS: u32 = 120;
/// Whose pages are counted; not there on every server.
const STATEMENTS: &str = "pg_stat_statements";

/// A server to measure on.
pub struct Server {
    embedded: Option<Embedded>,
    options: PgConnectOptions,
    /// On the database that the databases of the measurement are made from.
    pub admin: PgPool,
    /// Begins the names of all databases that are made here.
    prefix: String,
    /// `server_version_num`.
    pub version: i32,
    /// Whether pages can be counted, statement by statement.
    pub counts_pages: bool,
}

impl Server {
    /// Starts the embedded server of a data directory.
    pub async fn embedded(data_dir: &Path) -> Result<Self, Failure> {
        let mut options = Options::new(data_dir);
        options.settings.push(("max_connections".into(), MAX_CONNECTIONS.to_string()));
        options.settings.push(("shared_preload_libraries".into(), STATEMENTS.into()));
        // Switched on for the databases whose claims are looked at.
        options.settings.push((format!("{STATEMENTS}.track"), "none".into()));
        let embedded = Embedded::start(options).await?;
        let options = embedded.connect_options("postgres");
        let server = Self::on(options, "seatkeeper_bench".into(), Some(embedded)).await?;
        // Nobody else is on this server: what is there of an earlier measurement was left when it was killed.
        server.remove_databases().await?;
        Ok(server)
    }

    /// Uses a server that is there. Its databases are left alone: the measurement makes its own.
    pub async fn given(url: &str) -> Result<Self, Failure> {
        let options = database::connect_options(url)?;
        Self::on(options, format!("seatkeeper_bench_{:08x}", rand::random::<u32>()), None).await
    }

    async fn on(
        options: PgConnectOptions,
        prefix: String,
        embedded: Option<Embedded>,
    ) -> Result<Self, Failure> {
        // To copy and to drop a database takes its time.
        let options = options.application_name("seatkeeper bench").disable_statement_logging();
        let admin = postgres::pool(options.clone(), 2);
        let (version, counts_pages): (i32, bool) = sqlx::query_as(
            "select current_setting('server_version_num')::integer,
                    current_setting('shared_preload_libraries') like '%pg_stat_statements%'
                    and exists (select from pg_available_extensions where name = 'pg_stat_statements')",
        )
        .fetch_one(&admin)
        .await?;
        Ok(Self { embedded, options, admin, prefix, version, counts_pages })
    }

    /// What the server runs on, for the heading.
    pub fn name(&self) -> String {
        let version = self.version / 10_000;
        match &self.embedded {
            Some(_) => format!("PostgreSQL {version}, embedded"),
            None => format!("PostgreSQL {version}, a given server"),
        }
    }

    /// Makes a database, empty or as a copy of one that was made here. Gives connections to it, at most `size`.
    pub async fn make(&self, name: &str, template: Option<&str>, size: u32) -> Result<PgPool, Failure> {
        let name = format!("{}_{name}", self.prefix);
        self.drop(&name).await?;
        let template = template.map(|template| {
            // Copied file by file, not through the WAL, which would be written during the measurement.
            let strategy = if self.version >= 150_000 { " strategy file_copy" } else { "" };
            format!(" template {}_{template}{strategy}", self.prefix)
        });
        let create = format!("create database {name}{}", template.unwrap_or_default());
        sqlx::query(AssertSqlSafe(create)).execute(&self.admin).await?;
        Ok(postgres::pool(self.options.clone().database(&name), size))
    }

    /// Connections to a database that was made here, at most `size`.
    pub fn connect(&self, name: &str, size: u32) -> PgPool {
        postgres::pool(self.options.clone().database(&format!("{}_{name}", self.prefix)), size)
    }

    /// How many are connected to it.
    pub async fn clients(&self, name: &str) -> Result<i64, Failure> {
        Ok(sqlx::query_scalar("select count(*) from pg_stat_activity where datname = $1")
            .bind(format!("{}_{name}", self.prefix))
            .fetch_one(&self.admin)
            .await?)
    }

    /// Counts the pages that the statements in a database touch, from the next connection on; where that is possible.
    pub async fn count_pages(&self, name: &str) -> Result<(), Failure> {
        if !self.counts_pages {
            return Ok(());
        }
        let alter = format!("alter database {}_{name} set {STATEMENTS}.track = 'top'", self.prefix);
        sqlx::query(AssertSqlSafe(alter)).execute(&self.admin).await?;
        Ok(())
    }

    async fn drop(&self, name: &str) -> Result<(), Failure> {
        let drop = format!("drop database if exists {name} with (force)");
        sqlx::query(AssertSqlSafe(drop)).execute(&self.admin).await?;
        Ok(())
    }

    /// User and system time of all processes of the server so far, those that ended included. `None`: it is not ours to
    /// look at.
    pub fn cpu(&self) -> Option<Duration> {
        let postmaster = self.embedded.as_ref()?.server_pid()?;
        let mut ticks = 0;
        for entry in std::fs::read_dir("/proc").ok()? {
            let Ok(stat) = std::fs::read_to_string(entry.ok()?.path().join("stat")) else { continue };
            ticks += ticks_of(&stat, postmaster).unwrap_or_default();
        }
        // A tick is a hundredth of a second on every Linux that user space sees.
        Some(Duration::from_millis(ticks * 10))
    }

    /// The time of one fdatasync of a page beside the cluster, in milliseconds: the middle of many. `None`: the server's
    /// disk is not ours to look at.
    pub async fn fdatasync(&self) -> Result<Option<f64>, Failure> {
        const SYNCS: usize = 200;
        let Some(embedded) = &self.embedded else { return Ok(None) };
        let path = embedded.cluster_dir().join("fdatasync-of-the-bench");
        let unable =
            |error: std::io::Error| Failure::unable(format!("fdatasync could not be measured: {error}"));
        let times = tokio::task::spawn_blocking(move || {
            use std::os::unix::fs::FileExt as _;
            // The directory is the server's: nothing that is there is written to, wherever it leads.
            let _ = std::fs::remove_file(&path);
            let file = std::fs::File::create_new(&path)?;
            let mut times = Vec::with_capacity(SYNCS);
            for number in 0..=SYNCS {
                file.write_all_at(&[u8::try_from(number % 251).unwrap_or_default(); 8192], 0)?;
                let began = std::time::Instant::now();
                file.sync_data()?;
                // The first one makes the file.
                if number > 0 {
                    times.push(began.elapsed().as_secs_f64() * 1_000.0);
                }
            }
            std::fs::remove_file(&path)?;
            Ok(times)
        });
        let times = times.await.map_err(|error| Failure::unable(error.to_string()))?.map_err(unable)?;
        Ok(super::figures::median(&times))
    }

    async fn remove_databases(&self) -> Result<(), Failure> {
        let names: Vec<String> =
            sqlx::query_scalar("select datname from pg_database where starts_with(datname, $1)")
                .bind(format!("{}_", self.prefix))
                .fetch_all(&self.admin)
                .await?;
        for name in names {
            self.drop(&name).await?;
        }
        Ok(())
    }

    /// Removes what was made, and stops a server of our own.
    pub async fn close(self) -> Result<(), Failure> {
        self.remove_databases().await?;
        self.admin.close().await;
        if let Some(embedded) = self.embedded {
            embedded.stop().await?;
        }
        Ok(())
    }
}

/// What `/proc/PID/stat` says of a process, if it belongs to the server; of the postmaster, with its ended children.
fn ticks_of(stat: &str, postmaster: u32) -> Option<u64> {
    // Behind the name in parentheses: state, parent, …; the times are fields 14 to 17 of the whole.
    let (head, tail) = stat.rsplit_once(')')?;
    let pid: u32 = head.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    let parent: u32 = fields.get(1)?.parse().ok()?;
    let times = match () {
        () if pid == postmaster => 11..15,
        () if parent == postmaster => 11..13,
        () => return None,
    };
    Some(fields.get(times)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::ticks_of;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = |pid: u32, parent: u32| {
            format!("{pid} (a ) (b) S {parent} 1 1 0 -1 4194304 100 0 0 0 5 7 11 13 20 0 1 0 99")
        };
        assert_eq!(ticks_of(&stat(10, 1), 10), Some(36), "the postmaster, with its ended children");
        assert_eq!(ticks_of(&stat(11, 10), 10), Some(12), "a child, alone");
        assert_eq!(ticks_of(&stat(12, 2), 10), None, "a stranger");
        assert_eq!(ticks_of("nonsense", 10), None);
    }
}
