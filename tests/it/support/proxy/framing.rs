//! Messages of the protocol, cut out of the stream: a type byte and a length, except for the very first ones.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

/// Requests that take the place of a startup message: encryption, by TLS or GSSAPI.
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

/// Reads whole messages.
pub struct Messages<R> {
    from: BufReader<R>,
}

impl<R: AsyncRead + Unpin> Messages<R> {
    pub fn new(from: R) -> Self {
        Self { from: BufReader::new(from) }
    }

    /// A message without a type, as a connection begins with; whether it asks for encryption.
    pub async fn startup(&mut self) -> io::Result<(Vec<u8>, bool)> {
        let mut message = vec![0; 8];
        self.from.read_exact(&mut message).await?;
        let code = number(&message[4..]);
        self.body(&mut message, 0, 4).await?;
        Ok((message, ENCRYPTION.contains(&code)))
    }

    /// The next message, type byte and length included.
    pub async fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut message = vec![0; 5];
        self.from.read_exact(&mut message).await?;
        self.body(&mut message, 1, 0).await?;
        Ok(message)
    }

    /// Whether the next message would have to be waited for.
    pub fn is_drained(&self) -> bool {
        self.from.buffer().is_empty()
    }

    /// Reads on to the end. The length stands at `at`; `more` bytes behind it have been read.
    async fn body(&mut self, message: &mut Vec<u8>, at: usize, more: usize) -> io::Result<()> {
        let whole = usize::try_from(number(&message[at..])).map_err(io::Error::other)? + at;
        let read = at + 4 + more;
        if whole < read {
            return Err(io::Error::other("a message shorter than its head"));
        }
        message.resize(whole, 0);
        self.from.read_exact(&mut message[read..]).await?;
        Ok(())
    }
}

pub fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The same message, which prepares another statement.
pub fn prepares_instead(message: &[u8], sql: &str) -> Vec<u8> {
    let mut parts = message[5..].splitn(3, |byte| *byte == 0);
    let (name, _, types) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or_default());
    let body = [name, &[0], sql.as_bytes(), &[0], types].concat();
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[b'P'][..], &length.to_be_bytes(), &body].concat()
}

/// The texts that end with a zero byte in the body of a message.
pub fn texts(message: &[u8]) -> impl Iterator<Item = String> {
    message[5..].split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned())
}
