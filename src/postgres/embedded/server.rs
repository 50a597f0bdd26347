//! One run of the server: its start until it accepts connections, and its end.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::Rng as _;

use super::Options;
use super::access;
use super::binaries::Binaries;
use super::cluster;
use super::error::{EmbeddedError, io_error};
use super::guardian::{FAST_SECONDS, Guardian, POLL};
use super::home::Home;
use super::leftover::{self, PidFile};

/// Recovery after a crash may have a good deal to read.
const START_LIMIT: Duration = Duration::from_secs(180);

/// How long the guardian is waited for; it turns to an immediate shutdown before.
const STOP_LIMIT: Duration = Duration::from_secs(FAST_SECONDS + 10);

/// Pause before a start is tried again, when what was in the way goes away by itself.
const RETRY: Duration = Duration::from_millis(200);

/// Below the range from which systems take the ports of outgoing connections: while the server is down, a
/// client that keeps trying its port would sooner or later be given that very port, connect to itself and
/// keep it occupied.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// What the log says when a start fails for a reason that passes: another process has taken the port just
/// now, or the former server or one of its backends is not quite gone.
const PASSING: [&str; 4] = [
    "could not bind",
    "could not create any TCP/IP sockets",
    "lock file \"postmaster.pid\"",
    "pre-existing shared memory block",
];

/// The log begins anew (one older part is kept) at a start that finds it this long, bytes.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// How a server ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// Clients are sent away, everything is written down.
    Fast,
    /// As in a crash: the next start recovers.
    Immediate,
}

/// A server that accepts connections.
#[derive(Debug)]
pub(super) struct Server {
    guardian: Guardian,
    pub(super) pid: i32,
    pub(super) port: u16,
}

impl Server {
    /// Starts the server on `port`, or on any free one, and waits until it accepts connections.
    pub(super) async fn start(
        home: &Home,
        binaries: &Binaries,
        options: &Options,
        port: Option<u16>,
    ) -> Result<Self, EmbeddedError> {
        let log = home.log();
        if cluster::length(home) > LOG_LIMIT {
            let script = r#"mv -f "$1" "$1.1""#;
            home.account.sh_ok(script, &[log.as_os_str()], "").map_err(io_error("rename", &log))?;
        }
        let deadline = Instant::now() + START_LIMIT;
        loop {
            leftover::clear(home).await?;
            let before = PidFile::read(home);
            let port = port.map_or_else(free_port, Ok)?;
            let mark = cluster::length(home);
            access::check(home)?;
            let args = arguments(home, port, options);
            let guardian = Guardian::spawn(&home.account, &log, &binaries.program("postgres"), args)?;
            match await_ready(guardian, home, port, before.as_ref(), deadline).await {
                Ok(server) => return Ok(server),
                Err(problem) => {
                    let said = cluster::since(home, &log, mark);
                    let passing = PASSING.iter().any(|reason| said.contains(reason));
                    if !passing || Instant::now() > deadline {
                        return Err(EmbeddedError::DidNotStart {
                            problem,
                            file: log,
                            log: cluster::last_lines(&said),
                        });
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Whether it has not ended, as far as its guardian has seen.
    pub(super) fn runs(&mut self) -> bool {
        self.guardian.ended().is_none()
    }

    /// Ends the server and waits until it is gone.
    pub(super) async fn stop(mut self, home: &Home, mode: Mode) -> Result<(), EmbeddedError> {
        if mode == Mode::Immediate && self.runs() {
            // Not by way of the guardian, which knows one way only: it just sees the server go.
            home.account.signal(self.pid, Signal::SIGQUIT);
        } else {
            self.guardian.let_go();
        }
        // If the guardian itself was killed, or gave up, the server may still be there.
        let _ = self.guardian.wait(Instant::now() + STOP_LIMIT).await;
        leftover::clear(home).await
    }
}

/// Waits until the server says in its lock file that it accepts connections on `port`. Only then does
/// anybody connect: until it has the port, somebody else might listen there and be told the password.
async fn await_ready(
    mut guardian: Guardian,
    home: &Home,
    port: u16,
    before: Option<&PidFile>,
    deadline: Instant,
) -> Result<Server, String> {
    loop {
        // In this order: what has ended now has written everything before.
        let ended = guardian.ended();
        if let Some(status) = ended {
            return Err(format!("it ended with {status}"));
        }
        if let Some(file) = PidFile::read(home)
            && file.ready
            && file.port == Some(port)
            && !before.is_some_and(|before| before.same_start(&file))
        {
            return Ok(Server { guardian, pid: file.pid, port });
        }
        if Instant::now() > deadline {
            return Err(format!("it was not ready after {} s", START_LIMIT.as_secs()));
        }
        tokio::time::sleep(POLL).await;
    }
}

fn arguments(home: &Home, port: u16, options: &Options) -> Vec<OsString> {
    let mut args = vec![OsString::from("-D"), home.data().into_os_string()];
    // The file that was looked at, whatever the cluster's settings name.
    let mut access = OsString::from("hba_file=");
    access.push(home.rules_of_access());
    args.extend([OsString::from("-c"), access]);
    let mut set = |name: &str, value: &str| {
        args.push(OsString::from("-c"));
        args.push(OsString::from(format!("{name}={value}")));
    };
    set("port", &port.to_string());
    set("listen_addresses", "127.0.0.1");
    set("unix_socket_directories", "");
    set("max_connections", "200");
    set("logging_collector", "off");
    set("log_destination", "stderr");
    if !options.durable {
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            set(name, "off");
        }
    }
    for (name, value) in &options.settings {
        set(name, value);
    }
    args
}

/// A port that nobody listens on at the moment. Another process may take it before the server does; the
/// server's start is tried again then.
fn free_port() -> Result<u16, EmbeddedError> {
    let mut random = rand::rng();
    (0..200)
        .map(|_| random.random_range(PORTS))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(EmbeddedError::NoPort)
}
