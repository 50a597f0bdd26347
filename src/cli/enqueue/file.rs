//! Many requests, from a file of lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use seatkeeper_jobs::{LineError, Request};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use super::send::{CHUNK, Numbered, Sent, send};
use crate::cli::Failure;
use crate::cli::lines::{BadLine, Lines};
use crate::cli::terminal::{Page, print, print_json, say};

/// What can be read once only is checked as a whole up to here, since it has to be remembered meanwhile.
pub const MOST_REMEMBERED: usize = 500_000;
/// Bad lines and conflicts that the summary repeats; all of them are named on standard error.
const REPEATED: usize = 1000;

/// What came of a file.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// Requests that are in.
    pub requests: u64,
    /// Those of them that were sent for the first time.
    pub new: u64,
    /// Those that were sent before, here or earlier.
    pub duplicates: u64,
    /// Lines that are no request.
    pub bad: u64,
    /// IDs that were used before for something else.
    pub conflicts: u64,
    pub bad_lines: Vec<BadLine>,
    pub conflicting: Vec<Conflict>,
    /// For `--wait`.
    #[serde(skip)]
    pub ids: Vec<Uuid>,
}

/// An ID that was used before for something else.
#[derive(Debug, Serialize)]
pub struct Conflict {
    pub line: u64,
    pub request_id: Uuid,
}

/// A file of requests, or standard input.
pub struct Source<'a> {
    pub path: &'a Path,
    /// Send what is good, although something is bad.
    pub keep_going: bool,
    /// Whether IDs are wanted afterwards.
    pub remember_ids: bool,
}

