//! The stage of a scenario: made once, by real requests (so that the audit can explain it), photographed, and put back as it
//! was before each schedule, numbers of the sequences included.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::actor::{Task, write};
use super::matrix::{Part, Scenario};
use super::plan::Plan;
use crate::support::{TestDb, until};

/// Everything that a schedule can change.
const TABLES: [&str; 12] = [
    "users",
    "semesters",
    "semester_keys",
    "sessions",
    "session_keys",
    "enrollments",
    "credit_transactions",
    "bookings",
    "attendance",
    "requests",
    "fill_marks",
    "catalog_changes",
];
/// Deleted rows stay until the tables are emptied; so often they are.
const EMPTIED_EVERY: usize = 100;
/// How long before a session begins that is attended, at most: longer than a loaded machine needs to book it.
const LONGEST_DELAY_MS: u32 = 20_000;
/// A database with a stage on it.
pub struct Stage {
    pub db: TestDb,
    /// Past the triggers that guard history.
    owner: PgConnection,
    put_back: String,
    resets: usize,
}

impl Stage {
    pub async fn new() -> Self {
        let db = TestDb::new().await;
        db.run("create extension pgrowlocks schema public; create schema photo").await;
        // What cannot go on is seen at once.
        db.run(
            "do $$ begin execute format('alter database %I set deadlock_timeout = ''50ms''', current_database()); end $$",
        )
        .await;
        let mut owner = PgConnection::connect(&db.direct).await.unwrap();
        run(&mut owner, "set session_replication_role = replica").await;
        Self { db, owner, put_back: String::new(), resets: 0 }
    }

    /// Sets a scenario up; gives what the actors do.
    pub async fn set(&mut self, scenario: &Scenario) -> Vec<Task> {
        let mut delay_ms = 300;
        while !self.lay_out(scenario, delay_ms).await {
            // The session began before it was booked: a loaded machine.
            delay_ms *= 2;
            assert!(
                delay_ms <= LONGEST_DELAY_MS,
                "{scenario}: nobody gets to book a session that begins in {} ms: the stage is not as it was meant",
                delay_ms / 2
            );
        }
        self.photograph().await;
        // A turn that answers one request looks at one lane. When that is busy, the next turn looks at the next one.
        let turns = if scenario.own_lanes { scenario.kinds().len() } else { 1 };
        let task = |part: &Part| match part {
            Part::Asks(_) => Task::Turns(turns),
            Part::Changes(change) => Task::Writes(vec![change.sql().to_owned()]),
        };
        scenario.parts.iter().map(task).collect()
    }

    async fn lay_out(&mut self, scenario: &Scenario, delay_ms: u32) -> bool {
        let wipe: String = TABLES.iter().fold(String::new(), |sql, table| {
            sql + &format!("truncate seatkeeper.{table} cascade; drop table if exists photo.{table};")
        });
        run(&mut self.owner, &wipe).await;
        let plan = Plan::of(scenario);
        self.db.run(&plan.catalog(delay_ms)).await;
        self.db.run(&plan.asks_before()).await;
        self.db.drain().await;
        let refused: i64 = self
            .db
            .value("select count(*) from seatkeeper.requests where outcome is distinct from 'applied'")
            .await;
        let missing: i64 = self
            .db
            .value("select count(*) from seatkeeper.bookings where status <> 'CONFIRMED' and session_id % 10 = 2")
            .await;
        if plan.attends() && refused + missing > 0 {
            return false;
        }
        assert_eq!(refused, 0, "{scenario}: the stage is not as it was meant");
        if plan.attends() {
            until("a session has begun", async || {
                self.db
                    .value("select bool_and(starts_at <= clock_timestamp()) from seatkeeper.sessions where session_id % 10 = 2")
                    .await
            })
            .await;
        }
        self.db.run(&plan.asks()).await;
        until("what was asked for later is due", async || {
            self.db
                .value(
                    "select count(*) filter (where run_at > clock_timestamp()) = 0 from seatkeeper.requests",
                )
                .await
        })
        .await;
        true
    }

    async fn photograph(&mut self) {
        let photo = TABLES.map(|table| format!("create table photo.{table} as table seatkeeper.{table};"));
        run(&mut self.owner, &photo.concat()).await;
        let sequences: Vec<(String, Option<i64>)> = sqlx::query_as(
            "select sequencename::text, last_value from pg_sequences where schemaname = 'seatkeeper'",
        )
        .fetch_all(&mut self.owner)
        .await
        .unwrap();
        self.put_back.clear();
        for table in TABLES {
            write!(
                self.put_back,
                "insert into seatkeeper.{table} overriding system value table photo.{table};"
            )
            .unwrap();
        }
        for (name, last) in sequences {
            let (last, is_called) = (last.unwrap_or(1), last.is_some());
            write!(self.put_back, "select setval('seatkeeper.{name}', {last}, {is_called});").unwrap();
        }
    }

    /// Has the parts follow each other in this order, each request answered before the next part comes; how they ended.
    pub async fn one_by_one(&mut self, scenario: &Scenario, order: &[usize]) -> Vec<String> {
        run(&mut self.owner, "delete from seatkeeper.requests where status = 'queued'").await;
        let mut ended = vec![String::new(); scenario.parts.len()];
        for &part in order {
            match &scenario.parts[part] {
                Part::Asks(_) => {
                    let earlier = &scenario.parts[..part];
                    let nth = earlier.iter().filter(|part| matches!(part, Part::Asks(_))).count();
                    let back = format!(
                        "insert into seatkeeper.requests overriding system value
                         select * from photo.requests where status = 'queued' order by seq offset {nth} limit 1"
                    );
                    run(&mut self.owner, &back).await;
                }
                Part::Changes(change) => {
                    ended[part] = write(self.db.pool.clone(), vec![change.sql().to_owned()]).await;
                }
            }
            self.db.drain().await;
        }
        ended
    }

    /// Everything as it was in the beginning.
    pub async fn reset(&mut self) {
        let empty = if self.resets.is_multiple_of(EMPTIED_EVERY) {
            format!("truncate {};", TABLES.map(|table| format!("seatkeeper.{table}")).join(", "))
        } else {
            TABLES.map(|table| format!("delete from seatkeeper.{table};")).concat()
        };
        self.resets += 1;
        let sql = empty + &self.put_back;
        run(&mut self.owner, &sql).await;
    }
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
}
