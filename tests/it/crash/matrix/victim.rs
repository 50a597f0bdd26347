//! The process that is killed.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use seatkeeper::failpoint::CRASH_AT;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{PATIENCE, TestDb, seatkeeper};

const SIGKILL: i32 = 9;

/// At work, with a fail point ahead of it. Killed when it is dropped.
pub struct Victim {
    child: Child,
    /// What it is called on the server.
    name: String,
}

impl Victim {
    /// A process that turns at the queue, or sorts it; at the point it dies, or waits to be killed.
    pub fn turn(db: &TestDb, name: &str, task: &str, place: &str, end: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crash-victim"));
        command.args([&format!("{}&application_name={name}", db.url), task, place, end]);
        Self::start(command, name)
    }

    /// `seatkeeper run`, which dies at the point.
    pub fn program(db: &TestDb, name: &str, place: &str) -> Self {
        let mut command = seatkeeper();
        let flags = ["--no-http", "--no-scheduler", "--workers", "1", "--retry-after", "5ms"];
        command.args(["run", "--database-url", &format!("{}&application_name={name}", db.url)]).args(flags);
        command.env(CRASH_AT, place);
        Self::start(Command::from(command), name)
    }

    fn start(mut command: Command, name: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        Self { child: command.spawn().unwrap(), name: name.to_owned() }
    }

    /// Awaits that it stands at the point.
    pub async fn there(&mut self) {
        let mut line = String::new();
        let mut out = BufReader::new(self.child.stdout.take().unwrap());
        let said = tokio::time::timeout(PATIENCE, out.read_line(&mut line)).await;
        assert!(said.is_ok_and(|read| read.is_ok()) && line == "there\n", "it never got there: {line:?}");
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) {
        self.child.start_kill().unwrap();
    }

    /// Awaits that it has died of SIGKILL, and that the server has noticed.
    pub async fn dead(mut self, db: &TestDb) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it never died").unwrap();
        assert_eq!(ended.signal(), Some(SIGKILL), "it got past the point: {ended}");
        crate::support::until("the server has noticed", async || self.backend(db).await.is_none()).await;
    }

    /// The number of its backend.
    pub async fn backend(&self, db: &TestDb) -> Option<i32> {
        // Other databases of the server have victims of that name, too.
        let pid =
            "select pid from pg_stat_activity where application_name = $1 and datname = current_database()";
        sqlx::query_scalar(pid).bind(&self.name).fetch_optional(&db.pool).await.unwrap()
    }
}
