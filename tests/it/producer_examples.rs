//! The examples of the guide for producers, run as the guide says, against a worker that runs.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::{Outcome, Receipt};
use tokio::process::Command;
use uuid::Uuid;

use crate::support::{Process, TestDb, until};

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/examples").join(file)
}

/// What the examples ask for: user 7 and semester 3.
async fn seeded() -> TestDb {
    let db = TestDb::new().await;
    db.users(7).await;
    db.semester(3, Some(5), 0).await;
    db
}

/// Runs it to its end; gives what it printed.
async fn printed(command: &mut Command, missing: &str) -> String {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let Output { status, stdout, stderr } = output.unwrap_or_else(|error| panic!("{error}: {missing}"));
    let (out, complaints) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{status}\n{out}\n{complaints}\n{missing}");
    out.into_owned()
}

const PSQL: &str = "psql is missing: run scripts/setup";
const PYTHON: &str = "Python 3 or its psycopg 3 is missing: run scripts/setup";

/// The script in psql, with its results as plain lines.
fn psql(db: &TestDb, file: &str) -> Command {
    let mut command = Command::new("psql");
    command
        .args([&db.direct, "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qAt", "-f"])
        .arg(example(file))
        .env_remove("PGOPTIONS");
    command
}

/// An example in Rust, and what to say when it is not there: cargo builds the examples of the workspace with its tests,
/// beside the binary.
fn built(name: &str) -> (PathBuf, String) {
    let built = Path::new(env!("CARGO_BIN_EXE_seatkeeper")).with_file_name("examples").join(name);
    let missing = format!(
        "{} is not built: run the tests of the whole workspace, or first\n\
         cargo build --package seatkeeper-jobs --all-features --example {name}",
        built.display()
    );
    assert!(built.exists(), "{missing}");
    (built, missing)
}

/// The one request of an example, answered.
async fn answered(db: &TestDb, producer: &str) -> Receipt {
    let id: Uuid = db.value("select request_id from seatkeeper.requests").await;
    until("the example's request is answered", async || db.receipt(id).await.status.is_final()).await;
    let name: String = db.value("select producer from seatkeeper.requests").await;
    assert_eq!(name, producer);
    let receipt = db.receipt(id).await;
    assert_eq!(receipt.outcome, Some(Outcome::Applied));
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.enrollments where user_id = 7").await, 1);
    db.assert_sound().await;
    receipt
}

#[tokio::test]
async fn the_example_in_sql_asks_twice_and_is_answered_once() {
    let db = seeded().await;
    let worker = Process::run(&db.url, &["--no-http"]);
    // An example waits for a moment only.
    worker.await_log("working");
    let out = printed(&mut psql(&db, "enqueue.sql"), PSQL).await;
    let receipt = answered(&db, "example in SQL").await;
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.contains(&"first|enroll|queued|f"), "{out}");
    // By then the worker may have been there.
    let again = lines.iter().find(|line| line.starts_with("again|enroll|")).unwrap();
    assert!(again.ends_with("|t"), "{out}");
    let last = lines.last().unwrap();
    assert!(last.starts_with(&format!("{}|enroll|", receipt.request_id)), "{out}");
    // A script cannot wait; read again, as it says, the receipt is done.
    let read =
        "select concat_ws('|', status, outcome, reason, result ->> 'charged') from seatkeeper.get_receipt";
    assert_eq!(db.value::<String>(&format!("{read}('{}')", receipt.request_id)).await, "done|applied|0");
    assert_eq!(worker.terminate(), Some(0));
}

#[tokio::test]
async fn the_example_in_rust_asks_twice_and_prints_the_answer() {
    let (built, missing) = built("enqueue");
    let db = seeded().await;
    let worker = Process::run(&db.url, &["--no-http"]);
    // An example waits for a moment only.
    worker.await_log("working");
    let out = printed(Command::new(&built).env("DATABASE_URL", &db.direct), &missing).await;
    let receipt = answered(&db, "example in Rust").await;
    let expected = format!(
        "first: duplicate = false\nagain: duplicate = true\nreceipt: enroll {} is done\nresult: {}\n",
        receipt.request_id,
        receipt.result.unwrap()
    );
    assert_eq!(out, expected);
    assert_eq!(worker.terminate(), Some(0));
}

#[tokio::test]
async fn the_example_in_python_asks_twice_and_prints_the_answer() {
    let db = seeded().await;
    let worker = Process::run(&db.url, &["--no-http"]);
    // An example waits for a moment only.
    worker.await_log("working");
    // The system's own Python: that is where the system's package of psycopg is.
    let out = printed(
        Command::new("/usr/bin/python3").arg(example("enqueue.py")).env("DATABASE_URL", &db.direct),
        PYTHON,
    )
    .await;
    let receipt = answered(&db, "example in Python").await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["first: duplicate = False", "again: duplicate = True"], "{out}");
    assert_eq!(lines[2], format!("receipt: enroll {} is done", receipt.request_id));
    assert_eq!(lines[3], "reason: None");
    let result: String = lines[4].strip_prefix("result: ").unwrap().replace('\'', "\"");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&result).ok(), receipt.result);
    assert_eq!(worker.terminate(), Some(0));
}

