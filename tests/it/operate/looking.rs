//! List, show and wait.

use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use serde_json::Value;
use uuid::Uuid;

use super::{ask_all, cli, cli_ends, cli_json, enroll, fail};
use crate::support::{TestDb, until};

async fn listed(db: &TestDb, arguments: &[&str]) -> Vec<String> {
    let output = cli(&db.url, &[&["requests", "list", "--json"], arguments].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["request_id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn lists_are_filtered_and_go_on() {
    let db = TestDb::new().await;
    db.users(5).await;
    db.semester(1, Some(1), 0).await;
    db.semester(2, None, 0).await;
    let mut ids: Vec<String> = Vec::new();
    ids.extend(ask_all(&db, [1, 2], 1).await.iter().map(Uuid::to_string));
    ids.extend(ask_all(&db, [3, 4, 5], 2).await.iter().map(Uuid::to_string));
    fail(&db, ids[4].parse().unwrap()).await;
    db.run(&format!(
        "update seatkeeper.requests set enqueued_at = enqueued_at - interval '2 hours' where request_id = '{}'",
        ids[3]
    ))
    .await;
    db.drain().await;
    let booking = Uuid::now_v7();
    db.run(&format!(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (7, 2, now() + interval '9 days', now() + interval '10 days', 1);
         select seatkeeper.enqueue('{booking}', 'book', '{{\"user_id\": 1, \"session_id\": 7}}')"
    ))
    .await;
    ids.push(booking.to_string());

    for (filter, expected) in [
        (&[][..], &[5, 4, 3, 2, 1, 0][..]),
        (&["--status", "failed"], &[4]),
        (&["--status", "queued"], &[5]),
        (&["--outcome", "applied", "--semester", "2"], &[3, 2]),
        (&["--outcome", "refused"], &[1]),
        (&["--reason", "semester_full"], &[1]),
        (&["--reason", "attempts_exhausted"], &[4]),
        (&["--kind", "book"], &[5]),
        (&["--user", "1"], &[5, 0]),
        (&["--session", "7"], &[5]),
        (&["--semester", "2", "--status", "done"], &[3, 2]),
        (&["--older-than", "1h"], &[3]),
        (&["--newer-than", "1h", "--semester", "2", "--status", "done"], &[2]),
        (&["--limit", "2"], &[5, 4]),
        (&["--limit", "2", "--before", "5"], &[3, 2]),
    ] {
        let expected: Vec<_> = expected.iter().map(|index: &usize| ids[*index].clone()).collect();
        assert_eq!(listed(&db, filter).await, expected, "{filter:?}");
    }
    let text = cli_ends(&db.url, &["requests", "list", "--limit", "2"], 0).await;
    assert!(text.contains("go on with --before 5"), "{text}");
    let text = cli_ends(&db.url, &["requests", "list", "--limit", "6"], 0).await;
    assert!(!text.contains("--before") && text.contains("semester_full"), "{text}");
    let text = cli_ends(&db.url, &["requests", "list", "--user", "99"], 0).await;
    assert_eq!(text, "no such requests\n");
    for wrong in [["--kind", "dance"], ["--user", "0"], ["--limit", "0"], ["--older-than", "soon"]] {
        cli_ends(&db.url, &[&["requests", "list"], &wrong[..]].concat(), 2).await;
    }
}

#[tokio::test]
async fn a_story_says_what_was_asked_and_what_came_of_it() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, Some(1), 30).await;
    let amount = Amount::new(100).unwrap();
    let grant = Uuid::now_v7();
    db.ask(grant, GrantCredits { user_id: 1.try_into().unwrap(), amount, note: None }).await;
    db.drain().await;
    let ids = ask_all(&db, [1], 1).await;
    let id = ids[0].to_string();
    fail(&db, ids[0]).await;
    cli_ends(&db.url, &["requests", "retry", &id, "--reason", "cable", "--operator", "erika"], 0).await;
    db.drain().await;

    let story = cli_json(&db.url, &["requests", "show", &id], 0).await;
    assert_eq!(story["kind"], "enroll");
    assert_eq!((&story["user_id"], &story["semester_id"]), (&1.into(), &1.into()));
    assert_eq!((story["status"].as_str(), story["outcome"].as_str()), (Some("done"), Some("applied")));
    assert_eq!((&story["attempts"], story["last_error"].as_str()), (&1.into(), Some("boom")));
    assert_eq!(story["enrollments"][0]["price_paid"], 30);
    assert_eq!(
        (&story["ledger"][0]["amount"], &story["ledger"][0]["balance_after"]),
        (&(-30).into(), &70.into())
    );
    assert_eq!(story["actions"][0]["operator"], "erika");
    assert_eq!(story["before"], Value::Null);
    let text = cli_ends(&db.url, &["requests", "show", &id], 0).await;
    for words in
        ["enroll user 1 semester 1", "done, applied", "paid 30", "-30, balance then 70", "retry by erika"]
    {
        assert!(text.contains(words), "{words}\n{text}");
    }
    let story = cli_json(&db.url, &["requests", "show", &grant.to_string()], 0).await;
    assert_eq!((&story["amount"], &story["semester_id"]), (&100.into(), &Value::Null));

    let unknown = Uuid::now_v7().to_string();
    let text = cli_ends(&db.url, &["requests", "show", &unknown], 3).await;
    assert!(text.contains(&unknown) && text.contains("not known"), "{text}");
}

