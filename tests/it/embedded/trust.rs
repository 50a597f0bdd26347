//! Whom the embedded server trusts: nobody leads it to files elsewhere, nobody else writes where it lives, nobody gets in without
//! the password, and its worker is an ordinary account.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;
use seatkeeper::postgres::embedded::{Embedded, EmbeddedError};
use seatkeeper_jobs::Request;
use seatkeeper_jobs::enroll::Enroll;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::{data_dir, options, reachable, start};
use crate::support::{Process, seatkeeper, until, until_some};

/// A file of somebody else, which stays as it is.
fn bystander() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "kept\n").unwrap();
    (dir, file)
}

async fn refused(dir: &Path) -> EmbeddedError {
    match Embedded::start(options(dir)).await {
        Err(error) => error,
        Ok(server) => {
            server.stop().await.unwrap();
            panic!("it was not refused");
        }
    }
}

#[tokio::test]
async fn a_link_in_place_of_the_lock_is_not_followed() {
    let (_elsewhere, file) = bystander();
    for hard in [false, true] {
        let dir = reachable();
        let lock = dir.path().join("lock");
        if hard {
            std::fs::hard_link(&file, &lock).unwrap()
        } else {
            symlink(&file, &lock).unwrap()
        }
        let error = refused(dir.path()).await;
        assert!(matches!(error, EmbeddedError::Misplaced { .. }), "{error}");
        assert!(error.to_string().contains(&lock.file_name().unwrap().display().to_string()), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept\n");
    }
}

#[tokio::test]
async fn a_link_in_place_of_the_password_is_not_followed() {
    let dir = reachable();
    let server = start(dir.path()).await;
    let password = server.cluster_dir().join("password");
    server.stop().await.unwrap();
    // It would do: that it is the right one is not the point.
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("secret");
    std::fs::copy(&password, &moved).unwrap();
    std::fs::remove_file(&password).unwrap();
    symlink(&moved, &password).unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(&error, EmbeddedError::Misplaced { path, .. } if *path == password), "{error}");
}

