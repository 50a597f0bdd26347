//! A server of a test's own: to be stopped, crashed and started again, with PostgreSQL's default durability.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{migrate, pool};
use sqlx::PgPool;
use tempfile::TempDir;

/// Name of the database with the schema.
const DATABASE: &str = "postgres";

/// The server and its place.
pub struct OwnServer {
    pub embedded: Embedded,
    place: TempDir,
}

/// Starts a server of its own, with the schema.
pub async fn own_server() -> OwnServer {
    start(None).await
}

/// The same with the programs in this directory.
pub async fn own_server_of(programs: PathBuf) -> OwnServer {
    start(Some(programs)).await
}

async fn start(programs: Option<PathBuf>) -> OwnServer {
    let dir = tempfile::tempdir().unwrap();
    // The account of the server has to reach it when we are root.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut options = Options::new(dir.path());
    options.bin_dir = programs;
    let embedded = Embedded::start(options).await.unwrap_or_else(|error| panic!("{error}"));
    let server = OwnServer { embedded, place: dir };
    let pool = server.pool();
    migrate(&pool).await.unwrap();
    pool.close().await;
    server
}

impl OwnServer {
    /// Where it is reached; stays the same when it is started again.
    pub fn url(&self) -> String {
        self.embedded.url(DATABASE)
    }

    /// Connections to it.
    pub fn pool(&self) -> PgPool {
        pool(self.embedded.connect_options(DATABASE), 20)
    }

    /// Stops it, and gives the place where its files are.
    pub async fn stop(self) -> TempDir {
        self.embedded.stop().await.unwrap();
        self.place
    }

    /// Stops it and takes it away.
    pub async fn remove(self) {
        self.embedded.remove().await.unwrap();
    }
}

/// The programs of another PostgreSQL than the system's, clients included.
pub fn whole_postgres(version: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/other-postgres");
    let output = Command::new(script).args([version, "whole"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}
