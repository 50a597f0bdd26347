//! One connection of a [`super::Wire`]: each message is carried whole or up to the byte at which the connection's fate comes.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Mutex;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::framing::{Messages, texts};
use super::wire::{Direction, Fate, Loss, Part, Passed, Place, Wires};

/// The longest name of a statement.
const NAME: usize = 40;

/// A round trip that the server has not answered yet.
#[derive(Debug, Clone, Default)]
struct Trip {
    statement: String,
    /// How its reply is lost.
    loss: Option<Loss>,
}

/// What both directions know.
struct Shared {
    under_way: Mutex<VecDeque<Trip>>,
    /// As the server said last: `I` outside of a transaction.
    state: Mutex<u8>,
}

/// How far a direction has got.
struct Line<'a> {
    direction: Direction,
    fate: Fate,
    wires: &'a Wires,
    bytes: u64,
    messages: u64,
}

impl Line<'_> {
    /// How many bytes of the next message get through; `None`: all, and it goes on.
    fn allowed(&self, length: usize) -> Option<usize> {
        if self.wires.is_quiet() {
            return None;
        }
        match self.fate {
            Fate::Byte(direction, bytes) if direction == self.direction => {
                let left = usize::try_from(bytes.saturating_sub(self.bytes)).unwrap();
                (left <= length).then_some(left)
            }
            Fate::Message(direction, number, share)
                if direction == self.direction && number == self.messages =>
            {
                Some(part_of(length, share))
            }
            _ => None,
        }
    }

    /// Carries a message, or as much of it as is allowed; false: this is the end.
    async fn carry(
        &mut self,
        message: &[u8],
        kind: char,
        statement: &str,
        allowed: Option<usize>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<bool> {
        let passes = allowed.unwrap_or(message.len());
        to.write_all(&message[..passes]).await?;
        to.flush().await?;
        let length = u64::try_from(message.len()).unwrap();
        let (direction, from) = (self.direction, self.bytes);
        if allowed.is_none() {
            self.wires.note_passed(Passed { direction, kind, from, to: from + length });
            self.bytes += length;
            self.messages += 1;
            return Ok(true);
        }
        let part = match passes {
            0 => Part::Before,
            all if all == message.len() => Part::Behind,
            _ => Part::Inside,
        };
        self.wires.note_cut(Place { direction, kind, part, statement: statement.to_owned() });
        // What was let through arrives before the end does.
        let _ = to.shutdown().await;
        Ok(false)
    }
}

/// From nothing to all of it.
fn part_of(length: usize, share: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a short message, from 0 to 1"
    )]
    let part = (length as f64 * share).round() as usize;
    part.min(length)
}

/// Carries a connection until either end is gone, or its fate has come.
pub(super) async fn carry(
    mut client: TcpStream,
    server: (String, u16),
    fate: Fate,
    wires: &Wires,
) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let shared =
        Shared { under_way: Mutex::new(VecDeque::from([named("connecting")])), state: Mutex::new(b'?') };
    let line = |direction| Line { direction, fate, wires, bytes: 0, messages: 0 };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        over = forth(Messages::new(from_client), to_server, line(Direction::ToServer), &shared) => over,
        over = back(Messages::new(from_server), to_client, line(Direction::ToClient), &shared) => over,
    }
}

fn named(statement: &str) -> Trip {
    Trip { statement: statement.to_owned(), loss: None }
}

