//! A server of a test's own: to be stopped, crashed and started again, with PostgreSQL's default durability.

use std::os::unix::fs::PermissionsExt;

use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{migrate, pool};
use sqlx::PgPool;
use tempfile::TempDir;

/// Name of the database with the schema.
const DATABASE: &str = "postgres";

/// The server and its place.
pub struct OwnServer {
    pub embedded: Embedded,
    _dir: TempDir,
}

/// Starts a server of its own, with the schema.
pub async fn own_server() -> OwnServer {
    let dir = tempfile::tempdir().unwrap();
    // The account of the server has to reach it when we are root.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let embedded = Embedded::start(Options::new(dir.path())).await.unwrap_or_else(|error| panic!("{error}"));
    let server = OwnServer { embedded, _dir: dir };
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

    /// Stops it and takes it away.
    pub async fn remove(self) {
        self.embedded.remove().await.unwrap();
    }
}
