//! Who reads what: an account what it asked for, a reader all of it, a monitor no payload.

use seatkeeper_jobs::{Job, Outcome, Request, enroll::Enroll, grant_credits, postgres as door};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

use super::with_roles;
use crate::operate::{cli_ends, cli_json};
use crate::support::TestDb;

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

fn enroll(user: i64) -> Job {
    Enroll { user_id: user.try_into().unwrap(), semester_id: 1.try_into().unwrap() }.into()
}

fn grant(user: i64, amount: i64) -> Job {
    grant_credits::GrantCredits {
        user_id: user.try_into().unwrap(),
        amount: grant_credits::Amount::new(amount).unwrap(),
        note: Some(seatkeeper_jobs::Note::new("a word about somebody").unwrap()),
    }
    .into()
}

fn book(user: i64) -> Job {
    seatkeeper_jobs::book::Book { user_id: user.try_into().unwrap(), session_id: 1.try_into().unwrap() }
        .into()
}

/// What an account is shown.
async fn seen(connection: &mut PgConnection, sql: &str) -> Option<String> {
    sqlx::query_scalar(AssertSqlSafe(format!("select ({sql})::text"))).fetch_one(connection).await.unwrap()
}

/// A session of semester 1, and users 1 and 2.
async fn stage() -> TestDb {
    let db = with_roles().await;
    db.users(2).await;
    db.semester(1, None, 3).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (1, 1, now() + interval '9 days', now() + interval '10 days', 2)",
    )
    .await;
    db
}

#[tokio::test]
async fn an_account_reads_what_it_asked_for_and_a_reader_all_of_it() {
    let db = stage().await;
    let mine = db.account("reading_mine", &["seatkeeper_producer"]).await;
    let theirs = db.account("reading_theirs", &["seatkeeper_producer"]).await;
    let mut connection = connect(&mine).await;
    let ids = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    for (id, job) in ids.into_iter().zip([grant(1, 10), enroll(1), book(1)]) {
        // The label is the producer's own, and says nothing about the account.
        let request = Request::new(id, job).with_producer("reading_theirs").unwrap();
        door::enqueue(&mut connection, &request).await.unwrap();
        db.drain().await;
    }
    let [_, enrolled, booked] = ids;
    let booking: i64 = db.value("select booking_id from seatkeeper.bookings").await;
    let reads = [
        (format!("(seatkeeper.get_receipt('{enrolled}')).outcome"), "applied"),
        (format!("select outcome from seatkeeper.get_receipts(array['{booked}'::uuid])"), "applied"),
        (format!("(seatkeeper.get_booking({booking})).status"), "CONFIRMED"),
        ("seatkeeper.get_balance(1)".to_owned(), "7"),
    ];
    for (read, expected) in &reads {
        assert_eq!(seen(&mut connection, read).await.as_deref(), Some(*expected), "{read}");
    }
    assert_eq!(
        seen(&mut connection, "seatkeeper.get_balance(2)").await,
        None,
        "nothing was asked about this one"
    );
    connection.close().await.unwrap();

    // To another account it is as if there were nothing, number after number.
    let mut connection = connect(&theirs).await;
    for (read, _) in &reads {
        assert_eq!(seen(&mut connection, read).await, None, "{read}");
    }
    let unknown = seen(&mut connection, &format!("seatkeeper.get_receipt('{}')", Uuid::now_v7())).await;
    let hidden = seen(&mut connection, &format!("seatkeeper.get_receipt('{enrolled}')")).await;
    assert_eq!(hidden, unknown, "no word tells what is there");
    // Who asks the same again has said all that there is to it, and gets the receipt.
    let again = door::enqueue(&mut connection, &Request::new(enrolled, enroll(1))).await.unwrap();
    assert_eq!((again.duplicate, again.outcome), (true, Some(Outcome::Applied)));
    connection.close().await.unwrap();

    // Who has the other account's rights, as when it got a new name, and who may read all.
    let successor = db.account("reading_successor", &["seatkeeper_producer", "reading_mine"]).await;
    let reader = db.account("reading_reader", &["seatkeeper_reader"]).await;
    for url in [&successor, &reader, &db.direct] {
        let mut connection = connect(url).await;
        for (read, expected) in &reads {
            assert_eq!(seen(&mut connection, read).await.as_deref(), Some(*expected), "{url}: {read}");
        }
        connection.close().await.unwrap();
    }
    let text = cli_ends(&theirs, &["requests", "wait", &enrolled.to_string(), "--timeout", "1s"], 3).await;
    assert!(text.contains("not known"), "{text}");
    // A reader asks for nothing.
    let text = cli_ends(&reader, &["enqueue", "enroll", "--user", "2", "--semester", "1"], 3).await;
    assert!(text.contains("42501"), "{text}");
    db.run("drop role reading_successor").await;
}

