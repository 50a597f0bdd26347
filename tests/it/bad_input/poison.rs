//! Requests that make the whole batch fail in the database: found, charged and set aside; their neighbours are answered.

use std::time::Duration;

use seatkeeper::batch::{Limits, Turn, Worker, sort_out};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, pool};
use seatkeeper_jobs::cancel_semester::CancelSemester;
use seatkeeper_jobs::grant_credits::{Amount, BALANCE_LIMIT, GrantCredits};
use seatkeeper_jobs::unenroll::Unenroll;
use seatkeeper_jobs::{Job, Outcome, Reason, Receipt, Status, UserId, enroll::Enroll};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::http::{get, sample};
use crate::support::{Process, TestDb, until};

/// The user whose requests are poison, in the midst of 200 others.
const POISON: i64 = 101;
const USERS: i64 = 201;

fn user(id: i64) -> UserId {
    id.try_into().unwrap()
}

fn enroll(user: i64) -> Enroll {
    Enroll { user_id: user.try_into().unwrap(), semester_id: 1.try_into().unwrap() }
}

fn grant(user: i64, amount: i64) -> GrantCredits {
    GrantCredits { user_id: user.try_into().unwrap(), amount: Amount::new(amount).unwrap(), note: None }
}

/// A semester, and every user's request for a place in it; gives the IDs by user.
async fn crowd(db: &TestDb, places: i32, cost: i64) -> Vec<(i64, Uuid)> {
    db.users(USERS).await;
    db.semester(1, Some(places), cost).await;
    if cost > 0 {
        for user in 1..=USERS {
            db.ask(Uuid::now_v7(), grant(user, cost)).await;
        }
        db.drain().await;
    }
    let mut asked = Vec::new();
    for user in 1..=USERS {
        let id = Uuid::now_v7();
        db.ask(id, enroll(user)).await;
        asked.push((user, id));
    }
    asked
}

/// A trigger that does something when the row of the poison's user is written.
async fn sabotage(db: &TestDb, event: &str, table: &str, condition: &str, body: &str) {
    db.run(&format!(
        "create function public.sabotage() returns trigger language plpgsql as $$ begin {body} return new; end $$;
         create trigger aaa_sabotage before {event} on seatkeeper.{table}
             for each row when ({condition}) execute function public.sabotage()"
    ))
    .await;
}

/// Everybody but the poison was applied; gives the poison's receipt.
async fn assert_neighbours_applied(db: &TestDb, asked: &[(i64, Uuid)]) -> Receipt {
    for (user, id) in asked.iter().filter(|(user, _)| *user != POISON) {
        let receipt = db.receipt(*id).await;
        assert_eq!(receipt.outcome, Some(Outcome::Applied), "user {user}: {receipt:?}");
        assert_eq!(receipt.attempts, 1, "no attempt of a neighbour was spent");
    }
    let poison = asked.iter().find(|(user, _)| *user == POISON).unwrap().1;
    db.receipt(poison).await
}

async fn last_error(db: &TestDb, id: Uuid) -> String {
    db.value(&format!("select last_error from seatkeeper.requests where request_id = '{id}'")).await
}

#[tokio::test]
async fn a_request_that_fails_in_the_database_is_set_aside_and_its_200_neighbours_are_answered() {
    let db = TestDb::new().await;
    let asked = crowd(&db, 300, 0).await;
    sabotage(
        &db,
        "insert",
        "enrollments",
        "new.user_id = 101",
        "raise exception 'a defect' using detail = 'secret';",
    )
    .await;
    let mut worker = db.worker_with(Limits { retry_after: Duration::from_secs(3600), ..Limits::default() });
    while !matches!(worker.turn().await, Turn::Idle) {}

    let poison = assert_neighbours_applied(&db, &asked).await;
    assert_eq!((poison.status, poison.outcome, poison.attempts), (Status::Queued, None, 1));
    let error = last_error(&db, poison.request_id).await;
    assert_eq!(error, "P0001: a defect", "without the DETAIL, which echoes rows");
    let set_aside: bool = db
        .value(
            "select hold = 'scheduled' and run_at between clock_timestamp() + interval '40 minutes'
                                                   and clock_timestamp() + interval '80 minutes'
             from seatkeeper.requests where user_id = 101",
        )
        .await;
    assert!(set_aside);
    db.assert_sound().await;
}

#[tokio::test]
async fn a_request_whose_attempts_are_spent_fails_and_stays_so() {
    let db = TestDb::new().await;
    let asked = crowd(&db, 300, 0).await;
    sabotage(&db, "insert", "enrollments", "new.user_id = 101", "raise exception 'a defect';").await;
    let limits = Limits { attempts: 3, retry_after: Duration::from_millis(1), ..Limits::default() };
    let mut worker = db.worker_with(limits);
    let transactions = Transactions::new(db.pool.clone(), Timeouts::default());
    until("the poison has failed", async || {
        while !matches!(worker.turn().await, Turn::Idle) {}
        sort_out(&transactions).await.unwrap();
        assert!(db.value::<i32>("select max(attempts) from seatkeeper.requests").await <= 3);
        db.value::<bool>("select exists (select from seatkeeper.requests where status = 'failed')").await
    })
    .await;
    let poison = assert_neighbours_applied(&db, &asked).await;
    assert_eq!((poison.status, poison.reason), (Status::Failed, Some(Reason::AttemptsExhausted)));
    assert_eq!((poison.attempts, poison.outcome, poison.result.is_none()), (3, None, true));
    assert!(poison.finished_at.is_some());
    sort_out(&transactions).await.unwrap();
    assert!(matches!(worker.turn().await, Turn::Idle));
    assert_eq!(db.receipt(poison.request_id).await, poison);
    db.assert_sound().await;
}

