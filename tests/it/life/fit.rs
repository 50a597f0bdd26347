//! A database in which every statement succeeds and answers would be wrong: nothing is decided there.

use seatkeeper::batch::Turn;
use seatkeeper::invariants::Status;
use seatkeeper::postgres::{apply_roles, connect_options, pool};
use seatkeeper_jobs::book::Book;
use seatkeeper_jobs::{Outcome, Reason};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{drain, enroll, worker};
use crate::operate::cli_json;
use crate::support::http::get;
use crate::support::plain_sql::pid;
use crate::support::{Process, TestDb, until, verb};

/// Two users with a place each in a semester and in a session; a third who waits; and what was recorded on the way.
async fn stage() -> TestDb {
    let db = TestDb::new().await;
    db.users(9).await;
    db.semester(1, None, 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (7, 1, now() + interval '9 days', now() + interval '10 days', 2);
         insert into seatkeeper.pauses (semester_id, paused_by, reason) values (99, 'erika', 'flood');
         insert into seatkeeper.operator_actions (operator, action, reason) values ('erika', 'pause', 'flood')",
    )
    .await;
    for user in 1..=3 {
        db.ask(Uuid::now_v7(), enroll(user, 1)).await;
        db.ask(Uuid::now_v7(), Book { user_id: user.try_into().unwrap(), session_id: 7.try_into().unwrap() })
            .await;
    }
    db.drain().await;
    db.roll_call(&["INV-01"]).await;
    db.run("delete from seatkeeper.pauses where pause_id > 1; update seatkeeper.sessions set booking_closes_at = now()").await;
    db
}

/// Each sequence, and what brings it about that the worker draws from it.
const SEQUENCES: [&str; 10] = [
    "answer_seq",
    "bookings_booking_id_seq",
    "credit_transactions_transaction_id_seq",
    "enrollments_enrollment_id_seq",
    "fill_marks_mark_id_seq",
    "invariant_runs_run_id_seq",
    "operator_actions_action_id_seq",
    "pauses_pause_id_seq",
    "requests_seq_seq",
    "waitlist_ticket_seq",
];

#[tokio::test]
async fn no_number_is_given_twice_by_a_sequence_that_was_left_behind() {
    let db = stage().await;
    db.run("insert into seatkeeper.fill_marks (semester_id, session_id) values (2, 8)").await;
    db.run("insert into seatkeeper.fill_marks (semester_id, session_id, retry_at) values (2, 8, now() + interval '1 day')").await;
    db.drain().await;
    let all: Vec<String> = db
        .value(
            "select array_agg(relname::text order by relname) from pg_class
             where relnamespace = 'seatkeeper'::regnamespace and relkind = 'S' and relname not in ('duplicates_seq', 'conflicts_seq')",
        )
        .await;
    assert_eq!(all, SEQUENCES, "every sequence but those that only count");
    assert_eq!(db.found("INV-10").await.status, Status::Holds);
    let mut at_work = db.worker();
    drain(&mut at_work).await;
    for (number, sequence) in (4..).zip(SEQUENCES) {
        let before: i64 = db.value(&format!("select last_value from seatkeeper.{sequence}")).await;
        db.run(&format!("select setval('seatkeeper.{sequence}', 1, false)")).await;

        // A sequence that was set back is noticed by who is at work already when arrivals were, else by whoever comes.
        let id = Uuid::now_v7();
        if number < 9 {
            db.ask(id, enroll(number, 1)).await;
        }
        let turn = db.worker().turn().await;
        assert!(!matches!(turn, Turn::Answered(_) | Turn::Idle), "{sequence}: {turn:?}");
        if sequence == "requests_seq_seq" {
            let turn = at_work.turn().await;
            assert!(!matches!(turn, Turn::Answered(_) | Turn::Idle), "{sequence}: {turn:?}");
        }
        let repair: String = db.value("select repair from seatkeeper.sequences_behind()").await;
        let repair = repair.as_str();
        // A roll call has a number itself, which cannot be given twice.
        if sequence != "invariant_runs_run_id_seq" {
            let found = db.found("INV-10").await;
            assert_eq!((found.status, found.violations), (Status::Violated, Some(1)), "{sequence}");
            let row = &found.sample[0]["row"];
            assert_eq!((&row["sequence"], row["repair"].as_str()), (&sequence.into(), Some(repair)));
        }
        let (code, out, _) = verb(&["doctor", "--database-url", &db.url], b"").await;
        assert!(code == 1 && out.contains(repair), "{sequence}: {out}");
        let (code, _, complaints) = verb(&["run", "--no-http", "--database-url", &db.url], b"").await;
        assert!(code == 3 && complaints.contains(repair), "{sequence}: {code} {complaints}");

        // The advice is what puts it right.
        db.run(repair).await;
        assert!(db.value::<i64>(&format!("select last_value from seatkeeper.{sequence}")).await <= before);
        assert_eq!(db.found("INV-10").await.status, Status::Holds, "{sequence}");
        db.drain().await;
        if number < 9 {
            assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied), "{sequence}");
        }
    }
    db.assert_follows().await;
}