/// A producer that sends to a database without a worker is told that nobody has answered yet, and ends.
#[tokio::test]
async fn the_example_in_python_gives_up_waiting_when_no_worker_is_there() {
    let db = seeded().await;
    let out = printed(
        Command::new("/usr/bin/python3").arg(example("enqueue.py")).env("DATABASE_URL", &db.direct),
        PYTHON,
    )
    .await;
    let id: Uuid = db.value("select request_id from seatkeeper.requests").await;
    assert!(out.contains(&format!("receipt: enroll {id} is queued")), "{out}");
}

/// What the examples of booking ask for: session 5, whose one place user 8 has.
async fn seeded_with_a_session() -> TestDb {
    let db = TestDb::new().await;
    db.users(8).await;
    db.semester(3, Some(5), 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (5, 3, now() + interval '30 days', now() + interval '30 days 1 hour', 1)",
    )
    .await;
    for user in [7_i64, 8] {
        let semester_id = 3.try_into().unwrap();
        db.ask(Uuid::now_v7(), Enroll { user_id: user.try_into().unwrap(), semester_id }).await;
    }
    db.ask(Uuid::now_v7(), book(8)).await;
    db.drain().await;
    db
}

fn book(user: i64) -> Book {
    Book { user_id: user.try_into().unwrap(), session_id: 5.try_into().unwrap() }
}

/// What the examples in Rust and Python print of a wait that is given up.
const BOOKED_AND_CANCELLED: &str = "book: done\nnow: WAITLISTED, place 1 in the waitlist\n\
                                    cancel_booking: done\nnow: CANCELLED, requested\n";

#[tokio::test]
async fn the_example_of_booking_in_sql_books_and_cancels_without_waiting() {
    let db = seeded_with_a_session().await;
    let worker = Process::run(&db.url, &["--no-http"]);
    // An example waits for a moment only.
    worker.await_log("working");
    let out = printed(&mut psql(&db, "book.sql"), PSQL).await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["book|queued|f", "cancel_booking|queued|f"], "{out}");
    until("both are answered", async || {
        db.value("select not exists (select from seatkeeper.requests where status = 'queued')").await
    })
    .await;
    let booking: String = db
        .value(
            "select concat_ws('|', b.status, b.cancelled_because, r.result ->> 'status', r.result ->> 'waitlist_position')
             from seatkeeper.requests r, seatkeeper.get_booking((r.result ->> 'booking_id')::bigint) b
             where r.kind = 'book' and r.user_id = 7",
        )
        .await;
    assert_eq!(booking, "CANCELLED|requested|WAITLISTED|1");
    db.assert_sound().await;
    assert_eq!(worker.terminate(), Some(0));
}

#[tokio::test]
async fn the_example_of_booking_in_rust_prints_the_place_in_the_waitlist() {
    let db = seeded_with_a_session().await;
    let worker = Process::run(&db.url, &["--no-http"]);
    // An example waits for a moment only.
    worker.await_log("working");
    let (built, missing) = built("book");
    let out = printed(Command::new(&built).env("DATABASE_URL", &db.direct), &missing).await;
    assert_eq!(out, BOOKED_AND_CANCELLED);
    db.assert_sound().await;
    assert_eq!(worker.terminate(), Some(0));
}

#[tokio::test]
async fn the_example_of_booking_in_python_prints_the_place_in_the_waitlist() {
    let db = seeded_with_a_session().await;
    let worker = Process::run(&db.url, &["--no-http"]);
    // An example waits for a moment only.
    worker.await_log("working");
    let mut python = Command::new("/usr/bin/python3");
    let out = printed(python.arg(example("book.py")).env("DATABASE_URL", &db.direct), PYTHON).await;
    assert_eq!(out, BOOKED_AND_CANCELLED);
    // A refusal is told, and there is no booking to look at.
    db.run("update seatkeeper.sessions set status = 'CANCELLED'").await;
    let mut python = Command::new("/usr/bin/python3");
    let out = printed(python.arg(example("book.py")).env("DATABASE_URL", &db.direct), PYTHON).await;
    assert_eq!(out, "book: done, session_cancelled\n");
    db.assert_sound().await;
    assert_eq!(worker.terminate(), Some(0));
}

#[tokio::test]
async fn the_example_for_owners_moves_a_session_and_its_waitlist() {
    let db = seeded_with_a_session().await;
    db.ask(Uuid::now_v7(), book(7)).await;
    db.drain().await;
    let worker = Process::run(&db.url, &["--no-http"]);
    // An example waits for a moment only.
    worker.await_log("working");
    let out = printed(&mut psql(&db, "sessions.sql"), PSQL).await;
    assert!(out.lines().last().is_some_and(|line| line.starts_with("5|2|")), "{out}");
    until("the new place is filled", async || {
        let confirmed =
            "select count(*) from seatkeeper.bookings b join seatkeeper.sessions s using (session_id)
             where b.status = 'CONFIRMED' and (b.starts_at, b.ends_at) = (s.starts_at, s.ends_at)";
        db.value::<i64>(confirmed).await == 2
    })
    .await;
    assert_eq!(db.value::<i32>("select max_players from seatkeeper.semesters").await, 6);
    db.assert_sound().await;
    assert_eq!(worker.terminate(), Some(0));
}
