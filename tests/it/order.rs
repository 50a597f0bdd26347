//! Order of arrival, and that nobody waits for somebody else's queue.

use seatkeeper::batch::{Limits, Turn, Worker, sort_out};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::enroll::Enroll;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::{Outcome, Reason, Request, Status, postgres as door};
use uuid::Uuid;

use crate::support::{TestDb, until};

fn enroll(user: i64, semester: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: semester.try_into().unwrap() }
}

fn grant(user: i64, amount: i64) -> GrantCredits {
    GrantCredits { user_id: user.try_into().unwrap(), amount: Amount::new(amount).unwrap(), note: None }
}

/// Turns until this request is answered.
async fn turns_until_answered(db: &TestDb, worker: &mut Worker, id: Uuid) -> usize {
    for turns in 1..1_000 {
        worker.turn().await;
        if db.receipt(id).await.status == Status::Done {
            return turns;
        }
    }
    panic!("not answered: {:?}", db.receipt(id).await);
}

const CROWD: i64 = 10_000;
const PLACES: i32 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_10_000_requests_for_100_places_the_first_100_to_arrive_are_applied() {
    let db = TestDb::new().await;
    db.users(CROWD).await;
    db.semester(1, Some(PLACES), 0).await;
    // Four workers are at it while a producer is still asking. One producer: of calls that overlap, either may be
    // answered first, so only then is the order known from outside.
    let producers: Vec<_> = (0..1)
        .map(|producer| {
            let pool = db.pool.clone();
            tokio::spawn(async move {
                let mut connection = pool.acquire().await.unwrap();
                let users: Vec<i64> = (1..=CROWD).skip(producer).collect();
                for chunk in users.chunks(50) {
                    let requests: Vec<Request> =
                        chunk.iter().map(|user| Request::new(Uuid::now_v7(), enroll(*user, 1))).collect();
                    door::enqueue_many(&mut connection, &requests).await.unwrap();
                }
            })
        })
        .collect();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            // Small batches, or the workers keep up, and there is nothing to put in order.
            let limits = Limits { batch: 40, ..Limits::default() };
            let (mut worker, pool) = (db.worker_with(limits), db.pool.clone());
            tokio::spawn(async move {
                let mut answered = 0;
                loop {
                    match worker.turn().await {
                        Turn::Answered(report) => answered += report.told.len(),
                        Turn::Idle => {
                            let left: i64 = sqlx::query_scalar(
                                "select $1 - count(*) from seatkeeper.requests where status = 'done'",
                            )
                            .bind(CROWD)
                            .fetch_one(&pool)
                            .await
                            .unwrap();
                            if left == 0 {
                                return answered;
                            }
                        }
                        Turn::Contended => tokio::task::yield_now().await,
                        Turn::Again(_) | Turn::Away(_) | Turn::Unfit(..) => {}
                    }
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    let mut shares = Vec::new();
    for worker in workers {
        shares.push(worker.await.unwrap());
    }
    println!("answered by each worker: {shares:?}");
    assert_eq!(shares.iter().sum::<usize>(), usize::try_from(CROWD).unwrap());

    let out_of_order: i64 = db
        .value(
            "select count(*) from (
                 select seq, answer_seq, finished_at, outcome, row_number() over (order by seq) as place,
                        lag(answer_seq) over (order by seq) as previous_answer,
                        lag(finished_at) over (order by seq) as previous_instant
                 from seatkeeper.requests) r
             where (outcome = 'applied') <> (place <= 100)
                or answer_seq < previous_answer or finished_at < previous_instant",
        )
        .await;
    assert_eq!(out_of_order, 0);
    assert_eq!(
        db.value::<i64>("select count(*) from seatkeeper.requests where outcome = 'applied'").await,
        100
    );
    db.assert_sound().await;
}

#[tokio::test]
async fn a_semester_with_200_000_waiting_does_not_delay_another_by_more_than_a_few_batches() {
    let db = TestDb::new().await;
    db.users(10).await;
    db.semester(1, Some(3), 0).await;
    db.semester(2, None, 0).await;
    // Straight into the table: the doors have their own tests.
    db.run(
        "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
         select gen_random_uuid(), 'enroll', jsonb_build_object('user_id', 1 + n % 9, 'semester_id', 1), 1, 1 + n % 9
         from generate_series(1, 200000) n",
    )
    .await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(10, 2)).await;
    let turns = turns_until_answered(&db, &mut db.worker(), id).await;
    println!("answered in turn {turns}");
    assert!(turns <= 3, "{turns} turns");
    assert!(
        db.value::<i64>("select count(*) from seatkeeper.requests where status = 'queued'").await > 190_000
    );
}

#[tokio::test]
async fn a_semester_that_somebody_else_locks_delays_nobody_else() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, None, 0).await;
    db.semester(2, None, 0).await;
    let (stuck, free) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(stuck, enroll(1, 1)).await;
    db.ask(free, enroll(2, 2)).await;
    let mut owner = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.semesters where semester_id = 1 for update")
        .execute(&mut *owner)
        .await
        .unwrap();

    let mut worker = db.worker();
    assert_eq!(turns_until_answered(&db, &mut worker, free).await, 1);
    assert!(matches!(worker.turn().await, Turn::Contended), "what is left is locked, which is no error");
    assert_eq!(db.receipt(stuck).await.status, Status::Queued);
    owner.rollback().await.unwrap();
    assert_eq!(turns_until_answered(&db, &mut worker, stuck).await, 1);
    assert_eq!(db.receipt(stuck).await.attempts, 1);
}

