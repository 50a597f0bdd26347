//! The embedded server: it keeps its data, it is ours alone, and it never outlives us.

mod trust;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, getpgid};
use seatkeeper::postgres::embedded::{Embedded, EmbeddedError, Options};
use sqlx::{ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::until;

/// More than anything here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Makes [`owner_process`] own a server on the data directory that it names.
const OWNER: &str = "SEATKEEPER_TEST_EMBEDDED_OWNER";

fn data_dir(mode: u32) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).expect("its mode");
    dir
}

/// A data directory that the account of the server can reach when we are root.
fn reachable() -> TempDir {
    data_dir(0o755)
}

/// Not durable: nobody pulls the plug of the machine in these tests.
fn options(dir: &Path) -> Options {
    Options { durable: false, ..Options::new(dir) }
}

async fn start(dir: &Path) -> Embedded {
    Embedded::start(options(dir)).await.expect("the server starts")
}

async fn connect(server: &Embedded) -> PgConnection {
    PgConnection::connect(&server.url("postgres")).await.expect("the server lets us in")
}

async fn remember(server: &Embedded, word: &str) {
    let mut connection = connect(server).await;
    sqlx::query("create table if not exists words (word text)")
        .execute(&mut connection)
        .await
        .expect("a table");
    sqlx::query("insert into words values ($1)").bind(word).execute(&mut connection).await.expect("a row");
}

async fn remembered(server: &Embedded) -> Vec<String> {
    let mut connection = connect(server).await;
    sqlx::query_scalar("select word from words order by word")
        .fetch_all(&mut connection)
        .await
        .expect("the rows")
}

/// Whether the process runs; one that has ended and was not collected yet does not.
pub fn runs(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']),
        Err(_) => kill(as_pid(pid), None).is_ok(),
    }
}

fn as_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a process id"))
}

fn pid_of(server: &Embedded) -> u32 {
    server.server_pid().expect("a running server")
}

/// Turned by an environment variable into a process that owns a server until it is killed.
#[tokio::test]
async fn owner_process() {
    let Some(dir) = std::env::var_os(OWNER) else { return };
    let server = start(Path::new(&dir)).await;
    remember(&server, "owner").await;
    println!("\nserver {}", pid_of(&server));
    std::future::pending::<()>().await;
}

/// This test program as an owner process; killed with SIGKILL when it is dropped.
fn spawn_owner(dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "embedded::owner_process", "--nocapture"])
        .env(OWNER, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("an owner process")
}

/// The pid of the server that the owner has started.
async fn owned_server(owner: &mut Child) -> u32 {
    let mut lines = BufReader::new(owner.stdout.take().expect("its output")).lines();
    let wait = async {
        while let Some(line) = lines.next_line().await.expect("a line") {
            if let Some(pid) = line.strip_prefix("server ") {
                return pid.parse().expect("a process id");
            }
        }
        panic!("the owner ended without a server");
    };
    tokio::time::timeout(LIMIT, wait).await.expect("a server in time")
}

#[tokio::test]
async fn data_outlives_a_stop_and_others_stay_out() {
    let dir = reachable();
    let server = Embedded::start(Options::new(dir.path())).await.expect("the server starts");
    remember(&server, "kept").await;
    let pid = pid_of(&server);
    assert!(server.version() >= 14);
    let group = |pid| getpgid(Some(as_pid(pid))).expect("a process group");
    assert_ne!(group(pid), group(std::process::id()), "Ctrl-C must not reach the server");

    let wrong = server.connect_options("postgres").password("guess").connect().await;
    let code = wrong.err().and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
    assert_eq!(code.as_deref(), Some("28P01"), "a wrong password is refused");
    let mode = |path: &Path| path.metadata().expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(server.cluster_dir()), 0o700);
    assert_eq!(mode(&server.cluster_dir().join("password")), 0o600);
    let mut connection = connect(&server).await;
    let fsync: String = sqlx::query_scalar("show fsync").fetch_one(&mut connection).await.expect("a setting");
    assert_eq!(fsync, "on");

    let cluster = server.cluster_dir().to_owned();
    server.stop().await.expect("the server stops");
    assert!(!runs(pid), "stop returns when the server is gone");
    let server = start(dir.path()).await;
    assert_eq!(remembered(&server).await, ["kept"]);
    server.stop().await.expect("the server stops");

    std::fs::write(cluster.join("data/PG_VERSION"), "9\n").expect("another version");
    let refused = Embedded::start(options(dir.path())).await.expect_err("a cluster of another version");
    assert!(matches!(&refused, EmbeddedError::OtherVersion { cluster, .. } if cluster == "9"), "{refused}");
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused_until_it_is_free() {
    let dir = reachable();
    let first = start(dir.path()).await;
    let refused = Embedded::start(options(dir.path())).await.expect_err("a second server");
    assert!(matches!(refused, EmbeddedError::InUse { .. }), "{refused}");
    let (message, path) = (refused.to_string(), dir.path().canonicalize().expect("a path"));
    assert!(message.contains("another seatkeeper"), "{message}");
    assert!(message.contains(&path.display().to_string()), "{message}");
    assert!(message.contains(&std::process::id().to_string()), "{message}");
    let pid = pid_of(&first);
    drop(first);
    // Not waited for: the start has to put up with a server that is just being stopped.
    let second = start(dir.path()).await;
    assert!(!runs(pid));
    second.remove().await.expect("the cluster is removed");
    assert!(!dir.path().join("postgres").exists() && dir.path().exists());
}

