//! `demo`: its figures add up when somebody else adds them, and it touches nothing but its own server.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use crate::embedded::runs;
use crate::support::{seatkeeper, until};

/// A data directory that the account of the server can reach when we are root.
fn data_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn demo(dir: &Path, flags: &[&str]) -> Command {
    let mut command = seatkeeper();
    command.args(["demo", "--data-dir"]).arg(dir).args(flags).stdin(Stdio::null());
    command
}

fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(story: &Value, pointer: &str) -> i64 {
    story.pointer(pointer).and_then(Value::as_i64).unwrap_or_else(|| panic!("no {pointer} in {story}"))
}

fn sum(values: &Value) -> i64 {
    values.as_object().unwrap().values().map(|value| value.as_i64().unwrap()).sum()
}

#[test]
fn the_figures_add_up_and_the_usual_code_oversells() {
    let dir = data_dir();
    // Nobody listens there: a demo that looked at it would fail, or wait.
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let output = demo(dir.path(), &["--players", "300", "--seats", "40", "--naive", "--json", "--seed", "7"])
        .env("DATABASE_URL", nowhere)
        .output()
        .unwrap();
    let story = told(&output);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "no progress bar without a terminal");
    let n = |pointer: &str| number(&story, pointer);

    assert_eq!(story["adds_up"], true);
    assert!(story["checks"].as_array().unwrap().iter().all(|check| check["holds"] == true), "{story}");
    assert_eq!(n("/seed"), 7);

    // Nine in ten can pay, so that every place goes.
    assert_eq!(n("/places/taken"), 40);
    assert_eq!(n("/places/active_enrollments"), 40);
    assert_eq!(n("/places/enrolled_count"), 40);

    assert_eq!(n("/requests/unanswered"), 0);
    assert_eq!(n("/requests/asked"), n("/requests/applied") + sum(&story["refused_by_reason"]));
    assert_eq!(n("/requests/asked"), n("/stored"));
    for figure in ["asked", "applied", "refused"] {
        let kinds = story["by_kind"].as_object().unwrap().values();
        let by_kind: i64 = kinds.map(|kind| kind[figure].as_i64().unwrap()).sum();
        assert_eq!(by_kind, n(&format!("/requests/{figure}")), "{figure}");
    }
    assert_eq!(n("/by_kind/grant_credits/applied"), 300);
    assert_eq!(n("/by_kind/enroll/asked"), 300 + 75);
    assert!(n("/refused_by_reason/semester_full") > 100);

    assert_eq!(n("/doors/first_receipt"), n("/doors/sent_again"));
    assert!(n("/doors/sent_again") >= 30, "a tenth was sent again at the same time");
    assert_eq!((n("/doors/conflicts"), n("/doors/conflicts_refused")), (6, 6));
    assert_eq!((n("/doors/malformed"), n("/doors/malformed_refused")), (5, 5));

    let left = n("/credits/granted") - n("/credits/charged") + n("/credits/refunded");
    assert_eq!(n("/credits/balances"), left);
    let left_the_camp = n("/by_kind/unenroll/applied") - n("/places/given_back");
    assert_eq!(
        n("/credits/refunded"),
        22 * n("/places/given_back") + 5 * left_the_camp,
        "half of 45, floored"
    );
    assert_eq!(n("/order/overtaken"), 0);
    assert_eq!(n("/order/replayed"), n("/requests/asked"));
    assert!(n("/speed/commits") > 0 && story["speed"]["requests_per_commit"].as_f64().unwrap() >= 1.0);

    the_sessions_add_up(&story);

    // With 16 connections or more, three times, the usual code always goes wrong at a boundary.
    assert_eq!(n("/naive/oversold"), n("/naive/sold") - 40);
    assert!(n("/naive/oversold") > 0, "{}", story["naive"]);
    assert!(story["naive"]["alerts"][0].as_str().unwrap().contains("INV-06"));
    assert!(!story["naive"]["offending"].as_array().unwrap().is_empty());
}

