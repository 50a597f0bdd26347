//! The account that the server runs as, and how to run something as it.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, User};

use super::error::EmbeddedError;

/// Accounts for root to run PostgreSQL as, the best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// An account that PostgreSQL can run as: never root.
///
/// Whatever is done inside the cluster's directory is done as this account, by a child process: if root
/// itself wrote there, the account could lead it anywhere with a symbolic link.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) name: String,
    /// Whether it is another account than our own, which only root can switch to.
    pub(super) foreign: bool,
}

impl Account {
    /// Our own account, or for root one of those made for such purposes.
    pub(super) fn choose() -> Result<Self, EmbeddedError> {
        let own = Uid::effective();
        if !own.is_root() {
            return Ok(Self::of(own, Gid::effective(), false));
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .filter(|user| !user.uid.is_root())
            .map(|user| Self { uid: user.uid, gid: user.gid, name: user.name, foreign: true })
            .ok_or(EmbeddedError::NoAccount)
    }

    /// For root: the owner of a cluster that is there already, so that root can go on with the data
    /// directory of an ordinary user.
    pub(super) fn owner(uid: Uid, gid: Gid) -> Self {
        Self::of(uid, gid, true)
    }

    fn of(uid: Uid, gid: Gid, foreign: bool) -> Self {
        let name = User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name);
        Self { uid, gid, name, foreign }
    }

    /// Sends a signal as this account: a process that it names may have become another's, which root could reach. One that is gone
    /// already is no error. Blocks.
    pub(super) fn signal(&self, pid: i32, signal: Signal) {
        if self.foreign {
            let (name, pid) = (signal.as_str().trim_start_matches("SIG"), pid.to_string());
            let _ = self.sh(r#"kill -s "$1" "$2" 2>/dev/null"#, &[name.as_ref(), pid.as_ref()], "");
        } else {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// A command that runs as this account, in `/` (our own directory may be closed to it), with none of
    /// the variables that PostgreSQL's programs take their defaults from, and with messages in English.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if self.foreign {
            // Dropping the user also drops root's supplementary groups (CommandExt::uid).
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PG") || text.starts_with("LC_") || text.starts_with("LANG") {
                command.env_remove(&name);
            }
        }
        command.env("LC_ALL", "C").current_dir("/").stdin(Stdio::null());
        command
    }

    /// Runs a shell script with `args` as `$1`, `$2` … and `input` as its standard input; blocks.
    pub(super) fn sh(&self, script: &str, args: &[&OsStr], input: &str) -> io::Result<Output> {
        let mut child = self
            .command("/bin/sh")
            .args(["-c", script, "sh"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A script that ends without reading leaves a broken pipe; its status says more than that.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    }

    /// Like [`Account::sh`], and a failing script is an error with what it wrote to stderr.
    pub(super) fn sh_ok(&self, script: &str, args: &[&OsStr], input: &str) -> io::Result<()> {
        let output = self.sh(script, args, input)?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}