#[tokio::test]
async fn a_killed_owner_leaves_no_server_behind() {
    let dir = reachable();
    let mut owner = spawn_owner(dir.path());
    let pid = owned_server(&mut owner).await;
    assert!(runs(pid));
    owner.kill().await.expect("SIGKILL");
    until("the guardian stops the server", async || !runs(pid)).await;

    let mut owner = spawn_owner(dir.path());
    let pid = owned_server(&mut owner).await;
    owner.kill().await.expect("SIGKILL");
    // At once, while the guardian is at work.
    let server = start(dir.path()).await;
    assert!(!runs(pid), "the former server is gone");
    assert_eq!(remembered(&server).await, ["owner", "owner"]);
    server.stop().await.expect("the server stops");
}

/// Lists processes by /proc.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_whose_guardian_was_killed_too_is_stopped_by_the_next_start() {
    let dir = reachable();
    let mut owner = spawn_owner(dir.path());
    let pid = owned_server(&mut owner).await;
    let group = getpgid(Some(as_pid(pid))).expect("a process group");
    let guardians: Vec<Pid> = std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
        .filter(|other| *other != as_pid(pid) && getpgid(Some(*other)) == Ok(group))
        .collect();
    assert!(!guardians.is_empty());
    for guardian in guardians {
        kill(guardian, Signal::SIGKILL).expect("SIGKILL for a guardian");
    }
    owner.kill().await.expect("SIGKILL for the owner");
    assert!(runs(pid), "nobody was left to stop the server");

    let server = start(dir.path()).await;
    assert!(!runs(pid), "the orphan is gone");
    assert_ne!(pid_of(&server), pid);
    assert_eq!(remembered(&server).await, ["owner"]);
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn a_killed_initdb_leaves_nothing_to_trip_over() {
    let dir = reachable();
    let mut owner = spawn_owner(dir.path());
    let home = dir.path().join("postgres");
    let drafts = || {
        let entries = std::fs::read_dir(&home).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("draft-")).count()
    };
    until("initdb begins", async || drafts() > 0).await;
    owner.kill().await.expect("SIGKILL");

    let server = start(dir.path()).await;
    remember(&server, "fine").await;
    assert_eq!(remembered(&server).await.last().map(String::as_str), Some("fine"));
    server.stop().await.expect("the server stops");
    // What the interrupted initdb wrote after one start had swept, the next one sweeps.
    let swept = async || {
        start(dir.path()).await.stop().await.expect("the server stops");
        drafts() == 0
    };
    until("nothing is left of the interrupted initdb", swept).await;
}

