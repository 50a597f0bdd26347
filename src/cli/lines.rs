//! Lines of a file that somebody else wrote: numbered, bounded, and nothing about them is taken for granted.

use std::fmt::{self, Display};
use std::io::{self, BufRead};

use serde::Serialize;

use super::terminal::foreign;

/// The longest line that is read, in bytes. No well-formed one comes near.
pub const LONGEST: usize = 1 << 20;

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// The field at fault, where it is one.
    pub field: Option<String>,
    /// In words.
    pub problem: String,
}

impl Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(field) = &self.field {
            write!(f, "{}: ", foreign(field))?;
        }
        foreign(&self.problem).fmt(f)
    }
}

impl BadLine {
    /// A line that has no fields yet.
    pub fn whole(line: u64, problem: impl Into<String>) -> Self {
        Self { line, field: None, problem: problem.into() }
    }

    /// A line that is not JSON.
    pub fn not_json(line: u64, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // A line is all that it saw, so it calls every line the first.
        let (problem, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
        Self::whole(line, format!("not JSON: {problem} (column {})", error.column()))
    }
}

/// Reads lines one by one, each into memory of its own; empty ones are passed over.
#[derive(Debug)]
pub struct Lines<R> {
    input: R,
    number: u64,
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    pub const fn new(input: R) -> Self {
        Self { input, number: 0, bytes: 0 }
    }

    /// How many bytes were read so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next line that is not empty, without its end, and its number; `None` at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read. A line that is too long, or is not UTF-8, is a [`BadLine`].
    pub fn next(&mut self) -> io::Result<Option<(u64, Result<String, BadLine>)>> {
        loop {
            let Some((mut line, too_long)) = self.read()? else { return Ok(None) };
            self.number += 1;
            if self.number == 1 && line.starts_with(b"\xEF\xBB\xBF") {
                line.drain(..3);
            }
            if too_long {
                let problem = format!("longer than {LONGEST} bytes");
                return Ok(Some((self.number, Err(BadLine::whole(self.number, problem)))));
            }
            match String::from_utf8(line) {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => return Ok(Some((self.number, Ok(text)))),
                Err(error) => {
                    let column = error.utf8_error().valid_up_to() + 1;
                    let problem = format!("not UTF-8 (byte {column})");
                    return Ok(Some((self.number, Err(BadLine::whole(self.number, problem)))));
                }
            }
        }
    }

    /// One line, cut when it is too long; `None` at the end of the file.
    fn read(&mut self) -> io::Result<Option<(Vec<u8>, bool)>> {
        let (mut line, mut too_long, mut anything) = (Vec::new(), false, false);
        loop {
            let buffer = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            if buffer.is_empty() {
                return Ok(anything.then_some((line, too_long)));
            }
            anything = true;
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let part = &buffer[..end.unwrap_or(buffer.len())];
            if line.len() + part.len() > LONGEST {
                too_long = true;
            } else {
                line.extend_from_slice(part);
            }
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.input.consume(used);
            self.bytes += u64::try_from(used).unwrap_or_default();
            if end.is_some() {
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some((line, too_long)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{LONGEST, Lines};

    fn lines(bytes: &[u8]) -> Vec<(u64, Result<String, String>)> {
        // A small buffer, so that lines span several.
        let mut lines = Lines::new(BufReader::with_capacity(7, bytes));
        let mut all = Vec::new();
        while let Some((number, line)) = lines.next().expect("memory can be read") {
            all.push((number, line.map_err(|bad| bad.to_string())));
        }
        assert_eq!(usize::try_from(lines.bytes()), Ok(bytes.len()));
        all
    }

    #[test]
    fn ends_of_lines_marks_and_empty_lines_are_no_content() {
        let text = b"\xEF\xBB\xBF{\"a\": 1}\r\n\r\n   \n{\"b\": 2}";
        assert_eq!(lines(text), [(1, Ok("{\"a\": 1}".into())), (4, Ok("{\"b\": 2}".into()))]);
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\xEF\xBB\xBF\n"), []);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_the_rest_is_read() {
        let mut text = b"good\n\xFF\xFE\n".to_vec();
        text.extend(std::iter::repeat_n(b'x', LONGEST + 1));
        text.extend(b"\nlast\n");
        let read = lines(&text);
        assert_eq!(read[0], (1, Ok("good".into())));
        assert_eq!(read[1], (2, Err("line 2: not UTF-8 (byte 1)".into())));
        assert_eq!(read[2], (3, Err(format!("line 3: longer than {LONGEST} bytes"))));
        assert_eq!(read[3], (4, Ok("last".into())));
    }
}
