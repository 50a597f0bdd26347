//! Producers that lose the reply of their commit, or their connection anywhere, and ask again with the same ID: one request, the
//! same answer; and something else under that ID is a conflict.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use seatkeeper::postgres::connect_options;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::postgres::{self as door, EnqueueError};
use seatkeeper_jobs::{Receipt, Request};
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use super::assert_covered;
use super::every_byte::{places, wire_with_next_fate};
use crate::model::seed;
use crate::support::proxy::{Fate, Loss, Wire};
use crate::support::{Process, TestDb, until, verb};

/// Bytes in between, in a slice of each direction and each way to ask.
const BETWEEN: u64 = 12;
/// A producer that has heard nothing for so long takes the request for lost.
const HEARD_NOTHING: Duration = Duration::from_millis(400);

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// The function, in a statement of its own.
    Single,
    /// Many at once.
    Many,
    /// In the producer's own transaction.
    Transaction,
    /// A script, in the simple protocol.
    Script,
}

const DOORS: [Door; 4] = [Door::Single, Door::Many, Door::Transaction, Door::Script];

fn grant(id: Uuid, amount: i64) -> Request {
    let amount = Amount::new(amount).unwrap();
    Request::new(id, GrantCredits { user_id: 1.try_into().unwrap(), amount, note: None })
}

/// Asks once, on a connection of its own; gives the receipt where it is told one.
async fn ask(url: &str, id: Uuid, door: Door) -> Result<Option<Receipt>, EnqueueError> {
    let mut connection = connect_options(url).unwrap().connect().await?;
    let request = grant(id, 1);
    let told = match door {
        Door::Single => Some(door::enqueue(&mut connection, &request).await?),
        Door::Many => door::enqueue_many(&mut connection, &[request]).await?.pop(),
        Door::Transaction => {
            let mut transaction = connection.begin().await?;
            let receipt = door::enqueue(&mut transaction, &request).await?;
            transaction.commit().await?;
            Some(receipt)
        }
        Door::Script => {
            let sql = format!(
                "begin; select * from seatkeeper.enqueue('{id}', 'grant_credits', '{{\"user_id\": 1, \"amount\": 1}}'); commit"
            );
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
            None
        }
    };
    let _ = connection.close().await;
    Ok(told)
}

