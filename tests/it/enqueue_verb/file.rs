//! Many requests from a file of lines.

use std::path::Path;

use serde_json::{Value, json};

use super::{asked, enqueue, file_of, grant, last_line};
use crate::support::TestDb;

#[tokio::test]
async fn a_file_is_sent_in_order_and_sending_it_again_does_no_harm() {
    let db = TestDb::new().await;
    let dir = tempfile::tempdir().unwrap();
    let requests: Vec<Value> = (1..=1203).map(grant).collect();
    let path = file_of(&dir, &requests);
    for (new, duplicates) in [(1203, 0), (0, 1203)] {
        let (exit, output, complaints) = enqueue(&db.url, &["--file", &path, "--json"], b"").await;
        assert_eq!((exit, complaints.as_str()), (0, ""));
        let summary = &last_line(&output)["summary"];
        assert_eq!((&summary["new"], &summary["duplicates"]), (&json!(new), &json!(duplicates)));
        assert_eq!(summary["requests"], 1203);
    }
    let in_order: Vec<i64> = sqlx::query_scalar("select user_id from seatkeeper.requests order by seq")
        .fetch_all(&db.pool)
        .await
        .unwrap();
    assert_eq!(in_order, (1..=1203).collect::<Vec<i64>>());

    let all: String = requests.iter().map(|request| format!("{request}\n")).collect();
    let (exit, output, _) = enqueue(&db.url, &["--file", "-"], all.as_bytes()).await;
    assert_eq!(exit, 0);
    assert_eq!(output, "1203 requests are in: 0 new, 1203 sent before\n");
}

#[tokio::test]
async fn marks_ends_of_lines_and_empty_lines_do_not_matter() {
    let db = TestDb::new().await;
    let text = format!("\u{feff}{}\r\n\r\n  \n{}\n\n{}", grant(1), grant(2), grant(3));
    let (exit, output, complaints) = enqueue(&db.url, &["--file", "-"], text.as_bytes()).await;
    assert_eq!((exit, complaints.as_str()), (0, ""));
    assert!(output.starts_with("3 requests are in: 3 new"), "{output}");
    let (exit, output, _) = enqueue(&db.url, &["--file", "-"], b"").await;
    assert_eq!(exit, 0);
    assert!(output.starts_with("0 requests are in"), "{output}");
}

