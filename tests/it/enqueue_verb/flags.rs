//! One request from flags, and waiting for answers.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{asked, enqueue, grant, last_line};
use crate::support::{Process, TestDb, seatkeeper};

#[tokio::test]
async fn every_kind_can_be_asked_from_flags() {
    let db = TestDb::new().await;
    for (flags, kind, payload) in [
        ("enroll --user 7 --semester 3", "enroll", json!({ "user_id": 7, "semester_id": 3 })),
        (
            "unenroll --user 7 --semester 3 --enrollment 9",
            "unenroll",
            json!({ "user_id": 7, "semester_id": 3, "enrollment_id": 9 }),
        ),
        ("book --user 7 --session 4", "book", json!({ "user_id": 7, "session_id": 4 })),
        ("cancel_booking --user 7 --session 4", "cancel_booking", json!({ "user_id": 7, "session_id": 4 })),
        ("cancel_booking --user 7 --booking 5", "cancel_booking", json!({ "user_id": 7, "booking_id": 5 })),
        (
            "record_attendance --user 7 --session 4 --status late",
            "record_attendance",
            json!({ "user_id": 7, "session_id": 4, "status": "late" }),
        ),
        (
            "cancel_semester --semester 3 --note rain",
            "cancel_semester",
            json!({ "semester_id": 3, "note": "rain" }),
        ),
        ("grant_credits --user 7 --amount -20", "grant_credits", json!({ "user_id": 7, "amount": -20 })),
    ] {
        let flags: Vec<&str> = flags.split(' ').chain(["--json"]).collect();
        let (exit, output, complaints) = enqueue(&db.url, &flags, b"").await;
        assert_eq!((exit, complaints.as_str()), (0, ""), "{flags:?}");
        let receipt: Value = serde_json::from_str(&output).unwrap();
        assert_eq!(receipt["status"], "queued");
        let id: Uuid = receipt["request_id"].as_str().unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
        let stored: Value = db
            .value(&format!(
                "select jsonb_build_array(kind, payload) from seatkeeper.requests where request_id = '{id}'"
            ))
            .await;
        assert_eq!(stored, json!([kind, payload]));
    }
}

#[tokio::test]
async fn what_goes_with_a_request_is_stored_and_the_same_again_is_a_duplicate() {
    let db = TestDb::new().await;
    let id = Uuid::now_v7().to_string();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let flags = [
        "enroll",
        "--user",
        "1",
        "--semester",
        "2",
        "--id",
        &id,
        "--run-at",
        "2031-05-01T08:00:00+02:00",
        "--expires-at",
        "2031-05-02T00:00:00Z",
        "--producer",
        "desk",
        "--traceparent",
        trace,
    ];
    let (exit, output, _) = enqueue(&db.url, &flags, b"").await;
    assert_eq!(exit, 0);
    assert!(output.starts_with(&id) && output.contains("enroll") && output.contains("queued"), "{output}");
    let stored: String = db
        .value(
            "select concat_ws(' ', run_at at time zone 'UTC', expires_at at time zone 'UTC', producer, traceparent, hold)
             from seatkeeper.requests",
        )
        .await;
    assert_eq!(stored, format!("2031-05-01 06:00:00 2031-05-02 00:00:00 desk {trace} scheduled"));

    let (exit, output, _) = enqueue(&db.url, &flags, b"").await;
    assert_eq!(exit, 0);
    assert!(output.contains("(sent before)"), "{output}");
    let (exit, _, complaints) =
        enqueue(&db.url, &["enroll", "--user", "8", "--semester", "2", "--id", &id], b"").await;
    assert_eq!(exit, 1);
    assert!(complaints.contains(&id) && complaints.contains("RC409"), "{complaints}");
    assert_eq!(asked(&db).await, 1);
}

