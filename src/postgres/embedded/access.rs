//! Who is let in: nobody but by the password (SCRAM), whatever the cluster's `pg_hba.conf` has become.

use super::error::EmbeddedError;
use super::files;
use super::home::Home;

/// How a line begins that is about a kind of connection.
const KINDS: [&str; 6] = ["local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"];

/// How it has to end: nothing else comes in last place, since the methods that take options are others.
const METHODS: [&str; 2] = ["scram-sha-256", "reject"];

/// Refuses a cluster that would let anybody in by another way. Blocks.
pub(super) fn check(home: &Home) -> Result<(), EmbeddedError> {
    let file = home.rules_of_access();
    // Where there is none the server does not start, and says so.
    let Some(bytes) = files::text_of(&file, home.account.uid)? else { return Ok(()) };
    match open_door(&String::from_utf8_lossy(&bytes)) {
        None => Ok(()),
        Some((line, text)) => Err(EmbeddedError::OpenDoor { file, line, text }),
    }
}

/// The first line that is no rule which asks for the password, and its number. What would have to be read as PostgreSQL does
/// (quotes, lines that go on, other files) is none.
fn open_door(rules: &str) -> Option<(usize, String)> {
    rules.lines().enumerate().find_map(|(number, text)| {
        let rule = text.split('#').next().unwrap_or_default();
        let words: Vec<&str> = rule.split_whitespace().collect();
        let (Some(first), Some(last)) = (words.first(), words.last()) else { return None };
        let is_plain = !rule.contains(['"', '\\', '@', '\r']);
        let is_fine = is_plain && KINDS.contains(first) && METHODS.contains(last);
        (!is_fine).then(|| (number + 1, text.trim().to_owned()))
    })
}
