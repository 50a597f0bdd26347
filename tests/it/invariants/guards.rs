//! INV-05 and INV-B05: a guard that is not what it has to be is found, whatever is wrong with it.

use seatkeeper::invariants::{Status, guards};
use sqlx::AssertSqlSafe;

use crate::support::TestDb;

#[tokio::test]
async fn the_manifest_is_what_the_migrations_make() {
    let db = TestDb::new().await;
    let mut connection = db.pool.acquire().await.unwrap();
    let live = guards::live(&mut connection).await.unwrap();
    assert!(live.iter().all(|guard| !guard.definition.is_empty()), "{live:?}");
    let text = guards::as_manifest(&live);
    assert!(
        text.contains(
            r#""name":"chk_credit_balance_non_negative","definition":"CHECK ((credit_balance >= 0))"#
        )
    );
    assert!(
        text == guards::MANIFEST,
        "src/invariants/guards.json does not fit the migrations; it has to be:\n{text}"
    );
    assert_eq!(guards::troubles(&mut connection).await.unwrap(), []);
}

/// What is done to a guard, the invariant that has to see it, and the row: what, name, problem.
const HARMS: [(&str, &str, &str, &str, &str); 19] = [
    (
        "alter table seatkeeper.users drop constraint chk_credit_balance_non_negative",
        "INV-05",
        "constraint",
        "chk_credit_balance_non_negative",
        "missing",
    ),
    (
        "alter table seatkeeper.users rename constraint chk_credit_balance_non_negative to chk_credit_balance",
        "INV-05",
        "constraint",
        "chk_credit_balance_non_negative",
        "missing",
    ),
    (
        "alter table seatkeeper.users drop constraint chk_credit_balance_non_negative;
         alter table seatkeeper.users add constraint chk_credit_balance_non_negative check (credit_balance >= -100)",
        "INV-05",
        "constraint",
        "chk_credit_balance_non_negative",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.semesters drop constraint chk_enrolled_within_capacity;
         alter table seatkeeper.semesters add constraint chk_enrolled_within_capacity
             check (enrolled_count <= max_players) not valid",
        "INV-05",
        "constraint",
        "chk_enrolled_within_capacity",
        "not validated",
    ),
    (
        "alter table seatkeeper.requests alter user_id type bigint",
        "INV-05",
        "constraint",
        "chk_request_lane",
        "defined otherwise",
    ),
    (
        "alter domain seatkeeper.instant drop constraint chk_request_times;
         alter domain seatkeeper.instant add constraint chk_request_times
             check (value between '0001-01-01 00:00Z' and '9999-12-31 00:00Z') not valid",
        "INV-05",
        "constraint",
        "chk_request_times",
        "not validated",
    ),
    ("drop index seatkeeper.uq_active_enrollment", "INV-05", "index", "uq_active_enrollment", "missing"),
    (
        "alter index seatkeeper.uq_active_enrollment rename to uq_active_enrollments",
        "INV-05",
        "index",
        "uq_active_enrollment",
        "missing",
    ),
    (
        "drop index seatkeeper.uq_active_enrollment;
         create unique index uq_active_enrollment on seatkeeper.enrollments (user_id, semester_id)
             where is_active and price_paid > 0",
        "INV-05",
        "index",
        "uq_active_enrollment",
        "defined otherwise",
    ),
    (
        "drop index seatkeeper.uq_active_enrollment;
         create index uq_active_enrollment on seatkeeper.enrollments (user_id, semester_id) where is_active",
        "INV-05",
        "index",
        "uq_active_enrollment",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.requests disable trigger trg_answer_for_good",
        "INV-05",
        "trigger",
        "trg_answer_for_good",
        "the trigger is disabled",
    ),
    (
        "alter table seatkeeper.requests enable replica trigger trg_answer_for_good",
        "INV-05",
        "trigger",
        "trg_answer_for_good",
        "the trigger is disabled",
    ),
    (
        "alter table seatkeeper.enrollments disable trigger all",
        "INV-05",
        "constraint",
        "fk_enrollment_user",
        "its triggers are disabled",
    ),
    (
        "create or replace function seatkeeper.refuse_ledger_change() returns trigger language plpgsql
             as $$ begin return null; end $$",
        "INV-05",
        "function",
        "refuse_ledger_change()",
        "defined otherwise",
    ),
    (
        "alter function seatkeeper.count_confirmed() security invoker",
        "INV-B05",
        "function",
        "count_confirmed()",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.bookings drop constraint xcl_no_overlapping_confirmed_bookings",
        "INV-B05",
        "constraint",
        "xcl_no_overlapping_confirmed_bookings",
        "missing",
    ),
    (
        "alter table seatkeeper.bookings disable trigger trg_count_changed_bookings",
        "INV-B05",
        "trigger",
        "trg_count_changed_bookings",
        "the trigger is disabled",
    ),
    (
        "drop index seatkeeper.uq_active_booking;
         create unique index uq_active_booking on seatkeeper.bookings (user_id, session_id) where status = 'CONFIRMED'",
        "INV-B05",
        "index",
        "uq_active_booking",
        "defined otherwise",
    ),
    (
        "alter table seatkeeper.sessions drop constraint chk_confirmed_within_capacity;
         alter table seatkeeper.sessions add constraint chk_confirmed_within_capacity
             check (confirmed_count <= capacity) not valid",
        "INV-B05",
        "constraint",
        "chk_confirmed_within_capacity",
        "not validated",
    ),
];

