//! The harness: one PostgreSQL for the test run, a database for each test, made from a migrated template.
//!
//! A test awaits conditions ([`until`]), never a lapse of time.

mod database;
pub mod http;
pub mod plain_sql;
mod pooler;
mod process;
pub mod proxy;
mod server;
mod verb;

use std::time::Duration;

pub use database::{TestDb, assert_follows, cluster_url, pooler};
pub use pooler::Pooler;
pub use process::{Process, seatkeeper};
pub use server::{OwnServer, own_server, own_server_of, whole_postgres};
pub use verb::verb;

/// Longer than anything takes on a loaded machine: reaching it means that the condition never comes.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Awaits a condition, and says which one never came.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut look = tokio::time::interval(LOOK);
    patiently(what, async {
        while !condition().await {
            look.tick().await;
        }
    })
    .await;
}

/// The same for what comes of it: awaits that there is something, and gives it.
pub async fn until_some<T>(what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, async || {
        found = find().await;
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// The same where the waiting has to move between threads, as in a task.
pub async fn until_in_task<F: Future<Output = bool> + Send>(
    what: &str,
    mut condition: impl FnMut() -> F + Send,
) {
    let mut look = tokio::time::interval(LOOK);
    patiently(what, async {
        while !condition().await {
            look.tick().await;
        }
    })
    .await;
}

async fn patiently(what: &str, waiting: impl Future<Output = ()>) {
    assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never came: {what}");
}
