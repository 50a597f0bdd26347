//! A worker process that can be told apart on the server.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `seatkeeper run`, with its defaults. Killed when it is dropped.
pub struct Worker {
    pub name: String,
    child: Child,
}

impl Worker {
    pub fn start(url: &str, number: usize) -> Self {
        let name = format!("worker-{number}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_seatkeeper"));
        command.args(["--log", "error", "run", "--no-http", "--no-scheduler", "--database-url"]);
        command.arg(format!("{url}&application_name={name}")).stdin(Stdio::null()).stdout(Stdio::null());
        Self { name, child: command.spawn().unwrap() }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Lets the account of the server reach a directory of ours, when we are root.
pub fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
