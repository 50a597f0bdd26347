//! Everything at once, for real: PostgreSQL, two processes, Prometheus, Alertmanager, and who is told.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value as Json;
use serde_yaml_ng::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::receiver::{Receiver, Which};
use super::{files, items, shipped};
use crate::support::{OwnServer, Process, own_server, verb};

/// What `for:` is shortened to. Prometheus looks for targets five seconds after its start, and scrapes them later.
const FOR: &str = "10s";
/// Longer than any alert needs on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// No slot falls due by itself, two attempts make a request fail, and many workers meet with trouble often.
const FLAGS: [&str; 8] =
    ["--critical-checks", "0 0 0 1 1 *", "--attempts", "2", "--retry-after", "50ms", "--workers", "8"];

/// A program of the monitoring's. Killed when it is dropped.
struct Program(Child);

impl Program {
    fn start(names: &[&str], arguments: &[String]) -> Self {
        let start = |name: &&str| {
            Command::new(name).args(arguments).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().ok()
        };
        Self(
            names
                .iter()
                .find_map(start)
                .unwrap_or_else(|| panic!("none of {names:?}; scripts/setup installs it")),
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The running whole.
pub struct Stack {
    pub server: OwnServer,
    pub pool: PgPool,
    pub receiver: Receiver,
    pub addresses: [String; 2],
    pub prometheus: String,
    processes: Vec<Process>,
    _programs: [Program; 2],
    _dir: TempDir,
}

impl Stack {
    /// Starts it, with a first check behind it, and awaits that Prometheus knows both processes.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = own_server().await;
        let receiver = Receiver::default();
        let base = receiver.start().await;
        let [a, b, prometheus, alertmanager] = [(); 4].map(|()| free_address());
        configure(dir.path(), &base, &[&a, &b], &prometheus, &alertmanager);
        let path = |name: &str| dir.path().join(name).display().to_string();

        // First the Alertmanager: what is sent before it is there is sent again only after a while.
        let told = Program::start(
            &["prometheus-alertmanager", "alertmanager"],
            &[
                format!("--config.file={}", path("alertmanager.yml")),
                format!("--storage.path={}", path("alertmanager")),
                format!("--web.listen-address={alertmanager}"),
                "--cluster.listen-address=".to_owned(),
                "--log.level=error".to_owned(),
            ],
        );
        ready(&alertmanager).await;
        let (exit, output, complaint) = verb(&["check", "--database-url", &server.url()], b"").await;
        assert_eq!(exit, 0, "{output}{complaint}");
        let addresses = [a, b];
        let processes = start_processes(&server, &addresses);
        let asks = Program::start(
            &["prometheus"],
            &[
                format!("--config.file={}", path("prometheus.yml")),
                format!("--storage.tsdb.path={}", path("prometheus")),
                format!("--web.listen-address={prometheus}"),
                "--rules.alert.resend-delay=1s".to_owned(),
                "--log.level=error".to_owned(),
            ],
        );
        ready(&prometheus).await;
        let pool = server.pool();
        let programs = [told, asks];
        let stack =
            Self { server, pool, receiver, addresses, prometheus, processes, _programs: programs, _dir: dir };
        stack
            .until("both processes are scraped", async || {
                stack.value(r#"sum(up{job="seatkeeper"})"#).await == Some(2.0)
            })
            .await;
        stack
    }

    /// SIGKILL to both processes.
    pub fn kill_processes(&mut self) {
        self.processes.drain(..).for_each(Process::kill);
    }

    /// New ones in their place.
    pub fn start_processes(&mut self) {
        self.processes = start_processes(&self.server, &self.addresses);
    }

    /// SQL of the test's own, behind everybody's back.
    pub async fn run(&self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// A verb on this database; gives its exit code and what it says.
    pub async fn verb(&self, arguments: &[&str]) -> (i32, String) {
        let url = self.server.url();
        let (exit, output, complaint) = verb(&[arguments, &["--database-url", &url]].concat(), b"").await;
        (exit, output + &complaint)
    }

    /// The data of an answer of Prometheus' API.
    pub async fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Json {
        let query: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let path = format!("/api/v1/{path}?{}", query.join("&"));
        let (_, body) = ask(&self.prometheus, &path).await.unwrap_or_else(|| panic!("no answer: {path}"));
        let answer: Json =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {path}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The first value that an expression has now.
    pub async fn value(&self, expr: &str) -> Option<f64> {
        self.api("query", &[("query", expr)]).await["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Awaits a condition with the patience that alerts need.
    pub async fn until(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let awaited = tokio::time::timeout(PATIENCE, async {
            while !condition().await {
                look.tick().await;
            }
        });
        if awaited.await.is_err() {
            let alerts = self.api("alerts", &[]).await;
            panic!("never came: {what}\ntold: {:#?}\nfiring: {alerts:#}", self.receiver.told());
        }
    }

    /// Awaits that somebody is told.
    pub async fn told(&self, which: Which<'_>, status: &str) {
        self.until(&format!("{which:?} {status}"), async || self.receiver.count(which, status) > 0).await;
    }

    /// Awaits that every rule has been evaluated this many more times.
    pub async fn evaluations(&self, more: f64) {
        let count = "min(prometheus_rule_group_iterations_total)";
        let mut first = None;
        let enough = async || {
            let now = self.value(count).await;
            first = first.or(now);
            first.zip(now).is_some_and(|(first, now)| now >= first + more)
        };
        self.until("the rules are evaluated", enough).await;
    }

    /// Stops everything and takes it away.
    pub async fn remove(mut self) {
        self.kill_processes();
        self.pool.close().await;
        self.server.remove().await;
    }
}

fn start_processes(server: &OwnServer, addresses: &[String; 2]) -> Vec<Process> {
    let start =
        |address: &String| Process::run(&server.url(), &[&["--listen", address], &FLAGS[..]].concat());
    addresses.iter().map(start).collect()
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn ready(address: &str) {
    let is_ready = async || ask(address, "/-/ready").await.is_some_and(|(status, _)| status == 200);
    crate::support::until(&format!("{address} is ready"), is_ready).await;
}

/// GETs a page, if anybody is there. HTTP/1.0, so that the body comes in one piece.
pub async fn ask(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The shipped files, with the addresses and the intervals of the test.
fn configure(dir: &Path, receiver: &str, targets: &[&str; 2], prometheus: &str, alertmanager: &str) {
    std::fs::create_dir(dir.join("rules")).unwrap();
    for (name, text) in files("monitoring/rules", "yml") {
        std::fs::write(dir.join("rules").join(name).with_extension("yml"), shortened(&text)).unwrap();
    }
    let read = |name: &str| -> Value {
        serde_yaml_ng::from_str(&std::fs::read_to_string(shipped(name)).unwrap()).unwrap()
    };
    let write = |name: &str, value: &Value| {
        std::fs::write(dir.join(name), serde_yaml_ng::to_string(value).unwrap()).unwrap();
    };

    let mut config = read("prometheus.yml");
    config["global"]["scrape_interval"] = "2s".into();
    config["global"]["evaluation_interval"] = "1s".into();
    let list =
        |targets: &[&str]| Value::Sequence(targets.iter().map(|target| Value::from(*target)).collect());
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = list(&[alertmanager]);
    for job in config["scrape_configs"].as_sequence_mut().unwrap() {
        let own = job["job_name"] == "prometheus";
        job["static_configs"][0]["targets"] =
            list(if own { std::slice::from_ref(&prometheus) } else { targets });
        if job.get("scrape_timeout").is_some() {
            job["scrape_timeout"] = "2s".into();
        }
    }
    write("prometheus.yml", &config);

    let mut config = read("alertmanager.yml");
    hurry(&mut config["route"]);
    for entry in config["receivers"].as_sequence_mut().unwrap() {
        let url = format!("{receiver}{}", entry["name"].as_str().unwrap());
        entry["webhook_configs"][0]["url"] = url.into();
    }
    write("alertmanager.yml", &config);
}

/// A route and those below it wait for nothing.
fn hurry(route: &mut Value) {
    route["group_wait"] = "0s".into();
    route["group_interval"] = "1s".into();
    if let Some(routes) = route.get_mut("routes").and_then(Value::as_sequence_mut) {
        routes.iter_mut().for_each(hurry);
    }
}

/// Rules that wait for a shorter time, and differ from the shipped ones in nothing else.
fn shortened(text: &str) -> String {
    let line = |line: &str| match line.trim_start().starts_with("for: ") {
        true => format!("{}for: {FOR}\n", &line[..line.len() - line.trim_start().len()]),
        false => format!("{line}\n"),
    };
    let short: String = text.lines().map(line).collect();
    let without_for = |text: &str| -> Value {
        let mut rules: Value = serde_yaml_ng::from_str(text).unwrap();
        for group in rules["groups"].as_sequence_mut().unwrap() {
            for rule in group["rules"].as_sequence_mut().unwrap() {
                rule.as_mapping_mut().unwrap().remove("for");
            }
        }
        rules
    };
    let same = without_for(&short);
    assert_eq!(same, without_for(text));
    assert!(items(&same, "groups").next().is_some());
    short
}
