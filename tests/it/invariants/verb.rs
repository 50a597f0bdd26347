//! `check` through the binary: its words, its JSON, its exit codes.

use serde_json::Value;

use crate::operate::{cli_ends, cli_json};
use crate::support::TestDb;

/// Active enrollments without a ledger row, of `rows` users.
async fn with_silent(rows: i64) -> TestDb {
    let db = TestDb::new().await;
    db.semester(1, None, 0).await;
    db.users(rows).await;
    db.run(
        "insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
         select user_id, user_id, 1, 'APPROVED', true from seatkeeper.users;
         select setval('seatkeeper.enrollments_enrollment_id_seq', (select count(*) from seatkeeper.users));
         update seatkeeper.semesters set enrolled_count = (select count(*) from seatkeeper.users)",
    )
    .await;
    db
}

fn result<'a>(run: &'a Value, id: &str) -> &'a Value {
    run["results"].as_array().unwrap().iter().find(|result| result["invariant"] == id).unwrap()
}

#[tokio::test]
async fn the_exit_code_says_what_was_found() {
    let db = with_silent(3).await;
    // A warning below its threshold is no bad news, unless somebody is strict.
    let run = cli_json(&db.url, &["check"], 0).await;
    let found = result(&run, "INV-04");
    assert_eq!(
        (&found["severity"], &found["status"], &found["violations"], &found["accepted"]),
        (&"warning".into(), &"violated".into(), &3.into(), &0.into())
    );
    assert_eq!(found["sample"][0]["key"], serde_json::json!({ "enrollment_id": 1 }));
    assert!(run["run_id"].is_i64() && run["started_at"].is_string() && run["finished_at"].is_string());
    cli_json(&db.url, &["check", "--strict"], 1).await;
    let only = cli_json(&db.url, &["check", "--only", "INV-01,INV-B01", "--strict"], 0).await;
    assert_eq!(only["results"].as_array().unwrap().len(), 2);

    // Unknown is neither good nor bad news; bad news comes first.
    db.run("alter table seatkeeper.attendance rename to presence").await;
    let run = cli_json(&db.url, &["check"], 1).await;
    assert_eq!(result(&run, "INV-B04")["status"], "unknown", "{run:#}");
    assert!(result(&run, "INV-B04")["violations"].is_null());
    assert_eq!(result(&run, "INV-B05")["status"], "violated", "the guards of that table are missing");
    cli_json(&db.url, &["check", "--only", "INV-B04"], 3).await;
    cli_json(&db.url, &["check", "--only", "INV-B04,INV-04", "--strict"], 1).await;
    db.run("alter table seatkeeper.presence rename to attendance").await;

    db.run("alter table seatkeeper.users drop constraint chk_credit_balance_non_negative").await;
    db.run("update seatkeeper.users set credit_balance = -5 where user_id = 2").await;
    cli_json(&db.url, &["check", "--only", "INV-02"], 1).await;
}

#[tokio::test]
async fn what_is_read_at_three_in_the_morning() {
    let db = with_silent(12).await;
    let text = cli_ends(&db.url, &["check", "--only", "INV-01"], 0).await;
    assert!(text.contains("ok        INV-01") && text.contains("Everything holds."), "{text}");
    db.run("drop index seatkeeper.uq_active_enrollment").await;
    db.run(
        "insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active)
         select user_id + 100, user_id, 1, 'APPROVED', true from seatkeeper.users",
    )
    .await;
    db.run(
        r#"insert into seatkeeper.invariant_baseline (invariant, key, reason, accepted_by)
           values ('INV-01', '{"user_id": 3, "semester_id": 1}', 'a family', 'erika')"#,
    )
    .await;
    let text = cli_ends(&db.url, &["check", "--only", "INV-01,INV-02"], 1).await;
    println!("{text}");
    for words in [
        "VIOLATED  INV-01",
        "ok        INV-02",
        "broken    11 rows offend, the first since 20",
        "1 more are accepted",
        "rows      user_id 1, semester_id 1: ",
        "and 3 more",
        "guard     uq_active_enrollment should have held: MISSING",
        "to do     ",
        "1 violated.",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("user_id 3,"), "what is accepted is not shown: {text}");
    db.run("alter table seatkeeper.enrollments rename column price_paid to price").await;
    let text = cli_ends(&db.url, &["check", "--only", "INV-04"], 3).await;
    assert!(text.contains("UNKNOWN   INV-04") && text.contains("42703"), "{text}");
}

