//! The same byte by byte: a proxy that carries the bytes of both directions and knows where it is in them, and that breaks a
//! connection after any byte, or lets the server commit and swallows the reply.
//!
//! What becomes of a connection is its [`Fate`], which a test gives for each by its number. What was cut is noted: how often, in
//! which message, of which statement, and whether a commit whose reply was lost had been made.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::carrying;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// How a commit comes to nothing, or seems to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Cut in the middle of the message that would commit.
    OnTheWay,
    /// The server gets all of it, and nobody waits for what becomes of it.
    Unheard,
    /// The server has answered; the client is cut off instead of hearing it.
    Reply,
    /// The same, and the connection stays, without a word.
    Silence,
}

impl Loss {
    pub const ALL: [Self; 4] = [Self::OnTheWay, Self::Unheard, Self::Reply, Self::Silence];
}

/// What becomes of one connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fate {
    /// Nothing.
    Spared,
    /// So many bytes of a direction get through.
    Byte(Direction, u64),
    /// All messages of a direction before this number, counted from 0, and of this one such a share of its bytes.
    Message(Direction, u64, f64),
    /// All commits before this number, counted from 0.
    Commit(u32, Loss),
}

/// Where in a message it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Before,
    Inside,
    Behind,
}

/// Where a connection was cut.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub direction: Direction,
    /// The type byte of the message; `^` for the first one, which has none.
    pub kind: char,
    pub part: Part,
    /// The statement that was under way.
    pub statement: String,
}

/// A message that went by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    pub direction: Direction,
    pub kind: char,
    /// Its first byte, counted within the connection and the direction, and the one behind its last.
    pub from: u64,
    pub to: u64,
}

/// What became of the connections so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub connections: u64,
    pub cuts: BTreeMap<Place, u32>,
    /// Commits that were lost: how, and whether the server had made them, as far as anybody can tell.
    pub commits: BTreeMap<(Loss, Option<bool>), u32>,
}

impl Seen {
    /// What became of those of another proxy, besides.
    pub fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        for (place, number) in &other.cuts {
            *self.cuts.entry(place.clone()).or_default() += number;
        }
        for (commit, number) in &other.commits {
            *self.commits.entry(*commit).or_default() += number;
        }
    }

    pub fn number(&self) -> u32 {
        self.cuts.values().sum()
    }

    /// Commits that the server had made and the client did not hear of.
    pub fn unheard_commits(&self) -> u32 {
        self.commits.iter().filter(|((_, made), _)| *made == Some(true)).map(|(_, n)| n).sum()
    }

    /// The types of the messages in which it was cut.
    pub fn kinds(&self, direction: Direction) -> String {
        let kinds = self.cuts.keys().filter(|place| place.direction == direction).map(|place| place.kind);
        kinds.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// How often in which statement.
    pub fn statements(&self) -> BTreeMap<&str, u32> {
        let mut statements = BTreeMap::new();
        for (place, number) in &self.cuts {
            *statements.entry(place.statement.as_str()).or_default() += number;
        }
        statements
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} connections, {} cuts", self.connections, self.number())?;
        for direction in Direction::BOTH {
            let mut parts: BTreeMap<(char, Part), u32> = BTreeMap::new();
            for (place, number) in self.cuts.iter().filter(|(place, _)| place.direction == direction) {
                *parts.entry((place.kind, place.part)).or_default() += number;
            }
            writeln!(f, "  {direction:?}: {parts:?}")?;
        }
        writeln!(f, "  by statement: {:?}", self.statements())?;
        write!(f, "  commits lost, and whether they were made: {:?}", self.commits)
    }
}

/// What the connections of a proxy share.
pub(super) struct Wires {
    fate: Box<dyn Fn(u64) -> Fate + Send + Sync>,
    quiet: AtomicBool,
    number: AtomicU64,
    seen: Mutex<Seen>,
    passed: Mutex<Vec<Passed>>,
}

impl Wires {
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::SeqCst)
    }

    pub(super) fn note_cut(&self, place: Place) {
        *self.seen.lock().unwrap().cuts.entry(place).or_default() += 1;
    }

    pub(super) fn note_commit(&self, loss: Loss, made: Option<bool>) {
        *self.seen.lock().unwrap().commits.entry((loss, made)).or_default() += 1;
    }

    pub(super) fn note_passed(&self, passed: Passed) {
        self.passed.lock().unwrap().push(passed);
    }

    fn connected(&self) -> Fate {
        self.seen.lock().unwrap().connections += 1;
        // A connection of quiet times keeps its peace, and does not use up a number.
        if self.is_quiet() { Fate::Spared } else { (self.fate)(self.number.fetch_add(1, Ordering::SeqCst)) }
    }
}

/// A listening proxy, quiet at first. Gone, with its connections, when it is dropped.
pub struct Wire {
    server: (String, u16),
    address: SocketAddr,
    wires: Arc<Wires>,
    listening: JoinHandle<()>,
}

impl Wire {
    /// In front of the server that this URL leads to; the fate of a connection is that of its number.
    pub async fn start(url: &str, fate: impl Fn(u64) -> Fate + Send + Sync + 'static) -> Self {
        let options: PgConnectOptions = url.parse().unwrap();
        let server = (options.get_host().to_owned(), options.get_port());
        let wires = Arc::new(Wires {
            fate: Box::new(fate),
            quiet: AtomicBool::new(true),
            number: AtomicU64::new(0),
            seen: Mutex::default(),
            passed: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, shared) = (server.clone(), Arc::clone(&wires));
        let listening = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, shared) = (target.clone(), Arc::clone(&shared));
                connections.spawn(async move {
                    let fate = shared.connected();
                    // A connection that breaks is what its client and the server get to see.
                    let _ = carrying::carry(client, target, fate, &shared).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { server, address, wires, listening }
    }

    /// The same URL, through the proxy.
    pub fn through(&self, url: &str) -> String {
        let (host, port) = &self.server;
        let direct = format!("@{host}:{port}/");
        assert!(url.contains(&direct), "leads elsewhere");
        url.replace(&direct, &format!("@{}/", self.address))
    }

    /// From now on connections break, also those that are there.
    pub fn rage(&self) {
        self.wires.quiet.store(false, Ordering::SeqCst);
    }

    /// From now on none does.
    pub fn calm(&self) {
        self.wires.quiet.store(true, Ordering::SeqCst);
    }

    /// What became of the connections so far.
    pub fn seen(&self) -> Seen {
        self.wires.seen.lock().unwrap().clone()
    }

    /// Every message that went by since this was asked last.
    pub fn passed(&self) -> Vec<Passed> {
        std::mem::take(&mut self.wires.passed.lock().unwrap())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
