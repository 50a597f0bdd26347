//! Standbys: an address that leads to one for a while, and commits that wait for one that is gone.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use seatkeeper::batch::Turn;
use seatkeeper::postgres::embedded::{Embedded, Options};
use seatkeeper::postgres::{migrate, pool, replication_waits};
use seatkeeper_jobs::Request;
use seatkeeper_jobs::postgres as door;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::{copy, enroll, started_on, worker};
use crate::support::http::{get, sample};
use crate::support::{Process, until};

async fn run(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
}

async fn ask(pool: &PgPool, user: i64) -> Uuid {
    let id = Uuid::new_v4();
    let mut connection = pool.acquire().await.unwrap();
    door::enqueue(&mut connection, &Request::new(id, enroll(user, 1))).await.unwrap();
    id
}

async fn is_answered(pool: &PgPool, id: Uuid) -> bool {
    let sql = "select status = 'done' from seatkeeper.requests where request_id = $1";
    sqlx::query_scalar(sql).bind(id).fetch_one(pool).await.unwrap()
}

async fn primary(dir: &TempDir) -> Embedded {
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let server = Embedded::start(Options::new(dir.path())).await.unwrap_or_else(|error| panic!("{error}"));
    let pool = pool(server.connect_options("postgres"), 3);
    migrate(&pool).await.unwrap();
    run(
        &pool,
        "insert into seatkeeper.users (user_id) select generate_series(1, 99);
         insert into seatkeeper.semesters (semester_id, code, status) select n, 'S' || n, 'ENROLLMENT_OPEN' from generate_series(1, 30) n",
    )
    .await;
    pool.close().await;
    server
}

/// A primary, and a standby of it that has caught up.
async fn pair(dir: &TempDir) -> (Embedded, Embedded, TempDir) {
    let mut first = primary(dir).await;
    let data = first.cluster_dir().join("data");
    first.stop_server().await.unwrap();
    let second_dir = copy(dir.path());
    first.start_server().await.unwrap();
    let inside = second_dir.path().join(data.strip_prefix(dir.path().canonicalize().unwrap()).unwrap());
    let url = first.url("postgres");
    let setting = format!("primary_conninfo = '{url}&application_name=second'\nhot_standby = on\n");
    let script = format!(
        "cat >> '{0}/postgresql.auto.conf' && touch '{0}/standby.signal' && chown --reference='{0}/PG_VERSION' '{0}/standby.signal'",
        inside.display()
    );
    let mut shell = std::process::Command::new("sh");
    let mut writing = shell.args(["-c", &script]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut writing.stdin.take().unwrap(), setting.as_bytes()).unwrap();
    assert!(writing.wait().unwrap().success());
    let second = started_on(&second_dir).await;
    (first, second, second_dir)
}

/// An address that leads now here, now there; connections stay where they were made to.
struct Address {
    own: SocketAddr,
    leads_to: Arc<Mutex<u16>>,
}

impl Address {
    async fn of(server: &Embedded) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let leads_to = Arc::new(Mutex::new(server.port()));
        let target = leads_to.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = *target.lock().unwrap();
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Self { own, leads_to }
    }

    fn move_to(&self, server: &Embedded) {
        *self.leads_to.lock().unwrap() = server.port();
    }

    fn options(&self, server: &Embedded) -> PgConnectOptions {
        server.connect_options("postgres").port(self.own.port())
    }

    fn url(&self, server: &Embedded) -> String {
        server.url("postgres").replace(&format!(":{}/", server.port()), &format!(":{}/", self.own.port()))
    }
}

