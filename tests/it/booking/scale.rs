//! Long waitlists and large semesters: what an answer costs must not depend on who else is there.

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::cancel_semester::CancelSemester;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{applied, book, bookings, cancel, fills, session, stage};
use crate::support::{TestDb, until};

/// Adds so many users, all in semester 1 and, from `first` on, waiting in session 1.
async fn crowd(db: &TestDb, first: i64, last: i64) {
    db.run(&format!(
        "insert into seatkeeper.users (user_id) select generate_series({first}, {last});
         insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
         select generate_series({first}, {last}), 1, 'APPROVED', true;
         insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id)
         select user_id, 'TOURNAMENT_ENROLLMENT', 0, 0, enrollment_id from seatkeeper.enrollments
         where user_id between {first} and {last};
         update seatkeeper.semesters set enrolled_count = enrolled_count + {last} - {first} + 1;
         insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at)
         select u, s.session_id, 'WAITLISTED', s.starts_at, s.ends_at
         from generate_series({first}, {last}) u, seatkeeper.sessions s where s.session_id = 1 order by u"
    ))
    .await;
    db.run("analyze").await;
}

/// Bookings that giving a place back reads through indexes, while so many wait.
async fn bookings_read(waiting: i64) -> i64 {
    let db = stage(1).await;
    session(&db, 1, 1, 48, 1).await;
    applied(&db, book(1, 1)).await;
    crowd(&db, 11, 10 + waiting).await;
    let id = Uuid::now_v7();
    db.ask(id, cancel(1, 1)).await;
    // A connection of its own, to the server itself, closed after the turn: at its end a server process reports what it has
    // read. The others have read hardly any bookings.
    let pool = seatkeeper::postgres::pool(seatkeeper::postgres::connect_options(&db.direct).unwrap(), 1);
    let read =
        "select coalesce(sum(idx_tup_read), 0)::bigint from pg_stat_user_indexes where relname = 'bookings'";
    let before: i64 = db.value(read).await;
    let turn =
        Worker::new(Transactions::new(pool.clone(), Timeouts::default()), Limits::default()).turn().await;
    assert!(matches!(turn, Turn::Answered(_)), "{turn:?}");
    pool.close().await;
    until("the statistics", async || db.value::<i64>(read).await > before).await;
    let read = db.value::<i64>(read).await - before;
    let promoted: i64 = db.value("select user_id from seatkeeper.bookings where status = 'CONFIRMED'").await;
    assert_eq!(promoted, 11);
    // A newcomer learns the place in the queue.
    assert_eq!(applied(&db, book(1, 1)).await["waitlist_position"], json!(waiting));
    db.assert_sound().await;
    read
}

#[tokio::test]
async fn a_place_given_back_costs_with_100_000_waiters_what_it_costs_with_ten() {
    let (few, many) = (bookings_read(10).await, bookings_read(100_000).await);
    println!("bookings read: {few} with ten waiters, {many} with 100,000");
    assert!(many <= few + 10, "{few} with ten, {many} with 100,000");
}

#[tokio::test]
async fn a_capacity_raised_for_thousands_is_filled_in_steps_in_order_and_nobody_overtakes() {
    let db = stage(1).await;
    session(&db, 1, 1, 48, 0).await;
    crowd(&db, 11, 3_510).await;
    db.run("update seatkeeper.sessions set capacity = 3000").await;
    let newcomer = Uuid::now_v7();
    db.ask(newcomer, book(1, 1)).await;
    let mut worker = db.worker();
    let mut batches = 0;
    loop {
        match worker.turn().await {
            Turn::Answered(_) => batches += 1,
            Turn::Idle => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((3..10).contains(&batches), "{batches} batches");
    let receipt = db.receipt(newcomer).await;
    assert_eq!(receipt.result.unwrap()["waitlist_position"], json!(501));
    let placed: (i64, i64, i64) = sqlx::query_as(
        "select count(*), min(user_id), max(user_id) from seatkeeper.bookings where status = 'CONFIRMED'",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(placed, (3_000, 11, 3_010));
    assert_eq!(fills(&db).await.len() + receipt_promotions(&db).await, 3_000);
    assert_eq!(db.value::<i64>("select count(*) from seatkeeper.fill_marks").await, 0);
    db.assert_sound().await;
}

/// Promotions in an answer rather than in a fill of their own.
async fn receipt_promotions(db: &TestDb) -> usize {
    let promoted: i64 = db
        .value(
            r#"select count(*) from seatkeeper.bookings b where b.promoted_at is not null and not exists (
                   select from seatkeeper.catalog_changes c where c."table" = 'bookings' and c.key = b.booking_id)"#,
        )
        .await;
    usize::try_from(promoted).unwrap()
}

#[tokio::test]
async fn thousands_who_cannot_take_the_place_are_passed_over() {
    let db = stage(2).await;
    session(&db, 1, 1, 48, 1).await;
    applied(&db, book(1, 1)).await;
    crowd(&db, 11, 2_010).await;
    db.run("update seatkeeper.users set is_active = false where user_id between 11 and 2005").await;
    db.drain().await;
    applied(&db, cancel(1, 1)).await;
    let taker: i64 = db.value("select user_id from seatkeeper.bookings where status = 'CONFIRMED'").await;
    assert_eq!(taker, 2_006);
    db.assert_sound().await;
}

const ENROLLED: i64 = 10_000;

#[tokio::test]
async fn a_semester_with_10_000_enrolled_is_cancelled_in_one_commit() {
    let db = stage(0).await;
    session(&db, 1, 1, 48, 300).await;
    crowd(&db, 1, ENROLLED).await;
    db.run(
        "insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after)
         select user_id, 'PURCHASE', 7, 7 from seatkeeper.users;
         insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id)
         select user_id, 'TOURNAMENT_ENROLLMENT', -7, 0, enrollment_id from seatkeeper.enrollments;
         update seatkeeper.enrollments set price_paid = 7;
         update seatkeeper.sessions set capacity = 301",
    )
    .await;
    db.drain().await;
    let id = Uuid::now_v7();
    db.ask(id, CancelSemester { semester_id: 1.try_into().unwrap(), note: None }).await;
    let mut worker = db.worker_with(Limits { batch: 1, ..Limits::default() });
    let turn = worker.turn().await;
    assert!(matches!(turn, Turn::Answered(_)), "{turn:?}");
    let result: Value = db.receipt(id).await.result.unwrap();
    assert_eq!(
        result,
        json!({"withdrawn": ENROLLED, "refunded": 7 * ENROLLED, "cancelled_bookings": ENROLLED})
    );
    let commits: i64 = db
        .value(
            "select count(distinct xmin::text) from seatkeeper.credit_transactions where transaction_type = 'TOURNAMENT_CANCEL_REFUND'",
        )
        .await;
    assert_eq!(commits, 1);
    assert!(!bookings(&db, 1).await.contains("CONFIRMED"));
    db.assert_sound().await;
}
