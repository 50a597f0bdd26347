//! What operators do: through the library where a moment has to be held, through the binary where its words and its
//! exit codes count.

mod changing;
mod looking;
mod pausing;
mod places;

use std::process::{Output, Stdio};

use seatkeeper::batch::Turn;
use seatkeeper_jobs::enroll::Enroll;
use uuid::Uuid;

use crate::support::{TestDb, seatkeeper};

/// Runs the binary on the database. Nobody sits at its standard input.
pub async fn cli(url: &str, arguments: &[&str]) -> Output {
    let mut command = seatkeeper();
    command.args(arguments).env("DATABASE_URL", url).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// Runs the binary, which has to end with this exit code; gives what it printed.
pub async fn cli_ends(url: &str, arguments: &[&str], exit: i32) -> String {
    let output = cli(url, arguments).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{out}\n{err}");
    format!("{out}{err}")
}

/// Runs the binary with `--json`; gives what it printed as JSON.
pub async fn cli_json(url: &str, arguments: &[&str], exit: i32) -> serde_json::Value {
    let output = cli(url, &[arguments, &["--json"]].concat()).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{out}\n{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{err}"))
}

fn enroll(user: i64, semester: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: semester.try_into().unwrap() }
}

/// Asks for a place in the semester for each of these users, in this order.
async fn ask_all(db: &TestDb, users: impl IntoIterator<Item = i64>, semester: i64) -> Vec<Uuid> {
    let mut ids = Vec::new();
    for user in users {
        let id = Uuid::now_v7();
        db.ask(id, enroll(user, semester)).await;
        ids.push(id);
    }
    ids
}

/// Makes a queued request one that has failed, as a worker leaves it behind.
async fn fail(db: &TestDb, id: Uuid) {
    db.run(&format!(
        "update seatkeeper.requests set status = 'failed', reason = 'attempts_exhausted', attempts = 5, hold = null,
             last_error = 'boom', run_at = clock_timestamp(), finished_at = clock_timestamp()
         where request_id = '{id}' and status = 'queued'"
    ))
    .await;
}

async fn status(db: &TestDb, id: Uuid) -> String {
    db.value(&format!("select coalesce(outcome, status) from seatkeeper.requests where request_id = '{id}'"))
        .await
}

/// The requests that have an answer, in the order of the answers.
async fn answered(db: &TestDb) -> Vec<Uuid> {
    sqlx::query_scalar(
        "select request_id from seatkeeper.requests where answer_seq is not null order by answer_seq",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap()
}

fn is_answered(turn: &Turn) -> bool {
    matches!(turn, Turn::Answered(_))
}
