//! Everything that people read goes out here, line by line.
//!
//! Much of what a verb tells was written by others: names and reasons in the database, fields of a file, what the server says. A
//! terminal obeys what is in a text, and a text with an end of line in it begins lines that look like ours. So nothing is printed
//! but a [`Page`] of lines, each of which is escaped as a whole when it is added: whatever is formatted into it stays one line,
//! and none of it acts on a terminal. Nobody has to remember that. What has to be remembered is only to wrap a text that may be
//! long in [`foreign`], so that what comes behind it is seen.
//!
//! JSON stays exact: what nobody sees is written there as `\u009b`, which a parser reads as the very same text.
//!
//! The log goes by the same rules ([`log_field`], [`JsonLog`]).

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write as _};

use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;

use super::Failure;

/// The longest that a text of others is shown, in characters.
const LONGEST_TEXT: usize = 400;
/// The longest line, in characters.
const LONGEST_LINE: usize = 8_000;

/// Whether a character acts on a terminal, or is there and not seen: controls, directions of writing, what is of no width, ends of
/// lines and paragraphs, and what is assigned to nothing.
fn is_hidden(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // Letters and marks without a glyph. The rest the standard library knows, for `{:?}`; it takes a mark that is combined with
    // the character before it for printable only behind one.
    matches!(character, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
        || ['a', character].iter().collect::<String>().escape_debug().count() > 2
}

/// Whether a text is shown as it is, in one line.
pub fn is_plain(text: &str) -> bool {
    !text.chars().any(is_hidden)
}

/// Writes a text so that all of it can be seen: `\n`, `\t`, `\r`, and `\u{1b}` for the rest.
fn write_escaped(out: &mut impl fmt::Write, text: &str) -> fmt::Result {
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => write!(out, "{}", character.escape_default())?,
            hidden if is_hidden(hidden) => write!(out, "{}", hidden.escape_unicode())?,
            seen => out.write_char(seen)?,
        }
    }
    Ok(())
}

/// The same, with a sign where it was cut.
fn write_cut(out: &mut impl fmt::Write, text: &str, longest: usize) -> fmt::Result {
    write_escaped(out, &cut(text, longest))
}

/// The text, with a sign where it was cut: for what is kept or goes into JSON, and is not shown yet.
pub fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        None => text.into(),
        Some((end, _)) => {
            format!("{}… ({} more characters)", &text[..end], text[end..].chars().count()).into()
        }
    }
}

/// A text that somebody else wrote, for people: escaped, and cut to a length.
#[derive(Debug, Clone)]
pub struct Foreign {
    text: String,
    longest: usize,
}

/// Wraps a text that somebody else wrote.
pub fn foreign(text: impl Display) -> Foreign {
    Foreign { text: text.to_string(), longest: LONGEST_TEXT }
}

impl Foreign {
    /// Cut to another length, in characters.
    pub fn up_to(self, longest: usize) -> Self {
        Self { longest, ..self }
    }
}

impl Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = String::new();
        write_cut(&mut shown, &self.text, self.longest)?;
        f.pad(&shown)
    }
}

/// Lines for people.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Adds a line. Whatever is in it, it stays one.
    pub fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _ = write_cut(&mut self.0, &line.to_string(), LONGEST_LINE);
        self.0.push('\n');
    }

    /// Adds an empty line.
    pub fn gap(&mut self) {
        self.0.push('\n');
    }

    /// What is on it.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Adds a formatted line to a [`Page`].
macro_rules! line {
    ($page:expr, $($text:tt)+) => { $page.line(format_args!($($text)+)) };
}
pub(crate) use line;

/// Prints what a verb has to tell. Who reads it may stop reading early, as `head` does.
pub fn print(page: &Page) {
    put(&page.0);
}

/// Prints one line.
pub fn print_line(line: impl Display) {
    let mut page = Page::default();
    page.line(line);
    print(&page);
}