// Its own threads: the address has to lead on while the test waits for the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_address_led_to_a_standby_answers_as_soon_as_it_leads_to_the_primary() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second, _dir) = pair(&dir).await;
    let on_first = pool(first.connect_options("postgres"), 3);
    let on_second = pool(second.connect_options("postgres"), 3);
    let id = ask(&on_first, 1).await;
    until("the standby has it", async || {
        sqlx::query_scalar("select exists (select from seatkeeper.requests)")
            .fetch_one(&on_second)
            .await
            .unwrap()
    })
    .await;

    let address = Address::of(&second).await;
    let process = Process::run(&address.url(&first), &["--listen", "127.0.0.1:0", "--workers", "1"]);
    let http = process.address();
    let kept = pool(address.options(&first), 3);
    let mut at_work = worker(&kept);
    let turn = at_work.turn().await;
    assert!(matches!(turn, Turn::Away(_)), "{turn:?}");
    process.await_log("working");
    until("the process is not ready: nothing can be answered there", async || {
        get(&http, "/readyz").await.0 == 503
    })
    .await;
    assert!(!is_answered(&on_first, id).await);

    address.move_to(&first);
    until("it is answered, over the same address", async || is_answered(&on_first, id).await).await;
    until("the process is ready", async || get(&http, "/readyz").await.0 == 200).await;
    let next = ask(&on_first, 2).await;
    until("so is what comes next, by the worker that was there before", async || {
        at_work.turn().await;
        is_answered(&on_first, next).await
    })
    .await;
    let failed: i64 = sqlx::query_scalar("select count(*) from seatkeeper.requests where attempts > 1")
        .fetch_one(&on_first)
        .await
        .unwrap();
    assert_eq!(failed, 0, "a standby is no request's fault");
    assert_eq!(process.terminate(), Some(0));
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn commits_that_wait_for_a_standby_that_is_gone_are_waited_for_by_those_who_made_them() {
    let dir = tempfile::tempdir().unwrap();
    let server = primary(&dir).await;
    // Producers do not wait here, or nothing could be asked.
    let local = pool(server.connect_options("postgres").options([("synchronous_commit", "local")]), 5);
    let flags =
        ["--listen", "127.0.0.1:0", "--statement-timeout", "100ms", "--workers", "2", "--no-scheduler"];
    let process = Process::run(&server.url("postgres"), &flags);
    let http = process.address();
    until("it works", async || get(&http, "/readyz").await.0 == 200).await;
    run(&local, "alter system set synchronous_standby_names = 'gone'").await;
    run(&local, "select pg_reload_conf()").await;
    until("it is known", async || {
        sqlx::query_scalar("select current_setting('synchronous_standby_names') = 'gone'")
            .fetch_one(&local)
            .await
            .unwrap()
    })
    .await;
    let ids: Vec<Uuid> = {
        let mut ids = Vec::new();
        for user in 1..=30 {
            let id = Uuid::new_v4();
            let mut connection = local.acquire().await.unwrap();
            door::enqueue(&mut connection, &Request::new(id, enroll(user, user))).await.unwrap();
            ids.push(id);
            drop(connection);
            if user <= 2 {
                until("a commit waits", async || replication_waits(&local).await.unwrap() > 0).await;
            }
        }
        ids
    };
    until("the process says so", async || {
        let (status, text) = get(&http, "/readyz").await;
        status == 503 && text.contains("wait for a synchronous standby")
    })
    .await;
    process.await_log("commits wait for a synchronous standby");
    let (_, text) = get(&http, "/metrics").await;
    assert!(sample(&text, "seatkeeper_replication_waits", "").is_some_and(|waits| waits >= 1.0), "{text}");
    // Far more often than connections would have been given up and made anew.
    for _ in 0..100 {
        let waits = replication_waits(&local).await.unwrap();
        assert!(waits <= 3, "{waits} commits of a process with two workers");
        get(&http, "/livez").await;
    }
    let report = crate::support::verb(&["doctor", "--database-url", &server.url("postgres")], b"").await;
    assert!(report.0 == 1 && report.1.contains("wait for a synchronous standby"), "{report:?}");

    run(&local, "alter system reset synchronous_standby_names").await;
    run(&local, "select pg_reload_conf()").await;
    for id in ids {
        until("what waited is answered", async || is_answered(&local, id).await).await;
    }
    until("the process is ready", async || get(&http, "/readyz").await.0 == 200).await;
    assert_eq!(process.terminate(), Some(0));
    crate::support::assert_follows(&local).await;
    server.stop().await.unwrap();
}
