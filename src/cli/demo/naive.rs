//! The usual code, for comparison: check, then insert, then write the balance that was read.
//!
//! Each enrollment is one READ COMMITTED transaction of separate statements, without locks, on tables without
//! constraints, as it is written every day. It is right as long as one person comes at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use seatkeeper_jobs::{Job, SemesterId};
use serde::Serialize;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::plan::{CAMP, CAMP_COST, CUP, CUP_COST, Plan};
use super::script::Script;
use super::stage::Stage;
use crate::cli::Failure;

/// How often it is tried to catch the usual code at it; each time with twice the connections.
const ROUNDS: usize = 3;
/// The most connections that the crowd opens.
const MOST_CONNECTIONS: usize = 200;
/// Offending rows that are shown of each kind.
const SHOWN: usize = 4;

const TABLES: &str = "
    drop schema if exists naive cascade;
    create schema naive;
    create table naive.users (user_id bigint primary key, credit_balance bigint);
    create table naive.semesters (semester_id bigint primary key, max_players bigint, enrollment_cost bigint);
    create table naive.enrollments (enrollment_id bigint generated always as identity, user_id bigint,
        semester_id bigint, price_paid bigint, enrolled_at timestamptz default clock_timestamp());
    create index on naive.enrollments (semester_id);
    create index on naive.enrollments (user_id);
    create table naive.grants (user_id bigint, amount bigint)";

/// What the usual code did.
#[derive(Debug, Serialize)]
pub struct Naive {
    pub connections: usize,
    /// How often the crowd had to come until it went wrong.
    pub rounds: usize,
    pub seats: i64,
    pub sold: i64,
    /// Places sold beyond the capacity.
    pub oversold: i64,
    /// Users who hold more than one place in a semester.
    pub enrolled_twice: i64,
    /// Users whose balance is not what they were granted less what they paid.
    pub wrong_balances: i64,
    /// Some rows of each kind, in words.
    pub offending: Vec<String>,
    /// The alerts that would fire.
    pub alerts: Vec<String>,
}

/// Lets the crowd come until places were oversold, or it came often enough.
pub async fn run(stage: &Stage, plan: &Plan, seats: i64, connections: usize) -> Result<Naive, Failure> {
    let mut connections = connections.max(16);
    let mut round = 1;
    loop {
        make_tables(&stage.pool, plan, seats).await?;
        rush(stage, &plan.script, connections).await?;
        let naive = look(&stage.pool, seats, connections, round).await?;
        if naive.oversold > 0 || round == ROUNDS {
            return Ok(naive);
        }
        connections = (connections * 2).min(MOST_CONNECTIONS);
        round += 1;
    }
}

async fn make_tables(pool: &PgPool, plan: &Plan, seats: i64) -> Result<(), Failure> {
    sqlx::raw_sql(TABLES).execute(pool).await?;
    sqlx::query("insert into naive.semesters values ($1, $2, $3), ($4, null, $5)")
        .bind(CUP)
        .bind(seats)
        .bind(CUP_COST)
        .bind(CAMP)
        .bind(CAMP_COST)
        .execute(pool)
        .await?;
    let (users, amounts): (Vec<i64>, Vec<i64>) = plan
        .grants
        .iter()
        .filter_map(|request| match request.job() {
            Job::GrantCredits(grant) => Some((grant.user_id.get(), grant.amount.get())),
            _ => None,
        })
        .unzip();
    sqlx::query("insert into naive.grants select * from unnest($1::bigint[], $2::bigint[])")
        .bind(users)
        .bind(amounts)
        .execute(pool)
        .await?;
    sqlx::query("insert into naive.users select user_id, sum(amount) from naive.grants group by user_id")
        .execute(pool)
        .await?;
    Ok(())
}

async fn rush(stage: &Stage, script: &Arc<Script>, connections: usize) -> Result<(), Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Arc::new(Barrier::new(connections));
    let mut producers: JoinSet<Result<(), sqlx::Error>> = JoinSet::new();
    for _ in 0..connections {
        let mut connection = stage.connect_options().connect().await?;
        let (script, next, start) = (script.clone(), next.clone(), start.clone());
        producers.spawn(async move {
            start.wait().await;
            while let Some(step) = script.steps.get(next.fetch_add(1, Ordering::Relaxed)) {
                for ask in step.asks() {
                    if let Job::Enroll(enroll) = script.asks[*ask].job() {
                        enroll_naively(&mut connection, enroll.user_id.get(), enroll.semester_id).await?;
                    }
                }
            }
            connection.close().await
        });
    }
    while let Some(producer) = producers.join_next().await {
        producer.map_err(|error| Failure::unable(format!("a producer died: {error}")))??;
    }
    Ok(())
}

