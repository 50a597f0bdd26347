//! The log, as text and as JSON: what the server says is in it.

use seatkeeper_jobs::enroll::Enroll;
use uuid::Uuid;

use super::{HOSTILE, assert_exact, assert_harmless};
use crate::support::{Process, TestDb, seatkeeper};

/// A worker whose every batch is refused by the server in hostile words.
async fn refused(db: &TestDb) {
    db.users(1).await;
    db.semester(1, None, 0).await;
    db.run(&format!(
        "create function public.refuse() returns trigger language plpgsql as $$ begin
             raise exception using message = '{HOSTILE}'; end $$;
         create trigger refuse before insert on seatkeeper.enrollments
             for each row execute function public.refuse();"
    ))
    .await;
    let job = Enroll { user_id: 1.try_into().unwrap(), semester_id: 1.try_into().unwrap() };
    db.ask(Uuid::now_v7(), job).await;
}

fn run(db: &TestDb, format: &str) -> Process {
    let mut command = seatkeeper();
    command.args([
        "--log-format",
        format,
        "run",
        "--no-http",
        "--no-scheduler",
        "--database-url",
        &db.direct,
    ]);
    Process::of(command)
}

#[tokio::test]
async fn a_log_for_people_is_one_line_for_each_event() {
    let db = TestDb::new().await;
    refused(&db).await;
    let worker = run(&db, "pretty");
    let line = tokio::task::spawn_blocking(move || worker.await_log("forged")).await.unwrap();
    // The colours of the log itself.
    let plain: String = line.split('\u{1b}').enumerate().fold(String::new(), |all, (place, part)| {
        all + if place == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) }
    });
    assert!(plain.contains("batch rolled back"), "{plain}");
    assert!(assert_harmless("run", &plain) > 0, "{plain}");
    assert!(!line.contains("\u{1b}[31mb"), "{line:?}");
}

#[tokio::test]
async fn a_log_in_json_is_exact() {
    let db = TestDb::new().await;
    refused(&db).await;
    let worker = run(&db, "json");
    let line = tokio::task::spawn_blocking(move || worker.await_log("forged")).await.unwrap();
    assert_exact("run", &line, HOSTILE);
}
