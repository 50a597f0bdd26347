//! What is changed on the way: prepared statements lose their names, and come along with every execution.
//!
//! A client's round trip ends with Sync (or is a simple query), and the server's with `ReadyForQuery`. Within one, the
//! pooler lends one connection. So a statement that was prepared in an earlier round trip is prepared once more, as the
//! unnamed statement of that connection, right before it is bound or described; the answer to that the client did not
//! ask for, and does not get.

use std::collections::{HashMap, VecDeque};
use std::io;

use super::message::{Refusal, put};

/// The most that is kept of what a connection has prepared. sqlx keeps a hundred statements.
const KEPT: usize = 16 << 20;
/// What a statement takes besides its name and its text.
const ENTRY: usize = 128;
/// The most answers that are awaited at a time.
const AWAITED: usize = 100_000;

/// One connection's statements, and the answers that are under way.
#[derive(Debug)]
pub(super) struct Rewriting {
    /// What the client has prepared: name, and the rest of its Parse (the text, the types of the parameters). One may
    /// have no name; for the client it lasts as well.
    prepared: HashMap<Vec<u8>, Vec<u8>>,
    /// What that takes, in bytes.
    kept: usize,
    /// Which of them the unnamed statement is, in this round trip.
    unnamed: Option<Vec<u8>>,
    /// For each round trip that is not over: of each `ParseComplete` to come, whether the client waits for it.
    rounds: VecDeque<VecDeque<bool>>,
    /// Whether the first round trip is over: the pooler knows who it is.
    is_let_in: bool,
}

impl Default for Rewriting {
    fn default() -> Self {
        // The first round trip is the start, which ends without a Sync.
        Self {
            prepared: HashMap::new(),
            kept: 0,
            unnamed: None,
            rounds: VecDeque::from([VecDeque::new(), VecDeque::new()]),
            is_let_in: false,
        }
    }
}

impl Rewriting {
    /// Whether the client was let in.
    pub(super) const fn is_let_in(&self) -> bool {
        self.is_let_in
    }

    /// Takes a message of the client, and appends what the pooler is to get. Of its body this is what has to be known
    /// (statements whole, and the names in a Bind); `rest` bytes follow it unchanged.
    ///
    /// # Errors
    /// When more would have to be kept than is kept for a connection.
    pub(super) fn ask(&mut self, tag: u8, body: &[u8], rest: usize, out: &mut Vec<u8>) -> io::Result<()> {
        match tag {
            b'P' => {
                let (name, statement) = split(body);
                self.keep(name, statement)?;
                self.parse(name, statement, true, out)?;
            }
            b'B' => {
                let (portal, name) = split(body);
                let (name, values) = split(name);
                if self.bring(name, out)? {
                    put(out, Some(tag), &[portal, b"\0\0", values], rest);
                } else {
                    put(out, Some(tag), &[body], rest);
                }
            }
            b'D' if body.first() == Some(&b'S') => {
                if self.bring(split(&body[1..]).0, out)? {
                    put(out, Some(tag), &[b"S\0"], rest);
                } else {
                    put(out, Some(tag), &[body], rest);
                }
            }
            b'C' if body.first() == Some(&b'S') => {
                // The server does not know that name, and closing what is not there is no error.
                self.forget(split(&body[1..]).0);
                put(out, Some(tag), &[body], rest);
            }
            b'S' | b'Q' | b'F' => {
                // What the unnamed statement is on the connection that is lent next, nobody knows.
                self.unnamed = None;
                bounded(self.rounds.len())?;
                self.rounds.push_back(VecDeque::new());
                put(out, Some(tag), &[body], rest);
            }
            _ => put(out, Some(tag), &[body], rest),
        }
        Ok(())
    }

    /// Whether this message of the server is for the client.
    pub(super) fn answer(&mut self, tag: u8) -> bool {
        match tag {
            b'1' => self.rounds.front_mut().and_then(VecDeque::pop_front).unwrap_or(true),
            // After an error the rest of a round trip is skipped, and what was awaited of it.
            b'Z' => {
                self.is_let_in = true;
                self.rounds.pop_front();
                true
            }
            _ => true,
        }
    }

    /// Sees to it that the unnamed statement is this one; `false` when it is not one of ours.
    fn bring(&mut self, name: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(statement) = self.prepared.get(name) else { return Ok(false) };
        if self.unnamed.as_deref() != Some(name) {
            let statement = statement.clone();
            self.parse(name, &statement, false, out)?;
        }
        Ok(true)
    }

    fn parse(&mut self, name: &[u8], statement: &[u8], awaited: bool, out: &mut Vec<u8>) -> io::Result<()> {
        self.unnamed = Some(name.to_vec());
        if let Some(round) = self.rounds.back_mut() {
            bounded(round.len())?;
            round.push_back(awaited);
        }
        put(out, Some(b'P'), &[b"\0", statement], 0);
        Ok(())
    }

    fn keep(&mut self, name: &[u8], statement: &[u8]) -> io::Result<()> {
        self.forget(name);
        self.kept += cost(name, statement);
        if self.kept > KEPT {
            let why =
                format!("{} bytes of prepared statements: {KEPT} is the most of one connection", self.kept);
            return Err(Refusal::limit(why));
        }
        self.prepared.insert(name.to_vec(), statement.to_vec());
        Ok(())
    }