#[tokio::test]
async fn what_was_asked_before_accounts_were_recorded_is_read_by_who_may_ask_for_it() {
    let db = stage().await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(1)).await;
    db.run("update seatkeeper.requests set enqueued_by = null").await;
    for (role, is_shown) in [("enroller", true), ("producer", true), ("reader", true), ("booker", false)] {
        let url = db.account(&format!("earlier_{role}"), &[&format!("seatkeeper_{role}")]).await;
        let mut connection = connect(&url).await;
        let receipt = door::get_receipt(&mut connection, id).await.unwrap();
        assert_eq!(receipt.is_some(), is_shown, "{role}");
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_retention_leaves_of_a_request_still_has_its_account() {
    let db = stage().await;
    let (mine, other) = (
        db.account("retained_mine", &["seatkeeper_enroller"]).await,
        db.account("retained_other", &["seatkeeper_enroller"]).await,
    );
    let mut connection = connect(&mine).await;
    let id = Uuid::now_v7();
    door::enqueue(&mut connection, &Request::new(id, enroll(1))).await.unwrap();
    db.drain().await;
    db.run(
        "insert into seatkeeper.schedules (schedule, expression, time_zone, since, retain_seconds)
         values ('retention', '0 0 3 * * *', 'UTC', now(), 3600);
         alter table seatkeeper.requests disable trigger trg_answer_for_good;
         update seatkeeper.requests set finished_at = finished_at - interval '2 hours';
         alter table seatkeeper.requests enable trigger trg_answer_for_good",
    )
    .await;
    assert_eq!(db.value::<i32>("select seatkeeper.retire_requests(0, 0, 1000, 10)").await, 1);
    let receipt = door::get_receipt(&mut connection, id).await.unwrap().expect("its own");
    assert_eq!(receipt.outcome, Some(Outcome::Refused), "user 1 has no credits: {receipt:?}");
    connection.close().await.unwrap();
    let mut connection = connect(&other).await;
    assert_eq!(door::get_receipt(&mut connection, id).await.unwrap(), None);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_monitor_reads_no_payload_and_a_reader_does() {
    let db = stage().await;
    let id = Uuid::now_v7();
    db.ask(id, grant(1, 5)).await;
    db.drain().await;
    let monitor = db.account("payload_monitor", &["seatkeeper_monitor"]).await;
    let reader = db.account("payload_reader", &["seatkeeper_reader"]).await;
    let mut connection = connect(&monitor).await;
    for sql in [
        "select payload from seatkeeper.requests",
        "select * from seatkeeper.requests",
        "select count(*) from seatkeeper.requests r where r::text like '%somebody%'",
        "select payload_digest from seatkeeper.request_tombstones",
    ] {
        let error = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect_err(sql);
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{sql}");
    }
    connection.close().await.unwrap();

    // What it is for works without, and what does not is told to whom it is given.
    let listed = cli_json(&monitor, &["requests", "list"], 0).await;
    assert_eq!(listed["request_id"], id.to_string());
    assert_eq!(listed["enqueued_by"], "postgres");
    let mine = ["requests", "list", "--enqueued-by", "postgres", "--status", "done"];
    assert!(cli_ends(&monitor, &mine, 0).await.contains(&id.to_string()));
    assert!(
        cli_ends(&monitor, &["requests", "list", "--enqueued-by", "nobody"], 0)
            .await
            .contains("no such requests")
    );
    cli_ends(&monitor, &["requests", "wait", &id.to_string()], 0).await;
    for verb in
        [&["requests", "show", &id.to_string()][..], &["requests", "list", "--session", "1"], &["audit"]]
    {
        let text = cli_ends(&monitor, verb, 3).await;
        assert!(text.contains("42501") && text.contains("seatkeeper_reader"), "{verb:?}: {text}");
        cli_ends(&reader, verb, 0).await;
    }
    let story = cli_json(&reader, &["requests", "show", &id.to_string()], 0).await;
    assert_eq!(story["enqueued_by"], "postgres");
    assert!(
        cli_ends(&reader, &["requests", "show", &id.to_string()], 0).await.contains("account     postgres")
    );
    // Neither writes.
    for url in [&monitor, &reader] {
        let text = cli_ends(url, &["requests", "retry", &id.to_string(), "--reason", "x"], 1).await;
        assert!(text.contains("is done"), "{text}");
        let text = cli_ends(url, &["pause", "--everything", "--reason", "x"], 3).await;
        assert!(text.contains("42501"), "{text}");
    }
}