/// The sessions of the camp, for which 75 went: few places, and most wait.
fn the_sessions_add_up(story: &Value) {
    let n = |pointer: &str| number(story, pointer);
    assert_eq!(n("/campers"), 75);
    let sessions = story["bookings"]["sessions"].as_array().unwrap();
    let sum_of = |figure: &str| sessions.iter().map(|each| each[figure].as_i64().unwrap()).sum::<i64>();
    for (session, places) in sessions.iter().zip([7, 12, 6]) {
        for figure in ["places", "confirmed", "confirmed_count"] {
            assert_eq!(session[figure], places, "every place goes: {session}");
        }
        assert!(session["waiting"].as_i64().unwrap() > 0 && session["idle"] == 0, "{session}");
    }
    assert_eq!(sessions[2]["places_at_first"], 0);

    let cancelled = sum_of("cancelled");
    assert_eq!(n("/bookings/booked"), n("/by_kind/book/applied"));
    assert_eq!(n("/bookings/booked"), sum_of("confirmed") + sum_of("waiting") + cancelled);
    assert_eq!(cancelled, sum(&story["bookings"]["cancelled_because"]));
    assert_eq!(n("/bookings/cancelled_because/requested"), n("/by_kind/cancel_booking/applied"));
    assert!(n("/bookings/cancelled_because/superseded") > 0);
    assert_eq!(n("/bookings/cancelled_because/unenrolled"), n("/bookings/left"));

    let by = ["by_cancelled_bookings", "by_unenrollments", "by_owners"];
    let by = by.map(|by| n(&format!("/bookings/promotions/{by}")));
    assert!(by.iter().all(|count| *count > 0), "each of them moves somebody up: {by:?}");
    assert_eq!(by[2], 6, "nobody but the owner moves the evening");
    assert_eq!(by.iter().sum::<i64>(), sum_of("promoted"));
    assert_eq!(n("/order/fills_replayed"), by[2]);
    assert_eq!(n("/order/bookings_compared"), n("/bookings/booked"));
    for none in ["promotions/wrong", "overtaken", "in_two_places", "without_enrollment"] {
        assert_eq!(n(&format!("/bookings/{none}")), 0, "{none}");
    }
    for reason in
        ["already_booked", "already_cancelled", "booking_not_found", "not_enrolled", "schedule_conflict"]
    {
        assert!(n(&format!("/refused_by_reason/{reason}")) > 0, "{reason}");
    }
}