#[tokio::test]
async fn whatever_is_wrong_with_a_guard_is_said() {
    let mut left = HARMS.to_vec();
    while !left.is_empty() {
        // A database for as many as do not meddle with the same guard.
        let db = TestDb::new().await;
        let (mut now, mut later): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for harm in left {
            let taken = now.iter().any(|(_, _, _, name, _)| *name == harm.3);
            if taken { later.push(harm) } else { now.push(harm) }
        }
        for (harm, ..) in &now {
            db.run(harm).await;
        }
        let run = db.roll_call(&["INV-05", "INV-B05"]).await;
        for (harm, invariant, what, name, problem) in now {
            let outcome = run.results.iter().find(|outcome| outcome.invariant == invariant).unwrap();
            assert_eq!(outcome.status, Status::Violated, "{harm}");
            let rows = outcome.sample.iter().map(|row| &row["row"]);
            let mut rows = rows.filter(|row| row["what"] == what && row["name"] == name);
            let row = rows.next().unwrap_or_else(|| panic!("{harm}: {:#?}", outcome.sample));
            assert!(row["problem"].as_str().unwrap().contains(problem), "{harm}: {row}");
            assert!(row["expected"].is_string(), "{harm}: {row}");
            assert!(problem == "missing" || row["found"].is_string(), "{harm}: {row}");
        }
        left = later;
    }
}

/// As it comes about: `concurrently` leaves the index behind that it could not finish.
#[tokio::test]
async fn an_index_that_was_never_finished_is_no_guard() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    db.run("drop index seatkeeper.uq_active_enrollment").await;
    db.run(
        "insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
         values (1, 1, 'APPROVED', true), (1, 1, 'APPROVED', true)",
    )
    .await;
    let again = "create unique index concurrently uq_active_enrollment
                 on seatkeeper.enrollments (user_id, semester_id) where is_active";
    let refused = sqlx::query(AssertSqlSafe(again)).execute(&db.pool).await.unwrap_err();
    assert!(refused.to_string().contains("uq_active_enrollment"), "{refused}");
    let outcome = db.found("INV-05").await;
    assert_eq!(outcome.violations, Some(1));
    let row = &outcome.sample[0]["row"];
    assert_eq!(
        (row["name"].as_str(), row["found"].as_str()),
        (Some("uq_active_enrollment"), row["expected"].as_str())
    );
    assert!(row["problem"].as_str().unwrap().contains("invalid"), "{row}");
}

/// The search path of whoever asks changes PostgreSQL's words, but not the comparison.
#[tokio::test]
async fn the_comparison_is_the_same_for_everybody() {
    let db = TestDb::new().await;
    let mut connection = db.session().await;
    sqlx::raw_sql("set search_path = seatkeeper, public; set default_transaction_isolation = 'serializable'")
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(guards::troubles(&mut connection).await.unwrap(), []);
}