/// What a function forbids the planner looks to it as if it cost billions, and what costs that much is compiled first, which takes
/// longer than anything that it does.
#[tokio::test]
async fn no_function_that_steers_the_planner_sets_off_its_compiler() {
    let db = TestDb::new().await;
    let steering = |which: &str| {
        format!(
            "select coalesce(array_agg(p.proname::text order by p.proname), '{{}}') from pg_proc p
             where p.pronamespace = 'seatkeeper'::regnamespace and {which}
               and exists (select from unnest(p.proconfig) setting where setting ~ '^enable_.*=off$')"
        )
    };
    let all: Vec<String> = db.value(&steering("true")).await;
    assert_eq!(
        all,
        [
            "change_requests",
            "count_confirmed",
            "follow_sessions",
            "mark_sessions_of_user",
            "max_amount_of_session",
            "move_bookings",
            "record_check",
            "refuse_beyond_limit",
            "sequences_behind",
            "session_may_read_effects"
        ]
    );
    let compiled: Vec<String> = db.value(&steering("'jit=off' <> all (p.proconfig)")).await;
    assert!(compiled.is_empty(), "{compiled:?}");
}

#[tokio::test]
async fn nothing_is_decided_where_triggers_are_silent() {
    let db = stage().await;
    let set = |what: &str| format!("alter database {} {what}", db.name());
    let direct = || pool(connect_options(&db.direct).unwrap(), 3);
    let sound = direct();
    let mut at_work = worker(&sound);
    drain(&mut at_work).await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(4, 1)).await;
    db.run(&set("set session_replication_role = 'replica'")).await;
    let silent = direct();
    let turn = worker(&silent).turn().await;
    assert!(!matches!(turn, Turn::Answered(_) | Turn::Idle), "{turn:?}");
    let (code, _, complaints) = verb(&["run", "--no-http", "--database-url", &db.direct], b"").await;
    assert!(code == 3 && complaints.contains("session_replication_role"), "{code} {complaints}");
    // A session from before has what it had.
    assert!(matches!(at_work.turn().await, Turn::Answered(_)));
    assert_eq!(db.receipt(id).await.outcome, Some(Outcome::Applied));
    silent.close().await;
    sound.close().await;

    db.run(&set("reset session_replication_role")).await;
    let again = Uuid::now_v7();
    db.ask(again, enroll(5, 1)).await;
    drain(&mut worker(&direct())).await;
    assert_eq!(db.receipt(again).await.outcome, Some(Outcome::Applied));
    db.assert_follows().await;
}

#[tokio::test]
async fn a_sequence_that_was_put_right_while_it_was_looked_at_is_not_remembered_as_it_was_before() {
    let db = stage().await;
    let behind = "select setval('seatkeeper.requests_seq_seq', 1, false)";
    db.run(behind).await;
    let repair: String = db.value("select repair from seatkeeper.sequences_behind()").await;
    // The worker has read where it is, and waits to see whether that is sound.
    let mut owner = db.pool.begin().await.unwrap();
    let pid = pid(&mut owner).await;
    sqlx::query("lock seatkeeper.fill_marks in access exclusive mode").execute(&mut *owner).await.unwrap();
    let mut at_work = db.worker();
    let (turn, ()) = tokio::join!(at_work.turn(), async {
        db.until_blocked_by(pid).await;
        sqlx::raw_sql(AssertSqlSafe(repair)).execute(&db.pool).await.unwrap();
        owner.rollback().await.unwrap();
    });
    assert!(matches!(turn, Turn::Idle), "{turn:?}");

    db.run(behind).await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(4, 1)).await;
    let turn = at_work.turn().await;
    assert!(matches!(turn, Turn::Unfit(..)), "{turn:?}");
    assert_eq!(db.receipt(id).await.outcome, None);
}