#[tokio::test]
async fn a_user_whom_somebody_else_locks_holds_up_only_the_lanes_that_need_them() {
    let db = TestDb::new().await;
    db.users(100).await;
    for semester in 1..=10 {
        db.semester(semester, None, 0).await;
    }
    // Lane 1 has the locked user in the middle: who came before is answered, who came after waits in line.
    let mut ids = Vec::new();
    for user in 1..=100 {
        let (id, semester) = (Uuid::now_v7(), if (40..60).contains(&user) { 1 } else { 2 + user % 9 });
        db.ask(id, enroll(user, semester)).await;
        ids.push((user, id));
    }
    let mut outsider = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.users where user_id = 50 for update")
        .execute(&mut *outsider)
        .await
        .unwrap();

    let mut worker = db.worker();
    let first = worker.turn().await;
    assert!(matches!(first, Turn::Again(_)), "it ran into the lock timeout: {first:?}");
    let second = worker.turn().await;
    assert!(matches!(&second, Turn::Answered(report) if report.told.len() == 90), "{second:?}");
    for (user, id) in &ids {
        let waits = (50..60).contains(user);
        assert_eq!(db.receipt(*id).await.status == Status::Queued, waits, "user {user}");
    }
    // Once round the ring of lanes: what is left is there, and not to be had.
    loop {
        match worker.turn().await {
            Turn::Contended => break,
            Turn::Again(_) => {}
            other => panic!("{other:?}"),
        }
    }
    outsider.rollback().await.unwrap();
    until("the rest is answered", async || {
        worker.turn().await;
        db.value::<i64>("select count(*) from seatkeeper.requests where status = 'queued'").await == 0
    })
    .await;
    assert_eq!(
        db.value::<i32>("select max(attempts) from seatkeeper.requests").await,
        1,
        "nobody was to blame"
    );
    db.assert_sound().await;
}

