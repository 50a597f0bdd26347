//! The stage of a scenario: made once, by real requests (so that the audit can explain it), photographed, and put back as it
//! was before each schedule, numbers of the sequences included.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;

use seatkeeper_jobs::Kind;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::actor::{Task, write};
use super::matrix::{Change, Part, Scarce, Scenario};
use crate::support::{TestDb, until};

/// Everything that a schedule can change.
const TABLES: [&str; 10] = [
    "users",
    "semesters",
    "sessions",
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
/// The one who waits first where all places are taken; who waits behind has the next numbers.
const WAITER: usize = 7;
/// How many users there are.
const USERS: usize = WAITER + 2;
/// How long before a session begins that is attended, at most: longer than a loaded machine needs to book it.
const LONGEST_DELAY_MS: u32 = 20_000;
/// The holder of a place in lane `n` is user `HOLDER + n`.
const HOLDER: usize = 3;

/// A database with a stage on it.
pub struct Stage {
    pub db: TestDb,
    /// Past the triggers that guard history.
    owner: PgConnection,
    put_back: String,
    resets: usize,
}

/// What a user has in a lane before it begins, as far as the requests say.
#[derive(Debug, Default)]
struct Before {
    enrolled: Option<bool>,
    booked: Option<bool>,
    attends: bool,
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

/// What is there before, and what is asked.
struct Plan<'a> {
    scenario: &'a Scenario,
    before: BTreeMap<(usize, usize), Before>,
    lanes: BTreeSet<usize>,
}

impl<'a> Plan<'a> {
    fn of(scenario: &'a Scenario) -> Self {
        let mut plan = Self { scenario, before: BTreeMap::new(), lanes: BTreeSet::from([1]) };
        for (at, kind) in scenario.kinds().into_iter().enumerate() {
            let (user, lane) = plan.place(at);
            plan.lanes.insert(lane);
            let before = plan.before.entry((user, lane)).or_default();
            // The earlier request has its way where both cannot.
            let mut wish = |enrolled: bool, booked: Option<bool>| {
                before.enrolled.get_or_insert(enrolled);
                before.booked = before.booked.or(booked);
            };
            match kind {
                Kind::Enroll => wish(false, None),
                Kind::Book => wish(true, Some(false)),
                Kind::Unenroll | Kind::CancelBooking => wish(true, Some(true)),
                Kind::RecordAttendance => {
                    wish(true, None);
                    before.attends = true;
                }
                Kind::CancelSemester | Kind::GrantCredits => {}
            }
        }
        plan
    }

    /// The user and the lane of a request.
    fn place(&self, at: usize) -> (usize, usize) {
        let user = if self.scenario.same_user { 1 } else { at + 1 };
        (user, if self.scenario.own_lanes { at + 1 } else { 1 })
    }

    fn asked_in(&self, lane: usize, kinds: &[Kind]) -> bool {
        let asked = self.scenario.kinds();
        asked.iter().enumerate().any(|(at, kind)| self.place(at).1 == lane && kinds.contains(kind))
    }

    /// Whether all is taken in a lane, and somebody waits.
    fn is_full(&self, lane: usize) -> bool {
        self.scenario.scarce == Scarce::Place && self.asked_in(lane, &[Kind::Unenroll, Kind::CancelBooking])
    }

    fn is_moved(&self) -> bool {
        self.scenario.parts.contains(&Part::Changes(Change::SessionMoved))
    }

    fn is_later(&self) -> bool {
        self.scenario.parts.contains(&Part::Changes(Change::FallsDue))
    }

    fn attends(&self) -> bool {
        self.scenario.kinds().contains(&Kind::RecordAttendance)
    }

    fn enrolled(&self) -> Vec<(usize, usize)> {
        let asked = self.before.iter().filter(|(_, before)| before.enrolled == Some(true)).map(|(at, _)| *at);
        let holders = self.lanes.iter().map(|lane| (HOLDER + lane, *lane));
        let waiters = self.lanes.iter().flat_map(|lane| self.waiters(*lane).map(|user| (user, *lane)));
        asked.chain(holders).chain(waiters).collect()
    }

    /// Who waits in the session of a lane: one for each place that is given back.
    fn waiters(&self, lane: usize) -> Range<usize> {
        let leaves = |at: &usize| {
            let gives_back = [Kind::Unenroll, Kind::CancelBooking].contains(&self.scenario.kinds()[*at]);
            gives_back && self.place(*at).1 == lane
        };
        let leaving = (0..self.scenario.kinds().len()).filter(leaves).count();
        WAITER..WAITER + if self.is_full(lane) { leaving.min(1 + USERS - WAITER) } else { 0 }
    }

    /// Who has a place in the session of a lane.
    fn confirmed(&self, lane: usize) -> Vec<usize> {
        let booked = |before: &Before| before.enrolled == Some(true) && before.booked == Some(true);
        let asked = self.before.iter().filter(|((_, of), before)| *of == lane && booked(before));
        std::iter::once(HOLDER + lane).chain(asked.map(|((user, _), _)| *user)).collect()
    }

    fn catalog(&self, delay_ms: u32) -> String {
        let mut sql = format!("insert into seatkeeper.users (user_id) select generate_series(1, {USERS});");
        let users_in_two = (1..=3)
            .any(|user| self.lanes.iter().filter(|lane| self.confirmed(**lane).contains(&user)).count() > 1);
        let enrolled = self.enrolled();
        for &lane in &self.lanes {
            let active = enrolled.iter().filter(|(_, of)| *of == lane).count();
            let (places, capacity) = match self.scenario.scarce {
                Scarce::Credits => ("null".to_owned(), 100),
                Scarce::Place => {
                    let leaves = self.asked_in(lane, &[Kind::Unenroll]);
                    let places = active + usize::from(!leaves);
                    (places.to_string(), self.confirmed(lane).len() + usize::from(!self.is_full(lane)))
                }
            };
            // All at the same hour, unless somebody has to be in two of them.
            let day = if users_in_two { 10 + lane } else { 10 };
            write!(
                sql,
                "insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost)
                 values ({lane}, 'S{lane}', 'ENROLLMENT_OPEN', {places}, 10);
                 insert into seatkeeper.sessions (session_id, semester_id, starts_at, ends_at, capacity, booking_closes_at)
                 select {lane} * 10 + n, {lane}, t.starts_at, t.starts_at + interval '1 hour', capacity, t.closes_at
                 from (values (1, date_trunc('hour', now()) + interval '{day} days', {capacity}, null),
                              (2, now() + interval '{delay_ms} ms', 10, now() + interval '{delay_ms} ms'),
                              (3, date_trunc('hour', now()) + interval '20 days' + {lane} * interval '2 hours', 10, null))
                      t (n, starts_at, capacity, closes_at)
                 where n <> 2 or {attends};",
                attends = self.attends()
            )
            .unwrap();
        }
        sql
    }

    fn asks_before(&self) -> String {
        let mut asks = Vec::new();
        let enrolled = self.enrolled();
        for user in 1..=USERS {
            let scarce = self.scenario.scarce == Scarce::Credits && user <= HOLDER;
            let left = if scarce { 10 } else { 100 };
            let spent = 10 * enrolled.iter().filter(|(who, _)| *who == user).count();
            asks.push(ask("grant_credits", &format!(r#""user_id": {user}, "amount": {}"#, left + spent)));
        }
        for (user, lane) in &enrolled {
            asks.push(ask("enroll", &format!(r#""user_id": {user}, "semester_id": {lane}"#)));
        }
        let mut books = |user: usize, session: usize| {
            asks.push(ask("book", &format!(r#""user_id": {user}, "session_id": {session}"#)));
        };
        for &lane in &self.lanes {
            self.confirmed(lane).into_iter().for_each(|user| books(user, lane * 10 + 1));
            self.waiters(lane).for_each(|user| books(user, lane * 10 + 1));
        }
        for ((user, lane), before) in &self.before {
            if before.attends && before.enrolled == Some(true) {
                books(*user, lane * 10 + 2);
            }
        }
        if self.is_moved() {
            for (user, lane) in enrolled.iter().filter(|(user, _)| *user == 1 || *user >= WAITER) {
                books(*user, lane * 10 + 3);
            }
        }
        asks.concat()
    }

    fn asks(&self) -> String {
        let mut asks = String::new();
        for (at, kind) in self.scenario.kinds().into_iter().enumerate() {
            let (user, lane) = self.place(at);
            let amount = if self.scenario.scarce == Scarce::Credits { -10 } else { 5 };
            let status = ["present", "late", "excused"][at];
            let when = if at == 0 && self.is_later() {
                ", run_at => clock_timestamp() + interval '20 ms'"
            } else {
                ""
            };
            asks += &ask_at(
                kind.as_str(),
                &match kind {
                    Kind::Enroll | Kind::Unenroll => format!(r#""user_id": {user}, "semester_id": {lane}"#),
                    Kind::Book | Kind::CancelBooking => {
                        format!(r#""user_id": {user}, "session_id": {lane}1"#)
                    }
                    Kind::RecordAttendance => {
                        format!(r#""user_id": {user}, "session_id": {lane}2, "status": "{status}""#)
                    }
                    Kind::CancelSemester => format!(r#""semester_id": {lane}"#),
                    Kind::GrantCredits => format!(r#""user_id": {user}, "amount": {amount}"#),
                },
                when,
            );
        }
        asks
    }
}

fn ask(kind: &str, fields: &str) -> String {
    ask_at(kind, fields, "")
}

fn ask_at(kind: &str, fields: &str, when: &str) -> String {
    format!("select seatkeeper.enqueue(gen_random_uuid(), '{kind}', '{{{fields}}}'{when});")
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
}
