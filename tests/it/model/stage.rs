//! The catalog of the load. Semesters 1 to 8 are there for enrolling; the clubs, which cost next to nothing, for their
//! sessions.

use std::ops::RangeInclusive;

use sqlx::PgPool;

pub const USERS: i64 = 40;
pub const SEMESTERS: i64 = 12;
pub const SESSIONS: i64 = 40;
/// Those from here on are deactivated and activated.
pub const FICKLE_USERS: i64 = 30;
/// The owners leave the deadlines of the later ones alone.
pub const SEMESTERS_WITHOUT_FIXED_DEADLINE: i64 = 6;
/// Semesters whose sessions are booked.
pub const CLUBS: RangeInclusive<i64> = 9..=SEMESTERS;
/// Sessions that overlap one another, across semesters; each may be moved.
pub const CROWDED: RangeInclusive<i64> = 1..=30;
/// Those of them that owners move into the past and back.
pub const WANDERING: RangeInclusive<i64> = 17..=30;

/// Users who have as much as a grant can bring about, once they are enriched; some of them more, the last of them far more.
pub const RICH: i64 = 9;

/// Gives them that, as a hand would.
pub async fn enrich(pool: &PgPool) {
    let sql = format!(
        "update seatkeeper.users set credit_balance = case when user_id = {RICH} then 9223372036854770000 when user_id > 5 then 1000000000000000500
             else 1000000000000000000 end
         where user_id <= {RICH};
         insert into seatkeeper.credit_transactions (user_id, transaction_type, amount, balance_after)
         select user_id, 'OPENING_BALANCE', credit_balance, credit_balance from seatkeeper.users where user_id <= {RICH}"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

/// Makes it.
pub async fn lay_out(pool: &PgPool) {
    let sql = format!(
        "insert into seatkeeper.users (user_id, is_active) select n, n < {USERS} from generate_series(1, {USERS}) n;
         insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost, refund_percent,
                                           enrollment_closes_at, unenroll_closes_at)
         values (1, 'hot', 'ENROLLMENT_OPEN', 12, 10, 50, null, null),
                (2, 'odd', 'IN_PROGRESS', 5, 33, 50, null, null),
                (3, 'wide', 'ENROLLMENT_OPEN', null, 7, 33, null, null),
                (4, 'free', 'ENROLLMENT_OPEN', 20, 0, 50, null, null),
                (5, 'dear', 'ENROLLMENT_OPEN', 3, 100, 100, null, null),
                (6, 'shut', 'ENROLLMENT_CLOSED', null, 5, 50, null, null),
                (7, 'late', 'ENROLLMENT_OPEN', null, 5, 50, now() - interval '1 hour', null),
                (8, 'bound', 'ENROLLMENT_OPEN', 9, 1, 50, null, now()),
                (9, 'club', 'ENROLLMENT_OPEN', null, 0, 50, null, null),
                (10, 'choir', 'IN_PROGRESS', null, 0, 100, null, null),
                (11, 'chess', 'ENROLLMENT_OPEN', 36, 1, 50, null, null),
                (12, 'camp', 'ENROLLMENT_OPEN', null, 0, 50, null, null);

         -- An hour each, every half an hour, two at once: each overlaps its neighbours and touches the next.
         insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity)
         select n, (array[9, 10, 11, 12, 9, 10, 4, 1])[n % 8 + 1], start, start + interval '1 hour',
                (array[2, 1, 3, 0, 1, 4, 2])[n % 7 + 1]
         from generate_series(1, 30) n,
              lateral (select date_trunc('hour', now()) + interval '10 days' + n * 7 % 15 * interval '30 minutes') t (start);

         insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity, status,
                                          booking_closes_at, cancellation_closes_at)
         select n, semester_id, now() + starts, now() + starts + lasts, capacity, status, now() + books::interval, now() + cancels::interval
         from (values
             -- Too late, by the deadlines that go without saying
             (31, 9, interval '20 hours', interval '1 hour', 5, 'SCHEDULED', null, null),
             (32, 10, '-1 day', '1 hour', 3, 'SCHEDULED', null, null),
             -- Has started, and can be booked all the same
             (33, 9, '-1 hour', '30 minutes', 4, 'SCHEDULED', '30 days', null),
             -- Start while the load is on
             (34, 9, '1 second', '10 seconds', 9, 'SCHEDULED', '1 second', '1 second'),
             (35, 10, '3 seconds', '10 seconds', 4, 'SCHEDULED', '3 seconds', '2 seconds'),
             (36, 11, '6 seconds', '1 minute', 5, 'SCHEDULED', '8 seconds', '5 seconds'),
             (37, 12, '20 days', '1 hour', 2, 'CANCELLED', null, null),
             -- Close while it is on, for one thing and the other
             (38, 12, '21 days', '1 hour', 2, 'SCHEDULED', '3 seconds', null),
             (39, 9, '22 days', '1 hour', 3, 'SCHEDULED', null, '0 seconds'),
             (40, 10, '70 years', '1 year', 1, 'SCHEDULED', null, null)
         ) special (n, semester_id, starts, lasts, capacity, status, books, cancels)"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await.unwrap();
}
