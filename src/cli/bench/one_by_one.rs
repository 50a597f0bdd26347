//! The other usual way: a transaction of eight statements for each enrollment, decided in the client.

use chrono::{DateTime, Utc};
use seatkeeper_jobs::Reason;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use super::asks::{Ask, What};

/// The semester and the user as they are locked.
type Semester = (String, Option<i32>, i64, Option<DateTime<Utc>>, i32);
type User = (bool, i64, DateTime<Utc>, bool);

/// Enrolls, or refuses, under the same rules and in the same order of checks.
pub async fn enroll(connection: &mut PgConnection, ask: Ask) -> sqlx::Result<()> {
    let What::Enroll { user: user_id, semester: semester_id } = ask.what else {
        return Err(sqlx::Error::Configuration("only enrollments are done statement by statement".into()));
    };
    // 1, with the commit.
    let mut transaction = connection.begin().await?;
    // 2
    let semester: Option<Semester> = sqlx::query_as(
        "select status, max_players, enrollment_cost, enrollment_closes_at, enrolled_count
         from seatkeeper.semesters where semester_id = $1 for no key update",
    )
    .bind(semester_id)
    .fetch_optional(&mut *transaction)
    .await?;
    // 3
    let user: Option<User> = sqlx::query_as(
        "select u.is_active, u.credit_balance, clock_timestamp(),
                exists (select from seatkeeper.enrollments e
                        where e.user_id = u.user_id and e.semester_id = $2 and e.is_active)
         from seatkeeper.users u where u.user_id = $1 for no key update of u",
    )
    .bind(user_id)
    .bind(semester_id)
    .fetch_optional(&mut *transaction)
    .await?;
    let at = user.map_or_else(Utc::now, |user| user.2);
    let answer = match decide(semester.as_ref(), user.as_ref(), at) {
        Err(reason) => (Some(reason), None),
        Ok(cost) => {
            // 4
            sqlx::query(
                "update seatkeeper.semesters set enrolled_count = enrolled_count + 1 where semester_id = $1",
            )
            .bind(semester_id)
            .execute(&mut *transaction)
            .await?;
            // 5
            let balance: i64 = sqlx::query_scalar(
                "update seatkeeper.users set credit_balance = credit_balance - $2 where user_id = $1 returning credit_balance",
            )
            .bind(user_id)
            .bind(cost)
            .fetch_one(&mut *transaction)
            .await?;
            // 6
            let enrollment: i64 = sqlx::query_scalar(
                "insert into seatkeeper.enrollments
                     (user_id, semester_id, status, is_active, price_paid, request_id, enrolled_at)
                 values ($1, $2, 'APPROVED', true, $3, $4, $5) returning enrollment_id",
            )
            .bind(user_id)
            .bind(semester_id)
            .bind(cost)
            .bind(ask.id)
            .bind(at)
            .fetch_one(&mut *transaction)
            .await?;
            // 7
            sqlx::query(
                "insert into seatkeeper.credit_transactions
                     (user_id, transaction_type, amount, balance_after, enrollment_id, request_id, created_at)
                 values ($1, 'TOURNAMENT_ENROLLMENT', $2, $3, $4, $5, $6)",
            )
            .bind(user_id)
            .bind(-cost)
            .bind(balance)
            .bind(enrollment)
            .bind(ask.id)
            .bind(at)
            .execute(&mut *transaction)
            .await?;
            (None, Some(json!({ "enrollment_id": enrollment, "charged": cost, "balance": balance })))
        }
    };
    // 8
    sqlx::query("select usual.answer($1, 'enroll', jsonb_build_object('user_id', $2, 'semester_id', $3), $3, $2, $4, $5, $6)")
        .bind(ask.id)
        .bind(user_id)
        .bind(semester_id)
        .bind(answer.0.map(Reason::as_str))
        .bind(answer.1)
        .bind(at)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// What it costs, or why not.
fn decide(semester: Option<&Semester>, user: Option<&User>, at: DateTime<Utc>) -> Result<i64, Reason> {
    let (status, places, cost, closes_at, enrolled) = semester.ok_or(Reason::SemesterNotFound)?;
    let (is_active, balance, _, is_enrolled) = user.ok_or(Reason::UserNotFound)?;
    match () {
        () if !is_active => Err(Reason::UserInactive),
        () if !matches!(status.as_str(), "ENROLLMENT_OPEN" | "IN_PROGRESS") => Err(Reason::SemesterNotOpen),
        () if closes_at.is_some_and(|deadline| deadline <= at) => Err(Reason::EnrollmentClosed),
        () if *is_enrolled => Err(Reason::AlreadyEnrolled),
        () if places.is_some_and(|places| *enrolled >= places) => Err(Reason::SemesterFull),
        () if balance < cost => Err(Reason::InsufficientCredits),
        () => Ok(*cost),
    }
}
