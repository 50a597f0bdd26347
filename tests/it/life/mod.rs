//! What happens to a database in its life: it is restored, promoted, restricted, set otherwise. Workers notice, and wait rather than
//! answer wrongly.

mod fit;
mod limits;
mod standby;
mod went_back;

use std::path::Path;
use std::process::Command;

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::enroll::Enroll;
use sqlx::PgPool;
use tempfile::TempDir;

fn enroll(user: i64, semester: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: semester.try_into().unwrap() }
}

fn worker(pool: &PgPool) -> Worker {
    Worker::new(Transactions::new(pool.clone(), Timeouts::default()), Limits::default())
}

/// Answers what is ready.
async fn drain(worker: &mut Worker) {
    while !matches!(worker.turn().await, Turn::Idle) {}
}

/// Copies a data directory of a stopped server, so that another one can be started on it.
fn copy(from: &Path) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    // The account of the server has to reach it when we are root.
    std::fs::set_permissions(to.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to.path()).status().unwrap();
    assert!(copied.success());
    to
}

/// A server on a data directory that is there already.
async fn started_on(dir: &TempDir) -> Embedded {
    Embedded::start(Options::new(dir.path())).await.unwrap_or_else(|error| panic!("{error}"))
}
