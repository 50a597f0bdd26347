//! What a URL leads to: understood in whole or refused by name, and another machine is reached encrypted or not at all.
//!
//! 0.0.0.0 leads to this machine and does not say so: it stands for another one.

mod certificates;
mod protected;
mod refused;
mod told;
mod waiting;

use std::process::Stdio;

use tokio::process::Command;

use crate::support::{PATIENCE, seatkeeper};

/// How a verb ended.
#[derive(Debug)]
struct Ended {
    code: i32,
    output: String,
    complaint: String,
}

/// Runs a verb on a database, with nothing around it but these variables.
async fn ended(verb: &[&str], url: &str, environment: &[(&str, &str)]) -> Ended {
    let mut command = seatkeeper();
    command.args(verb).env("DATABASE_URL", url).env("HOME", "/nonexistent");
    command.envs(environment.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = Command::from(command).kill_on_drop(true).spawn().unwrap();
    // `run` would go on with a URL that it takes.
    let done = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let done = done.unwrap_or_else(|_| panic!("{verb:?} does not end")).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: done.status.code().unwrap(), output: text(done.stdout), complaint: text(done.stderr) }
}

/// The shortest verb that asks the database.
async fn asked(url: &str, environment: &[(&str, &str)]) -> Ended {
    ended(&["requests", "list"], url, environment).await
}

/// A URL of this machine as one of another.
fn elsewhere(url: &str) -> String {
    let other = url.replace("@127.0.0.1:", "@0.0.0.0:");
    assert_ne!(other, url);
    other
}

/// A URL without what it says of TLS.
fn without_mode(url: &str) -> String {
    url.replace("?sslmode=disable&", "?").replace("?sslmode=disable", "")
}
