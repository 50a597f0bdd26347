//! The question before something that is not easily taken back.

use std::io::{BufRead, IsTerminal};

use super::{Failure, terminal};

/// Says what would be done, and asks whether to go on. Anything but a yes is a no.
///
/// # Errors
/// A usage error where nobody can be asked, with what to add; or when no answer could be read.
pub(super) fn may_go_on(what: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{what}; nobody can be asked here: add --yes, or --dry-run to look"
        )));
    }
    // A prompt that does not show up is followed by an answer that is no yes.
    terminal::ask(format_args!("{what}. Go on? [y/N]"));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::unable(format!("no answer could be read: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
