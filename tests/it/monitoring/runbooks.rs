//! The runbooks are true: every statement can be executed, every command is one, and the process serves them.

use std::process::Command;

use sqlx::AssertSqlSafe;

use super::files;
use crate::support::http::get;
use crate::support::{Process, TestDb, seatkeeper};

/// The blocks of a language, each with the runbook that it is from.
pub fn blocks(language: &str) -> Vec<(String, String)> {
    let fence = format!("```{language}\n");
    let blocks = files("monitoring/runbooks", "md").into_iter().flat_map(|(name, text)| {
        let bodies = text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        bodies.map(|body| (name.clone(), body)).collect::<Vec<_>>()
    });
    blocks.collect()
}

#[tokio::test]
async fn every_statement_can_be_executed_and_changes_nothing() {
    let db = TestDb::new().await;
    let blocks = blocks("sql");
    for (runbook, sql) in &blocks {
        let mut transaction = db.pool.begin_with("begin read only").await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&mut *transaction).await;
        assert!(done.is_ok(), "{runbook}: {done:?}: {sql}");
    }
    assert!(blocks.len() >= 14, "{}", blocks.len());
}

#[test]
fn every_command_is_one_that_the_program_has() {
    let mut commands = 0;
    for (runbook, block) in blocks("sh") {
        for line in block.lines().filter(|line| !line.trim().is_empty()) {
            assert!(line.starts_with("seatkeeper "), "{runbook}: {line}");
            // The shell reads it as a person would paste it; --help at the end makes the program read it and do nothing.
            let script = format!("seatkeeper() {{ \"$SEATKEEPER\" \"$@\" --help; }}\n{line}");
            let mut command = Command::new("sh");
            command.args(["-euc", &script]).env_clear().env("SEATKEEPER", seatkeeper().get_program());
            let output = command.output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{runbook}: {line}: {complaint}");
            commands += 1;
        }
    }
    assert!(commands >= 30, "{commands}");
}

#[tokio::test]
async fn a_process_serves_them_and_says_which_there_are() {
    let db = TestDb::new().await;
    let process = Process::run(&db.url, &["--listen", "127.0.0.1:0"]);
    let address = process.address();
    let (_, list) = get(&address, "/runbooks").await;
    for (name, text) in files("monitoring/runbooks", "md") {
        assert_eq!(get(&address, &format!("/runbooks/{name}")).await, (200, text.clone()), "{name}");
        assert!(list.contains(&format!("(/runbooks/{name})")), "{name}");
    }
    let (status, text) = get(&address, "/runbooks/SeatkeeperUnheardOf").await;
    assert_eq!(status, 404);
    assert!(text.contains("SeatkeeperDown"), "{text}");
    assert_eq!(get(&address, "/runbooks/..%2F..%2FREADME").await.0, 404);
}
