//! What enrollments and bookings refer to: rows that come and go with their semesters and sessions, and that nothing
//! updates meanwhile.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{TestDb, until};

async fn stage() -> TestDb {
    let db = TestDb::new().await;
    db.run(
        "insert into seatkeeper.users (user_id) select generate_series(1, 100);
         insert into seatkeeper.semesters (semester_id, code) values (1, 'S1'), (2, 'S2');
         insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         values (1, 1, now() + interval '3 days', now() + interval '4 days', 1000),
                (2, 2, now() + interval '3 days', now() + interval '4 days', 1000)",
    )
    .await;
    db
}

const ENROLLED: &str = "insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
    select n, 1, 'APPROVED', true from generate_series(1, 100) n";
const WAITING: &str = "insert into seatkeeper.bookings (user_id, session_id, status, starts_at, ends_at)
    select n, 1, 'WAITLISTED', s.starts_at, s.ends_at from generate_series(1, 100) n, seatkeeper.sessions s where s.session_id = 1";

/// Each batch leaves a version of its semester behind, and of the sessions that it booked; while somebody holds an old
/// snapshot they stay.
#[tokio::test]
async fn a_place_is_not_looked_up_among_the_old_versions_of_what_it_is_in() {
    let db = stage().await;
    for (table, add, into) in [("semesters", ENROLLED, "enrollments"), ("sessions", WAITING, "bookings")] {
        let scans =
            format!("select coalesce(idx_scan, 0) from pg_stat_user_tables where relname = '{table}'");
        let before: i64 = db.value(&scans).await;
        // At its end a server process reports what it has read.
        let mut connection = PgConnection::connect(&db.direct).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(add)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        until("the statistics", async || {
            db.value(&format!("select n_tup_ins = 100 from pg_stat_user_tables where relname = '{into}'"))
                .await
        })
        .await;
        let looked = db.value::<i64>(&scans).await - before;
        assert!(looked < 10, "{looked} times for 100 rows of {into}");
    }
}

#[tokio::test]
async fn places_are_only_in_what_is_there() {
    let db = stage().await;
    let refusal = async |sql: &str| {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&db.pool).await;
        done.expect_err(sql).as_database_error().unwrap().constraint().unwrap_or_default().to_owned()
    };
    let elsewhere = |sql: &str| sql.replace("select n, 1,", "select n, 3,");
    assert_eq!(refusal(&elsewhere(ENROLLED)).await, "fk_enrollment_semester");
    assert_eq!(refusal(&elsewhere(WAITING)).await, "fk_booking_session");

    // One that nobody is in goes, and what referred to it could not come back.
    db.run("delete from seatkeeper.sessions where session_id = 2; delete from seatkeeper.semesters where semester_id = 2")
        .await;
    db.run(ENROLLED).await;
    db.run(WAITING).await;
    assert_eq!(refusal("delete from seatkeeper.sessions where session_id = 1").await, "fk_booking_session");
    db.run("delete from seatkeeper.bookings; delete from seatkeeper.sessions where session_id = 1").await;
    assert_eq!(
        refusal("delete from seatkeeper.semesters where semester_id = 1").await,
        "fk_enrollment_semester"
    );
    let keys: (i64, i64) = sqlx::query_as(
        "select (select sum(semester_id) from seatkeeper.semester_keys)::bigint,
                (select count(*) from seatkeeper.session_keys)",
    )
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(keys, (1, 0));

    // Added and taken in one statement.
    db.run(
        "with term as (insert into seatkeeper.semesters (semester_id, code) values (4, 'S4') returning semester_id)
         insert into seatkeeper.enrollments (user_id, semester_id, status, is_active)
         select 1, semester_id, 'APPROVED', true from term",
    )
    .await;
}
