//! The server of the test run and the databases of the tests.

use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use seatkeeper::audit::audit;
use seatkeeper::batch::{Limits, Turn, Worker};
use seatkeeper::invariants::{self, Selection, Trigger, call_the_roll};
use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{Timeouts, Transactions, connect_options, migrate, pool};
use seatkeeper_jobs::{Job, Receipt, postgres as door};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, PgPool};
use uuid::Uuid;

use super::{PATIENCE, Pooler};

const TEMPLATE: &str = "seatkeeper_template";
/// The environment variable that has the tests reach their databases through `PgBouncer`, with so many server
/// connections to each.
const THROUGH_POOLER: &str = "SEATKEEPER_TEST_POOLER";

struct Cluster {
    embedded: Embedded,
    pooler: Option<Pooler>,
    /// Kept, since the server was started on it.
    _runtime: tokio::runtime::Runtime,
}

/// The server lives as long as the test run: its guardian stops it when this process is gone.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        std::thread::spawn(|| {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let (embedded, pooler) = runtime.block_on(async {
                // No crash of the server is tested here, so it need not sync; those tests start their own.
                let mut options = Options::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join(cluster_name()));
                options.durable = false;
                options.settings.push(("max_connections".into(), "400".into()));
                let embedded = Embedded::start(options).await.unwrap_or_else(|error| panic!("{error}"));
                make_template(&embedded).await;
                let pooler = match env::var(THROUGH_POOLER) {
                    Ok(connections) => {
                        Some(Pooler::start_forgetful(&embedded, connections.parse().unwrap()).await)
                    }
                    Err(_) => None,
                };
                (embedded, pooler)
            });
            Cluster { embedded, pooler, _runtime: runtime }
        })
        .join()
        .unwrap()
    })
}

/// A cluster for each PostgreSQL that is tested on.
fn cluster_name() -> String {
    let programs = env::var("SEATKEEPER_PG_BIN").unwrap_or_default();
    format!("it-cluster{}", programs.replace('/', "-"))
}

async fn make_template(embedded: &Embedded) {
    let admin = pool(embedded.connect_options("postgres"), 1);
    let old: Vec<String> = sqlx::query_scalar(
        "select datname from pg_database where datname not in ('postgres', 'template0', 'template1')",
    )
    .fetch_all(&admin)
    .await
    .unwrap();
    for name in old {
        let drop = format!("drop database if exists \"{name}\" with (force)");
        sqlx::query(AssertSqlSafe(drop)).execute(&admin).await.unwrap();
    }
    sqlx::query(AssertSqlSafe(format!("create database {TEMPLATE}"))).execute(&admin).await.unwrap();
    let template = pool(embedded.connect_options(TEMPLATE), 1);
    migrate(&template).await.unwrap();
    template.close().await;
    admin.close().await;
}

/// The URL of a database of the test run's server.
pub fn cluster_url(database: &str) -> String {
    cluster().embedded.url(database)
}

/// A pooler in front of the test run's server.
pub async fn pooler(connections: u32) -> Pooler {
    let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
    Pooler::start(&cluster.embedded, connections).await
}

/// Databases of tests that are over, to be dropped by the next one.
static OVER: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A database of its own for one test.
pub struct TestDb {
    pub pool: PgPool,
    pub url: String,
    /// The URL that leads to the server itself, also when the tests go through a pooler: for connections with settings of
    /// their own, and for programs that do not know `pgbouncer=true`.
    pub direct: String,
    name: String,
}

/// The same pool, for who has time: the program's gives up after two seconds, and on a busy machine thirty who come at once may wait
/// for longer than that.
fn patient(pool: &PgPool) -> PgPool {
    let options = pool.options().clone().acquire_timeout(PATIENCE);
    options.connect_lazy_with(pool.connect_options().as_ref().clone())
}

impl TestDb {
    /// With the schema.
    pub async fn new() -> Self {
        Self::create(Some(TEMPLATE)).await
    }

    /// Without anything.
    pub async fn empty() -> Self {
        Self::create(None).await
    }

