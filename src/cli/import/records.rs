//! CSV, field by field: none takes more memory than a line of any file may.

use std::io::{self, BufRead};

use csv_core::{ReadFieldResult, Reader};

use crate::cli::lines::LONGEST;

/// A field of a record.
#[derive(Debug)]
pub struct Field<'a> {
    /// What is in it; nothing when that is longer than [`LONGEST`].
    pub bytes: Option<&'a [u8]>,
    /// Whether the record ends with it.
    pub is_last: bool,
}

/// Reads records one after the other, each field into the same memory.
pub struct Records<R> {
    input: R,
    reader: Reader,
    /// The line that is being read, from 1.
    line: u64,
    field: Vec<u8>,
    piece: [u8; 1024],
}

impl<R: BufRead> Records<R> {
    pub fn new(input: R) -> Self {
        Self { input, reader: Reader::new(), line: 1, field: Vec::new(), piece: [0; 1024] }
    }

    /// Goes to the next record, whose fields all have to be read then, and gives the line that it begins in; `None` at the end
    /// of the file. The reader itself counts neither empty lines nor ends like `\r\n` as editors do.
    pub fn next(&mut self) -> io::Result<Option<u64>> {
        loop {
            let first = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                there => there?.first().copied(),
            };
            match first {
                None => return Ok(None),
                Some(end @ (b'\r' | b'\n')) => {
                    self.line += u64::from(end == b'\n');
                    self.input.consume(1);
                }
                Some(_) => return Ok(Some(self.line)),
            }
        }
    }

    /// Reads the next field of the record.
    pub fn field(&mut self) -> io::Result<Field<'_>> {
        self.field.clear();
        let mut fits = true;
        loop {
            let there = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                there => there?,
            };
            let (result, taken, written) = self.reader.read_field(there, &mut self.piece);
            let ends = there[..taken].iter().filter(|byte| **byte == b'\n').count();
            self.line += u64::try_from(ends).unwrap_or_default();
            self.input.consume(taken);
            fits &= self.field.len() + written <= LONGEST;
            if fits {
                self.field.extend_from_slice(&self.piece[..written]);
            }
            let is_last = match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => continue,
                ReadFieldResult::Field { record_end } => record_end,
                ReadFieldResult::End => true,
            };
            return Ok(Field { bytes: fits.then_some(&self.field), is_last });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{LONGEST, Records};

    /// Each record: its line, and its fields, or the length of those that are long.
    fn records(bytes: &[u8], buffer: usize) -> Vec<(u64, Vec<String>)> {
        let mut records = Records::new(BufReader::with_capacity(buffer, bytes));
        let mut all = Vec::new();
        while let Some(line) = records.next().expect("memory can be read") {
            let mut fields = Vec::new();
            loop {
                let field = records.field().expect("memory can be read");
                fields.push(match field.bytes {
                    None => "too long".to_owned(),
                    Some(long) if long.len() > 100 => long.len().to_string(),
                    Some(short) => String::from_utf8_lossy(short).into_owned(),
                });
                if field.is_last {
                    break;
                }
            }
            all.push((line, fields));
        }
        all
    }

    #[test]
    fn records_have_the_lines_and_fields_that_editors_and_spreadsheets_show() {
        let text = b"a,b\r\n\r\n1,\"x\ny\"\n\n\"\",\n\"say \"\"hi\"\"\"\n7,\xFF,8\n,end";
        let expected: Vec<(u64, Vec<String>)> = [
            (1, &["a", "b"][..]),
            (3, &["1", "x\ny"]),
            (6, &["", ""]),
            (7, &["say \"hi\""]),
            (8, &["7", "\u{fffd}", "8"]),
            (9, &["", "end"]),
        ]
        .map(|(line, fields)| (line, fields.iter().map(|field| (*field).to_owned()).collect()))
        .into();
        for buffer in [1, 2, 3, 7, 4096] {
            assert_eq!(records(text, buffer), expected, "read {buffer} bytes at a time");
        }
        assert_eq!(records(b"", 7), []);
        assert_eq!(records(b"\r\n\n", 7), []);
    }

    #[test]
    fn a_field_is_as_long_as_a_line_and_no_longer() {
        let (longest, longer) = ("x".repeat(LONGEST), "y".repeat(LONGEST + 1));
        let text = format!("{longest},\"{longest}\"\n1,{longer},2\n3,\"open\n{longer}");
        let length = LONGEST.to_string();
        let read = records(text.as_bytes(), 1 << 16);
        let fields = |of: &[&str]| of.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
        assert_eq!(read[0], (1, fields(&[&length, &length])));
        assert_eq!(read[1], (2, fields(&["1", "too long", "2"])));
        assert_eq!(read[2], (3, fields(&["3", "too long"])));
        assert_eq!(read.len(), 3);
    }
}