/// The code that everybody writes first.
async fn enroll_naively(connection: &mut PgConnection, user: i64, semester: SemesterId) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    let semester = semester.get();
    let (places, cost): (Option<i64>, i64) =
        sqlx::query_as("select max_players, enrollment_cost from naive.semesters where semester_id = $1")
            .bind(semester)
            .fetch_one(&mut *transaction)
            .await?;
    let taken: i64 = sqlx::query_scalar("select count(*) from naive.enrollments where semester_id = $1")
        .bind(semester)
        .fetch_one(&mut *transaction)
        .await?;
    if places.is_some_and(|places| taken >= places) {
        return transaction.rollback().await;
    }
    let enrolled: bool = sqlx::query_scalar(
        "select exists (select from naive.enrollments where user_id = $1 and semester_id = $2)",
    )
    .bind(user)
    .bind(semester)
    .fetch_one(&mut *transaction)
    .await?;
    let balance: i64 = sqlx::query_scalar("select credit_balance from naive.users where user_id = $1")
        .bind(user)
        .fetch_one(&mut *transaction)
        .await?;
    if enrolled || balance < cost {
        return transaction.rollback().await;
    }
    sqlx::query("insert into naive.enrollments (user_id, semester_id, price_paid) values ($1, $2, $3)")
        .bind(user)
        .bind(semester)
        .bind(cost)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("update naive.users set credit_balance = $2 where user_id = $1")
        .bind(user)
        .bind(balance - cost)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

async fn look(pool: &PgPool, seats: i64, connections: usize, rounds: usize) -> Result<Naive, Failure> {
    let sold: i64 = sqlx::query_scalar("select count(*) from naive.enrollments where semester_id = $1")
        .bind(CUP)
        .fetch_one(pool)
        .await?;
    let oversold = (sold - seats).max(0);
    let beyond: Vec<String> = sqlx::query_scalar(
        "select format('place %s of %s: user %s, enrolled at %s', $2 + row_number() over (order by enrollment_id),
                       $2, user_id, to_char(enrolled_at, 'HH24:MI:SS.US'))
         from (select * from naive.enrollments where semester_id = $1 order by enrollment_id offset $2) beyond
         order by enrollment_id",
    )
    .bind(CUP)
    .bind(seats)
    .fetch_all(pool)
    .await?;
    let twice: Vec<String> = sqlx::query_scalar(
        "select format('user %s: %s places in semester %s, paid %s', user_id, count(*), semester_id, sum(price_paid))
         from naive.enrollments group by user_id, semester_id having count(*) > 1 order by user_id, semester_id",
    )
    .fetch_all(pool)
    .await?;
    let wrong: Vec<String> = sqlx::query_scalar(
        "select format('user %s: granted %s, paid %s, yet %s left', user_id, granted, paid, credit_balance)
         from naive.users
         join (select user_id, sum(amount) as granted from naive.grants group by user_id) g using (user_id)
         join (select user_id, sum(price_paid) as paid from naive.enrollments group by user_id) e using (user_id)
         where credit_balance <> granted - paid order by user_id",
    )
    .fetch_all(pool)
    .await?;

    let mut naive = Naive {
        connections,
        rounds,
        seats,
        sold,
        oversold,
        enrolled_twice: count(&twice),
        wrong_balances: count(&wrong),
        offending: Vec::new(),
        alerts: Vec::new(),
    };
    for (invariant, what, rows) in [
        ("INV-06", "places sold beyond the capacity", &beyond),
        ("INV-01", "users with more than one place in a semester", &twice),
        ("INV-07", "balances that are not what was granted less what was paid", &wrong),
    ] {
        if !rows.is_empty() {
            naive.offending.extend(rows.iter().take(SHOWN).cloned());
            naive
                .alerts
                .push(format!("SeatkeeperInvariantViolated {invariant} (critical): {} {what}", rows.len()));
        }
    }
    Ok(naive)
}

fn count(rows: &[String]) -> i64 {
    i64::try_from(rows.len()).unwrap_or(i64::MAX)
}