/// Prints a text of ours that has lines of its own: SQL, rules, figures. No text of others belongs in it: an end of line in that
/// would begin a line here.
pub fn print_own(text: &str) {
    let mut shown = String::new();
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let _ = write_escaped(&mut shown, line);
        shown.push_str(end);
    }
    put(&shown);
}

/// Prints JSON, in one line.
///
/// # Errors
/// When it is not to be written as JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(|error| Failure::unable(error.to_string()))?;
    put(&(visible_json(&json) + "\n"));
    Ok(())
}

/// Says something to whoever looks on, on standard error.
pub fn say(line: impl Display) {
    let mut page = Page::default();
    page.line(line);
    say_page(&page);
}

/// Says several lines there.
pub fn say_page(page: &Page) {
    put_error(&page.0);
}

/// Asks something there; the answer is given in the same line.
pub fn ask(question: impl Display) {
    let mut shown = String::new();
    let _ = write_cut(&mut shown, &question.to_string(), LONGEST_LINE);
    put_error(&(shown + " "));
}

fn put(text: &str) {
    let mut stdout = io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        tracing::debug!("nobody reads the output to its end");
    }
}

fn put_error(text: &str) {
    let mut stderr = io::stderr().lock();
    // There is no place left to say that it failed.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// The same JSON, in which all can be seen. Between the strings there is nothing that would be changed.
fn visible_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        if character != '\n' && is_hidden(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A field of an event in the log for people, in one line with all others.
pub fn log_field(
    writer: &mut Writer<'_>,
    field: &tracing::field::Field,
    value: &dyn fmt::Debug,
) -> fmt::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => {}
        // What the `log` crate says of itself.
        name if name.starts_with("log.") => return Ok(()),
        name => write!(writer, "{name}=")?,
    }
    write_cut(writer, &value, LONGEST_LINE)
}

/// Where the log in JSON goes: standard error. Each event comes in one piece.
#[derive(Debug)]
pub struct JsonLog;

impl io::Write for JsonLog {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let shown = visible_json(&String::from_utf8_lossy(event));
        io::stderr().lock().write_all(shown.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_LINE, Page, foreign, visible_json};

    #[test]
    fn a_line_stays_one_and_all_of_it_can_be_seen() {
        let mut page = Page::default();
        line!(
            page,
            "{:<8}|{}",
            foreign("a\u{1b}[0m"),
            "x\ny\u{9b}\u{202e}\u{2028}\u{200b}\u{7f}\u{fe0f}\u{3164}"
        );
        assert_eq!(
            page.text(),
            "a\\u{1b}[0m|x\\ny\\u{9b}\\u{202e}\\u{2028}\\u{200b}\\u{7f}\\u{fe0f}\\u{3164}\n"
        );
        // What is seen stays as it is, in any script.
        for seen in ["Zoë", "Zoe\u{308}", "日本語", "हिन्दी", "עברית", "🏓 \\n \"'…→"]
        {
            assert_eq!(foreign(seen).to_string(), seen);
        }
    }

    #[test]
    fn what_is_long_is_cut_and_says_so() {
        assert_eq!(foreign("ä".repeat(9)).up_to(9).to_string(), "ä".repeat(9));
        assert_eq!(foreign("ä\n".repeat(9)).up_to(2).to_string(), "ä\\n… (16 more characters)");
        let mut page = Page::default();
        line!(page, "{}", "x".repeat(LONGEST_LINE + 5));
        assert!(page.text().ends_with("x… (5 more characters)\n"));
    }

    #[test]
    fn json_is_the_same_when_it_is_parsed() {
        let all: String = ('\0'..='\u{ffff}').chain('\u{e0000}'..='\u{e0fff}').collect();
        let value = serde_json::json!({ &all: [all, 7, null] });
        let shown = visible_json(&value.to_string());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(!shown.contains([
            '\u{7f}',
            '\u{9b}',
            '\u{202e}',
            '\u{2066}',
            '\u{2028}',
            '\u{feff}',
            '\u{e0041}'
        ]));
    }
}
