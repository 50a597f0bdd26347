//! Seatkeeper as a process of its own, the way it runs outside.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::PATIENCE;

/// The binary, with no environment of ours that it could mistake for its configuration: only the PostgreSQL to be tested
/// on is the same.
pub fn seatkeeper() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seatkeeper"));
    for (name, _) in std::env::vars() {
        if name != "SEATKEEPER_PG_BIN" && name.starts_with("SEATKEEPER_") || name == "DATABASE_URL" {
            command.env_remove(name);
        }
    }
    command
}

/// A `seatkeeper run` on a database. Killed when it is dropped.
pub struct Process {
    child: Child,
    log: mpsc::Receiver<String>,
}

impl Process {
    /// Starts it; `flags` are those of `run`.
    pub fn run(url: &str, flags: &[&str]) -> Self {
        let mut command = seatkeeper();
        command.args(["--log-format", "json", "run", "--database-url", url]).args(flags);
        Self::of(command)
    }

    /// Starts what a test has put together itself.
    pub fn of(mut command: Command) -> Self {
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).stdin(Stdio::null()).spawn().unwrap();
        let (send, log) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, log }
    }

    /// Awaits a line of its log that contains this text, and gives it.
    pub fn await_log(&self, text: &str) -> String {
        let began = std::time::Instant::now();
        let mut logged = Vec::new();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let line = self
                .log
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("never logged: {text}, but: {}", logged.join("\n")));
            if line.contains(text) {
                return line;
            }
            logged.push(line);
        }
    }

    /// The address that it listens on, from its log.
    pub fn address(&self) -> String {
        let line = self.await_log("listening");
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        json["fields"]["address"].as_str().unwrap().to_owned()
    }

    /// SIGKILL: no chance to say goodbye.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name, such as TERM or STOP.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGTERM, and the exit code that it ends with.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.exit_code()
    }

    /// Awaits its end.
    pub fn exit_code(&mut self) -> Option<i32> {
        let began = std::time::Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "the process does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