/// The account of the server may do in its directory what it likes. Where root looks there, it is not led elsewhere.
#[tokio::test]
async fn a_link_in_place_of_the_cluster_leads_to_nothing_that_is_read_or_removed() {
    if !Uid::effective().is_root() {
        return;
    }
    let dir = reachable();
    let server = start(dir.path()).await;
    let (cluster, version) = (server.cluster_dir().to_owned(), server.version());
    server.stop().await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::set_permissions(elsewhere.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let theirs = elsewhere.path().join("postmaster.pid");
    // A process that is alive, and no server of ours.
    std::fs::write(&theirs, format!("{}\n/d\n1700000000\n1\n\n\n\nready\n", std::process::id())).unwrap();
    std::fs::write(elsewhere.path().join("PG_VERSION"), format!("{version}\n")).unwrap();
    std::fs::rename(cluster.join("data"), cluster.join("aside")).unwrap();
    symlink(elsewhere.path(), cluster.join("data")).unwrap();
    let error = refused(dir.path()).await;
    assert!(theirs.exists(), "removed: {error}");
    assert!(matches!(error, EmbeddedError::Misplaced { .. }), "{error}");
}

#[tokio::test]
async fn a_data_directory_that_others_can_write_is_refused() {
    for mode in [0o775, 0o757, 0o1777] {
        let dir = data_dir(mode);
        let error = refused(dir.path()).await;
        assert!(matches!(error, EmbeddedError::OpenDirectory { .. }), "{error}");
        assert!(error.to_string().contains("chmod go-w") && !dir.path().join("lock").exists(), "{error}");
    }
}

/// For root: all is done as the account that the directory belongs to, which can lead nobody but itself.
#[tokio::test]
async fn in_the_directory_of_somebody_else_root_is_that_account() {
    if !Uid::effective().is_root() {
        return;
    }
    const NOBODY: u32 = 65_534;
    let dir = reachable();
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // Where root would write what it has to remember.
    let (_elsewhere, file) = bystander();
    symlink(&file, dir.path().join("cluster-location.new")).unwrap();
    let server = start(dir.path()).await;
    let owner = |path: &Path| path.symlink_metadata().unwrap().uid();
    assert_eq!(owner(server.cluster_dir()), NOBODY);
    assert_eq!(owner(&dir.path().join("lock")), NOBODY);
    server.remove().await.unwrap();
    // A cluster of a third account is none of theirs.
    let home = dir.path().join("postgres");
    std::fs::create_dir_all(home.join("data")).unwrap();
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
    chown(&home, Some(12_345), Some(12_345)).unwrap();
    let error = refused(dir.path()).await;
    assert!(matches!(error, EmbeddedError::NotPrivate { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept\n");
}

#[tokio::test]
async fn nobody_gets_in_by_another_way_than_the_password() {
    let dir = reachable();
    let server = start(dir.path()).await;
    let data = server.cluster_dir().join("data");
    server.stop().await.unwrap();
    let file = data.join("pg_hba.conf");
    let good = std::fs::read_to_string(&file).unwrap();
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    for (number, line) in [
        "host all all 127.0.0.1/32 trust",
        "host all all 127.0.0.1/32 trust # scram-sha-256",
        "host all all 127.0.0.1 255.255.255.255 password",
        "local all all peer map=scram-sha-256",
        "host all all 127.0.0.1/32 \"trust\"",
        "host all all 127.0.0.1/32 \\\ntrust",
        "include_if_exists more.conf",
        "@more.conf",
    ]
    .iter()
    .enumerate()
    {
        write(&format!("{line}\n{good}"));
        let error = refused(dir.path()).await;
        assert!(
            matches!(&error, EmbeddedError::OpenDoor { file: named, line: 1, .. } if *named == file),
            "{number} {line}: {error}"
        );
        assert!(error.to_string().contains("scram-sha-256"), "{error}");
    }
    write(&format!(
        "host all all 127.0.0.1/32 reject\n  # trust\n\nhostssl a,b c 0.0.0.0/0\tscram-sha-256\n{good}"
    ));
    let error = Embedded::start(options(dir.path())).await.expect_err("it rejects us, too");
    assert!(matches!(error, EmbeddedError::Connect(_)), "{error}");
    // Another file is not looked at, whoever names it.
    write(&good);
    let open = data.join("open.conf");
    std::fs::write(&open, "host all all 127.0.0.1/32 trust\n").unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    let settings = data.join("postgresql.auto.conf");
    std::fs::write(&settings, format!("hba_file = '{}'\n", open.display())).unwrap();
    let server = start(dir.path()).await;
    let wrong = server.connect_options("postgres").password("guess").connect().await;
    assert!(wrong.is_err(), "nobody gets in without the password");
    server.stop().await.unwrap();
}

/// The superuser's connection to the server of another process.
async fn superuser(data_dir: &Path) -> Option<PgConnection> {
    let home = data_dir.join("postgres");
    let password = std::fs::read_to_string(home.join("password")).ok()?;
    let pid_file = std::fs::read_to_string(home.join("data/postmaster.pid")).ok()?;
    let port = pid_file.lines().nth(3)?;
    let url = format!("postgres://postgres:{}@127.0.0.1:{port}/seatkeeper?sslmode=disable", password.trim());
    PgConnection::connect(&url).await.ok()
}

#[tokio::test]
async fn the_worker_of_an_embedded_server_is_an_ordinary_account() {
    let dir = reachable();
    let data = dir.path().join("data");
    // Twice: what the first one made lets the second one in, and only it, whatever a new file may be by default.
    for round in 1..=2 {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 000; exec \"$@\"", "sh"]).arg(seatkeeper().get_program());
        command.args(["--log-format", "json", "run", "--embedded", "--no-http", "--data-dir"]).arg(&data);
        for (name, _) in std::env::vars().filter(|(name, _)| name != "SEATKEEPER_PG_BIN") {
            if name.starts_with("SEATKEEPER_") || name == "DATABASE_URL" {
                command.env_remove(name);
            }
        }
        let run = Process::of(command);
        let mut connection = until_some("the server is up", async || superuser(&data).await).await;
        until("the worker works", async || {
            sqlx::query_scalar(
                "select exists (select from pg_stat_activity where application_name = 'seatkeeper' and datname = 'seatkeeper'
                                and query like '%claim%')",
            )
            .fetch_one(&mut connection)
            .await
            .unwrap()
        })
        .await;
        sqlx::raw_sql(
            "insert into seatkeeper.users (user_id) values (1) on conflict do nothing;
             insert into seatkeeper.semesters (semester_id, code, status) values (1, 'S', 'ENROLLMENT_OPEN') on conflict do nothing",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        let id = Uuid::now_v7();
        let job = Enroll { user_id: 1.try_into().unwrap(), semester_id: 1.try_into().unwrap() };
        seatkeeper_jobs::postgres::enqueue(&mut connection, &Request::new(id, job)).await.unwrap();
        until("it is answered", async || {
            let receipt = seatkeeper_jobs::postgres::get_receipt(&mut connection, id).await.unwrap().unwrap();
            receipt.outcome.is_some()
        })
        .await;
        let mighty: Vec<String> = sqlx::query_scalar(
            "select distinct r.rolname::text from pg_stat_activity a join pg_roles r on r.rolname = a.usename
             where a.datname = 'seatkeeper' and a.pid <> pg_backend_pid()
               and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolbypassrls or r.rolreplication)",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        assert!(mighty.is_empty(), "round {round}: {mighty:?}");
        connection.close().await.unwrap();
        let ended = tokio::task::spawn_blocking(move || run.terminate()).await.unwrap();
        assert_eq!(ended, Some(0), "round {round}");
    }
}
