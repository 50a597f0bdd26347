//! What runs inside a statement: look-ups of foreign keys, triggers, functions. Their plans are kept as well.

use sqlx::{AssertSqlSafe, PgConnection};

use super::{fill, on_one_connection};
use crate::support::TestDb;

/// Everything that a batch, a chore, the owner of the catalog or a door writes or looks up, on the few rows that the stage has.
const WRITES: [&str; 20] = [
    "insert into seatkeeper.enrollments (enrollment_id, user_id, semester_id, status, is_active) values (1000000, 1, 1, 'APPROVED', true)",
    "insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after, enrollment_id, request_id)
     values (1, 'TOURNAMENT_ENROLLMENT', -1, 0, 1000000, gen_random_uuid())",
    "insert into seatkeeper.bookings (booking_id, user_id, session_id, status, starts_at, ends_at)
     select 1000000, 1, 1, 'WAITLISTED', s.starts_at, s.ends_at from seatkeeper.sessions s where s.session_id = 1",
    "update seatkeeper.bookings set status = 'CONFIRMED' where booking_id = 1000000",
    "insert into seatkeeper.attendance (booking_id, status, recorded_at) values (1000000, 'present', now())",
    "update seatkeeper.sessions set starts_at = starts_at + interval '1 hour', ends_at = ends_at + interval '1 hour' where session_id = 1",
    "update seatkeeper.sessions set capacity = capacity + 1 where session_id = 1",
    "update seatkeeper.semesters set enrolled_count = 1 where semester_id = 1",
    "update seatkeeper.users set is_active = not is_active where user_id = 1",
    "delete from seatkeeper.attendance where booking_id = 1000000",
    "update seatkeeper.bookings set status = 'CANCELLED', cancelled_at = now(), cancelled_because = 'requested' where booking_id = 1000000",
    // The doors, of an account with a limit
    "insert into seatkeeper.account_limits (account, max_waiting, max_amount) values (session_user, 5, 10)",
    "select seatkeeper.enqueue('00000000-0000-4000-8000-000000000001', 'grant_credits', '{\"user_id\": 1, \"amount\": 5}')",
    "select * from seatkeeper.get_receipt('00000000-0000-4000-8000-000000000001')",
    "select * from seatkeeper.get_booking(1000000)",
    "select seatkeeper.get_balance(1)",
    "select seatkeeper.cancel_requests(array['00000000-0000-4000-8000-000000000001'::uuid], 'x')",
    "select seatkeeper.retry_requests(array['00000000-0000-4000-8000-000000000001'::uuid], 'x')",
    "select seatkeeper.session_may_read_effects('00000000-0000-4000-8000-000000000001')",
    "delete from seatkeeper.bookings where booking_id = 1000000",
];

/// Rows that were looked at in our tables in this transaction, whoever looked.
async fn looked_at(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "select sum(pg_stat_get_xact_tuples_fetched(c.oid) + pg_stat_get_xact_tuples_returned(c.oid))::bigint
         from pg_class c where c.relnamespace = 'seatkeeper'::regnamespace and c.relkind in ('r', 'i')",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn what_runs_inside_a_statement_reads_no_more_when_there_is_more() {
    let db = TestDb::new().await;
    db.users(3).await;
    db.semester(1, None, 0).await;
    db.run(
        "insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (1, 1, now() + interval '9 days', now() + interval '10 days', 2)",
    )
    .await;
    db.run("vacuum analyze").await;
    let transactions = on_one_connection(&db);
    let mut read = Vec::new();
    for much in [false, true] {
        if much {
            fill(&db).await;
        }
        let mut transaction = transactions.begin().await.unwrap();
        let (mut rows, mut before) = (Vec::new(), looked_at(&mut transaction).await);
        for write in WRITES {
            let done = sqlx::raw_sql(AssertSqlSafe(write)).execute(&mut *transaction).await;
            assert_eq!(done.unwrap_or_else(|error| panic!("{write}: {error}")).rows_affected(), 1, "{write}");
            let now = looked_at(&mut transaction).await;
            rows.push(now - before);
            before = now;
        }
        transaction.rollback().await.unwrap();
        read.push(rows);
    }
    transactions.pool().close().await;
    let more: Vec<String> = WRITES
        .iter()
        .zip(read[0].iter().zip(&read[1]))
        // An index that others have written to may have a page more between its root and the row.
        .filter(|(_, (few, many))| **many > 2 * **few + 20)
        .map(|(write, (few, many))| format!("{few} rows, and then {many}: {write}"))
        .collect();
    assert!(more.is_empty(), "{}", more.join("\n"));
}