#[tokio::test]
async fn a_request_that_is_set_aside_holds_nobody_up_and_takes_its_place_when_it_is_due() {
    let db = TestDb::new().await;
    db.users(5).await;
    db.semester(1, Some(3), 0).await;
    let transactions = Transactions::new(db.pool.clone(), Timeouts::default());
    let aside = Uuid::now_v7();
    db.ask(aside, enroll(1, 1)).await;
    let set_aside =
        "update seatkeeper.requests set hold = 'scheduled', run_at = clock_timestamp() + interval '1 hour'";
    db.run(set_aside).await;
    let next = Uuid::now_v7();
    db.ask(next, enroll(2, 1)).await;
    assert_eq!(sort_out(&transactions).await.unwrap(), 0);
    db.drain().await;
    assert_eq!(db.receipt(next).await.outcome, Some(Outcome::Applied));
    assert_eq!(db.receipt(aside).await.status, Status::Queued);

    // Due again, it stands before those who arrived after it and still wait.
    let later: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    for (user, id) in (3..).zip(&later) {
        db.ask(*id, enroll(user, 1)).await;
    }
    db.run("update seatkeeper.requests set run_at = clock_timestamp() where hold = 'scheduled'").await;
    assert_eq!(sort_out(&transactions).await.unwrap(), 1);
    db.drain().await;
    assert_eq!(db.receipt(aside).await.outcome, Some(Outcome::Applied));
    assert_eq!(db.receipt(later[0]).await.outcome, Some(Outcome::Applied));
    assert_eq!(db.receipt(later[1]).await.reason, Some(Reason::SemesterFull));
    let order: Vec<Uuid> =
        sqlx::query_scalar("select request_id from seatkeeper.requests order by answer_seq")
            .fetch_all(&db.pool)
            .await
            .unwrap();
    assert_eq!(order, [next, aside, later[0], later[1], later[2]]);
}

#[tokio::test]
async fn a_scheduled_request_is_not_in_the_queue_before_its_time() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    let id = Uuid::now_v7();
    let mut connection = db.pool.acquire().await.unwrap();
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(1);
    let request = Request::new(id, enroll(1, 1)).with_run_at(soon).unwrap();
    door::enqueue(&mut connection, &request).await.unwrap();
    assert!(matches!(db.worker().turn().await, Turn::Idle));
    let transactions = Transactions::new(db.pool.clone(), Timeouts::default());
    until("its time", async || sort_out(&transactions).await.unwrap() == 1).await;
    db.drain().await;
    let receipt = db.receipt(id).await;
    assert_eq!(receipt.outcome, Some(Outcome::Applied));
    assert!(receipt.finished_at.unwrap() >= soon);
}

#[tokio::test]
async fn a_grant_is_answered_before_what_its_user_asks_afterwards_even_when_another_worker_has_it() {
    let db = TestDb::new().await;
    db.users(4).await;
    db.semester(1, None, 10).await;
    db.semester(2, None, 0).await;
    let [money, spend, behind, elsewhere] = [(); 4].map(|()| Uuid::now_v7());
    db.ask(money, grant(1, 10)).await;
    db.ask(spend, enroll(1, 1)).await;
    db.ask(behind, enroll(2, 1)).await;
    db.ask(elsewhere, enroll(3, 2)).await;
    // Another worker has claimed the grant and is not done with it.
    let mut other = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.requests where request_id = $1 for update")
        .bind(money)
        .execute(&mut *other)
        .await
        .unwrap();

    let mut worker = db.worker();
    let turn = worker.turn().await;
    assert!(matches!(&turn, Turn::Answered(report) if report.told.len() == 1), "{turn:?}");
    assert_eq!(db.receipt(elsewhere).await.outcome, Some(Outcome::Applied));
    for waiting in [spend, behind] {
        assert_eq!(
            db.receipt(waiting).await.status,
            Status::Queued,
            "the user and the rest of the lane wait"
        );
    }
    other.rollback().await.unwrap();
    db.drain().await;
    assert_eq!(db.receipt(money).await.outcome, Some(Outcome::Applied));
    assert_eq!(db.receipt(spend).await.outcome, Some(Outcome::Applied), "the money was there in time");
    assert_eq!(db.receipt(behind).await.reason, Some(Reason::InsufficientCredits));
    db.assert_sound().await;
}

#[tokio::test]
async fn more_grants_than_one_batch_looks_at_are_all_answered_before_the_user_s_request() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, None, 70).await;
    // Those of somebody else come first: of the user's own, a batch has only those that it looks for.
    let grants: Vec<Request> =
        (0..330).map(|n| Request::new(Uuid::now_v7(), grant(if n < 260 { 2 } else { 1 }, 1))).collect();
    door::enqueue_many(&mut db.pool.acquire().await.unwrap(), &grants).await.unwrap();
    let spend = Uuid::now_v7();
    db.ask(spend, enroll(1, 1)).await;
    let mut worker = db.worker();
    while !matches!(worker.turn().await, Turn::Idle) {}
    assert_eq!(db.receipt(spend).await.outcome, Some(Outcome::Applied));
    db.assert_sound().await;
}