/// What the guide says about something else under a known ID.
async fn assert_conflict(connection: &mut PgConnection, id: Uuid) {
    match door::enqueue(connection, &grant(id, 2)).await {
        Err(EnqueueError::Conflict(known)) => assert_eq!(known, id),
        other => panic!("{id} was contradicted, and answered {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_reply_is_lost_is_asked_again_and_made_once() {
    let db = TestDb::new().await;
    db.users(1).await;
    let (wire, next) = wire_with_next_fate(&db.direct).await;
    let worker = Process::run(&db.direct, &["--no-http", "--no-scheduler"]);
    let mut asked = Vec::new();
    for door in DOORS {
        for loss in Loss::ALL.into_iter().cycle().take(16) {
            let id = Uuid::now_v7();
            asked.push(id);
            *next.lock().unwrap() = Fate::Commit(0, loss);
            let first = tokio::time::timeout(HEARD_NOTHING, ask(&wire.through(&db.direct), id, door)).await;
            assert!(!matches!(first, Ok(Ok(_))), "{door:?} {loss:?}: it was to hear nothing: {first:?}");
            let again = ask(&wire.through(&db.direct), id, Door::Single).await.unwrap().unwrap();
            match loss {
                Loss::OnTheWay => assert!(!again.duplicate, "{door:?}: it had not been there"),
                Loss::Reply | Loss::Silence => assert!(again.duplicate, "{door:?} {loss:?}: it was there"),
                Loss::Unheard => {}
            }
            assert_conflict(&mut db.pool.acquire().await.unwrap(), id).await;
            // Once it is answered it stays so, whoever asks in whatever way.
            until("it is answered", async || db.receipt(id).await.status.is_final()).await;
            let answer = db.receipt(id).await;
            for door in [Door::Single, Door::Many, Door::Transaction] {
                let told = ask(&db.direct, id, door).await.unwrap().unwrap();
                assert!(told.duplicate);
                assert_eq!((told.result, told.finished_at), (answer.result.clone(), answer.finished_at));
            }
        }
    }
    println!("{}", wire.seen());
    let balance = db.value::<i64>("select credit_balance from seatkeeper.users").await;
    assert_eq!(balance, i64::try_from(asked.len()).unwrap(), "each once");
    assert!(wire.seen().unheard_commits() >= 32, "{}", wire.seen());
    assert_eq!(worker.terminate(), Some(0));
    db.assert_follows().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_cut_off_behind_any_byte_asks_again_and_is_answered_once() {
    let db = TestDb::new().await;
    db.users(1).await;
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (wire, next) = wire_with_next_fate(&db.direct).await;
    let through = wire.through(&db.direct);
    let (mut asked, mut had_been_there, mut broken) = (0_i64, 0, 0);
    for door in DOORS {
        ask(&through, Uuid::now_v7(), door).await.unwrap();
        asked += 1;
        for place in places(&wire.passed(), &mut rng, BETWEEN) {
            let id = Uuid::now_v7();
            asked += 1;
            *next.lock().unwrap() = place;
            match ask(&through, id, door).await {
                Ok(_) => {}
                Err(EnqueueError::Database(_)) => broken += 1,
                Err(other) => panic!("{door:?}, cut at {place:?}: {other}"),
            }
            *next.lock().unwrap() = Fate::Spared;
            let again = ask(&through, id, Door::Single).await.unwrap().unwrap();
            had_been_there += u32::from(again.duplicate);
            assert_conflict(&mut db.pool.acquire().await.unwrap(), id).await;
            wire.passed();
        }
    }
    let seen = wire.seen();
    println!("seed {seed}: {asked} requests, {broken} broken, {had_been_there} had been there; {seen}");
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.requests").await, asked);
    db.drain().await;
    assert_eq!(db.value::<i64>("select credit_balance from seatkeeper.users").await, asked, "each once");
    db.assert_follows().await;
    assert!(broken > 100 && had_been_there > 20, "seed {seed}: {broken} broken, {had_been_there} there");
    assert_covered("producers", seed, &seen, 100, ["^pPDSBEQ", "RSKZ12tTDC"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_sent_on_connections_that_break_is_in_once() {
    let db = TestDb::new().await;
    db.users(1).await;
    let losses = [Loss::Reply, Loss::OnTheWay, Loss::Unheard];
    // Every other connection gets one chunk in before it breaks.
    let wire = Wire::start(&db.direct, move |number| match usize::try_from(number).unwrap() {
        number if number < 12 => Fate::Commit(u32::from(number % 2 == 1), losses[number % 3]),
        _ => Fate::Spared,
    })
    .await;
    wire.rage();
    let lines: String = (0..5_000)
        .map(|_| {
            let payload = json!({ "user_id": 1, "amount": 1 });
            let line = json!({ "request_id": Uuid::now_v7(), "kind": "grant_credits", "payload": payload });
            format!("{line}\n")
        })
        .collect();
    let arguments =
        ["enqueue", "--database-url", &wire.through(&db.direct), "--file", "-", "--json"].map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (exit, output, complaints) = verb(&arguments, lines.as_bytes()).await;
    println!("{}\n{output}", wire.seen());
    assert_eq!(exit, 0, "{complaints}");
    let summary: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(summary["summary"]["requests"], 5_000);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.requests").await, 5_000);
    assert!(wire.seen().unheard_commits() >= 2, "{}", wire.seen());
    // And once more, when nothing breaks: all of it had been there.
    wire.calm();
    let (exit, output, _) = verb(&arguments, lines.as_bytes()).await;
    let summary: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!((exit, &summary["summary"]["duplicates"]), (0, &json!(5_000)));
    db.drain().await;
    assert_eq!(db.value::<i64>("select credit_balance from seatkeeper.users").await, 5_000);
    db.assert_follows().await;
}
