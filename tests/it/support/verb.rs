//! A verb of the command line, run to its end.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::seatkeeper;

/// Runs it with this standard input, and gives its exit code, its output and its complaints.
pub async fn verb(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut command = seatkeeper();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Command::from(command).kill_on_drop(true).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // It may end before it has read everything.
    let feeding = tokio::spawn(async move { stdin.write_all(&input).await });
    let Output { status, stdout, stderr } = child.wait_with_output().await.unwrap();
    let _ = feeding.await;
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}
