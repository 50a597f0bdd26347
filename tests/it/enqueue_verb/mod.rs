//! `enqueue`: one request from flags, many from a file; what is bad is named, and sending again does no harm.

mod file;
mod flags;

use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use uuid::Uuid;

use crate::support::{TestDb, seatkeeper};

/// Runs the verb and gives its exit code, its output and its complaints.
async fn enqueue(url: &str, flags: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut command = seatkeeper();
    command.args(["enqueue", "--database-url", url]).args(flags);
    let mut command = Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end before it has read everything.
    let feeding = tokio::spawn(async move { stdin.write_all(&input).await });
    let Output { status, stdout, stderr } = child.wait_with_output().await.unwrap();
    let _ = feeding.await;
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

async fn asked(db: &TestDb) -> i64 {
    db.value("select count(*) from seatkeeper.requests").await
}

fn grant(user: i64) -> Value {
    json!({ "request_id": Uuid::now_v7(), "kind": "grant_credits", "payload": { "user_id": user, "amount": 5 } })
}

fn file_of(dir: &TempDir, lines: impl IntoIterator<Item = impl ToString>) -> String {
    let path = dir.path().join("requests.ndjson");
    let text: String = lines.into_iter().map(|line| line.to_string() + "\n").collect();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn last_line(output: &str) -> Value {
    serde_json::from_str(output.lines().last().unwrap()).unwrap()
}
