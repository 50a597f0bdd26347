//! What the server's lock file says, and how to stop a server that was left behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::{EmbeddedError, io_error};
use super::files;
use super::guardian::FAST_SECONDS;
use super::home::Home;

/// When SIGKILL is the last resort, counted from the first signal.
const KILL_AFTER: Duration = Duration::from_secs(FAST_SECONDS + 15);

/// When even that is given up.
const GIVE_UP: Duration = Duration::from_secs(FAST_SECONDS + 25);

/// Pause between two looks at the processes, which take some milliseconds.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Pause between two signals to a process that is being stopped.
const REPEAT: Duration = Duration::from_millis(250);

/// The parts of `postmaster.pid` that matter here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PidFile {
    pub(super) pid: i32,
    /// Start of the server, seconds since 1970; with the pid it identifies a server.
    pub(super) started: String,
    pub(super) port: Option<u16>,
    /// Whether it accepts connections.
    pub(super) ready: bool,
}

impl PidFile {
    /// None when there is no file, or not enough of it yet.
    pub(super) fn read(home: &Home) -> Option<Self> {
        // What is no file of the account is no file of its server.
        let bytes = files::text_of(&path(home), home.account.uid).ok()??;
        Self::parse(std::str::from_utf8(&bytes).ok()?)
    }

    // Lines: pid, data directory, start, port, socket directory, address, shared memory, status.
    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let pid: i32 = lines.first()?.parse().ok()?;
        Some(Self {
            pid,
            started: (*lines.get(2)?).to_owned(),
            port: lines.get(3).and_then(|line| line.parse().ok()),
            ready: lines.get(7) == Some(&"ready"),
        })
        .filter(|file| file.pid > 1)
    }

    /// Whether both describe the same start of a server.
    pub(super) fn same_start(&self, other: &Self) -> bool {
        self.pid == other.pid && self.started == other.started
    }
}

fn path(home: &Home) -> PathBuf {
    home.data().join("postmaster.pid")
}

/// Stops whatever server still runs on `data` although we hold the data directory's lock: its owner was
/// killed, and its guardian is just stopping it, or was killed too. Removes a lock file whose pid belongs
/// to somebody else by now, which PostgreSQL itself would refuse to start over.
pub(super) async fn clear(home: &Home) -> Result<(), EmbeddedError> {
    let data = &home.data();
    // One that is not the account's own is neither believed nor waited for.
    files::owned(&path(home), home.account.uid)?;
    let begun = Instant::now();
    let mut signalled: Option<Instant> = None;
    loop {
        let file = PidFile::read(home);
        let (server, strays) = processes::of(home, file.as_ref().map(|file| file.pid))?;
        let Some(pid) = server.or_else(|| strays.first().copied()) else { break };
        let waited = begun.elapsed();
        if waited > GIVE_UP {
            return Err(EmbeddedError::DidNotStop { pid, data: data.clone(), limit: GIVE_UP });
        }
        if signalled.is_none_or(|last| last.elapsed() > REPEAT) {
            signalled = Some(Instant::now());
            let signal = |pid, signal| home.account.signal(pid, signal);
            match server {
                Some(pid) if waited > KILL_AFTER => signal(pid, Signal::SIGKILL),
                Some(pid) if waited > Duration::from_secs(FAST_SECONDS) => signal(pid, Signal::SIGQUIT),
                Some(pid) => signal(pid, Signal::SIGINT),
                // Backends of a server that was killed: most see it at once, a busy one late.
                None => {
                    let last = if waited > KILL_AFTER { Signal::SIGKILL } else { Signal::SIGQUIT };
                    strays.iter().for_each(|stray| signal(*stray, last));
                }
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let path = path(home);
    if let Some(file) = PidFile::read(home)
        && kill(Pid::from_raw(file.pid), None) != Err(Errno::ESRCH)
        && processes::certain()
    {
        home.account.sh_ok(r#"rm -f "$1""#, &[path.as_os_str()], "").map_err(io_error("remove", &path))?;
    }
    Ok(())
}

/// By the working directory in /proc, which holds for a renamed data directory too, and which names the
/// backends of a killed server as well.
#[cfg(target_os = "linux")]
mod processes {
    use std::path::Path;

    use super::super::error::{EmbeddedError, io_error};
    use super::super::home::Home;

    /// Prints the server processes that stand in `$1`. A person's shell may stand there too, hence the
    /// name. One that has ended and was not collected has no working directory any more.
    const SCRIPT: &str = r#"
        for process in /proc/[0-9]*; do
            if [ "$process/cwd" -ef "$1" ]; then
                read -r name <"$process/comm" && case $name in
                    postgres | postmaster) echo "${process#/proc/}" ;;
                esac
            fi
        done 2>/dev/null
        exit 0"#;

    /// Whether [`of`] overlooks nobody.
    pub(super) fn certain() -> bool {
        Path::new("/proc/self/cwd").exists()
    }

    /// Server processes that run in `home`: the one with the pid `named`, and the others. Asked as the
    /// server's account, since root in a container may not look at other accounts' processes.
    pub(super) fn of(home: &Home, named: Option<i32>) -> Result<(Option<i32>, Vec<i32>), EmbeddedError> {
        let data = home.data();
        let output =
            home.account.sh(SCRIPT, &[data.as_os_str()], "").map_err(io_error("run", "/bin/sh".as_ref()))?;
        let all: Vec<i32> =
            String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.parse().ok()).collect();
        let server = named.filter(|pid| all.contains(pid));
        Ok((server, all.into_iter().filter(|pid| Some(*pid) != server).collect()))
    }
}

/// By the command line that `ps` shows: the server is always started with the absolute path of its data
/// directory.
#[cfg(not(target_os = "linux"))]
mod processes {
    use super::super::error::{EmbeddedError, io_error};
    use super::super::home::Home;

    /// Whether [`of`] overlooks nobody: it cannot tell after the data directory was renamed, so PostgreSQL
    /// decides itself what its lock file means.
    pub(super) fn certain() -> bool {
        false
    }

    /// The server with the pid `named`, if it runs in `home`; others are not looked for.
    pub(super) fn of(home: &Home, named: Option<i32>) -> Result<(Option<i32>, Vec<i32>), EmbeddedError> {
        let Some(pid) = named else { return Ok((None, Vec::new())) };
        let output = std::process::Command::new("ps")
            .args(["-o", "args=", "-p", &pid.to_string()])
            .output()
            .map_err(io_error("run", "ps".as_ref()))?;
        let line = String::from_utf8_lossy(&output.stdout);
        let ours = line.contains(&format!("postgres -D {} ", home.data().display()));
        Ok((ours.then_some(pid), Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_is_read_in_every_stage_of_its_growth() {
        let whole = "4711\n/d/data\n1700000000\n15432\n\n127.0.0.1\n  1234  5678\nready   \n";
        let read = PidFile::parse(whole).expect("a whole file");
        assert_eq!((read.pid, read.port, read.ready), (4711, Some(15432), true));
        let early = PidFile::parse("4711\n/d/data\n1700000000\n15432\n").expect("an early file");
        assert!(!early.ready && early.same_start(&read));
        assert_eq!(PidFile::parse("4711\n"), None);
        assert_eq!(PidFile::parse("-4711\n/d\n1\n"), None);
    }
}