    fn forget(&mut self, name: &[u8]) {
        if let Some(statement) = self.prepared.remove(name) {
            self.kept -= cost(name, &statement);
        }
    }
}

/// What keeping it takes.
const fn cost(name: &[u8], statement: &[u8]) -> usize {
    name.len() + statement.len() + ENTRY
}

/// Refuses one more of something that the other end has to keep up with.
fn bounded(awaited: usize) -> io::Result<()> {
    if awaited < AWAITED {
        return Ok(());
    }
    Err(Refusal::limit(format!("more than {AWAITED} questions that nobody has answered")))
}

/// What comes before the next zero byte, and what comes after it.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::Rewriting;

    /// The messages in what the pooler gets: tag and body.
    fn messages(mut bytes: &[u8]) -> Vec<(char, String)> {
        let mut found = Vec::new();
        while let [tag, a, b, c, d, ..] = *bytes {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            found.push((char::from(tag), String::from_utf8_lossy(&bytes[5..=length]).replace('\0', "|")));
            bytes = &bytes[length + 1..];
        }
        found
    }

    fn asked(rewriting: &mut Rewriting, asks: &[(u8, &str)]) -> Vec<(char, String)> {
        let mut out = Vec::new();
        for (tag, body) in asks {
            rewriting.ask(*tag, body.replace('|', "\0").as_bytes(), 0, &mut out).expect("little is kept");
        }
        messages(&out)
    }

    fn started() -> Rewriting {
        let mut rewriting = Rewriting::default();
        assert!(rewriting.answer(b'Z'));
        rewriting
    }

    fn expected(messages: &[(char, &str)]) -> Vec<(char, String)> {
        messages.iter().map(|(tag, body)| (*tag, (*body).to_owned())).collect()
    }

    #[test]
    fn a_statement_comes_along_with_each_execution_and_its_answer_stays_here() {
        let mut relayed = started();
        let preparing = asked(&mut relayed, &[(b'P', "s1|select 1|.."), (b'D', "Ss1|"), (b'S', "")]);
        assert_eq!(preparing, expected(&[('P', "|select 1|.."), ('D', "S|"), ('S', "")]));
        assert!(relayed.answer(b'1'), "the client prepared it");
        assert!(relayed.answer(b'Z'));
        for _ in 0..2 {
            let executing = asked(&mut relayed, &[(b'B', "|s1|values"), (b'E', "|...."), (b'S', "")]);
            let wanted = [('P', "|select 1|.."), ('B', "||values"), ('E', "|...."), ('S', "")];
            assert_eq!(executing, expected(&wanted));
            assert!(!relayed.answer(b'1'), "the client did not prepare it now");
            assert!(relayed.answer(b'2') && relayed.answer(b'D') && relayed.answer(b'C'));
            assert!(relayed.answer(b'Z'));
        }
    }

    #[test]
    fn round_trips_that_are_under_way_together_are_told_apart_even_after_an_error() {
        let mut relayed = started();
        asked(&mut relayed, &[(b'P', "s1|one|"), (b'S', ""), (b'P', "s2|two|"), (b'S', "")]);
        asked(&mut relayed, &[(b'B', "|s1|"), (b'S', ""), (b'P', "s3|three|"), (b'S', "")]);
        assert!(relayed.answer(b'1') && relayed.answer(b'Z'));
        assert!(relayed.answer(b'E') && relayed.answer(b'Z'), "s2 was an error: no ParseComplete");
        assert!(!relayed.answer(b'1') && relayed.answer(b'Z'));
        assert!(relayed.answer(b'1') && relayed.answer(b'Z'));
    }

    #[test]
    fn within_a_round_trip_a_statement_is_prepared_once_and_two_take_turns() {
        let mut relayed = started();
        asked(&mut relayed, &[(b'P', "s1|one|"), (b'P', "s2|two|"), (b'S', "")]);
        let asks = [(b'B', "|s1|a"), (b'B', "|s1|b"), (b'B', "|s2|c"), (b'S', "")];
        let wanted = [('P', "|one|"), ('B', "||a"), ('B', "||b"), ('P', "|two|"), ('B', "||c"), ('S', "")];
        assert_eq!(asked(&mut relayed, &asks), expected(&wanted));
    }

    #[test]
    fn what_has_no_name_is_kept_as_well_and_what_is_not_known_passes_as_it_is() {
        let mut relayed = started();
        let asks =
            [(b'P', "|one|"), (b'B', "||a"), (b'B', "|s9|b"), (b'Q', "begin|"), (b'd', "data"), (b'X', "")];
        let wanted =
            [('P', "|one|"), ('B', "||a"), ('B', "|s9|b"), ('Q', "begin|"), ('d', "data"), ('X', "")];
        assert_eq!(asked(&mut relayed, &asks), expected(&wanted));
        let asks = [(b'S', ""), (b'B', "||a"), (b'S', "")];
        assert_eq!(
            asked(&mut relayed, &asks),
            expected(&[('S', ""), ('P', "|one|"), ('B', "||a"), ('S', "")])
        );
        asked(&mut relayed, &[(b'P', "s1|one|"), (b'C', "Ss1|"), (b'S', "")]);
        let gone = asked(&mut relayed, &[(b'B', "|s1|a"), (b'S', "")]);
        assert_eq!(gone, expected(&[('B', "|s1|a"), ('S', "")]), "closed is closed");
    }
}