#[tokio::test]
async fn a_lock_file_with_the_pid_of_somebody_else_is_no_hindrance() {
    let dir = reachable();
    let server = start(dir.path()).await;
    let file = server.cluster_dir().join("data/postmaster.pid");
    let text = std::fs::read_to_string(&file).expect("the server's lock file");
    remember(&server, "kept").await;
    // A process of the same account, which PostgreSQL takes for another server.
    let mut bystander = Command::new("sleep");
    let owner = std::os::unix::fs::MetadataExt::uid(&file.metadata().expect("the lock file"));
    if Uid::effective().is_root() {
        bystander.uid(owner);
    }
    let mut bystander = bystander.arg("600").kill_on_drop(true).spawn().expect("a bystander");
    server.stop().await.expect("the server stops");
    let rest = text.split_once('\n').expect("lines").1;
    let pid = bystander.id().expect("its pid");
    std::fs::write(&file, format!("{pid}\n{rest}")).expect("a stale lock file");
    std::os::unix::fs::chown(&file, Some(owner), None).expect("the server's own");

    let server = start(dir.path()).await;
    assert_eq!(remembered(&server).await, ["kept"]);
    assert!(bystander.try_wait().expect("its state").is_none(), "the bystander was left alone");
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn a_data_directory_out_of_reach_says_where_the_cluster_is() {
    // Private to us, so that for root the server's account cannot get in.
    let dir = data_dir(0o700);
    let path = dir.path().canonicalize().expect("a path");
    let server = start(dir.path()).await;
    remember(&server, "kept").await;
    let cluster = server.cluster_dir().to_owned();
    let location = path.join("cluster-location");
    if !Uid::effective().is_root() {
        assert_eq!(cluster, path.join("postgres"));
        assert!(!location.exists());
        return server.stop().await.expect("the server stops");
    }
    assert!(!cluster.starts_with(&path), "{} is out of reach", cluster.display());
    let said = std::fs::read_to_string(&location).expect("the location");
    assert_eq!(Path::new(said.trim()), cluster);
    server.stop().await.expect("the server stops");

    let mode =
        |mode| std::fs::set_permissions(&cluster, std::fs::Permissions::from_mode(mode)).expect("a mode");
    mode(0o755);
    let refused = Embedded::start(options(dir.path())).await.expect_err("open to everybody");
    assert!(matches!(refused, EmbeddedError::NotPrivate { .. }), "{refused}");
    mode(0o700);
    let aside = cluster.with_extension("aside");
    std::fs::rename(&cluster, &aside).expect("moved aside");
    let refused = Embedded::start(options(dir.path())).await.expect_err("gone");
    assert!(matches!(refused, EmbeddedError::ClusterGone { .. }), "{refused}");
    std::os::unix::fs::symlink(&aside, &cluster).expect("a link");
    let refused = Embedded::start(options(dir.path())).await.expect_err("a link");
    assert!(matches!(refused, EmbeddedError::NotPrivate { .. }), "{refused}");
    std::fs::remove_file(&cluster).expect("no link");
    std::fs::rename(&aside, &cluster).expect("moved back");

    let server = start(dir.path()).await;
    assert_eq!(server.cluster_dir(), cluster);
    assert_eq!(remembered(&server).await, ["kept"]);
    server.remove().await.expect("the cluster is removed");
    assert!(!cluster.exists() && !location.exists());
}

#[tokio::test]
async fn without_binaries_the_error_says_what_to_install() {
    let dir = reachable();
    let data = dir.path().join("data");
    let options = Options { bin_dir: Some(dir.path().to_owned()), ..options(&data) };
    let error = Embedded::start(options).await.expect_err("no binaries");
    assert!(matches!(error, EmbeddedError::NoBinaries { .. }), "{error}");
    let message = error.to_string();
    for part in [&dir.path().display().to_string(), "apt-get install", "brew install", "SEATKEEPER_PG_BIN"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(!data.exists(), "nothing was made in vain");
}

#[tokio::test]
async fn a_server_that_does_not_start_shows_its_log() {
    let dir = reachable();
    let mut options = options(dir.path());
    options.settings.push(("work_mem".to_owned(), "plenty".to_owned()));
    let error = Embedded::start(options).await.expect_err("a bad setting");
    assert!(matches!(error, EmbeddedError::DidNotStart { .. }), "{error}");
    assert!(error.to_string().contains("invalid value for parameter \"work_mem\""), "{error}");
    start(dir.path()).await.stop().await.expect("with good settings it works");
}

#[tokio::test]
async fn a_crash_keeps_what_was_committed_and_an_outage_keeps_the_port() {
    let dir = reachable();
    let mut server = Embedded::start(Options::new(dir.path())).await.expect("the server starts");
    let url = server.url("postgres");
    remember(&server, "committed").await;
    let mut open = connect(&server).await;
    sqlx::query("begin").execute(&mut open).await.expect("a transaction");
    sqlx::query("insert into words values ('uncommitted')").execute(&mut open).await.expect("a row");
    let pid = pid_of(&server);
    server.restart_immediate().await.expect("the server restarts");
    assert!(!runs(pid));
    assert_eq!(server.url("postgres"), url);
    assert_eq!(remembered(&server).await, ["committed"]);

    server.stop_server().await.expect("the server stops");
    assert_eq!(server.server_pid(), None);
    assert!(PgConnection::connect(&url).await.is_err(), "nobody listens");
    server.start_server().await.expect("the server starts again");
    assert!(server.start_server().await.is_err(), "it runs already");
    assert_eq!(remembered(&server).await, ["committed"]);

    kill(as_pid(pid_of(&server)), Signal::SIGKILL).expect("SIGKILL for the server");
    server.restart_immediate().await.expect("the server starts after it was killed");
    assert_eq!(remembered(&server).await, ["committed"]);
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn servers_on_different_directories_do_not_meet() {
    let dirs = [reachable(), reachable(), reachable()];
    let (one, two, three) = tokio::join!(start(dirs[0].path()), start(dirs[1].path()), start(dirs[2].path()));
    for (server, word) in [(&one, "one"), (&two, "two"), (&three, "three")] {
        remember(server, word).await;
    }
    assert_eq!(remembered(&one).await, ["one"]);
    assert_eq!(remembered(&two).await, ["two"]);
    assert_eq!(remembered(&three).await, ["three"]);
    let (one, two, three) = tokio::join!(one.stop(), two.stop(), three.stop());
    one.and(two).and(three).expect("all of them stop");
}
