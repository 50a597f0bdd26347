//! The database goes back while workers stay: a failover that lost the tail, a backup that was restored. What they remember of the
//! history that is gone misleads nobody.

use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::postgres::{Timeouts, Transactions};
use seatkeeper_jobs::Request;
use seatkeeper_jobs::postgres as door;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use super::{copy, enroll, started_on};
use crate::support::{TestDb, own_server, until, verb};

const USERS: i64 = 200;

fn one_at_a_time(pool: &PgPool) -> Worker {
    let limits = Limits { batch: 1, ..Limits::default() };
    Worker::new(Transactions::new(pool.clone(), Timeouts::default()), limits)
}

async fn fill(pool: &PgPool) {
    let sql = format!(
        "insert into seatkeeper.users (user_id) select generate_series(1, {USERS});
         insert into seatkeeper.semesters (semester_id, code, status) values (1, 'hot', 'ENROLLMENT_OPEN')"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

async fn ask(pool: &PgPool, user: i64) -> Uuid {
    let id = Uuid::new_v4();
    let mut connection = pool.acquire().await.unwrap();
    door::enqueue(&mut connection, &Request::new(id, enroll(user, 1))).await.unwrap();
    id
}

/// Has the worker learn from where on the lane is to be read.
async fn learn(pool: &PgPool, worker: &mut Worker, users: std::ops::RangeInclusive<i64>) {
    for user in users {
        ask(pool, user).await;
        until("it is answered", async || matches!(worker.turn().await, Turn::Answered(_))).await;
    }
}

/// How many answers were given before that of an earlier arrival.
async fn out_of_turn(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select count(*) from (select answer_seq < lag(answer_seq) over (order by seq) as early
                               from seatkeeper.requests where status = 'done') r where early",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

async fn answer_all(pool: &PgPool, worker: &mut Worker) {
    until("everything is answered", async || {
        worker.turn().await;
        sqlx::query_scalar("select not exists (select from seatkeeper.requests where status = 'queued')")
            .fetch_one(pool)
            .await
            .unwrap()
    })
    .await;
}

/// A backup in the place of the database, at the same address, within a second.
#[tokio::test]
async fn who_arrives_after_a_restored_backup_is_answered_in_turn() {
    let server = own_server().await;
    let url = server.url();
    let mut embedded = server.embedded;
    let data = embedded.cluster_dir().join("data");
    let pool = seatkeeper::postgres::pool(embedded.connect_options("postgres"), 5);
    fill(&pool).await;
    let mut worker = one_at_a_time(&pool);
    learn(&pool, &mut worker, 1..=10).await;
    embedded.stop_server().await.unwrap();
    let backup = copy(&data);
    embedded.start_server().await.unwrap();
    until("the server is back", async || sqlx::query("select 1").execute(&pool).await.is_ok()).await;
    learn(&pool, &mut worker, 11..=80).await;

    embedded.stop_server().await.unwrap();
    let script = format!("rm -rf '{0}' && cp -a '{1}' '{0}'", data.display(), backup.path().display());
    assert!(std::process::Command::new("sh").args(["-c", &script]).status().unwrap().success());
    embedded.start_server().await.unwrap();
    until("the backup is there", async || sqlx::query("select 1").execute(&pool).await.is_ok()).await;
    let known: i64 =
        sqlx::query_scalar("select count(*) from seatkeeper.requests").fetch_one(&pool).await.unwrap();
    assert_eq!(known, 10, "what was asked since the backup is gone");
    for user in 11..=USERS {
        ask(&pool, user).await;
    }
    answer_all(&pool, &mut worker).await;
    assert_eq!(out_of_turn(&pool).await, 0);
    crate::support::assert_follows(&pool).await;
    drop(url);
    embedded.remove().await.unwrap();
}

/// No connection breaks and the server stays up: the contents of the tables are those of a backup, and so are the sequences.
#[tokio::test]
async fn who_arrives_after_the_contents_went_back_is_answered_in_turn() {
    let db = TestDb::new().await;
    fill(&db.pool).await;
    let mut worker = one_at_a_time(&db.pool);
    learn(&db.pool, &mut worker, 1..=60).await;
    let back = "begin; set local session_replication_role = 'replica';
        create temp table known on commit drop as select * from seatkeeper.requests where seq <= 10;
        truncate seatkeeper.requests; insert into seatkeeper.requests select * from known;
        delete from seatkeeper.credit_transactions where enrollment_id > 10;
        delete from seatkeeper.enrollments where enrollment_id > 10;
        update seatkeeper.semesters set enrolled_count = 10;
        select setval('seatkeeper.requests_seq_seq', 10); commit";
    let mut session = db.session().await;
    sqlx::raw_sql(back).execute(&mut session).await.unwrap();
    for user in 11..=USERS {
        ask(&db.pool, user).await;
    }
    answer_all(&db.pool, &mut worker).await;
    assert_eq!(out_of_turn(&db.pool).await, 0);
}

/// What producers see of a request that a restored backup does not have.
#[tokio::test]
async fn a_request_that_a_restored_backup_does_not_have_is_waited_for_in_vain_and_that_is_said() {
    let db = TestDb::new().await;
    db.users(1).await;
    db.semester(1, None, 0).await;
    let id = Uuid::now_v7().to_string();
    let url = db.url.clone();
    let arguments = ["enqueue", "enroll", "--user", "1", "--semester", "1", "--wait", "--id"];
    let waiting = tokio::spawn(async move {
        let mut arguments: Vec<&str> = arguments.to_vec();
        arguments.extend([id.as_str(), "--database-url", &url]);
        verb(&arguments, b"").await
    });
    until("it is asked for", async || db.value::<i64>("select count(*) from seatkeeper.requests").await == 1)
        .await;
    db.run("delete from seatkeeper.requests").await;
    let (code, out, complaints) = waiting.await.unwrap();
    assert!(code == 3 && (out + &complaints).contains("gone"), "{code} {complaints}");
}

/// A server that is started anew, on its own data: no different history, and nothing is lost.
#[tokio::test]
async fn a_restart_makes_no_difference() {
    let server = own_server().await;
    let mut embedded = server.embedded;
    let pool = seatkeeper::postgres::pool(embedded.connect_options("postgres"), 5);
    fill(&pool).await;
    let mut worker = one_at_a_time(&pool);
    learn(&pool, &mut worker, 1..=40).await;
    for user in 41..=60 {
        ask(&pool, user).await;
    }
    embedded.restart_immediate().await.unwrap();
    until("the server is back", async || sqlx::query("select 1").execute(&pool).await.is_ok()).await;
    for user in 61..=USERS {
        ask(&pool, user).await;
    }
    answer_all(&pool, &mut worker).await;
    assert_eq!(out_of_turn(&pool).await, 0);
    crate::support::assert_follows(&pool).await;
    embedded.remove().await.unwrap();
    let _ = started_on;
}
