//! One connection through the proxy: what the client sends is put together to round trips, and each is asked about on its
//! way to the server, and again when the server is ready for the next one.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::framing::{Messages, number, prepares_instead, texts};
use super::{Policy, RoundTrip, Verdict};

/// What both directions know.
#[derive(Default)]
struct Shared {
    pid: AtomicI32,
    /// Sent and not answered yet; `None`: nothing that is executed.
    under_way: Mutex<VecDeque<Option<RoundTrip>>>,
}

/// Serves a client until either end is gone, or the policy cuts.
pub async fn serve<P: Policy>(
    mut client: TcpStream,
    server: (String, u16),
    policy: Arc<P>,
) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let shared = Shared::default();
    let (from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let mut from_client = Messages::new(from_client);
    loop {
        let (message, wants_encryption) = from_client.startup().await?;
        if !wants_encryption {
            to_server.write_all(&message).await?;
            break;
        }
        // No: what is encrypted cannot be looked at.
        to_client.write_all(b"N").await?;
    }
    tokio::select! {
        over = forth(from_client, to_server, &shared, &*policy) => over,
        over = back(Messages::new(from_server), to_client, &shared, &*policy) => over,
    }
}

/// From the client to the server.
async fn forth<P: Policy>(
    mut from: Messages<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    policy: &P,
) -> io::Result<()> {
    let mut prepared: HashMap<String, String> = HashMap::new();
    let mut bytes = Vec::new();
    let (mut sql, mut executes) = (Vec::new(), false);
    loop {
        let mut message = from.next().await?;
        if message[0] == b'P' {
            let (name, mut text) = {
                let mut texts = texts(&message);
                (texts.next().unwrap_or_default(), texts.next().unwrap_or_default())
            };
            if let Some(other) = policy.instead(&text) {
                message = prepares_instead(&message, &other);
                text = other;
            }
            prepared.insert(name, text);
        }
        bytes.extend_from_slice(&message);
        match message[0] {
            b'B' => sql.extend(texts(&message).nth(1).and_then(|name| prepared.get(&name).cloned())),
            b'E' => executes = true,
            b'Q' => {
                sql.extend(texts(&message).next());
                executes = true;
            }
            _ => {}
        }
        let ends = matches!(message[0], b'S' | b'Q');
        if ends {
            let trip = executes.then(|| RoundTrip {
                sql: std::mem::take(&mut sql).join("; "),
                pid: shared.pid.load(Ordering::Relaxed),
            });
            if let Some(trip) = &trip
                && policy.before(trip).await == Verdict::Cut
            {
                return Ok(());
            }
            shared.under_way.lock().unwrap().push_back(trip);
            (sql, executes) = (Vec::new(), false);
        }
        // Everything of a round trip at once; what belongs to none (passwords, a flush, the goodbye) as it comes.
        if ends || !matches!(message[0], b'P' | b'B' | b'D' | b'E' | b'C') {
            to.write_all(&std::mem::take(&mut bytes)).await?;
        }
    }
}

/// From the server to the client.
async fn back<P: Policy>(
    mut from: Messages<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    policy: &P,
) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut failed = false;
    loop {
        let message = from.next().await?;
        match message[0] {
            b'K' => shared.pid.store(number(&message[5..]).cast_signed(), Ordering::Relaxed),
            b'E' => failed = true,
            b'Z' => {
                let trip = shared.under_way.lock().unwrap().pop_front().flatten();
                if let Some(trip) = trip
                    && policy.after(&trip, failed).await == Verdict::Cut
                {
                    return Ok(());
                }
                failed = false;
            }
            _ => {}
        }
        bytes.extend_from_slice(&message);
        if message[0] == b'Z' || from.is_drained() {
            to.write_all(&std::mem::take(&mut bytes)).await?;
        }
    }
}
