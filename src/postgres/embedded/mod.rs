//! A PostgreSQL server of our own, for `seatkeeper demo`, `--embedded` and the tests.
//!
//! # How one gets in
//! Over TCP on 127.0.0.1, a port that was free at the start, with a random password (SCRAM). The password
//! is in a file of mode 0600 in the cluster's directory. There is no Unix socket, for all that would be
//! more to go wrong: a path may have some hundred bytes, which a data directory easily exceeds; the
//! directory must let in both root and the account that the server runs as, and nobody else; and a socket
//! lock file is one more thing that a killed server leaves behind. TCP with a password works for every
//! client in every language, and through a proxy. Treat the URL like a password: other users of the
//! machine see the arguments of a command. A cluster whose `pg_hba.conf` lets anybody in by another way is not started.
//! Workers have an account of their own ([`Embedded::account`]): only who migrates and looks after the server is its superuser.
//!
//! # Where it lives
//! In `postgres/` below the data directory: a private directory of the account that the server runs as,
//! with the cluster, its password and its logs. PostgreSQL refuses to run as root; for root it runs as
//! `postgres` or `nobody`. If that account cannot reach the data directory, the private directory is made
//! in /var/tmp or /tmp, and the file `cluster-location` in the data directory says where. Both survive
//! between starts. A file `belongs-to` there names the data directory, for whoever cleans up. A data directory that others can
//! write is refused; in one that belongs to somebody else, root does everything as that account. What is there is opened such
//! that no link leads elsewhere (files.rs).
//!
//! # How it ends
//! With us, however we end: a guardian process (guardian.rs) waits for a pipe to close that only we hold,
//! and then stops the server. If the guardian was killed as well, the next start on that data directory
//! stops the server first. A lock file keeps a second seatkeeper away from a data directory in use.

mod access;
mod account;
mod binaries;
mod cluster;
mod error;
mod files;
mod guardian;
mod home;
mod leftover;
mod lock;
mod server;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _};

use account::Account;
use binaries::{Binaries, Installed};
pub use error::EmbeddedError;
use error::io_error;
use home::Home;
use lock::DirLock;
use server::{Mode, Server};

/// The extension from contrib that the schema needs.
const EXTENSION: &str = "btree_gist";

/// How long the first connection to a server that says it is ready may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// What server is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the cluster lives, or where a file says where it lives; made if missing.
    pub data_dir: PathBuf,
    /// Further server settings, name and value, as in `postgresql.conf`; they win over the defaults.
    pub settings: Vec<(String, String)>,
    /// Whether a commit survives a crash of the machine (PostgreSQL's defaults). Off is for tests: a crash
    /// of the server alone loses nothing that way but commits of the last moments.
    pub durable: bool,
    /// The directory of the server's programs; None looks where SEATKEEPER_PG_BIN says, else in PATH and
    /// in the usual places.
    pub bin_dir: Option<PathBuf>,
}

impl Options {
    /// The defaults: PostgreSQL's own settings and durability, any installed version from 14 on.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), settings: Vec::new(), durable: true, bin_dir: None }
    }
}

/// A server that belongs to this process. It may be shared between runtimes.
///
/// Dropping it stops the server too, but does not wait for that; [`Embedded::stop`] does.
#[derive(Debug)]
pub struct Embedded {
    // Fields are dropped in this order: the server is told to stop before the data directory is free.
    server: Option<Server>,
    port: u16,
    password: String,
    binaries: Binaries,
    home: Home,
    options: Options,
    data_dir: PathBuf,
    _lock: DirLock,
}

impl Embedded {
    /// Starts the server on a data directory, and makes the cluster if there is none; returns when it
    /// accepts connections. May take some seconds.
    ///
    /// # Errors
    /// No usable PostgreSQL, a data directory that is in use or out of reach, a server that does not
    /// start; see [`EmbeddedError`].
    pub async fn start(options: Options) -> Result<Self, EmbeddedError> {
        let account = Account::choose()?;
        // Before anything is made: a machine without PostgreSQL gets no data directory.
        let installed = {
            let (account, dir) = (account.clone(), options.bin_dir.clone());
            blocking(move || Installed::find(dir.as_deref(), &account)).await?
        };
        let data_dir = &options.data_dir;
        // Not for others to write, whatever new directories of this account are.
        let mut maker = std::fs::DirBuilder::new();
        maker.recursive(true).mode(0o755);
        maker.create(data_dir).map_err(io_error("create the data directory", data_dir))?;
        let data_dir = data_dir.canonicalize().map_err(io_error("find the data directory", data_dir))?;
        let lock = DirLock::take(&data_dir).await?;
        let (home, password) = {
            let (data_dir, owner) = (data_dir.clone(), lock.owner);
            blocking(move || {
                let home = Home::settle(&data_dir, owner, account)?;
                cluster::sweep(&home);
                let password = cluster::password(&home)?;
                Ok((home, password))
            })
            .await?
        };
        let made_by = cluster::made_by(&home)?;
        let binaries = installed.choose(&home.data(), made_by.as_deref())?;
        if made_by.is_none() {
            cluster::create(&home, &binaries, options.durable).await?;
        }
        let server = Server::start(&home, &binaries, &options, None).await?;
        let port = server.port;
        let embedded =
            Self { server: Some(server), port, password, binaries, home, options, data_dir, _lock: lock };
        embedded.verify().await?;
        Ok(embedded)
    }