/// The constraint really fires, because a trigger makes the row wrong; alone, that is a refusal of the request.
async fn assert_refused_by_guard(
    reason: Reason,
    constraint: &str,
    event: &str,
    table: &str,
    when: &str,
    body: &str,
) {
    let db = TestDb::new().await;
    let asked = crowd(&db, 300, 10).await;
    sabotage(&db, event, table, when, body).await;
    let process = Process::run(&db.url, &["--listen=127.0.0.1:0", "--workers=1"]);
    let address = process.address();
    until("everybody is answered", async || {
        db.value::<bool>("select not exists (select from seatkeeper.requests where status = 'queued')").await
    })
    .await;
    let poison = assert_neighbours_applied(&db, &asked).await;
    assert_eq!((poison.status, poison.outcome), (Status::Done, Some(Outcome::Refused)), "{constraint}");
    assert_eq!((poison.reason, poison.attempts), (Some(reason), 1), "{constraint}");
    let (_, text) = get(&address, "/metrics").await;
    let hits = sample(&text, "seatkeeper_constraint_hits_total", &format!("constraint=\"{constraint}\""));
    assert!(hits.is_some_and(|hits| hits >= 2.0), "{constraint} fired in the crowd and alone: {hits:?}");
    let refusals = sample(
        &text,
        "seatkeeper_requests_total",
        &format!("kind=\"enroll\",outcome=\"refused\",reason=\"{reason}\""),
    );
    assert_eq!(refusals, Some(1.0), "{constraint}");
    assert_eq!(process.terminate(), Some(0));
    db.assert_sound().await;
}

#[tokio::test]
async fn a_second_active_enrollment_that_only_the_index_sees_is_already_enrolled() {
    // The row comes twice: the second time by the trigger.
    let twice = "if pg_trigger_depth() = 1 then
                     insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
                     values (new.user_id, new.semester_id, 'APPROVED', true);
                 end if;";
    assert_refused_by_guard(
        Reason::AlreadyEnrolled,
        "uq_active_enrollment",
        "insert",
        "enrollments",
        "new.user_id = 101",
        twice,
    )
    .await;
}

#[tokio::test]
async fn a_balance_that_only_the_constraint_sees_below_zero_is_insufficient_credits() {
    assert_refused_by_guard(
        Reason::InsufficientCredits,
        "chk_credit_balance_non_negative",
        "update",
        "users",
        "new.user_id = 101 and new.credit_balance < old.credit_balance",
        "new.credit_balance := -1;",
    )
    .await;
}

/// Whoever comes when 100 places are taken breaks the constraint, and only them: the others count on.
#[tokio::test]
async fn a_count_that_only_the_constraint_sees_above_the_places_is_semester_full() {
    let db = TestDb::new().await;
    db.users(2).await;
    db.semester(1, Some(1), 0).await;
    db.semester(2, Some(1), 0).await;
    sabotage(
        &db,
        "update",
        "semesters",
        "new.semester_id = 1 and new.enrolled_count > 0",
        "new.enrolled_count := 2;",
    )
    .await;
    let (full, free) = (Uuid::now_v7(), Uuid::now_v7());
    db.ask(full, enroll(1)).await;
    db.ask(free, Enroll { user_id: 2.try_into().unwrap(), semester_id: 2.try_into().unwrap() }).await;
    db.drain().await;
    let receipt = db.receipt(full).await;
    assert_eq!((receipt.outcome, receipt.reason), (Some(Outcome::Refused), Some(Reason::SemesterFull)));
    assert_eq!(db.receipt(free).await.outcome, Some(Outcome::Applied));
    db.assert_sound().await;
}

/// A constraint that means no refusal is a defect: it costs attempts.
#[tokio::test]
async fn any_other_constraint_costs_attempts_and_is_named_in_the_last_error() {
    let db = TestDb::new().await;
    let asked = crowd(&db, 300, 0).await;
    sabotage(&db, "insert", "enrollments", "new.user_id = 101", "new.price_paid := -1;").await;
    let mut worker = db.worker_with(Limits { attempts: 1, ..Limits::default() });
    while !matches!(worker.turn().await, Turn::Idle) {}
    let poison = assert_neighbours_applied(&db, &asked).await;
    assert_eq!((poison.status, poison.reason), (Status::Failed, Some(Reason::AttemptsExhausted)));
    let error = last_error(&db, poison.request_id).await;
    assert!(error.starts_with("23514 [chk_enrollment_price]: "), "{error}");
    assert!(!error.contains("Failing row"), "{error}");
    db.assert_sound().await;
}

