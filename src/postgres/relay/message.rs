//! Messages on their way: head by head; bodies pass in pieces unless something about them is changed.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// More than any message has; the server sets the same limit.
const LONGEST: usize = 1 << 30;
/// PostgreSQL's own limit of a start-up packet.
const LONGEST_START: usize = 10_000;
/// What is written before more is read.
pub(super) const FULL: usize = 1 << 16;

/// What a client is told when its connection is ended because of what it sent.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
pub(super) struct Refusal {
    /// An SQLSTATE.
    pub code: &'static str,
    pub why: String,
}

impl Refusal {
    /// Of what nobody who speaks the protocol sends.
    pub(super) fn protocol(why: impl Into<String>) -> io::Error {
        Self::as_error("08P01", why.into())
    }

    /// Of what is too much.
    pub(super) fn limit(why: impl Into<String>) -> io::Error {
        Self::as_error("54000", why.into())
    }

    fn as_error(code: &'static str, why: String) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self { code, why })
    }

    /// The message of the server that says so.
    pub(super) fn message(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let parts = [b"SFATAL\0VFATAL\0C", self.code.as_bytes(), b"\0M", self.why.as_bytes(), b"\0\0"];
        put(&mut out, Some(b'E'), &parts, 0);
        out
    }
}

/// The body of the first message, which has no tag; `None` at the end.
pub(super) async fn start(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = length(from.read_u32().await)? else { return Ok(None) };
    if length > LONGEST_START {
        let why = format!("a start-up packet of {length} bytes: {LONGEST_START} is the most");
        return Err(Refusal::protocol(why));
    }
    exactly(from, length).await.map(Some)
}

/// The tag of the next message, and the length of its body; `None` at the end.
pub(super) async fn head(from: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<(u8, usize)>> {
    let tag = match from.read_u8().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        tag => tag?,
    };
    let length = length(from.read_u32().await)?;
    Ok(length.map(|length| (tag, length)))
}

/// The length of what follows a length, which counts itself; `None` at the end.
fn length(read: io::Result<u32>) -> io::Result<Option<usize>> {
    let whole = match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    match usize::try_from(whole).ok().and_then(|whole| whole.checked_sub(4)) {
        Some(rest) if rest <= LONGEST => Ok(Some(rest)),
        _ => Err(Refusal::protocol(format!("no message has {whole} bytes"))),
    }
}

/// So many bytes, which are held.
pub(super) async fn exactly(from: &mut BufReader<OwnedReadHalf>, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// So many texts that a zero byte ends, of a body of this length: all of it when it has fewer of them.
pub(super) async fn texts(
    from: &mut BufReader<OwnedReadHalf>,
    count: usize,
    length: usize,
    most: usize,
) -> io::Result<Vec<u8>> {
    let (mut held, mut ended) = (Vec::new(), 0);
    while ended < count && held.len() < length {
        if held.len() == most {
            return Err(Refusal::limit(format!("names of more than {most} bytes")));
        }
        let byte = from.read_u8().await?;
        held.push(byte);
        ended += usize::from(byte == 0);
    }
    Ok(held)
}

/// Passes on so many bytes, after what is in `out`; the last of them stay there.
pub(super) async fn pass(
    from: &mut BufReader<OwnedReadHalf>,
    to: &mut OwnedWriteHalf,
    mut length: usize,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    while length > 0 {
        if from.buffer().is_empty() || out.len() >= FULL {
            to.write_all(out).await?;
            out.clear();
        }
        length -= piece(from, length, |piece| out.extend_from_slice(piece)).await?;
    }
    Ok(())
}

/// Passes over so many bytes.
pub(super) async fn skip(from: &mut BufReader<OwnedReadHalf>, mut length: usize) -> io::Result<()> {
    while length > 0 {
        length -= piece(from, length, |_| {}).await?;
    }
    Ok(())
}

/// Takes what is there, at most so many bytes; gives how many.
async fn piece(
    from: &mut BufReader<OwnedReadHalf>,
    most: usize,
    take: impl FnOnce(&[u8]),
) -> io::Result<usize> {
    let there = from.fill_buf().await?;
    if there.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let taken = there.len().min(most);
    take(&there[..taken]);
    from.consume(taken);
    Ok(taken)
}

/// Appends a message, of whose body `rest` bytes are still to follow.
pub(super) fn put(out: &mut Vec<u8>, tag: Option<u8>, parts: &[&[u8]], rest: usize) {
    let length = 4 + parts.iter().map(|part| part.len()).sum::<usize>() + rest;
    out.extend(tag);
    // A message that is longer was refused when it was read.
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