#[tokio::test]
async fn a_story_says_why_a_request_waits() {
    let db = TestDb::new().await;
    db.users(4).await;
    db.semester(1, Some(1), 0).await;
    let ids = ask_all(&db, [1, 2, 3], 1).await;
    let show = async |id: Uuid| cli_ends(&db.url, &["requests", "show", &id.to_string()], 0).await;
    assert!(show(ids[0]).await.contains("for nobody: it is next"));
    let text = show(ids[2]).await;
    assert!(text.contains("for 2 that arrived earlier"), "{text}");

    let amount = Amount::new(1).unwrap();
    db.ask(Uuid::now_v7(), GrantCredits { user_id: 4.try_into().unwrap(), amount, note: None }).await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(4, 1)).await;
    let text = show(id).await;
    assert!(text.contains("for 1 grants of its user"), "{text}");

    let later = Uuid::now_v7();
    db.run(&format!(
        "select seatkeeper.enqueue('{later}', 'enroll', '{{\"user_id\": 4, \"semester_id\": 1}}', '2090-01-01Z')"
    ))
    .await;
    let text = show(later).await;
    assert!(text.contains("for its time, 2090-01-01T00:00:00.000Z"), "{text}");

    let pause = ["pause", "--semester", "1", "--reason", "hall is flooded", "--operator", "erika"];
    cli_ends(&db.url, &pause, 0).await;
    let text = show(ids[0]).await;
    assert!(text.contains("semester 1 is paused") && text.contains("by erika: hall is flooded"), "{text}");

    let odd = Uuid::now_v7();
    db.run(&format!(
        "insert into seatkeeper.requests (request_id, kind, payload) values ('{odd}', 'enroll', '{{\"user_id\": 1e999}}')"
    ))
    .await;
    let text = show(odd).await;
    assert!(text.contains("not well-formed: user_id"), "{text}");
    let book = Uuid::now_v7();
    db.run(&format!("select seatkeeper.enqueue('{book}', 'book', '{{\"user_id\": 1, \"session_id\": 7}}')"))
        .await;
    cli_json(&db.url, &["requests", "show", &book.to_string()], 0).await;
}

#[tokio::test]
async fn waiting_ends_with_the_answer() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(1), 0).await;
    let ids = ask_all(&db, [1, 2], 1).await;
    let (first, second) = (ids[0].to_string(), ids[1].to_string());

    let text = cli_ends(&db.url, &["requests", "wait", &first, "--timeout", "50ms"], 3).await;
    assert!(text.contains("1 still queued after 50ms") && text.contains("requests show"), "{text}");
    let url = db.url.clone();
    let both = [first.clone(), second.clone()];
    let wait =
        tokio::spawn(async move { cli_json(&url, &["requests", "wait", &both[0], &both[1]], 0).await });
    until("somebody who waits", async || {
        db.value(
            "select exists (select from pg_stat_activity where datname = current_database()
                            and query like '%get_receipts%' and pid <> pg_backend_pid())",
        )
        .await
    })
    .await;
    db.drain().await;
    let waited = wait.await.unwrap();
    let outcomes: std::collections::BTreeSet<_> = waited["receipts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|receipt| (receipt["request_id"].as_str().unwrap(), receipt["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(outcomes, [(first.as_str(), "applied"), (second.as_str(), "refused")].into());

    let failed = ask_all(&db, [3], 1).await;
    fail(&db, failed[0]).await;
    let text = cli_ends(&db.url, &["requests", "wait", &failed[0].to_string(), &first], 1).await;
    assert!(text.contains("failed: attempts_exhausted"), "{text}");
    let unknown = Uuid::now_v7().to_string();
    let text = cli_ends(&db.url, &["requests", "wait", &first, &unknown], 3).await;
    assert!(text.contains(&unknown) && text.contains("not known"), "{text}");
    // A database that is not there is waited for, but not for longer than that.
    let nowhere = "postgres://postgres@127.0.0.1:1/nowhere";
    cli_ends(nowhere, &["requests", "wait", &first, "--timeout", "100ms"], 3).await;
}