/// From the client to the server.
async fn forth(
    mut from: Messages<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
    mut line: Line<'_>,
    shared: &Shared,
) -> io::Result<()> {
    let (message, wants_encryption) = from.startup().await?;
    assert!(!wants_encryption, "the URLs of the tests ask for none");
    let allowed = line.allowed(message.len());
    if !line.carry(&message, '^', "connecting", allowed, &mut to).await? {
        return Ok(());
    }
    let mut prepared: HashMap<String, String> = HashMap::new();
    let mut sql = String::from("connecting");
    let (mut executes, mut commits) = (false, 0);
    loop {
        let message = from.next().await?;
        match message[0] {
            b'P' => {
                let mut texts = texts(&message);
                let name = texts.next().unwrap_or_default();
                sql = texts.next().unwrap_or_default();
                prepared.insert(name, sql.clone());
            }
            b'B' => {
                let name = texts(&message).nth(1).unwrap_or_default();
                sql = prepared.get(&name).cloned().unwrap_or_default();
            }
            b'E' => executes = true,
            b'Q' => {
                sql = texts(&message).next().unwrap_or_default();
                executes = true;
            }
            b'X' => sql = String::from("goodbye"),
            _ => {}
        }
        let name = name_of(&sql);
        let ends = matches!(message[0], b'S' | b'Q');
        let mut allowed = line.allowed(message.len());
        let mut trip = named(&name);
        if ends && std::mem::take(&mut executes) && is_commit(&sql, *shared.state.lock().unwrap()) {
            if let Fate::Commit(number, loss) = line.fate
                && number == commits
                && !line.wires.is_quiet()
            {
                match loss {
                    Loss::OnTheWay => allowed = Some(message.len() / 2),
                    Loss::Unheard => allowed = Some(message.len()),
                    Loss::Reply | Loss::Silence => trip.loss = Some(loss),
                }
                match loss {
                    Loss::OnTheWay => line.wires.note_commit(loss, Some(false)),
                    Loss::Unheard => line.wires.note_commit(loss, None),
                    Loss::Reply | Loss::Silence => {}
                }
            }
            commits += 1;
        }
        if ends {
            shared.under_way.lock().unwrap().push_back(trip);
        }
        if !line.carry(&message, char::from(message[0]), &name, allowed, &mut to).await? {
            return Ok(());
        }
    }
}

/// From the server to the client.
async fn back(
    mut from: Messages<impl AsyncRead + Unpin>,
    mut to: impl AsyncWrite + Unpin,
    mut line: Line<'_>,
    shared: &Shared,
) -> io::Result<()> {
    let mut failed = false;
    loop {
        let message = from.next().await?;
        let kind = char::from(message[0]);
        let trip = shared.under_way.lock().unwrap().front().cloned().unwrap_or_default();
        // A commit of what has failed is told as a rollback.
        failed |= kind == 'E' || kind == 'C' && message[5..].starts_with(b"ROLLBACK");
        if kind == 'Z' {
            shared.under_way.lock().unwrap().pop_front();
            *shared.state.lock().unwrap() = message[5];
        }
        if let Some(loss) = trip.loss {
            if kind == 'Z' {
                let place = Place {
                    direction: Direction::ToClient,
                    kind: 'C',
                    part: Part::Before,
                    statement: trip.statement,
                };
                line.wires.note_cut(place);
                line.wires.note_commit(loss, Some(!failed));
                if loss == Loss::Silence {
                    // Until the client has had enough of it.
                    std::future::pending::<()>().await;
                }
                return Ok(());
            }
            continue;
        }
        if kind == 'Z' {
            failed = false;
        }
        let allowed = line.allowed(message.len());
        if !line.carry(&message, kind, &trip.statement, allowed, &mut to).await? {
            return Ok(());
        }
    }
}

/// Whether the server commits something when it has executed this.
fn is_commit(sql: &str, state: u8) -> bool {
    let sql = sql.trim_start().to_ascii_lowercase();
    sql.starts_with("commit")
        || sql.ends_with("; commit")
        || state == b'I' && sql.contains("seatkeeper.enqueue")
}

/// The name that a statement of the program begins with, or its first words.
fn name_of(sql: &str) -> String {
    let words = match sql.trim_start().strip_prefix("-- ") {
        Some(rest) => rest.split_whitespace().next().unwrap_or_default().to_owned(),
        None => match sql.find("seatkeeper.") {
            Some(at) => sql[at..].split(['(', ' ', '\n', ';']).next().unwrap_or_default().to_owned(),
            None => sql.split_whitespace().take(2).collect::<Vec<_>>().join(" ").to_lowercase(),
        },
    };
    words.chars().take(NAME).collect()
}
