//! One connection, carried from its start until one of its ends closes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::message::{FULL, Refusal, exactly, head, pass, put, skip, start, texts};
use super::rewriting::Rewriting;

/// How long somebody may take to be let in; `PostgreSQL` and `PgBouncer` have the same.
const LOGIN: Duration = Duration::from_secs(60);
/// The most that is held of one message. The longest statement of ours has a hundredth of it.
const HELD: usize = 1 << 20;
/// How long a client may take to read why it is refused.
const FAREWELL: Duration = Duration::from_secs(5);

/// Carries one connection; the client is told when it is ended because of what it sent.
pub(super) async fn carry(client: TcpStream, target: &(String, u16)) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (from, mut to) = client.into_split();
    let mut from = BufReader::new(from);
    let between = AtomicBool::new(true);
    let ended = between_ends(&mut from, &mut to, target, &between).await;
    if let Err(error) = &ended
        && let Some(refusal) = error.get_ref().and_then(|error| error.downcast_ref::<Refusal>())
        && between.load(Ordering::Relaxed)
    {
        let _ = tokio::time::timeout(FAREWELL, refuse(from, to, refusal)).await;
    }
    ended
}

/// What the client still sends is read: a connection that is closed before that breaks, and what was said last is lost.
async fn refuse(
    mut from: BufReader<OwnedReadHalf>,
    mut to: OwnedWriteHalf,
    refusal: &Refusal,
) -> io::Result<()> {
    to.write_all(&refusal.message()).await?;
    to.shutdown().await?;
    tokio::io::copy_buf(&mut from, &mut tokio::io::sink()).await.map(drop)
}

/// `between` says whether the client has got whole messages only.
async fn between_ends(
    from_client: &mut BufReader<OwnedReadHalf>,
    to_client: &mut OwnedWriteHalf,
    target: &(String, u16),
    between: &AtomicBool,
) -> io::Result<()> {
    let late = || Refusal::protocol(format!("nobody was let in within {LOGIN:?}"));
    let start = match tokio::time::timeout(LOGIN, start(from_client)).await {
        Err(_) => return Err(late()),
        Ok(start) => start?,
    };
    let Some(start) = start else { return Ok(()) };
    let pooler = TcpStream::connect((target.0.as_str(), target.1)).await?;
    pooler.set_nodelay(true)?;
    let (from_pooler, mut to_pooler) = pooler.into_split();
    let mut out = Vec::new();
    put(&mut out, None, &[&start], 0);
    to_pooler.write_all(&out).await?;

    let rewriting = Mutex::new(Rewriting::default());
    let let_in = async {
        tokio::time::sleep(LOGIN).await;
        if !locked(&rewriting).is_let_in() {
            return Err(late());
        }
        std::future::pending().await
    };
    tokio::select! {
        ended = ask(from_client, &mut to_pooler, &rewriting) => ended,
        ended = answer(from_pooler, to_client, &rewriting, between) => ended,
        late = let_in => late,
    }
}

fn locked(rewriting: &Mutex<Rewriting>) -> MutexGuard<'_, Rewriting> {
    rewriting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn ask(
    from: &mut BufReader<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
    rewriting: &Mutex<Rewriting>,
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        // What the client has sent at once goes on at once.
        if from.buffer().is_empty() || out.len() >= FULL {
            to.write_all(&out).await?;
            out.clear();
        }
        let Some((tag, length)) = head(from).await? else { break };
        // Passwords, and goodbye.
        if !matches!(tag, b'p' | b'X') && !locked(rewriting).is_let_in() {
            return Err(Refusal::protocol("a question before anybody was let in"));
        }
        let held = held(from, tag, length).await?;
        let rest = length - held.len();
        locked(rewriting).ask(tag, &held, rest, &mut out)?;
        pass(from, to, rest, &mut out).await?;
    }
    to.write_all(&out).await?;
    to.shutdown().await
}

/// What of a message has to be known to change it: a statement whole, of an execution the names alone.
async fn held(from: &mut BufReader<OwnedReadHalf>, tag: u8, length: usize) -> io::Result<Vec<u8>> {
    match tag {
        b'P' | b'D' | b'C' if length > HELD => Err(Refusal::limit(format!(
            "a statement of {length} bytes: through a pooler (pgbouncer=true) {HELD} is the most that is prepared"
        ))),
        b'P' | b'D' | b'C' => exactly(from, length).await,
        b'B' => texts(from, 2, length, HELD).await,
        _ => Ok(Vec::new()),
    }
}

async fn answer(
    from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    rewriting: &Mutex<Rewriting>,
    between: &AtomicBool,
) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut out = Vec::new();
    loop {
        if from.buffer().is_empty() || out.len() >= FULL {
            to.write_all(&out).await?;
            out.clear();
            between.store(true, Ordering::Relaxed);
        }
        let Some((tag, length)) = head(&mut from).await? else { break };
        if locked(rewriting).answer(tag) {
            between.store(false, Ordering::Relaxed);
            put(&mut out, Some(tag), &[], length);
            pass(&mut from, to, length, &mut out).await?;
        } else {
            skip(&mut from, length).await?;
        }
    }
    to.write_all(&out).await?;
    to.shutdown().await
}