/// Whoever works without owning the tables, when somebody hides rows from all but their owner.
#[tokio::test]
async fn what_row_level_security_hides_is_never_taken_for_what_is_not_there() {
    for table in ["users", "semesters", "sessions", "bookings", "enrollments", "requests", "pauses"] {
        let db = stage().await;
        apply_roles(&db.pool).await.unwrap();
        let as_worker = pool(connect_options(&db.url_as("seatkeeper_worker")).unwrap(), 3);
        let mut at_work = worker(&as_worker);
        drain(&mut at_work).await;
        let id = Uuid::now_v7();
        db.ask(id, enroll(4, 1)).await;
        db.run(&format!("alter table seatkeeper.{table} enable row level security")).await;

        // Who has just come sees that it may not see everything; who is at work, as soon as it looks into that table.
        let turn = worker(&as_worker).turn().await;
        assert!(!matches!(turn, Turn::Answered(_) | Turn::Idle), "{table}: {turn:?}");
        let turn = at_work.turn().await;
        let receipt = db.receipt(id).await;
        let concerned = !["sessions", "bookings"].contains(&table);
        assert_eq!(
            receipt.outcome,
            (!concerned).then_some(Outcome::Applied),
            "{table}: {turn:?} {receipt:?}"
        );
        let run = seatkeeper::invariants::call_the_roll(
            &as_worker,
            &seatkeeper::invariants::Selection::all(),
            seatkeeper::invariants::Trigger::Manual,
            crate::support::PATIENCE,
        )
        .await
        .unwrap();
        let holding: Vec<_> = run
            .results
            .iter()
            .filter(|outcome| outcome.status == Status::Holds && reads(&outcome.invariant, table))
            .map(|outcome| &outcome.invariant)
            .collect();
        assert!(holding.is_empty(), "{table}: {holding:?} hold, though rows are hidden");

        db.run(&format!("alter table seatkeeper.{table} disable row level security")).await;
        drain(&mut at_work).await;
        let receipt = db.receipt(id).await;
        assert_eq!((receipt.outcome, receipt.reason), (Some(Outcome::Applied), None::<Reason>), "{table}");
        as_worker.close().await;
        db.assert_follows().await;
    }
}

/// Whether an invariant looks at the table.
fn reads(invariant: &str, table: &str) -> bool {
    let known = seatkeeper::invariants::invariant(invariant).unwrap();
    known.select.contains(&format!("seatkeeper.{table} "))
}

#[tokio::test]
async fn a_process_that_finds_a_sequence_set_back_says_so_and_goes_on_when_it_is_right() {
    let db = stage().await;
    let process = Process::run(&db.url, &["--listen", "127.0.0.1:0"]);
    let address = process.address();
    until("it works", async || get(&address, "/readyz").await.0 == 200).await;
    let id = ask_with_arrivals_set_back(&db, &address, 4).await;
    process.await_log("not fit to be worked on");
    assert_eq!(db.receipt(id).await.outcome, None);
    let repair: String = db.value("select repair from seatkeeper.sequences_behind()").await;
    sqlx::raw_sql(AssertSqlSafe(repair)).execute(&db.pool).await.unwrap();
    until("it works again", async || get(&address, "/readyz").await.0 == 200).await;
    until("what waited is answered", async || db.receipt(id).await.outcome.is_some()).await;

    // Not for ever, either, when it is put right and nothing is left that anybody would look at it for.
    let id = ask_with_arrivals_set_back(&db, &address, 5).await;
    cli_json(&db.url, &["requests", "cancel", &id.to_string(), "--reason", "too late"], 0).await;
    let repair: String = db.value("select repair from seatkeeper.sequences_behind()").await;
    sqlx::raw_sql(AssertSqlSafe(repair)).execute(&db.pool).await.unwrap();
    until("it is ready for the next one", async || get(&address, "/readyz").await.0 == 200).await;
    assert_eq!(process.terminate(), Some(0));
}

/// Asks under a sequence that was set back, and awaits that the process says so.
async fn ask_with_arrivals_set_back(db: &TestDb, address: &str, user: i64) -> Uuid {
    // A batch that looked at the sequence just before answers what it then claims: nobody claims anything meanwhile.
    let mut owner = db.pool.begin().await.unwrap();
    sqlx::query("select from seatkeeper.semesters for update").execute(&mut *owner).await.unwrap();
    db.run("select setval('seatkeeper.requests_seq_seq', 1, false)").await;
    let id = Uuid::now_v7();
    db.ask(id, enroll(user, 1)).await;
    until("it does not work any more, and says why", async || {
        let (status, text) = get(address, "/readyz").await;
        status == 503 && text.contains("requests_seq_seq")
    })
    .await;
    owner.rollback().await.unwrap();
    id
}
