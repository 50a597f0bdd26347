//! From a file to rows, every bad line named.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use clap::ValueEnum;
use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::columns::{Column, Table};
use crate::cli::Failure;
use crate::cli::lines::{BadLine, Lines};

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
#[derive(Debug, Default)]
pub struct Rows {
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

/// Reads all of a file, `-` for standard input. It is held in memory, since rows are sorted, and checked as a whole.
pub fn read(path: &Path, format: Format, table: &'static Table) -> Result<Rows, Failure> {
    let cannot =
        |error: &dyn std::fmt::Display| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::with_capacity(1 << 16, File::open(path).map_err(|error| cannot(&error))?))
    };
    let mut reading = Reading { table, seen: HashMap::new(), rows: Rows::default() };
    match format {
        Format::Csv => {
            let mut bytes = Vec::new();
            input.read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
            reading.csv(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes))?;
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
    fn csv(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes);
        let cannot = |error: csv::Error| Failure::usage(format!("the CSV file cannot be read: {error}"));
        let columns = self.header(reader.byte_headers().map_err(cannot)?)?;
        let mut record = ByteRecord::new();
        let mut place = Place { bytes, at: 0, line: 1 };
        while reader.read_byte_record(&mut record).map_err(cannot)? {
            let line = place.line_of(record.position().map_or(0, csv::Position::byte));
            if record.len() != columns.len() {
                let problem = format!("{} fields where the header has {}", record.len(), columns.len());
                self.rows.bad.push(BadLine::whole(line, problem));
                continue;
            }
            let mut fields = Fields { line, values: Map::new(), bad: Vec::new() };
            for (column, field) in columns.iter().zip(&record) {
                let read = match std::str::from_utf8(field) {
                    Ok(text) => column.read_text(text),
                    Err(_) => Err("not UTF-8".to_owned()),
                };
                fields.take(column.name, read);
            }
            self.keep(fields);
        }
        Ok(())
    }

    fn header(&self, header: &ByteRecord) -> Result<Vec<&'static Column>, Failure> {
        let mut columns: Vec<&'static Column> = Vec::new();
        for name in header {
            let name = String::from_utf8_lossy(name);
            let name = name.trim();
            let wrong = |problem: String| Failure::usage(format!("line 1: {name}: {problem}"));
            let column = self.table.column(name).map_err(wrong)?;
            if columns.iter().any(|known| known.name == column.name) {
                return Err(wrong("the column is there twice".to_owned()));
            }
            columns.push(column);
        }
        if columns.iter().all(|column| column.name != self.table.key) {
            let key = self.table.key;
            return Err(Failure::usage(format!(
                "line 1: {key}: the column is missing; the first line has to name the columns"
            )));
        }
        Ok(columns)
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
                Err(problem) => fields.take(&name.chars().take(100).collect::<String>(), Err(problem)),
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

/// Tells lines from offsets: the reader itself counts neither empty lines nor ends like `\r\n` as editors do.
struct Place<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Place<'_> {
    /// The line in which the record that was looked for from this offset on begins. Offsets only grow.
    fn line_of(&mut self, offset: u64) -> u64 {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        while let Some(&byte) = self.bytes.get(self.at)
            && (self.at < offset || matches!(byte, b'\r' | b'\n'))
        {
            self.line += u64::from(byte == b'\n');
            self.at += 1;
        }
        self.line
    }
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