    async fn create(template: Option<&str>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = pool(cluster.embedded.connect_options("postgres"), 1);
        let over = std::mem::take(&mut *OVER.lock().unwrap());
        for name in over {
            let drop = format!("drop database if exists {name} with (force)");
            sqlx::query(AssertSqlSafe(drop)).execute(&admin).await.unwrap();
        }
        let template = template.map(|name| format!(" template {name}")).unwrap_or_default();
        // Two at once cannot copy the same template: a lock of the admin database lines them up.
        let mut one_by_one = admin.begin().await.unwrap();
        sqlx::query("select pg_advisory_xact_lock(1)").execute(&mut *one_by_one).await.unwrap();
        let other = pool(cluster.embedded.connect_options("postgres"), 1);
        sqlx::query(AssertSqlSafe(format!("create database {name}{template}")))
            .execute(&other)
            .await
            .unwrap();
        one_by_one.commit().await.unwrap();
        other.close().await;
        admin.close().await;
        let direct = cluster.embedded.url(&name);
        let url = cluster.pooler.as_ref().map_or(direct.clone(), |pooler| pooler.url(&name));
        Self { pool: patient(&pool(connect_options(&url).unwrap(), 50)), url, direct, name }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL with the rights of a role, which is a setting of the session: a pooler has no place for it, so it leads to the
    /// server itself.
    pub fn url_as(&self, role: &str) -> String {
        let separator = if self.direct.contains('?') { '&' } else { '?' };
        format!("{}{separator}options[role]={role}", self.direct)
    }

    /// An account of this name that logs in, with these roles and no other, for the doors to see as `session_user`; gives its URL. Accounts
    /// are the whole server's: each test has names of its own.
    pub async fn account(&self, name: &str, roles: &[&str]) -> String {
        let roles = if roles.is_empty() { String::new() } else { format!("in role {}", roles.join(", ")) };
        self.run(&format!("drop role if exists {name}; create role {name} login password '{name}' {roles}"))
            .await;
        let (_, server) = self.direct.split_once('@').unwrap();
        format!("postgres://{name}:{name}@{server}")
    }

    /// A session of the test's own, past any pooler: for what lives longer than a transaction, such as temporary tables,
    /// settings and roles that are set, locks of a session. It ends with this value.
    pub async fn session(&self) -> PgConnection {
        connect_options(&self.direct).unwrap().connect().await.unwrap()
    }

    /// Runs SQL of the test's own.
    pub async fn run(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// The one value that a query gives.
    pub async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(AssertSqlSafe(sql))
            .fetch_one(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{error}: {sql}"))
    }

    /// Adds users 1 to `count`, active.
    pub async fn users(&self, count: i64) {
        self.run(&format!("insert into seatkeeper.users (user_id) select generate_series(1, {count})")).await;
    }

    /// Adds an open semester; `None` = unlimited places.
    pub async fn semester(&self, id: i64, places: Option<i32>, cost: i64) {
        let places = places.map_or("null".to_owned(), |places| places.to_string());
        self.run(&format!(
            "insert into seatkeeper.semesters (semester_id, code, status, max_players, enrollment_cost)
             values ({id}, 'S{id}', 'ENROLLMENT_OPEN', {places}, {cost})"
        ))
        .await;
    }

    /// Asks, in a transaction of its own.
    pub async fn ask(&self, id: Uuid, job: impl Into<Job>) -> Receipt {
        let mut connection = self.pool.acquire().await.unwrap();
        door::enqueue(&mut connection, &seatkeeper_jobs::Request::new(id, job)).await.unwrap()
    }

    /// The receipt as it is now.
    pub async fn receipt(&self, id: Uuid) -> Receipt {
        let mut connection = self.pool.acquire().await.unwrap();
        door::get_receipt(&mut connection, id).await.unwrap().expect("the request is known")
    }

    /// A worker on this database, in this process.
    pub fn worker(&self) -> Worker {
        self.worker_with(Limits::default())
    }

    /// A worker with limits of the test's own.
    pub fn worker_with(&self, limits: Limits) -> Worker {
        Worker::new(Transactions::new(self.pool.clone(), Timeouts::default()), limits)
    }

    /// A worker with limits and timeouts of the test's own.
    pub fn worker_on(&self, timeouts: Timeouts, limits: Limits) -> Worker {
        Worker::new(Transactions::new(self.pool.clone(), timeouts), limits)
    }

    /// Awaits that somebody waits for a lock that this backend holds.
    pub async fn until_blocked_by(&self, holder: i32) {
        super::until("somebody waits for the lock that the test holds", || async move {
            self.value::<bool>(&format!(
                "select exists (select from pg_stat_activity where {holder} = any (pg_blocking_pids(pid)))"
            ))
            .await
        })
        .await;
    }

    /// Works until nothing is ready.
    pub async fn drain(&self) {
        let mut worker = self.worker();
        loop {
            match worker.turn().await {
                Turn::Idle => return,
                Turn::Unfit(_, obstacles) => panic!("nothing can be answered here: {obstacles:?}"),
                _ => {}
            }
        }
    }

    /// What must hold in every database at the end of every test: every invariant.
    pub async fn assert_sound(&self) {
        let run =
            call_the_roll(&self.pool, &Selection::all(), Trigger::Manual, super::PATIENCE).await.unwrap();
        let unsound: Vec<_> = run
            .results
            .iter()
            .filter(|outcome| outcome.status != invariants::Status::Holds && !is_sabotage(outcome))
            .collect();
        assert!(unsound.is_empty(), "unsound: {unsound:#?}");
    }

    /// What must hold at the end of every suite that draws what it does, besides: every answer and the state follow from
    /// the history. Not for states that a test has made by hand.
    pub async fn assert_follows(&self) {
        self.assert_sound().await;
        assert_follows(&self.pool).await;
    }
}

/// Whether all that is found is a trigger that the test itself has hung on a table, to have something fail there.
fn is_sabotage(outcome: &invariants::Outcome) -> bool {
    let hung_on =
        |row: &serde_json::Value| row["row"]["what"] == "trigger" && row["row"]["expected"].is_null();
    ["INV-05", "INV-B05"].contains(&outcome.invariant.as_str())
        && outcome.sample.len() == usize::try_from(outcome.violations.unwrap_or(0)).unwrap()
        && !outcome.sample.is_empty()
        && outcome.sample.iter().all(hung_on)
}

/// Replays the whole history, and fails with what does not follow from it.
pub async fn assert_follows(pool: &PgPool) {
    let audit = audit(pool).await.unwrap();
    let first: Vec<String> = audit.findings.iter().take(5).map(ToString::to_string).collect();
    assert!(audit.holds(), "{} findings, {:?}: {first:#?}", audit.differing, audit.not_covered);
    assert!(audit.answers > 0, "nothing was answered: there was nothing to replay");
    println!("audit: {} answers, {} changes, {} fills follow", audit.answers, audit.changes, audit.fills);
}

impl Drop for TestDb {
    fn drop(&mut self) {
        OVER.lock().unwrap().push(std::mem::take(&mut self.name));
    }
}
