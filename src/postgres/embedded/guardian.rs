//! A small shell process between us and the server, which outlives us just long enough to stop it.
//!
//! Its standard input is a pipe that only we hold. When we stop it, die or are killed, the pipe closes,
//! and the guardian stops what it guards. It runs as the server's account, in a process group of its own,
//! so that Ctrl-C in a terminal reaches us first, and only us.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::account::Account;
use super::error::{EmbeddedError, io_error};

/// Pause between two looks at a condition that we wait for.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Fast shutdown (SIGINT) for so many seconds, then immediate shutdown (SIGQUIT): nothing committed is
/// lost by that, the next start has to recover.
pub(super) const FAST_SECONDS: u64 = 15;

/// `$1` is the log file, the rest the command to guard.
///
/// The signal is repeated, because a process is deaf to SIGINT until it has installed its handlers (a
/// shell starts background processes so). PostgreSQL takes repetitions as the one request.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
umask 077
exec 3<&0 </dev/null >>"$1" 2>&1 || exit 125
patience=$((4 * $2))
shift 2
"$@" 3<&- &
guarded=$!
(
  read -r _ <&3
  tries=0
  while kill -0 "$guarded"; do
    if [ "$tries" -lt "$patience" ]; then kill -INT "$guarded"; else kill -QUIT "$guarded"; fi
    tries=$((tries + 1))
    sleep 0.25
  done
) 2>/dev/null &
watcher=$!
exec 3<&-
wait "$guarded"
status=$?
kill -KILL "$watcher" 2>/dev/null
exit "$status"
"#;

/// A running guardian. Dropping it lets go of what it guards: that ends a little later.
#[derive(Debug)]
pub(super) struct Guardian {
    child: Option<Child>,
}

impl Guardian {
    /// Starts `program` under a guardian; its output is appended to `log`.
    pub(super) fn spawn(
        account: &Account,
        log: &Path,
        program: &Path,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, EmbeddedError> {
        let child = account
            .command("/bin/sh")
            .args(["-c", SCRIPT, "seatkeeper-guardian"].map(OsStr::new))
            .arg(log)
            .arg(FAST_SECONDS.to_string())
            .arg(program)
            .args(args)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io_error("run", Path::new("/bin/sh")))?;
        Ok(Self { child: Some(child) })
    }

    /// How the guarded process ended, or None while it runs.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        // The only possible error is that the child was waited for already, which std remembers.
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Closes the pipe: the guardian stops what it guards.
    pub(super) fn let_go(&mut self) {
        if let Some(child) = self.child.as_mut() {
            drop(child.stdin.take());
        }
    }

    /// Waits until the guarded process has ended; None when `deadline` comes first.
    ///
    /// Polls, since a tokio child can only be awaited on the runtime that it was started on, and a server
    /// may well be shared by tests with a runtime each.
    pub(super) async fn wait(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.let_go();
        if let Some(mut child) = self.child.take()
            && matches!(child.try_wait(), Ok(None))
        {
            // Somebody has to collect it, or it stays in the process table for as long as we live.
            std::thread::spawn(move || child.wait());
        }
    }
}