#[test]
fn a_second_demo_begins_afresh_and_its_text_can_be_read() {
    let dir = data_dir();
    let flags = ["--players", "60", "--seats", "5"];
    let first = demo(dir.path(), &flags).arg("--json").output().unwrap();
    assert_eq!(number(&told(&first), "/requests/unanswered"), 0);
    let second = demo(dir.path(), &flags).output().unwrap();
    let text = String::from_utf8(second.stdout).unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    for part in [
        "60 players wanted the 5 places",
        "15 of them went for the sessions of the Open Camp",
        "evening, 0 at first",
        "5 of 5 seats",
        "semester_full",
        "It adds up.",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let sixty = text.lines().find(|line| line.contains("grant_credits")).unwrap();
    assert_eq!(sixty.split_whitespace().collect::<Vec<_>>(), ["grant_credits", "60", "60", "0"]);
}

/// A demo in the background; killed when it is dropped.
struct Background(Child);

impl Background {
    fn start(dir: &Path, flags: &[&str]) -> Self {
        let mut command = demo(dir, flags);
        Self(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the server of a data directory keeps its things.
fn cluster(dir: &Path) -> PathBuf {
    std::fs::read_to_string(dir.join("cluster-location"))
        .map_or_else(|_| dir.join("postgres"), |elsewhere| elsewhere.trim().into())
}

/// The URL of the demo's database and the server's process id, as soon as there are any.
fn server_of(dir: &Path) -> Option<(String, u32)> {
    let cluster = cluster(dir);
    let lock = std::fs::read_to_string(cluster.join("data/postmaster.pid")).ok()?;
    let password = std::fs::read_to_string(cluster.join("password")).ok()?;
    let lines: Vec<&str> = lock.lines().collect();
    let url = format!(
        "postgres://postgres:{}@127.0.0.1:{}/seatkeeper_demo?sslmode=disable",
        password.trim(),
        lines.get(3)?
    );
    Some((url, lines.first()?.parse().ok()?))
}

#[tokio::test]
async fn a_demo_killed_in_the_middle_leaves_no_server_behind() {
    let dir = data_dir();
    let mut running = Background::start(dir.path(), &["--players", "8000", "--connections", "2"]);
    let path = dir.path();
    until("the crowd is at it", async || {
        let Some((url, _)) = server_of(path) else { return false };
        let Ok(mut connection) = PgConnection::connect(&url).await else { return false };
        let asked =
            "select exists (select from seatkeeper.requests where kind = 'enroll' and status = 'done')";
        let there = sqlx::query_scalar(asked).fetch_one(&mut connection).await.unwrap_or(false);
        let _ = connection.close().await;
        there
    })
    .await;
    let (_, pid) = server_of(path).unwrap();
    assert!(runs(pid));
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    until("the server is gone", async || !runs(pid)).await;

    let again = demo(path, &["--players", "20", "--seats", "5", "--json"]).output().unwrap();
    assert_eq!(number(&told(&again), "/by_kind/grant_credits/asked"), 20);
}

#[tokio::test]
async fn it_stays_up_when_told_to_and_nobody_else_gets_its_data_directory() {
    let dir = data_dir();
    let flags = ["--players", "30", "--seats", "5", "--json", "--hold", "--listen", "127.0.0.1:0"];
    let mut holding = Background::start(dir.path(), &flags);
    let mut line = String::new();
    BufReader::new(holding.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let story: Value = serde_json::from_str(&line).unwrap();

    let second = demo(dir.path(), &["--players", "5"]).output().unwrap();
    assert_eq!(second.status.code(), Some(3));
    let why = String::from_utf8(second.stderr).unwrap();
    assert!(why.contains("another seatkeeper") && why.contains("--data-dir"), "{why}");

    // The database is there to be looked at, and the workers still answer.
    let url = story["hold"]["database_url"].as_str().unwrap();
    assert!(story["hold"]["psql"].as_str().unwrap().contains(url));
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query(
        "select seatkeeper.enqueue(gen_random_uuid(), 'grant_credits', '{\"user_id\": 1, \"amount\": 1}')",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let connection = tokio::sync::Mutex::new(connection);
    until("it is answered", async || {
        sqlx::query_scalar("select not exists (select from seatkeeper.requests where status = 'queued')")
            .fetch_one(&mut *connection.lock().await)
            .await
            .unwrap()
    })
    .await;
    let (_, pid) = server_of(dir.path()).unwrap();
    let address = story["hold"]["metrics"].as_str().unwrap().strip_prefix("http://").unwrap();
    let page = get(address.strip_suffix("/metrics").unwrap());
    assert!(
        page.contains(r#"seatkeeper_requests_total{kind="grant_credits",outcome="applied",reason=""} 31"#),
        "{page}"
    );

    let stopped = Command::new("kill").args(["-TERM", &holding.0.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    assert_eq!(holding.0.wait().unwrap().code(), Some(0));
    assert!(!runs(pid), "it stops its server before it ends");
}

fn get(address: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn too_many_of_anything_is_refused_before_a_server_is_started() {
    let dir = data_dir();
    for flags in [["--players", "0"], ["--seats", "-1"], ["--connections", "1000"]] {
        let refused = demo(dir.path(), &flags).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{flags:?}");
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
}
