//! `enqueue`: one request from flags, many from a file; what is bad is named, and sending again does no harm.

mod file;
mod flags;

use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{TestDb, verb};

/// Runs the verb and gives its exit code, its output and its complaints.
async fn enqueue(url: &str, flags: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut arguments = vec!["enqueue", "--database-url", url];
    arguments.extend(flags);
    verb(&arguments, input).await
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