/// Twelve hundred good lines with bad ones among them, and how each has to be named.
fn with_bad_lines() -> (Vec<u8>, Vec<&'static str>) {
    let mut bytes = Vec::new();
    let mut add = |line: &[u8]| {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    };
    for user in 1..=1200 {
        add(grant(user).to_string().as_bytes());
    }
    add(br#"{"request_id": "x"#);
    add(b"[1, 2]");
    add(&[b'{', 0xFF, b'}']);
    let huge = format!(r#"{{"note": "{}"}}"#, "x".repeat(10_000_000));
    add(huge.as_bytes());
    let mut wrong = grant(1);
    wrong["payload"]["user_id"] = json!("seven");
    add(wrong.to_string().as_bytes());
    let mut surplus = grant(1);
    surplus["priority"] = json!(1);
    add(surplus.to_string().as_bytes());
    add(grant(1201).to_string().as_bytes());
    let named = vec![
        "line 1201: not JSON: EOF while parsing a string (column",
        "line 1202: requests: ",
        "line 1203: not UTF-8 (byte 2)",
        "line 1204: longer than 1048576 bytes",
        "line 1205: user_id: missing, malformed",
        "line 1206: priority: missing, malformed",
    ];
    (bytes, named)
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_is_sent() {
    let db = TestDb::new().await;
    let (bytes, named) = with_bad_lines();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.ndjson");
    std::fs::write(&path, &bytes).unwrap();
    for (file, input) in [(path.to_str().unwrap(), &b""[..]), ("-", &bytes)] {
        let (exit, output, complaints) = enqueue(&db.url, &["--file", file, "--json"], input).await;
        assert_eq!(exit, 2, "{complaints}");
        for part in &named {
            assert!(complaints.lines().any(|line| line.starts_with(part)), "{part} in {complaints}");
        }
        assert_eq!(complaints.lines().count(), named.len() + 1, "{complaints}");
        let summary = &last_line(&output)["summary"];
        assert_eq!((&summary["bad"], &summary["requests"]), (&json!(6), &json!(0)));
        assert_eq!(
            summary["bad_lines"][4],
            json!({
                "line": 1205, "field": "user_id", "problem": "missing, malformed or not allowed here"
            })
        );
        assert_eq!(asked(&db).await, 0);
    }
}

#[tokio::test]
async fn keep_going_sends_what_is_good_and_ends_with_2() {
    let db = TestDb::new().await;
    let (bytes, named) = with_bad_lines();
    let (exit, output, complaints) = enqueue(&db.url, &["--file", "-", "--keep-going"], &bytes).await;
    assert_eq!(exit, 2);
    for part in named {
        assert!(complaints.lines().any(|line| line.starts_with(part)), "{part} in {complaints}");
    }
    assert!(complaints.contains("6 bad lines were not sent"), "{complaints}");
    assert!(output.starts_with("1201 requests are in: 1201 new, 0 sent before; 6 bad lines"), "{output}");
    assert_eq!(asked(&db).await, 1201);
}

#[tokio::test]
async fn conflicts_are_named_and_the_rest_is_in() {
    let db = TestDb::new().await;
    let dir = tempfile::tempdir().unwrap();
    let mut requests: Vec<Value> = (1..=40).map(grant).collect();
    // With another request of an earlier run, and with an earlier line of the same file.
    let known = requests[4].clone();
    let (exit, ..) = enqueue(&db.url, &["--file", "-"], known.to_string().as_bytes()).await;
    assert_eq!(exit, 0);
    requests[4]["payload"]["amount"] = json!(6);
    requests[9]["request_id"] = requests[7]["request_id"].clone();
    // The same line twice is no conflict.
    requests.push(requests[0].clone());
    let path = file_of(&dir, &requests);
    let (exit, output, complaints) = enqueue(&db.url, &["--file", &path, "--json"], b"").await;
    assert_eq!(exit, 1, "{complaints}");
    let id = |line: usize| requests[line]["request_id"].as_str().unwrap();
    let lines: Vec<&str> = complaints.lines().collect();
    assert_eq!(lines.len(), 2, "{complaints}");
    assert!(
        lines[0].starts_with(&format!("line 5: request {}", id(4))) && lines[0].contains("RC409"),
        "{complaints}"
    );
    assert!(lines[1].starts_with(&format!("line 10: request {}", id(7))), "{complaints}");
    let summary = &last_line(&output)["summary"];
    assert_eq!(
        summary["conflicting"],
        json!([
            { "line": 5, "request_id": id(4) }, { "line": 10, "request_id": id(7) }
        ])
    );
    assert_eq!((&summary["new"], &summary["duplicates"]), (&json!(38), &json!(1)));
    assert_eq!(asked(&db).await, 39);
    let kept: i64 = db
        .value(
            "select (payload ->> 'user_id')::bigint from seatkeeper.requests order by seq offset 8 limit 1",
        )
        .await;
    assert_eq!(kept, 9, "the others arrive in their order");
}

#[tokio::test]
async fn many_conflicts_are_all_named() {
    let db = TestDb::new().await;
    let mut requests: Vec<Value> = (1..=60).map(grant).collect();
    let text = |requests: &[Value]| requests.iter().map(|request| format!("{request}\n")).collect::<String>();
    let (exit, ..) = enqueue(&db.url, &["--file", "-"], text(&requests[..50]).as_bytes()).await;
    assert_eq!(exit, 0);
    for request in &mut requests {
        request["payload"]["amount"] = json!(6);
    }
    let (exit, output, complaints) = enqueue(&db.url, &["--file", "-"], text(&requests).as_bytes()).await;
    assert_eq!(exit, 1);
    let lines: Vec<String> =
        complaints.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(lines, (1..=50).map(|line| format!("line {line}")).collect::<Vec<_>>());
    assert!(output.starts_with("10 requests are in: 10 new, 0 sent before; 50 in conflict"), "{output}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let db = TestDb::new().await;
    for path in ["/nowhere/requests.ndjson", Path::new(env!("CARGO_MANIFEST_DIR")).to_str().unwrap()] {
        let (exit, _, complaints) = enqueue(&db.url, &["--file", path], b"").await;
        assert_eq!(exit, 2);
        assert!(complaints.contains(path), "{complaints}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_while_a_file_is_sent_costs_nothing() {
    let db = TestDb::new().await;
    let dir = tempfile::tempdir().unwrap();
    let path = file_of(&dir, (1..=10_000).map(grant));
    let flags = ["--file", &path];
    let mut sending = std::pin::pin!(enqueue(&db.url, &flags, b""));
    let mut broken: i64 = 0;
    let (exit, output, complaints) = loop {
        let breaking = async {
            db.value::<i64>(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity
                 where datname = current_database() and state = 'active' and query like '%enqueue_many%'
                   and pid <> pg_backend_pid()",
            )
            .await
        };
        tokio::select! {
            biased;
            ended = &mut sending => break ended,
            // Three times, so that it gets through in the end.
            now = breaking, if broken < 3 => broken += now,
        }
    };
    assert_eq!(exit, 0, "{complaints}");
    assert!(broken >= 3, "nothing was broken");
    assert!(output.starts_with("10000 requests are in"), "{output}");
    assert_eq!(asked(&db).await, 10_000);
}
