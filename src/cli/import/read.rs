//! From a file to rows, every bad line named.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::columns::{Column, Table};
use super::records::{Field, Records};
use crate::cli::Failure;
use crate::cli::lines::{BadLine, LONGEST, Lines};
use crate::cli::terminal::cut;

/// The most characters that are repeated of a name that no column has.
const LONGEST_NAME: usize = 100;
/// The most names of columns that are called wrong.
const MOST_WRONG: usize = 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Commas, and the names of the columns in the first line
    Csv,
    /// A JSON object in each line
    Ndjson,
}

/// A row of the file: its columns as the database reads them, the key among them.
#[derive(Debug, Clone)]
pub struct Row {
    pub line: u64,
    pub key: i64,
    pub values: Map<String, Value>,
}

/// A file, read.
#[derive(Debug)]
pub struct Rows {
    /// Whether the names of the columns are all right. If not, nothing was read.
    pub has_header: bool,
    /// Ascending by key, each key once.
    pub rows: Vec<Row>,
    pub bad: Vec<BadLine>,
}

impl Format {
    /// The format that the name of a file tells.
    pub fn of(path: &Path) -> Result<Self, Failure> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            _ => Err(Failure::usage(format!(
                "{}: neither .csv nor .ndjson; say how it is written with --format",
                path.display()
            ))),
        }
    }
}

/// Reads all of a file, `-` for standard input. Its rows are held in memory, since they are sorted, and checked as a whole.
pub fn read(path: &Path, format: Format, table: &'static Table) -> Result<Rows, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::with_capacity(1 << 16, File::open(path).map_err(|error| cannot(&error))?))
    };
    let mut reading = Reading {
        table,
        seen: HashMap::new(),
        rows: Rows { has_header: true, rows: Vec::new(), bad: Vec::new() },
    };
    match format {
        Format::Csv => {
            let mut records = Records::new(input);
            match reading.header(&mut records).map_err(|error| cannot(&error))? {
                Some(columns) => reading.csv(&mut records, &columns).map_err(|error| cannot(&error))?,
                None => reading.rows.has_header = false,
            }
        }
        Format::Ndjson => {
            let mut lines = Lines::new(input);
            while let Some((number, line)) = lines.next().map_err(|error| cannot(&error))? {
                match line {
                    Ok(text) => reading.json(number, &text),
                    Err(bad) => reading.rows.bad.push(bad),
                }
            }
        }
    }
    reading.rows.rows.sort_unstable_by_key(|row| row.key);
    Ok(reading.rows)
}

struct Reading {
    table: &'static Table,
    /// Key → the line that it was first seen in.
    seen: HashMap<i64, u64>,
    rows: Rows,
}

impl Reading {
    fn csv(&mut self, records: &mut Records<impl BufRead>, columns: &[&'static Column]) -> io::Result<()> {
        while let Some(line) = records.next()? {
            let mut fields = Fields { line, values: Map::new(), bad: Vec::new() };
            let (mut count, mut is_cut) = (0, false);
            loop {
                let Field { bytes, is_last } = records.field()?;
                is_cut |= bytes.is_none();
                if let Some(column) = columns.get(count) {
                    let read = match bytes.map(std::str::from_utf8) {
                        Some(Ok(text)) => column.read_text(text),
                        Some(Err(_)) => Err("not UTF-8".to_owned()),
                        None => Err(too_long()),
                    };
                    fields.take(column.name, read);
                }
                count += 1;
                if is_last {
                    break;
                }
            }
            if count == columns.len() {
                self.keep(fields);
            } else if is_cut && !fields.bad.is_empty() {
                // It has swallowed what should have been the next ones.
                self.rows.bad.append(&mut fields.bad);
            } else {
                let problem = format!("{count} fields where the header has {}", columns.len());
                self.rows.bad.push(BadLine::whole(line, problem));
            }
        }
        Ok(())
    }

    /// Reads the columns that the first record names; `None` when something is wrong with their names: then nobody knows what the lines
    /// mean.
    fn header(&mut self, records: &mut Records<impl BufRead>) -> io::Result<Option<Vec<&'static Column>>> {
        let mut columns: Vec<&'static Column> = Vec::new();
        let mut wrong = |name: &str, problem: String| {
            let field = Some(cut(name, LONGEST_NAME).into_owned());
            self.rows.bad.push(BadLine { line: 1, field, problem });
        };
        let mut wrong_ones = 0;
        let mut is_over = records.next()?.is_none();
        let mut number = 0;
        while !is_over && wrong_ones < MOST_WRONG {
            let Field { bytes, is_last } = records.field()?;
            is_over = is_last;
            number += 1;
            let Some(bytes) = bytes else {
                wrong(&format!("column {number}"), too_long());
                wrong_ones += 1;
                continue;
            };
            let name = String::from_utf8_lossy(bytes);
            let name = name.trim_start_matches('\u{feff}').trim();
            let problem = match self.table.column(name) {
                Ok(column) if columns.iter().any(|known| known.name == column.name) => {
                    "the column is there twice".to_owned()
                }
                Ok(column) => {
                    columns.push(column);
                    continue;
                }
                Err(problem) => problem,
            };
            wrong(name, problem);
            wrong_ones += 1;
        }
        let key = self.table.key;
        if is_over && columns.iter().all(|column| column.name != key) {
            wrong(key, "the column is missing; the first line has to name the columns".to_owned());
            wrong_ones += 1;
        }
        Ok((wrong_ones == 0).then_some(columns))
    }

    fn json(&mut self, line: u64, text: &str) {
        let object: Map<String, Value> = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return self.rows.bad.push(BadLine::whole(line, "a JSON object is due")),
            Err(error) => return self.rows.bad.push(BadLine::not_json(line, &error)),
        };
        let mut fields = Fields { line, values: Map::new(), bad: Vec::new() };
        for (name, value) in object {
            match self.table.column(&name) {
                Ok(column) => fields.take(column.name, column.check(value)),
                Err(problem) => fields.take(&cut(&name, LONGEST_NAME), Err(problem)),
            }
        }
        self.keep(fields);
    }

    /// Keeps a row if all of it is good and its key is new.
    fn keep(&mut self, fields: Fields) {
        let Fields { line, values, bad } = fields;
        let is_bad = !bad.is_empty();
        let key_is_named = bad.iter().any(|bad| bad.field.as_deref() == Some(self.table.key));
        self.rows.bad.extend(bad);
        let Some(key) = values.get(self.table.key).and_then(Value::as_i64) else {
            if !key_is_named {
                let (field, problem) = (Some(self.table.key.to_owned()), "missing".to_owned());
                self.rows.bad.push(BadLine { line, field, problem });
            }
            return;
        };
        if let Some(first) = self.seen.insert(key, line) {
            let problem = format!("{key} is in line {first} already");
            self.rows.bad.push(BadLine { line, field: Some(self.table.key.to_owned()), problem });
            self.seen.insert(key, first);
        } else if !is_bad {
            self.rows.rows.push(Row { line, key, values });
        }
    }
}

/// What is wrong with a field that is no longer read.
fn too_long() -> String {
    format!("longer than {LONGEST} bytes; perhaps a quotation mark is missing at its end")
}

/// The fields of one line.
struct Fields {
    line: u64,
    values: Map<String, Value>,
    bad: Vec<BadLine>,
}

impl Fields {
    fn take(&mut self, name: &str, read: Result<Value, String>) {
        match read {
            Ok(value) => {
                self.values.insert(name.to_owned(), value);
            }
            Err(problem) => self.bad.push(BadLine { line: self.line, field: Some(name.to_owned()), problem }),
        }
    }
}
