//! `pg_upgrade`, from the PostgreSQL of the tests to the newest.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use seatkeeper::postgres::embedded::{Embedded, Options};

use super::{finishes, is_sound, load};
use crate::support::{own_server, whole_postgres};

/// As the account that the directory belongs to, in that directory.
fn as_its_owner(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    let (owner, own) = (std::fs::metadata(directory).unwrap(), std::fs::metadata("/proc/self").unwrap());
    if owner.uid() != own.uid() {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.current_dir(directory);
    command
}

#[tokio::test]
async fn a_database_that_is_upgraded_is_as_sound_as_it_was() {
    let newest = whole_postgres("18");
    let server = own_server().await;
    let pool = server.pool();
    load(&pool, 1).await;
    let programs: String = sqlx::query_scalar("select setting from pg_config where name = 'BINDIR'")
        .fetch_one(&pool)
        .await
        .unwrap();
    pool.close().await;
    let home = server.embedded.cluster_dir().to_owned();
    let place = server.stop().await;

    let (data, old) = (home.join("data"), home.join("old"));
    std::fs::rename(&data, &old).unwrap();
    let password = home.join("password");
    finishes(as_its_owner(&newest.join("initdb"), &home).arg("--pgdata").arg(&data).args([
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C",
        "--auth=scram-sha-256",
        // Both sides have to agree, and the older one is made without.
        "--no-data-checksums",
        "--no-sync",
        "--pwfile",
        password.to_str().unwrap(),
    ]));
    let password = std::fs::read_to_string(&password).unwrap();
    finishes(
        as_its_owner(&newest.join("pg_upgrade"), &home)
            .args(["--username=postgres", "--no-sync", "--old-bindir", &programs, "--new-bindir"])
            .arg(&newest)
            .arg("--old-datadir")
            .arg(&old)
            .arg("--new-datadir")
            .arg(&data)
            .env("PGPASSWORD", password.trim()),
    );

    let mut options = Options::new(place.path());
    options.bin_dir = Some(newest);
    let upgraded = Embedded::start(options).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(upgraded.version(), 18);
    is_sound(&upgraded.url("postgres"), "upgraded").await;
    upgraded.remove().await.unwrap();
}