/// Balances of 10¹⁸ and more, as a hand may leave them: what they take and what they do not is an answer, given once.
#[tokio::test]
async fn a_balance_at_its_limit_or_beyond_is_answered_at_once_and_takes_nobody_with_it() {
    let db = TestDb::new().await;
    db.users(4).await;
    db.semester(1, None, 10).await;
    let beyond = 9_223_372_036_854_775_000_i64;
    for (user, balance) in [(2, BALANCE_LIMIT), (3, beyond)] {
        db.run(&format!(
            "update seatkeeper.users set credit_balance = {balance} where user_id = {user};
             insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after)
             values ({user}, 'OPENING_BALANCE', {balance}, {balance})"
        ))
        .await;
    }
    let asked: [(Job, Value); 8] = [
        (grant(1, 5).into(), json!({ "balance": 5 })),
        (grant(2, 1).into(), json!({ "balance": BALANCE_LIMIT, "limit": BALANCE_LIMIT })),
        (grant(2, -7).into(), json!({ "balance": BALANCE_LIMIT - 7 })),
        (grant(2, 8).into(), json!({ "balance": BALANCE_LIMIT - 7, "limit": BALANCE_LIMIT })),
        (grant(2, 7).into(), json!({ "balance": BALANCE_LIMIT })),
        (grant(3, Amount::MAX).into(), json!({ "balance": beyond, "limit": BALANCE_LIMIT })),
        (grant(3, -1).into(), json!({ "balance": beyond - 1 })),
        (grant(4, Amount::MAX).into(), json!({ "balance": Amount::MAX })),
    ];
    let mut ids = Vec::new();
    for (job, result) in asked {
        let id = Uuid::now_v7();
        db.ask(id, job).await;
        ids.push((id, result));
    }
    let turn = db.worker().turn().await;
    assert!(matches!(turn, Turn::Answered(_)), "{turn:?}");
    for (id, result) in ids {
        let receipt = db.receipt(id).await;
        let is_refused = result.get("limit").is_some();
        let reason = is_refused.then_some(Reason::BalanceLimit);
        assert_eq!((receipt.status, receipt.reason, receipt.attempts), (Status::Done, reason, 1));
        assert_eq!(receipt.result, Some(result));
    }

    // What was paid comes back, whatever the balance is by then.
    let ids: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
    db.ask(ids[0], enroll(2)).await;
    db.ask(ids[1], enroll(3)).await;
    db.drain().await;
    db.ask(ids[2], grant(2, 10)).await;
    db.drain().await;
    db.ask(ids[3], Unenroll { user_id: user(2), semester_id: 1.try_into().unwrap(), enrollment_id: None })
        .await;
    db.drain().await;
    db.ask(ids[4], CancelSemester { semester_id: 1.try_into().unwrap(), note: None }).await;
    db.drain().await;
    for id in ids {
        let receipt = db.receipt(id).await;
        assert_eq!((receipt.outcome, receipt.attempts), (Some(Outcome::Applied), 1), "{receipt:?}");
    }
    let balances: Vec<i64> = db
        .value(
            "select array_agg(credit_balance order by user_id) from seatkeeper.users where user_id in (2, 3)",
        )
        .await;
    assert_eq!(balances, [BALANCE_LIMIT + 5, beyond - 1]);
    db.assert_sound().await;
}

/// What is wrong with the database is nobody's fault: no attempt is spent, however long it lasts.
#[tokio::test]
async fn a_missing_permission_never_costs_an_attempt_and_everybody_is_answered_once_it_is_there() {
    let db = TestDb::new().await;
    let role = format!("role_limited_{}", Uuid::new_v4().simple());
    db.run(&format!(
        "create role {role} login password 'limited';
         grant usage on schema seatkeeper to {role};
         grant select, insert, update on all tables in schema seatkeeper to {role};
         grant usage, select on all sequences in schema seatkeeper to {role};
         revoke insert on seatkeeper.enrollments from {role}"
    ))
    .await;
    let asked = crowd(&db, 300, 0).await;
    // (To the server: a pooler does not know who that is.)
    let options = connect_options(&db.direct).unwrap().username(&role).password("limited");
    let transactions = Transactions::new(pool(options, 2), Timeouts::default());
    let limits = Limits { attempts: 1, retry_after: Duration::from_millis(1), ..Limits::default() };
    let mut worker = Worker::new(transactions, limits);
    for _ in 0..50 {
        let turn = worker.turn().await;
        assert!(matches!(turn, Turn::Away(_)), "{turn:?}");
    }
    let untouched: i64 = db
        .value(
            "select count(*) from seatkeeper.requests
             where status = 'queued' and attempts = 0 and hold is null and last_error is null",
        )
        .await;
    assert_eq!(untouched, USERS);

    db.run(&format!("grant insert on seatkeeper.enrollments to {role}")).await;
    while !matches!(worker.turn().await, Turn::Idle) {}
    let poison = assert_neighbours_applied(&db, &asked).await;
    assert_eq!((poison.outcome, poison.attempts), (Some(Outcome::Applied), 1));
    db.assert_sound().await;
}
