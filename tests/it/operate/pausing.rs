//! Pause and resume, and how the workers honour them.

use seatkeeper::batch::sort_out;
use seatkeeper::operate::{self, Operator, Scope};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::Kind;
use seatkeeper_jobs::unenroll::Unenroll;
use uuid::Uuid;

use super::{answered, ask_all, cli_ends, cli_json, is_answered, status};
use crate::support::{PATIENCE, TestDb, until};

async fn pause(db: &TestDb, scope: Scope) {
    let transactions = operate::transactions(db.pool.clone());
    operate::pause(&transactions, scope, &Operator::new(Some("erika".into())), "test").await.unwrap();
}

async fn resume(db: &TestDb, scope: Scope) {
    let transactions = operate::transactions(db.pool.clone());
    let ended = operate::resume(&transactions, scope, &Operator::new(Some("erika".into())), "test").await;
    assert!(ended.unwrap().is_some());
}

/// As a running worker does, until there is nothing to move.
async fn sort_out_all(db: &TestDb) -> u64 {
    let transactions = Transactions::new(db.pool.clone(), Timeouts::default());
    let mut moved = 0;
    loop {
        match sort_out(&transactions).await.unwrap() {
            0 => return moved,
            pass => moved += pass,
        }
    }
}

async fn unenroll(db: &TestDb, user: i64, semester: i64) -> Uuid {
    let id = Uuid::now_v7();
    let (user_id, semester_id) = (user.try_into().unwrap(), semester.try_into().unwrap());
    db.ask(id, Unenroll { user_id, semester_id, enrollment_id: None }).await;
    id
}

#[tokio::test]
async fn a_paused_kind_waits_and_the_others_go_on() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(2), 0).await;
    pause(&db, Scope::Kind(Kind::Enroll)).await;
    let enrolls = ask_all(&db, [1, 2], 1).await;
    let other = unenroll(&db, 1, 1).await;
    db.drain().await;
    assert_eq!(answered(&db).await, [other]);
    assert_eq!(sort_out_all(&db).await, 2, "the backlog leaves the queue");
    let late = ask_all(&db, [3], 1).await;
    db.drain().await;
    assert_eq!(answered(&db).await, [other]);

    resume(&db, Scope::Kind(Kind::Enroll)).await;
    assert_eq!(sort_out_all(&db).await, 2);
    db.drain().await;
    assert_eq!(answered(&db).await, [other, enrolls[0], enrolls[1], late[0]]);
    assert_eq!(status(&db, late[0]).await, "refused");
    db.assert_sound().await;
}

#[tokio::test]
async fn what_came_during_a_pause_is_not_overtaken_by_what_came_after() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, Some(1), 0).await;
    let parked = ask_all(&db, [1], 1).await;
    pause(&db, Scope::Kind(Kind::Enroll)).await;
    assert_eq!(sort_out_all(&db).await, 1);
    resume(&db, Scope::Kind(Kind::Enroll)).await;
    // Arrived after the resume, before anybody has put the backlog back.
    let late = ask_all(&db, [2], 1).await;
    db.drain().await;
    assert!(answered(&db).await.is_empty(), "the backlog comes first");
    assert_eq!(sort_out_all(&db).await, 1);
    db.drain().await;
    assert_eq!(answered(&db).await, [parked[0], late[0]]);
    assert_eq!(status(&db, parked[0]).await, "applied");
}

#[tokio::test]
async fn a_backlog_comes_back_in_order_while_workers_work() {
    let db = TestDb::new().await;
    db.users(5_000).await;
    db.semester(1, Some(100), 0).await;
    let ask = |from: i64, to: i64| {
        format!(
            "select count(*) from (
                 select seatkeeper.enqueue(gen_random_uuid(), 'enroll', jsonb_build_object('user_id', u, 'semester_id', 1))
                 from generate_series({from}, {to}) u offset 0) x"
        )
    };
    db.run(&ask(1, 4_500)).await;
    pause(&db, Scope::Kind(Kind::Enroll)).await;
    assert_eq!(sort_out_all(&db).await, 4_500);
    resume(&db, Scope::Kind(Kind::Enroll)).await;
    db.run(&ask(4_501, 5_000)).await;

    let work = async {
        let mut worker = db.worker();
        until("all answers", async || {
            while is_answered(&worker.turn().await) {}
            db.value("select not exists (select from seatkeeper.requests where status = 'queued')").await
        })
        .await;
    };
    tokio::join!(work, sort_out_all(&db));
    let inversions: i64 = db
        .value(
            "select count(*) from (select seq, lag(seq) over (order by answer_seq) as previous
                                   from seatkeeper.requests) r where seq < previous",
        )
        .await;
    assert_eq!(inversions, 0);
    let last_applied: i64 =
        db.value("select max(user_id) from seatkeeper.requests where outcome = 'applied'").await;
    assert_eq!(last_applied, 100, "the first to arrive have the places");
    db.assert_sound().await;
}

