//! What can go wrong with the embedded server; every message says what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the embedded PostgreSQL server could not be started, stopped or reached.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No usable PostgreSQL installation was found.
    #[error(
        "no usable PostgreSQL server was found. Looked at:\n{looked}\n\
         Install it (Debian, Ubuntu: `apt-get install postgresql`; macOS: `brew install postgresql@17`; \
         elsewhere: PostgreSQL 14 or newer with contrib), or name the directory that holds `postgres` and \
         `initdb` in SEATKEEPER_PG_BIN"
    )]
    NoBinaries {
        /// One line for each place that was looked at, with what was found there.
        looked: String,
    },
    /// The cluster was made by a PostgreSQL version that is not installed (any more).
    #[error(
        "the cluster in {} was made by PostgreSQL {cluster}, which was not found. Looked at:\n{looked}\n\
         Install PostgreSQL {cluster}, or use another data directory", .data.display()
    )]
    OtherVersion {
        /// The cluster's own directory.
        data: PathBuf,
        /// Content of its `PG_VERSION`.
        cluster: String,
        /// One line for each place that was looked at, with what was found there.
        looked: String,
    },
    /// The server is there, its contrib modules are not.
    #[error(
        "PostgreSQL {version} has no extension btree_gist: install its contrib modules (Debian has them in \
         `postgresql-{version}`, Red Hat in `postgresql-contrib`)"
    )]
    NoContrib {
        /// Major version of the server.
        version: u32,
    },
    /// Another process holds the data directory.
    #[error(
        "another seatkeeper{} uses the data directory {}: stop it, or use another --data-dir",
        .holder.as_ref().map(|pid| format!(" (process {pid})")).unwrap_or_default(), .dir.display()
    )]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// Process id of the holder, as far as it is known.
        holder: Option<String>,
    },
    /// PostgreSQL refuses to run as root, and there is no account to run it as.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither an account `postgres` nor `nobody`: create \
         one of them, or run seatkeeper as an ordinary user"
    )]
    NoAccount,
    /// A directory that should hold the cluster is not a private directory of the account in question.
    #[error(
        "{} is no private directory of {account} ({found}): remove it if it is yours to remove, run as its \
         owner, or use another --data-dir", .path.display()
    )]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// The account that should own it.
        account: String,
        /// What was found instead.
        found: String,
    },
    /// The data directory is not for its owner alone to change.
    #[error(
        "the data directory {} is not safe: {found}. Whoever can write there can put another database in its place: \
         take it back (`chown`, `chmod go-w {}`) if nothing in it was changed, or use another --data-dir",
        .path.display(), .path.display()
    )]
    OpenDirectory {
        /// The data directory.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// Something else is in the place of a file of ours: a link, say.
    #[error("{} is not what is due there ({found}): somebody put it there; look what it is, and remove it", .path.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The server would let people in without the password.
    #[error(
        "{} lets people in by another way than scram-sha-256 (line {line}: {text}): the embedded server takes no other. \
         Remove that line, or use another --data-dir", .file.display()
    )]
    OpenDoor {
        /// `pg_hba.conf`.
        file: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// The file `cluster-location` names a directory that does not exist.
    #[error(
        "{} says that the cluster lives in {}, which does not exist: bring it back, or remove that file to \
         begin with an empty database", .file.display(), .path.display()
    )]
    ClusterGone {
        /// The file that names the directory.
        file: PathBuf,
        /// The directory.
        path: PathBuf,
    },
    /// There is a cluster, but the account that it belongs to cannot get at it.
    #[error(
        "the account {account} cannot reach the cluster in {}: make every directory above it traversable for \
         that account (chmod o+x), or use another --data-dir", .path.display()
    )]
    Unreachable {
        /// The directory that holds the cluster.
        path: PathBuf,
        /// The account that the server runs as.
        account: String,
    },
    /// The account can use neither the data directory nor any of the usual places for temporary files.
    #[error(
        "the account {account} can write neither below the data directory nor in {tried}: use a --data-dir \
         whose parents are traversable for it"
    )]
    NowhereToLive {
        /// The account that the server runs as.
        account: String,
        /// The directories that were tried.
        tried: String,
    },
    /// `initdb` failed or did not end in time.
    #[error(
        "initdb could not make a cluster in {}: {problem}. The end of its output:\n{log}", .data.display()
    )]
    InitFailed {
        /// The directory that it was to make.
        data: PathBuf,
        /// How it ended.
        problem: String,
        /// The last lines of its output.
        log: String,
    },
    /// The server ended while it was starting, or was not ready in time.
    #[error(
        "PostgreSQL did not start: {problem}. The end of its log {}:\n{log}", .file.display()
    )]
    DidNotStart {
        /// How it ended.
        problem: String,
        /// The log file.
        file: PathBuf,
        /// The last lines of the log.
        log: String,
    },
    /// A server process outlived every signal.
    #[error(
        "PostgreSQL (process {pid}) on {} did not stop within {} s: look at its log, then end it by hand",
        .data.display(), .limit.as_secs()
    )]
    DidNotStop {
        /// The process that is still there.
        pid: i32,
        /// The cluster's directory.
        data: PathBuf,
        /// How long was waited.
        limit: Duration,
    },
    /// `restart_immediate` or `start_server` was called in the wrong state.
    #[error("the embedded server is {state}: {advice}")]
    WrongState {
        /// The state that it is in.
        state: &'static str,
        /// What to call instead.
        advice: &'static str,
    },
    /// A port on the loopback interface could not be had.
    #[error("no free TCP port on 127.0.0.1: is the loopback interface up?")]
    NoPort,
    /// The server is up and does not let us in.
    #[error(
        "the embedded server does not accept our connection: {0}. Its password file may be from another cluster"
    )]
    Connect(#[source] sqlx::Error),
    /// A file or a process could not be handled.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// The attempt, as a verb phrase.
        what: &'static str,
        /// The file, directory or program.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// For `map_err`: names the attempt and the path.
pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EmbeddedError {
    let path = path.to_owned();
    move |source| EmbeddedError::Io { what, path, source }
}
