//! `PgBouncer` in front of a server, in transaction mode.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::unistd::{Uid, User};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use seatkeeper::postgres::connect_options;
use seatkeeper::postgres::embedded::Embedded;

/// What takes the luck out of who finds what was left in a session: nobody does. A client whose transaction is over comes back
/// to another connection where there is one, and to one that knows nothing of it in any case. Statements that somebody
/// has prepared stay, as behind every pooler: their names are what clients get in each other's way with.
const FORGETFUL: &str = "server_round_robin = 1\nserver_reset_query_always = 1\n\
    server_reset_query = reset all; set session authorization default; reset role; close all; unlisten *; \
    discard temp; discard sequences; select pg_advisory_unlock_all()\n";

/// A pooler and its place. It ends with this value, or with this process.
pub struct Pooler {
    /// What goes before the name of a database, with user and password.
    base: String,
    /// Waits for the end of its standard input, which is when we are gone; ends the pooler, and clears up.
    guardian: Child,
}

impl Pooler {
    /// Starts one that has at most `connections` to each database, as its operator has it, and awaits that it lets clients in.
    pub async fn start(server: &Embedded, connections: u32) -> Self {
        Self::configured(server, connections, "").await
    }

    /// The same, but nothing outlives a transaction, where with others it may, by luck: for tests that are not about the
    /// pooler. (Those would not see what the program leaves behind in a session.)
    pub async fn start_forgetful(server: &Embedded, connections: u32) -> Self {
        Self::configured(server, connections, FORGETFUL).await
    }

    async fn configured(server: &Embedded, connections: u32, besides: &str) -> Self {
        let options = server.connect_options("postgres");
        let (user, url) = (options.get_username().to_owned(), server.url(""));
        let password = url.split([':', '@']).nth(2).unwrap().to_owned();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let dir = tempfile::tempdir().unwrap().keep();
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        let file = |name: &str| dir.join(name);
        // Every driver asks for `extra_float_digits`, which it does not know.
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\nadmin_users = {user}\n\
             pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 1000\n\
             ignore_startup_parameters = extra_float_digits\nserver_login_retry = 1\n{besides}",
            server.port(),
            file("users").display(),
        );
        fs::write(file("pgbouncer.ini"), settings).unwrap();
        fs::write(file("users"), format!("\"{user}\" \"{password}\"\n")).unwrap();
        fs::set_permissions(file("users"), Permissions::from_mode(0o600)).unwrap();
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                r#"/usr/sbin/pgbouncer -q "$1/pgbouncer.ini" & cat >/dev/null; kill -9 $!; rm -rf "$1""#,
                "sh",
            ])
            .arg(&dir)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        if Uid::effective().is_root() {
            // It does not run as root either.
            let account =
                ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).unwrap()).unwrap();
            let (uid, gid) = (account.uid.as_raw(), account.gid.as_raw());
            for path in [&dir, &file("users")] {
                chown(path, Some(uid), Some(gid)).unwrap();
            }
            command.uid(uid).gid(gid);
        }
        let guardian = command.spawn().unwrap();
        let pooler = Self { base: format!("postgres://{user}:{password}@127.0.0.1:{port}"), guardian };
        super::until("the pooler lets us in", async || {
            connect_options(&pooler.url("postgres")).unwrap().connect().await.is_ok()
        })
        .await;
        pooler
    }

    /// Where a database is reached through it, as its operator writes it.
    pub fn url(&self, database: &str) -> String {
        format!("{}&pgbouncer=true", self.plain_url(database))
    }

    /// The same for a program that knows nothing of it.
    pub fn plain_url(&self, database: &str) -> String {
        format!("{}/{database}?sslmode=disable", self.base)
    }

    /// How many clients (`show clients`), or connections to the server (`show servers`), it has for a database.
    pub async fn count(&self, show: &str, database: &str) -> usize {
        let mut console = connect_options(&self.plain_url("pgbouncer")).unwrap().connect().await.unwrap();
        // It understands the simple protocol only.
        let rows = sqlx::raw_sql(AssertSqlSafe(show)).fetch_all(&mut console).await.unwrap();
        rows.iter().filter(|row| row.get::<String, _>("database") == database).count()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // The end of its standard input.
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}