#[tokio::test]
async fn a_paused_semester_waits_and_the_others_go_on() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, Some(2), 0).await;
    db.semester(2, Some(2), 0).await;
    let before = ask_all(&db, [1], 1).await;
    pause(&db, Scope::Semester(1.try_into().unwrap())).await;
    let during = ask_all(&db, [2], 1).await;
    let other = ask_all(&db, [3], 2).await;
    let mut worker = db.worker();
    until("the answer in the other semester", async || {
        worker.turn().await;
        !answered(&db).await.is_empty()
    })
    .await;
    for _ in 0..3 {
        assert!(!is_answered(&worker.turn().await));
    }
    assert_eq!(answered(&db).await, other);
    resume(&db, Scope::Semester(1.try_into().unwrap())).await;
    db.drain().await;
    assert_eq!(answered(&db).await, [other[0], before[0], during[0]]);
}

#[tokio::test]
async fn a_pause_of_a_semester_waits_for_the_batch_in_hand_and_then_holds() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, Some(2), 0).await;
    let ids = ask_all(&db, [1], 1).await;
    // A worker's batch, as far as its lane.
    let mut batch = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.semesters where semester_id = 1 for no key update")
        .fetch_all(&mut *batch)
        .await
        .unwrap();
    let other = db.pool.clone();
    let pausing = tokio::spawn(async move {
        let transactions = operate::transactions(other);
        let scope = Scope::Semester(1.try_into().unwrap());
        operate::pause(&transactions, scope, &Operator::new(Some("erika".into())), "test").await
    });
    until("a pause that waits for the batch in hand", async || {
        db.value(
            "select exists (select from pg_stat_activity where datname = current_database()
                            and wait_event_type = 'Lock' and query like '%operate.pause%')",
        )
        .await
    })
    .await;
    assert!(!pausing.is_finished());
    batch.commit().await.unwrap();
    tokio::time::timeout(PATIENCE, pausing).await.unwrap().unwrap().unwrap();
    assert!(!is_answered(&db.worker().turn().await));
    assert_eq!(status(&db, ids[0]).await, "queued");
}

#[tokio::test]
async fn everything_waits_when_everything_is_paused() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, Some(1), 0).await;
    pause(&db, Scope::Everything).await;
    let ids = ask_all(&db, [1, 2], 1).await;
    // Without a lane, and in the lane of a semester that does not exist
    db.run(
        "select seatkeeper.enqueue(gen_random_uuid(), 'grant_credits', '{\"user_id\": 1, \"amount\": 5}');
         select seatkeeper.enqueue(gen_random_uuid(), 'enroll', '{\"user_id\": 1, \"semester_id\": 99}')",
    )
    .await;
    let mut worker = db.worker();
    for _ in 0..5 {
        assert!(!is_answered(&worker.turn().await));
    }
    resume(&db, Scope::Everything).await;
    db.drain().await;
    assert_eq!(status(&db, ids[0]).await, "applied");
    assert_eq!(status(&db, ids[1]).await, "refused");
    let left: i64 = db.value("select count(*) from seatkeeper.requests where status <> 'done'").await;
    assert_eq!(left, 0);
    db.assert_sound().await;
}

#[tokio::test]
async fn pausing_twice_says_so() {
    let db = TestDb::new().await;
    db.semester(1, None, 0).await;
    let actions = "select count(*) from seatkeeper.operator_actions";
    for (scope, what) in [
        (&["--kind", "enroll"][..], "kind enroll"),
        (&["--semester", "1"], "semester 1"),
        (&["--everything"], "everything"),
    ] {
        let run = async |verb: &str| {
            let arguments = [&[verb, "--reason", "flood", "--operator", "erika"], scope].concat();
            cli_ends(&db.url, &arguments, 0).await
        };
        let before: i64 = db.value(actions).await;
        let text = run("resume").await;
        assert!(text.contains(&format!("{what} was not paused")), "{text}");
        let text = run("pause").await;
        assert!(text.contains(&format!("{what} is paused")), "{text}");
        let text = run("pause").await;
        assert!(
            text.contains(&format!("{what} was paused before")) && text.contains("erika: flood"),
            "{text}"
        );
        assert_eq!(db.value::<i64>("select count(*) from seatkeeper.pauses").await, 1);
        let text = run("resume").await;
        assert!(text.contains(&format!("{what} goes on")), "{text}");
        let recorded: i64 = db.value(actions).await;
        assert_eq!(recorded - before, 2, "one pause and one resume");
    }
    let report = cli_json(&db.url, &["pause", "--everything", "--reason", "x"], 0).await;
    assert_eq!((report["changed"].as_bool(), report["pause"]["reason"].as_str()), (Some(true), Some("x")));
    let text = cli_ends(&db.url, &["resume", "--kind", "book", "--reason", "x"], 0).await;
    assert!(text.contains("kind book was not paused") && text.contains("still paused: everything"), "{text}");
    for wrong in [
        &["pause", "--reason", "x"][..],
        &["pause", "--everything"],
        &["pause", "--everything", "--kind", "enroll", "--reason", "x"],
        &["pause", "--kind", "dance", "--reason", "x"],
        &["pause", "--everything", "--reason", ""],
    ] {
        cli_ends(&db.url, wrong, 2).await;
    }
    let text = cli_ends(&db.url, &["pause", "--semester", "9", "--reason", "x"], 3).await;
    assert!(text.contains("no semester 9"), "{text}");
}