impl Source<'_> {
    /// Sends all of it.
    pub async fn send(&self, pool: &PgPool, bar: &ProgressBar) -> Result<Outcome, Failure> {
        if self.keep_going {
            return self.stream(self.open()?, pool, bar, None).await;
        }
        let size = self.path.metadata().ok().filter(|data| data.is_file() && self.path != Path::new("-"));
        let is_file = size.is_some();
        if let Some(size) = size {
            bar.set_length(size.len());
            bar.set_message("checking");
        }
        let mut outcome = Outcome::default();
        let mut remembered = Vec::new();
        let mut lines = Lines::new(self.open()?);
        let mut good = 0_u64;
        while let Some(line) = self.read(&mut lines)? {
            match line {
                Ok(_) if is_file => good += 1,
                Ok(_) if remembered.len() == MOST_REMEMBERED => {
                    return Err(Failure::usage(format!(
                        "more than {MOST_REMEMBERED} requests cannot be checked as a whole unless they are in a file; \
                         nothing was sent. Write them to a file, or send what is good with --keep-going"
                    )));
                }
                Ok(request) => remembered.push(request),
                Err(bad) => self.note_bad(bad, &mut outcome, bar),
            }
            bar.set_position(lines.bytes());
        }
        if outcome.bad > 0 {
            return Ok(outcome);
        }
        bar.set_message("sending");
        bar.set_position(0);
        if is_file {
            return self.stream(self.open()?, pool, bar, Some(good)).await;
        }
        bar.set_length(remembered.len().try_into().unwrap_or(u64::MAX));
        let mut remembered = remembered.into_iter();
        loop {
            let chunk: Vec<Numbered> = remembered.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(outcome);
            }
            self.note_sent(send(pool, chunk).await?, &mut outcome, bar);
        }
    }

    /// Reads and sends at the same time. A file that was found good before has `expected` requests.
    async fn stream(
        &self,
        input: Box<dyn BufRead>,
        pool: &PgPool,
        bar: &ProgressBar,
        expected: Option<u64>,
    ) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let mut lines = Lines::new(input);
        if let Some(expected) = expected {
            bar.set_length(expected);
        }
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let line = self.read(&mut lines)?;
            let at_end = line.is_none();
            match line {
                Some(Ok(request)) => chunk.push(request),
                Some(Err(bad)) if expected.is_some() => {
                    return Err(Failure::unable(format!(
                        "{} changed while it was read: {bad}",
                        self.path.display()
                    )));
                }
                Some(Err(bad)) => self.note_bad(bad, &mut outcome, bar),
                None => {}
            }
            if chunk.len() == CHUNK || (at_end && !chunk.is_empty()) {
                self.note_sent(send(pool, std::mem::take(&mut chunk)).await?, &mut outcome, bar);
            }
            if at_end {
                return Ok(outcome);
            }
        }
    }

    fn open(&self) -> Result<Box<dyn BufRead>, Failure> {
        if self.path == Path::new("-") {
            return Ok(Box::new(BufReader::new(io::stdin())));
        }
        let file = File::open(self.path).map_err(|error| self.cannot_read(&error))?;
        Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
    }

    fn read(
        &self,
        lines: &mut Lines<Box<dyn BufRead>>,
    ) -> Result<Option<Result<Numbered, BadLine>>, Failure> {
        let Some((number, line)) = lines.next().map_err(|error| self.cannot_read(&error))? else {
            return Ok(None);
        };
        Ok(Some(line.and_then(|text| match Request::read_line(&text) {
            Ok(request) => Ok((number, request)),
            Err(LineError::Json(error)) => Err(BadLine::not_json(number, &error)),
            Err(LineError::Request(error)) => Err(BadLine {
                line: number,
                field: Some(error.field),
                problem: "missing, malformed or not allowed here".to_owned(),
            }),
        })))
    }

    fn cannot_read(&self, error: &io::Error) -> Failure {
        let name =
            if self.path == Path::new("-") { PathBuf::from("standard input") } else { self.path.to_owned() };
        Failure::usage(format!("cannot read {}: {error}", name.display()))
    }

    fn note_bad(&self, bad: BadLine, outcome: &mut Outcome, bar: &ProgressBar) {
        bar.suspend(|| say(&bad));
        outcome.bad += 1;
        if outcome.bad_lines.len() < REPEATED {
            outcome.bad_lines.push(bad);
        }
    }

    fn note_sent(&self, sent: Sent, outcome: &mut Outcome, bar: &ProgressBar) {
        let duplicates = sent.receipts.iter().filter(|receipt| receipt.duplicate).count();
        let all = sent.receipts.len();
        outcome.requests += u64::try_from(all).unwrap_or_default();
        outcome.duplicates += u64::try_from(duplicates).unwrap_or_default();
        outcome.new = outcome.requests - outcome.duplicates;
        if self.remember_ids {
            outcome.ids.extend(sent.receipts.iter().map(|receipt| receipt.request_id));
        }
        for bad in sent.bad {
            self.note_bad(bad, outcome, bar);
        }
        for (line, request_id) in sent.conflicts {
            bar.suspend(|| {
                say(format_args!(
                    "line {line}: request {request_id} was asked before, with another kind or payload (RC409)"
                ));
            });
            outcome.conflicts += 1;
            if outcome.conflicting.len() < REPEATED {
                outcome.conflicting.push(Conflict { line, request_id });
            }
        }
        bar.set_position(outcome.requests + outcome.conflicts);
    }
}

impl Outcome {
    /// Prints what came of it.
    pub fn print(&self, json: bool, answered: Option<&super::receipts::Answered>) -> Result<(), Failure> {
        if json {
            return print_json(&json!({ "summary": self, "answered": answered }));
        }
        let mut text =
            format!("{} requests are in: {} new, {} sent before", self.requests, self.new, self.duplicates);
        for (count, what) in [(self.conflicts, "in conflict"), (self.bad, "bad lines")] {
            if count > 0 {
                text.push_str(&format!("; {count} {what}"));
            }
        }
        let mut page = Page::default();
        page.line(text);
        if let Some(answered) = answered {
            let figures = [
                (answered.applied, "applied"),
                (answered.refused, "refused"),
                (answered.failed, "failed"),
                (answered.cancelled, "cancelled"),
                (answered.waiting, "not answered yet"),
                (answered.gone, "gone"),
            ];
            let figures = figures.iter().filter(|(count, _)| *count > 0);
            let figures: Vec<String> = figures.map(|(count, what)| format!("{count} {what}")).collect();
            if !figures.is_empty() {
                page.line(figures.join(", "));
            }
        }
        print(&page);
        Ok(())
    }
}
