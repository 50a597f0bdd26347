//! The real binary and a real server, seconds before a Monday's 08:00 by a faked clock (libfaketime).
//!
//! What is due is computed by the database's clock, so the server's is faked as well: by the same offset in every
//! process. The monotonic clock is left alone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use chrono::{DateTime, Utc};
use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{connect_options, migrate, pool};
use seatkeeper::schedule;
use sqlx::PgPool;

use crate::chores::plan;
use crate::support::{Process, seatkeeper, until};

/// Where Debian, by architecture, and others keep it.
fn libfaketime() -> String {
    let found = Command::new("sh")
        .args(["-c", "ls /usr/lib/*/faketime/libfaketime.so.1 /usr/lib/faketime/libfaketime.so.1 /usr/local/lib/faketime/libfaketime.so.1 2>/dev/null | head -n 1"])
        .output()
        .unwrap();
    let path = String::from_utf8(found.stdout).unwrap().trim().to_owned();
    assert!(!path.is_empty(), "libfaketime is missing: scripts/setup installs it (Debian's faketime)");
    path
}

/// The binary, with its clock ahead by this much; and so for all processes that it starts.
fn ahead_by(offset: Duration) -> Command {
    let mut command = seatkeeper();
    command
        .env("LD_PRELOAD", libfaketime())
        .env("FAKETIME", format!("+{}.{:03}", offset.as_secs(), offset.subsec_millis()))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_NO_CACHE", "0");
    command
}

/// The URL of the server that runs on this cluster now: its port is in PostgreSQL's own file.
fn url_now(before: &str, cluster: &Path) -> Option<String> {
    let lines = std::fs::read_to_string(cluster.join("data/postmaster.pid")).ok()?;
    let port = lines.lines().nth(3)?;
    let (head, rest) = before.rsplit_once(':')?;
    Some(format!("{head}:{port}/{}", rest.split_once('/')?.1))
}

async fn prepared(dir: &Path) -> (String, std::path::PathBuf) {
    let embedded = Embedded::start(Options::new(dir)).await.unwrap_or_else(|error| panic!("{error}"));
    let (url, cluster) = (embedded.url("seatkeeper"), embedded.cluster_dir().to_owned());
    let admin = pool(embedded.connect_options("postgres"), 1);
    sqlx::query("create database seatkeeper").execute(&admin).await.unwrap();
    admin.close().await;
    let database = pool(embedded.connect_options("seatkeeper"), 2);
    migrate(&database).await.unwrap();
    schedule::keep(&database, &plan()).await.unwrap();
    // For the schedule no years have passed, however long the start takes: nothing before eight is due.
    sqlx::query("update seatkeeper.schedules set since = '2040-11-26T07:59:50Z'")
        .execute(&database)
        .await
        .unwrap();
    database.close().await;
    embedded.stop().await.unwrap();
    (url, cluster)
}

async fn clock(pool: &PgPool) -> Option<DateTime<Utc>> {
    sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await.ok()
}

#[tokio::test]
async fn two_replicas_call_the_roll_of_monday_at_eight_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let data = dir.path().join("data");
    let (url, cluster) = prepared(&data).await;

    // Some Monday to come, three seconds before eight.
    let monday: DateTime<Utc> = "2040-11-26T08:00:00Z".parse().unwrap();
    let start = monday - chrono::Duration::seconds(3);
    let offset = (start - Utc::now()).to_std().unwrap();
    let mut serving = ahead_by(offset);
    serving
        .args(["--log-format", "json", "run", "--embedded", "--no-http", "--no-worker", "--data-dir"])
        .arg(&data);
    let first = Process::of(serving);
    until("the server is there", async || url_now(&url, &cluster).is_some()).await;
    let url = url_now(&url, &cluster).unwrap();
    let mut beside = ahead_by(offset);
    beside.args(["--log-format", "json", "run", "--no-http", "--no-worker", "--database-url", &url]);
    let second = Process::of(beside);

    let look = pool(connect_options(&url).unwrap(), 2);
    let runs = async || -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        sqlx::query_as("select slot, started_at from seatkeeper.invariant_runs where schedule = 'roll_call'")
            .fetch_all(&look)
            .await
            .unwrap_or_default()
    };
    until("the roll is called", async || !runs().await.is_empty()).await;
    let (slot, started_at) = runs().await[0];
    assert_eq!(slot, monday);
    assert!(started_at >= monday, "not before it is due: {started_at}");
    // Both have looked more than once since.
    until("time goes on", async || {
        clock(&look).await.is_some_and(|now| now > monday + chrono::Duration::seconds(12))
    })
    .await;
    assert_eq!(runs().await.len(), 1);
    look.close().await;
    assert_eq!(second.terminate(), Some(0));
    assert_eq!(first.terminate(), Some(0));
    Embedded::start(Options::new(&data)).await.unwrap().remove().await.unwrap();
}