#[tokio::test]
async fn rows_are_accepted_with_a_reason_and_count_again() {
    let db = with_silent(4).await;
    let key = r#"{"enrollment_id": 2}"#;
    let one =
        ["check", "accept", "--invariant", "INV-04", "--key", key, "--reason", "imported", "--by", "erika"];
    let done = cli_json(&db.url, &[&one[..], &["--expires", "90d"]].concat(), 0).await;
    assert_eq!((&done["selected"], &done["accepted"]), (&1.into(), &1.into()));
    let text = cli_ends(&db.url, &["check", "baseline"], 0).await;
    assert!(text.contains("INV-04") && text.contains("by erika") && text.contains("imported"), "{text}");
    let run = cli_json(&db.url, &["check", "--only", "INV-04"], 0).await;
    assert_eq!((&run["results"][0]["violations"], &run["results"][0]["accepted"]), (&4.into(), &1.into()));

    // All others that the last run found: shown first, then done when it is said.
    let all = ["check", "accept", "--all-of", "INV-04", "--reason", "imported as well"];
    let text = cli_ends(&db.url, &[&all[..], &["--dry-run"]].concat(), 0).await;
    assert!(text.contains("3 rows of INV-04 would be accepted for good"), "{text}");
    let text = cli_ends(&db.url, &all, 2).await;
    assert!(text.contains("3 rows") && text.contains("--yes"), "{text}");
    cli_ends(&db.url, &[&all[..], &["--yes"]].concat(), 0).await;
    let run = cli_json(&db.url, &["check", "--only", "INV-04", "--strict"], 0).await;
    assert_eq!(run["results"][0]["status"], "holds");

    let back = ["check", "unaccept", "--invariant", "INV-04", "--key", key, "--reason", "it was paid for"];
    assert_eq!(cli_json(&db.url, &back, 0).await["unaccepted"], 1);
    cli_ends(&db.url, &back, 3).await;
    cli_ends(&db.url, &["check", "--strict"], 1).await;
    let all = ["check", "unaccept", "--all-of", "INV-04", "--reason", "look again", "--yes"];
    let text = cli_ends(&db.url, &all, 0).await;
    assert!(text.contains("3 rows of INV-04 count again"), "{text}");
    let actions: Vec<(String, String)> = sqlx::query_as(
        "select action, details ->> 'invariant' from seatkeeper.operator_actions order by action_id",
    )
    .fetch_all(&db.pool)
    .await
    .unwrap();
    let actions: Vec<&str> = actions.iter().map(|(action, _)| action.as_str()).collect();
    assert_eq!(actions, ["accept", "accept", "unaccept", "unaccept"]);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_named() {
    let db = with_silent(1).await;
    let accept = |rest: &[&'static str]| [&["check", "accept", "--reason", "x"], rest].concat();
    for (arguments, exit, words) in [
        (
            vec!["check", "--only", "INV-77"],
            2,
            "--only: there is no invariant INV-77; known are INV-01, INV-02",
        ),
        (vec!["check", "--timeout", "0s"], 2, "more than nothing"),
        (accept(&["--invariant", "INV-9", "--key", "{}"]), 2, "--invariant: there is no invariant INV-9"),
        (accept(&["--invariant", "INV-04", "--key", "7"]), 2, "--key: 7 is no key of INV-04"),
        (accept(&["--invariant", "INV-04", "--key", r#"{"user_id": 7}"#]), 2, "enrollment_id is missing"),
        (
            accept(&["--invariant", "INV-04", "--key", r#"{"enrollment_id": 1, "user_id": 7}"#]),
            2,
            "user_id is not one of its columns",
        ),
        (
            accept(&["--invariant", "INV-04", "--key", r#"{"enrollment_id": 7}"#]),
            3,
            "does not offend against INV-04",
        ),
        (
            accept(&["--invariant", "INV-04", "--key", r#"{"enrollment_id": 1}"#, "--expires", "2020-01-01"]),
            2,
            "--expires: 2020-01-01 00:00:00 UTC is in the past",
        ),
        (
            accept(&["--invariant", "INV-04", "--key", r#"{"enrollment_id": 1}"#, "--expires", "soon"]),
            2,
            "--expires: soon is neither a date",
        ),
        (accept(&["--invariant", "INV-04"]), 2, "--key"),
        (vec!["check", "accept", "--reason", " ", "--all-of", "INV-04"], 2, "--reason is empty"),
    ] {
        let text = cli_ends(&db.url, &arguments, exit).await;
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.invariant_baseline").await, 0);
    let forced = accept(&["--invariant", "INV-04", "--key", r#"{"enrollment_id": 7}"#, "--force"]);
    cli_ends(&db.url, &forced, 0).await;
    // The list needs no database.
    let list = cli_json("postgres://nobody@127.0.0.1:1/nowhere", &["check", "list"], 0).await;
    assert_eq!(list.as_array().unwrap().len(), seatkeeper::invariants::catalogue().len());
    cli_ends("postgres://nobody@127.0.0.1:1/nowhere", &["check"], 3).await;
}

/// An operator's rights are enough, and so are a worker's.
#[tokio::test]
async fn an_operator_may_call_the_roll_and_accept() {
    let db = with_silent(2).await;
    cli_ends(&db.url, &["roles", "--apply"], 0).await;
    for role in ["seatkeeper_operator", "seatkeeper_worker"] {
        let name = format!("check_{role}");
        db.run(&format!(
            "do $$ begin create role {name} login; exception when duplicate_object or unique_violation then null; end $$;
             grant {role} to {name}"
        ))
        .await;
        // A pooler would have to know the user as well.
        let (before, after) = db.direct.split_once('@').unwrap();
        let scheme = before.split_once("://").unwrap().0;
        let password = before.rsplit_once(':').unwrap().1;
        db.run(&format!("alter role {name} password '{password}'")).await;
        let url = format!("{scheme}://{name}:{password}@{after}");
        cli_ends(&url, &["check"], 0).await;
        cli_ends(&url, &["check", "baseline"], 0).await;
        if role == "seatkeeper_operator" {
            let all = ["check", "accept", "--all-of", "INV-04", "--reason", "imported", "--yes"];
            cli_ends(&url, &all, 0).await;
            cli_ends(&url, &["check", "unaccept", "--all-of", "INV-04", "--reason", "not quite", "--yes"], 0)
                .await;
        }
    }
}
