//! What a process makes of the schema that it finds.

use seatkeeper::postgres::MIGRATOR;
use seatkeeper_jobs::{Outcome, enroll::Enroll};
use uuid::Uuid;

use super::{apply_first, pretend_newer};
use crate::support::{Process, TestDb, seatkeeper, until, verb};

async fn run(url: &str) -> (i32, String) {
    let (code, _, complaints) = verb(&["run", "--no-http", "--database-url", url], b"").await;
    (code, complaints)
}

#[tokio::test]
async fn run_refuses_a_database_without_the_schema() {
    let db = TestDb::empty().await;
    let (code, complaints) = run(&db.url).await;
    assert_eq!(code, 3);
    assert!(complaints.contains("seatkeeper migrate up"), "{complaints}");
    let made: bool = db.value("select to_regnamespace('seatkeeper') is not null").await;
    assert!(!made, "it never migrates by itself");
}

#[tokio::test]
async fn run_refuses_every_schema_that_is_older_than_it_needs() {
    for count in 1..MIGRATOR.iter().count() {
        let db = TestDb::empty().await;
        apply_first(&db, count).await;
        let (code, complaints) = run(&db.url).await;
        assert_eq!(code, 3, "with {count} migrations");
        assert!(
            complaints.contains("too old") && complaints.contains("seatkeeper migrate up"),
            "{complaints}"
        );
        let applied: i64 = db.value("select count(*) from seatkeeper._sqlx_migrations").await;
        assert_eq!(usize::try_from(applied), Ok(count), "it never migrates by itself");
    }
}

#[tokio::test]
async fn run_refuses_a_schema_with_a_migration_that_did_not_finish() {
    let db = TestDb::new().await;
    pretend_newer(&db, false).await;
    let (code, complaints) = run(&db.url).await;
    assert_eq!(code, 3);
    assert!(complaints.contains("9999") && complaints.contains("migrate status"), "{complaints}");
}

#[tokio::test]
async fn run_works_on_a_schema_that_is_a_version_newer() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    pretend_newer(&db, true).await;
    // As the next version might: with a column and a table more.
    db.run(
        "alter table seatkeeper.requests add column of_the_future text not null default 'x';
         alter table seatkeeper.users add column of_the_future text;
         create table seatkeeper.of_the_future (id bigint)",
    )
    .await;
    let id = Uuid::now_v7();
    db.ask(id, Enroll { user_id: 1.try_into().unwrap(), semester_id: 1.try_into().unwrap() }).await;
    let process = Process::run(&db.url, &["--no-http"]);
    until("the request is answered", async || db.receipt(id).await.status.is_final()).await;
    assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test]
async fn verbs_without_a_database_are_a_usage_error_that_says_what_to_give() {
    for arguments in [&["run"][..], &["run", "--no-http"], &["migrate", "up"], &["migrate", "status"]] {
        let (code, out, complaints) = verb(arguments, b"").await;
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        for what in ["--database-url", "DATABASE_URL", "--embedded"] {
            assert!(complaints.contains(what), "{arguments:?}: {complaints}");
        }
    }
    let (code, _, complaints) = verb(&["run", "--database-url", "not a url"], b"").await;
    assert_eq!(code, 2, "{complaints}");
}

#[tokio::test]
async fn an_embedded_server_is_started_migrated_and_stopped_again_with_its_data_kept() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let file = dir.path().join("users.csv");
    std::fs::write(&file, "user_id\n1\n2\n3\n").unwrap();
    let on_embedded = |arguments: &[&str]| {
        let data = dir.path().join("data");
        let ended =
            seatkeeper().args(arguments).arg("--embedded").arg("--data-dir").arg(&data).output().unwrap();
        let text = String::from_utf8(ended.stdout).unwrap();
        assert!(ended.status.success(), "{text}{}", String::from_utf8_lossy(&ended.stderr));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let import = ["import", "users", "--file", file.to_str().unwrap(), "--json"];
    assert_eq!(on_embedded(&import)["added"], 3);
    assert_eq!(on_embedded(&import)["unchanged"], 3, "what the first server stored, the second one has");
    // The cluster may live elsewhere when its account cannot reach the directory: taken away by its owner.
    let options = seatkeeper::postgres::embedded::Options::new(dir.path().join("data"));
    seatkeeper::postgres::embedded::Embedded::start(options).await.unwrap().remove().await.unwrap();
}