#[tokio::test]
async fn a_request_for_a_semester_that_is_not_there_is_refused_and_one_that_came_meanwhile_is_not() {
    let db = TestDb::new().await;
    db.users(2).await;
    let lost = Uuid::now_v7();
    db.ask(lost, enroll(1, 9)).await;
    db.drain().await;
    assert_eq!(db.receipt(lost).await.reason, Some(Reason::SemesterNotFound));
    let early = Uuid::now_v7();
    db.ask(early, enroll(2, 9)).await;
    db.semester(9, None, 0).await;
    db.drain().await;
    assert_eq!(db.receipt(early).await.outcome, Some(Outcome::Applied));
}

#[tokio::test]
async fn a_business_transaction_reads_what_is_committed_whatever_the_default_is() {
    let db = TestDb::new().await;
    let name: String = db.value("select current_database()::text").await;
    for setting in [
        "default_transaction_isolation to 'repeatable read'",
        "statement_timeout to '1min'",
        "default_transaction_read_only to on",
    ] {
        db.run(&format!("alter database {name} set {setting}")).await;
    }
    let fresh = seatkeeper::postgres::pool(seatkeeper::postgres::connect_options(&db.url).unwrap(), 1);
    let mut transaction = Transactions::new(fresh.clone(), Timeouts::default()).begin().await.unwrap();
    let settings: (String, String, String, String, String) = sqlx::query_as(
        "select current_setting('transaction_isolation'), current_setting('transaction_read_only'),
                current_setting('statement_timeout'), current_setting('lock_timeout'),
                current_setting('idle_in_transaction_session_timeout')",
    )
    .fetch_one(&mut *transaction)
    .await
    .unwrap();
    let expected = ["read committed", "off", "15s", "300ms", "5s"].map(str::to_owned);
    assert_eq!(<[String; 5]>::from(settings), expected);
    transaction.rollback().await.unwrap();
    // Nothing stays behind on the connection: behind a pooler the next one belongs to somebody else.
    let after: String =
        sqlx::query_scalar("select current_setting('statement_timeout')").fetch_one(&fresh).await.unwrap();
    assert_eq!(after, "1min");
}

/// Index entries of the queue that one batch of one request reads while this many wait.
async fn entries_read(waiting: i64, lane: &str) -> i64 {
    let db = TestDb::new().await;
    db.users(10).await;
    db.semester(1, None, 0).await;
    db.run(&format!(
        "insert into seatkeeper.requests (request_id, kind, payload, semester_id, user_id)
         select gen_random_uuid(), 'enroll', jsonb_build_object('user_id', 1 + n % 9, 'semester_id', {lane}), {lane}, 1 + n % 9
         from generate_series(1, {waiting}) n;
         analyze"
    ))
    .await;
    // A connection of its own, closed after the turn: at its end a server process reports what it has read.
    let pool = seatkeeper::postgres::pool(seatkeeper::postgres::connect_options(&db.direct).unwrap(), 1);
    let limits = Limits { batch: 1, ..Limits::default() };
    let turn = Worker::new(Transactions::new(pool.clone(), Timeouts::default()), limits).turn().await;
    assert!(matches!(turn, Turn::Answered(_)), "{turn:?}");
    pool.close().await;
    let read =
        "select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes where relname = 'requests'";
    until("the statistics", async || db.value::<i64>(read).await > 0).await;
    db.value(read).await
}

#[tokio::test]
async fn a_claim_reads_no_more_when_20_000_wait() {
    for lane in ["1", "2"] {
        let (few, many) = (entries_read(20, lane).await, entries_read(20_000, lane).await);
        println!("lane {lane}: {few} entries read with 20 waiting, {many} with 20,000");
        assert!(many <= few + 20, "lane {lane}: {few} entries read with 20 waiting, {many} with 20,000");
    }
}