    /// Where a database of this server is reached, with the password of its superuser: for libpq, sqlx and
    /// whatever else takes such URLs. The port stays the same until this value is dropped.
    pub fn url(&self, database: &str) -> String {
        let mut name = String::new();
        for byte in database.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("%{byte:02X}"));
            }
        }
        let (user, password, port) = (cluster::SUPERUSER, &self.password, self.port);
        format!("postgres://{user}:{password}@127.0.0.1:{port}/{name}?sslmode=disable")
    }

    /// The same as [`Embedded::url`] for sqlx.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(self.port)
            .username(cluster::SUPERUSER)
            .password(&self.password)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// Makes an ordinary account that may log in, with the rights of one role and no more, or gives one that is there a new password:
    /// for who need not be superuser. The role has to be there.
    ///
    /// # Errors
    /// When the server is away, or has no such role.
    pub async fn account(&self, name: &str, role: &str, database: &str) -> sqlx::Result<PgConnectOptions> {
        let password = cluster::secret();
        // The names are identifiers of ours. What the account was before does not matter.
        let make = format!(
            "begin;
             set local password_encryption = 'scram-sha-256';
             do $$ begin
                 if not exists (select from pg_catalog.pg_roles where rolname = '{name}') then
                     create role {name};
                 end if;
             end $$;
             alter role {name} with login inherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls
                 password '{password}';
             alter role {name} reset all;
             grant {role} to {name};
             commit"
        );
        let mut superuser = self.connect_options("postgres").disable_statement_logging().connect().await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut superuser).await?;
        superuser.close().await?;
        Ok(self.connect_options(database).username(name).password(&password))
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Major version of the server, for instance 17.
    pub fn version(&self) -> u32 {
        self.binaries.version
    }

    /// The directory that holds the cluster, its password and its logs.
    pub fn cluster_dir(&self) -> &Path {
        &self.home.dir
    }

    /// Process id of the server, or None while it is stopped.
    pub fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().and_then(|server| u32::try_from(server.pid).ok())
    }

    /// Stops the server (clients are sent away, everything is written down) and gives the data directory
    /// back; returns when all its processes are gone.
    ///
    /// # Errors
    /// A server that outlives every signal.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        self.end(Mode::Fast).await
    }

    /// Stops the server and deletes the cluster, wherever it lives. The data directory itself stays.
    ///
    /// # Errors
    /// A server that outlives every signal, files that cannot be deleted.
    pub async fn remove(mut self) -> Result<(), EmbeddedError> {
        self.end(Mode::Immediate).await?;
        let dir = self.home.dir.clone();
        // First the contents, as their owner; the emptied directory may be in one that is only ours.
        let script = r#"cd "$1" && find . -mindepth 1 -delete"#;
        self.home.account.sh_ok(script, &[dir.as_os_str()], "").map_err(io_error("empty", &dir))?;
        std::fs::remove_dir(&dir).map_err(io_error("remove", &dir))?;
        Home::forget(&self.data_dir)
    }

    /// Crashes the server as `pg_ctl stop -m immediate` does, and starts it again on the same port;
    /// returns when it has recovered.
    ///
    /// # Errors
    /// A server that does not stop or start; called again after that, it starts the server.
    pub async fn restart_immediate(&mut self) -> Result<(), EmbeddedError> {
        self.end(Mode::Immediate).await?;
        self.start_server().await
    }

    /// Stops the server and keeps the data directory and the port: an outage. Waits until it is gone;
    /// without effect when it is stopped already.
    ///
    /// # Errors
    /// A server that outlives every signal.
    pub async fn stop_server(&mut self) -> Result<(), EmbeddedError> {
        self.end(Mode::Fast).await
    }

    /// Starts the server again, on the same port: after [`Embedded::stop_server`], or after it was killed.
    ///
    /// # Errors
    /// A server that runs, or does not start.
    pub async fn start_server(&mut self) -> Result<(), EmbeddedError> {
        if self.server.as_mut().is_some_and(Server::runs) {
            return Err(EmbeddedError::WrongState { state: "running", advice: "stop it first" });
        }
        self.server = None;
        self.server = Some(Server::start(&self.home, &self.binaries, &self.options, Some(self.port)).await?);
        Ok(())
    }

    async fn end(&mut self, mode: Mode) -> Result<(), EmbeddedError> {
        match self.server.take() {
            Some(server) => server.stop(&self.home, mode).await,
            None => Ok(()),
        }
    }

    /// Whether the server lets us in, and has what the schema needs.
    async fn verify(&self) -> Result<(), EmbeddedError> {
        let ask = async {
            let mut connection = self.connect_options("postgres").connect().await?;
            let there: bool =
                sqlx::query_scalar("select exists (select from pg_available_extensions where name = $1)")
                    .bind(EXTENSION)
                    .fetch_one(&mut connection)
                    .await?;
            connection.close().await?;
            Ok(there)
        };
        let answer = tokio::time::timeout(CONNECT_LIMIT, ask).await;
        match answer.unwrap_or_else(|late| Err(sqlx::Error::Io(late.into()))) {
            Ok(true) => Ok(()),
            Ok(false) => Err(EmbeddedError::NoContrib { version: self.version() }),
            Err(error) => Err(EmbeddedError::Connect(error)),
        }
    }
}

/// Runs something that blocks for some milliseconds off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EmbeddedError> + Send + 'static,
) -> Result<T, EmbeddedError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) => Err(EmbeddedError::Io {
            what: "finish the preparation of",
            path: PathBuf::from("the embedded server"),
            source: failure.into(),
        }),
    }
}
