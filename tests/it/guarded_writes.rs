//! The second layer of the application: every write says how many rows it expects, and on which values it was decided. Where
//! the database disagrees, somebody wrote without the lock: the whole batch is rolled back, and the guard is named.
//!
//! The locks keep that from happening, so it is made to happen here: by a trigger of the test's own inside the batch's
//! transaction, or by somebody who changes a row that the batch has read, and commits when the batch waits for it.
//! Red without: the mutants named `guarded_…`.

use std::collections::BTreeSet;
use std::path::Path;

use seatkeeper::batch::{Limits, Turn};
use seatkeeper::postgres::Timeouts;
use seatkeeper_jobs::Job;
use seatkeeper_jobs::grant_credits::{Amount, GrantCredits};
use seatkeeper_jobs::record_attendance::AttendanceStatus::{Late, Present};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::booking::{applied, attended, book, booked, cancel, enroll, enroll_all, session, unenroll};
use crate::support::plain_sql::pid;
use crate::support::{PATIENCE, TestDb};

/// Who writes without the lock.
enum Meddling {
    /// A trigger, or one that is missing: in the transaction of the batch.
    Trigger(&'static str),
    /// Another transaction, which commits when the batch waits for what it changed.
    Outsider(&'static str),
}

use Meddling::{Outsider, Trigger};

/// A guarded write, as it names itself; what is asked so that it is made, and who meddles with it.
struct Case {
    guard: &'static str,
    ask: Option<Job>,
    meddling: Meddling,
}

fn case(guard: &'static str, ask: impl Into<Job>, meddling: Meddling) -> Case {
    Case { guard, ask: Some(ask.into()), meddling }
}

/// The statement `create trigger` for a function that drops each row.
macro_rules! skipped {
    ($table:literal, $when:literal) => {
        concat!(
            "create function public.skip() returns trigger language plpgsql as $$ begin return null; end $$;
             create trigger skip before insert on seatkeeper.",
            $table,
            " for each row ",
            $when,
            " execute function public.skip()"
        )
    };
}

/// The statement `create trigger` for a function that changes another table.
macro_rules! meddled {
    ($table:literal, $change:literal) => {
        concat!(
            "create function public.meddle() returns trigger language plpgsql as $$ begin ",
            $change,
            "; return null; end $$;
             create trigger meddle after update on seatkeeper.",
            $table,
            " for each statement execute function public.meddle()"
        )
    };
}

const ANSWERED: &str = "update seatkeeper.requests set status = 'cancelled', finished_at = clock_timestamp() where status = 'queued'";
const WAIT_GIVEN_UP: &str = "update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = now(), cancelled_because = 'requested'
                             where session_id = 1 and user_id = 2";

fn cases() -> Vec<Case> {
    vec![
        case(
            "withdrawn enrollments",
            unenroll(3, 1),
            Outsider(
                "update seatkeeper.enrollments set status = 'WITHDRAWN', is_active = false, withdrawn_at = now() where user_id = 3",
            ),
        ),
        case(
            "semesters",
            unenroll(3, 1),
            Trigger(meddled!(
                "enrollments",
                "update seatkeeper.semesters set enrolled_count = enrolled_count - 1 where semester_id = 1"
            )),
        ),
        case(
            "balances",
            enroll(4, 1),
            Trigger(meddled!("semesters", "update seatkeeper.users set credit_balance = credit_balance + 1")),
        ),
        case("enrollments", enroll(4, 1), Trigger(skipped!("enrollments", ""))),
        case("ledger rows", enroll(4, 1), Trigger(skipped!("credit_transactions", ""))),
        case("cancelled bookings", cancel(2, 1), Outsider(WAIT_GIVEN_UP)),
        case("promoted bookings", cancel(1, 1), Outsider(WAIT_GIVEN_UP)),
        case("bookings", book(3, 2), Trigger(skipped!("bookings", ""))),
        case(
            "counters of sessions",
            book(3, 2),
            Trigger("alter table seatkeeper.bookings disable trigger trg_count_added_bookings"),
        ),
        case(
            "attendance",
            attended(1, 3, Late),
            Outsider("update seatkeeper.attendance set status = 'absent'"),
        ),
        case("requests", enroll(4, 1), Outsider(ANSWERED)),
        // In the wrong lane, so that it has to be moved first.
        case("moved requests", book(3, 2), Outsider(ANSWERED)),
        Case { guard: "marks", ask: None, meddling: Outsider("delete from seatkeeper.fill_marks") },
        Case {
            guard: "fills",
            ask: None,
            meddling: Trigger(skipped!("catalog_changes", "when (new.\"table\" = 'bookings')")),
        },
    ]
}

/// Four users with credits, three of them enrolled; user 1 has the one place of session 1, user 2 waits for it, and user 1 was
/// in session 3, which has begun.
async fn stage() -> TestDb {
    let db = TestDb::new().await;
    db.users(4).await;
    db.semester(1, None, 10).await;
    db.semester(2, None, 0).await;
    for user in 1..=4_i64 {
        let amount = Amount::new(100).unwrap();
        let grant = GrantCredits { user_id: user.try_into().unwrap(), amount, note: None };
        db.ask(Uuid::now_v7(), grant).await;
    }
    enroll_all(&db, 1..=3, 1).await;
    session(&db, 1, 1, 48, 1).await;
    session(&db, 2, 1, 52, 5).await;
    session(&db, 3, 1, 56, 5).await;
    for (user, session) in [(1, 1), (2, 1), (1, 3)] {
        booked(&db, user, session).await;
    }
    db.run(
        "update seatkeeper.sessions set starts_at = now() - interval '1 hour', ends_at = now() where session_id = 3",
    )
    .await;
    db.drain().await;
    applied(&db, attended(1, 3, Present)).await;
    db
}

/// Everything that a request can have an effect on.
const STATE: &str = "select string_agg(line, e'\\n' order by line) from (
    select 'user ' || (user_id, credit_balance, is_active)::text as line from seatkeeper.users
    union all select 'semester ' || s::text from seatkeeper.semesters s
    union all select 'session ' || s::text from seatkeeper.sessions s
    union all select 'enrollment ' || e::text from seatkeeper.enrollments e
    union all select 'ledger ' || t::text from seatkeeper.credit_transactions t
    union all select 'booking ' || b::text from seatkeeper.bookings b
    union all select 'attendance ' || a::text from seatkeeper.attendance a
    union all select 'answer ' || (request_id, outcome, answer_seq)::text from seatkeeper.requests where answer_seq is not null
    union all select 'fill ' || c::text from seatkeeper.catalog_changes c where \"table\" = 'bookings') state";

/// Makes the write meet what it must not, and gives the error that was recorded, if there was anybody left to record it for.
async fn meddled_with(Case { guard, ask, meddling }: Case) -> Option<String> {
    let db = stage().await;
    let id = Uuid::now_v7();
    match ask {
        Some(job) => {
            db.ask(id, job).await;
        }
        None => db.run("update seatkeeper.sessions set capacity = 2 where session_id = 1").await,
    }
    if guard == "moved requests" {
        db.run("update seatkeeper.requests set semester_id = 2 where status = 'queued'").await;
    }
    let timeouts = Timeouts { lock: PATIENCE, idle: PATIENCE, ..Timeouts::default() };
    let mut worker = db.worker_on(timeouts, Limits::default());
    let (turn, expected) = match meddling {
        Trigger(sql) => {
            db.run(sql).await;
            let expected: String = db.value(STATE).await;
            (worker.turn().await, expected)
        }
        Outsider(sql) => {
            let mut outsider = db.pool.begin().await.unwrap();
            let changed = sqlx::query(sql).execute(&mut *outsider).await.unwrap().rows_affected();
            assert!(changed > 0, "{guard}: nobody meddles");
            let expected: String = sqlx::query_scalar(STATE).fetch_one(&mut *outsider).await.unwrap();
            let number = pid(&mut outsider).await;
            let turn = tokio::spawn(async move { worker.turn().await });
            db.until_blocked_by(number).await;
            outsider.commit().await.unwrap();
            (turn.await.unwrap(), expected)
        }
    };
    assert!(matches!(turn, Turn::Again(_)), "{guard}: {turn:?}");
    let state: String = db.value(STATE).await;
    assert_eq!(state, expected, "{guard}: the batch left something behind");
    sqlx::query_scalar(AssertSqlSafe(format!(
        "select last_error from seatkeeper.requests where request_id = '{id}' and attempts = 1 and status = 'queued'
         union all select last_error from seatkeeper.fill_marks where attempts = 1"
    )))
    .fetch_optional(&db.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_write_that_meets_other_rows_than_were_decided_on_rolls_the_batch_back() {
    // Nobody is left whom the error could be recorded for.
    let gone = ["requests", "moved requests", "marks"];
    for case in cases() {
        let guard = case.guard;
        let error = meddled_with(case).await;
        println!("{guard}: {}", error.as_deref().unwrap_or("nobody left to blame"));
        match error {
            Some(error) => assert!(error.starts_with("guard: ") && error.contains(guard), "{guard}: {error}"),
            None => assert!(gone.contains(&guard), "{guard}: no error was recorded"),
        }
    }
}

/// Each guarded write of the sources is in the table above.
#[test]
fn every_guarded_write_is_meddled_with() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/batch/commit");
    let mut written = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let names = text.split("guard(\"").skip(1).filter_map(|rest| rest.split('"').next());
        written.extend(names.map(str::to_owned));
    }
    let tested: BTreeSet<String> = cases().into_iter().map(|case| case.guard.to_owned()).collect();
    assert_eq!(written, tested);
}