#[tokio::test]
async fn flags_that_make_no_request_are_named_before_a_database_is_looked_for() {
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    for (flags, part) in [
        ("enroll --user 7", "enroll needs --semester"),
        ("enroll --semester 7", "enroll needs --user"),
        ("enroll --user 7 --semester 3 --note x", "enroll has no --note"),
        ("cancel_booking --user 7", "needs --session or --booking"),
        ("cancel_booking --user 7 --session 1 --booking 2", "not both"),
        ("enroll --user 0 --semester 3", "--user"),
        ("enroll --user x --semester 3", "--user"),
        ("grant_credits --user 1 --amount 0", "--amount"),
        ("grant_credits --user 1 --amount 1000000000001", "--amount"),
        ("record_attendance --user 1 --session 2 --status here", "--status"),
        ("enrol --user 1 --semester 2", "kinds are enroll"),
        ("enroll --user 1 --semester 2 --run-at tomorrow", "2030-01-31T08:00:00Z"),
        ("enroll --user 1 --semester 2 --expires-at 9999-12-31T12:00:00Z", "--expires-at"),
        ("enroll --user 1 --semester 2 --traceparent x", "--traceparent"),
        ("enroll --user 1 --semester 2 --id 7", "--id"),
        ("enroll --user 1 --semester 2 --keep-going", "--file"),
        ("--file x --user 7", "--user"),
        ("--file x enroll", "cannot be used with"),
        ("", "--file"),
    ] {
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let (exit, _, complaints) = enqueue(nowhere, &flags, b"").await;
        assert_eq!(exit, 2, "{flags:?}: {complaints}");
        assert!(complaints.contains(part), "{flags:?}: {complaints}");
    }
    let (exit, _, complaints) = enqueue(nowhere, &["enroll", "--user", "1", "--semester", "2"], b"").await;
    assert_eq!(exit, 3, "{complaints}");
}

#[tokio::test]
async fn without_a_schema_or_a_database_it_says_so() {
    let db = TestDb::empty().await;
    let (exit, _, complaints) = enqueue(&db.url, &["enroll", "--user", "1", "--semester", "2"], b"").await;
    assert_eq!(exit, 3);
    assert!(complaints.contains("seatkeeper migrate up"), "{complaints}");
    let mut command = seatkeeper();
    let output = command.args(["enqueue", "enroll", "--user", "1", "--semester", "2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--database-url"));
}

#[tokio::test]
async fn waiting_prints_the_receipts_and_tells_good_news_from_bad() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(1), 0).await;
    let worker = Process::run(&db.url, &["--no-http"]);
    let (exit, output, _) =
        enqueue(&db.url, &["enroll", "--user", "1", "--semester", "1", "--wait"], b"").await;
    assert_eq!(exit, 0);
    assert!(
        output.contains("enroll") && output.contains("applied") && output.contains("enrollment_id"),
        "{output}"
    );

    let (exit, output, _) =
        enqueue(&db.url, &["enroll", "--user", "2", "--semester", "1", "--wait", "--json"], b"").await;
    assert_eq!(exit, 1);
    let receipt: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&receipt["outcome"], &receipt["reason"]), (&json!("refused"), &json!("semester_full")));

    let good: String = (0..700).map(|number| format!("{}\n", grant(number % 3 + 1))).collect();
    let (exit, output, _) = enqueue(&db.url, &["--file", "-", "--wait", "--json"], good.as_bytes()).await;
    assert_eq!(exit, 0);
    assert_eq!(output.lines().count(), 701, "each receipt, and the summary");
    assert_eq!(
        last_line(&output)["answered"],
        json!({
            "applied": 700, "refused": 0, "failed": 0, "cancelled": 0, "waiting": 0, "gone": 0
        })
    );
    let mixed = format!("{}\n{}\n{}", grant(1), grant(99), grant(2));
    let (exit, output, _) = enqueue(&db.url, &["--file", "-", "--wait"], mixed.as_bytes()).await;
    assert_eq!(exit, 1);
    assert!(output.ends_with("3 requests are in: 3 new, 0 sent before\n2 applied, 1 refused\n"), "{output}");
    assert_eq!(worker.terminate(), Some(0));
    db.assert_sound().await;
}

#[tokio::test]
async fn waiting_ends_when_nobody_works_and_says_so() {
    let db = TestDb::new().await;
    let flags = ["grant_credits", "--user", "1", "--amount", "5", "--wait", "--timeout", "200ms"];
    let (exit, output, complaints) = enqueue(&db.url, &flags, b"").await;
    assert_eq!((exit, output.as_str()), (3, ""));
    assert!(complaints.contains("seatkeeper run") && complaints.contains("200ms"), "{complaints}");
    assert_eq!(asked(&db).await, 1);
    db.run("update seatkeeper.requests set status = 'cancelled', finished_at = clock_timestamp()").await;
    let id: String = db.value("select request_id::text from seatkeeper.requests").await;
    let flags = [&flags[..], &["--id", &id]].concat();
    let (exit, output, _) = enqueue(&db.url, &flags, b"").await;
    assert_eq!(exit, 1);
    assert!(output.contains("cancelled"), "{output}");
}
