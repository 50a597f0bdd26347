//! A database and a process of one build on it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use seatkeeper::postgres::{connect_options, pool};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Those who ask.
pub const USERS: i64 = 10_000;
/// Semesters from 1 to this one are there; loads use them.
pub const LANES: i64 = 200;
/// The lane of the lone requests: in the middle of the others.
pub const QUIET: i64 = 100;
const DATABASE: &str = "neighbours";

/// A program.
pub struct Build {
    pub name: String,
    path: PathBuf,
}

impl Build {
    /// From `name=path`.
    pub fn named(argument: &str) -> Option<Self> {
        let (name, path) = argument.split_once('=')?;
        Some(Self { name: name.to_owned(), path: path.into() })
    }
}

pub struct Stage {
    pub pool: PgPool,
    admin: PgPool,
    address: String,
    process: Child,
}

impl Stage {
    /// Users, semesters, and a process that works.
    pub async fn set(url: &str, build: &Build) -> Self {
        Self::set_before(url, build, "select 1").await
    }

    /// The same, with this done before the process is started.
    pub async fn set_before(url: &str, build: &Build, sql: &str) -> Self {
        let admin = pool(connect_options(url).unwrap(), 2);
        run(&admin, &format!("drop database if exists {DATABASE} with (force)")).await;
        run(&admin, &format!("create database {DATABASE}")).await;
        let options = connect_options(url).unwrap().database(DATABASE);
        let own = url.replacen("/postgres?", &format!("/{DATABASE}?"), 1);
        let migrated = Command::new(&build.path)
            .args(["migrate", "up", "--database-url", &own])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(migrated.success(), "{}: migrate up", build.name);
        let stage_pool = pool(options, 8);
        run(
            &stage_pool,
            &format!(
                "insert into seatkeeper.users (user_id, credit_balance) select n, 0 from generate_series(1, {USERS}) n;
                 insert into seatkeeper.semesters (semester_id, code, status, enrollment_cost)
                 select n, 'S' || n, 'ENROLLMENT_OPEN', 0 from generate_series(1, {LANES}) n"
            ),
        )
        .await;
        run(&stage_pool, sql).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let process = Command::new(&build.path)
            .args(["--log", "error", "run", "--no-scheduler", "--listen", &address, "--database-url", &own])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stage = Self { pool: stage_pool, admin, address, process };
        while stage.get("/readyz").await.is_none_or(|page| !page.starts_with("HTTP/1.1 200")) {
            sleep(Duration::from_millis(10)).await;
        }
        stage
    }

    /// The end.
    pub async fn strike(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.pool.close().await;
        run(&self.admin, &format!("drop database {DATABASE} with (force)")).await;
        self.admin.close().await;
    }

    pub async fn is_anything_ready(&self) -> bool {
        sqlx::query_scalar(
            "select exists (select from seatkeeper.requests where status = 'queued' and hold is null limit 1)",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    pub async fn scrape_is_whole(&self) -> bool {
        self.get("/metrics").await.is_some_and(|page| page.contains("\nseatkeeper_db_scrape_success 1"))
    }

    async fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await.ok()?;
        Some(page)
    }
}

pub async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
}
