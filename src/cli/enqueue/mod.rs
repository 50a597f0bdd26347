//! `enqueue`: asks, through the same doors as any producer.

mod file;
mod one;
mod receipts;
mod send;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;
use sqlx::PgPool;

use self::file::Source;
use self::one::One;
use self::receipts::{Answered, await_all, print_receipt};
use self::send::send;
use super::database::DatabaseFlags;
use super::progress::progress_bar;
use super::terminal::{foreign, say};
use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Enqueue {
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    one: One,
    /// A file with a request in each line, {"request_id": …, "kind": …, "payload": {…}}, or `-` for standard input.
    /// It is safe to send it again: what is in already counts as sent before. When a line is bad nothing is sent;
    /// standard input is checked as a whole up to 500000 requests, beyond that it needs --keep-going
    #[arg(long, env = "SEATKEEPER_FILE")]
    file: Option<PathBuf>,
    /// Send the good lines although some are bad; exits 2 in the end when there were any
    #[arg(long, env = "SEATKEEPER_KEEP_GOING")]
    keep_going: bool,
    /// Wait for the answers and print the receipts as they come; exits 1 when any is not applied
    #[arg(long, env = "SEATKEEPER_WAIT")]
    wait: bool,
    /// How long to wait
    #[arg(long, env = "SEATKEEPER_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print JSON: a receipt a line, and for a file a summary in the last one
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Enqueue {
    pub async fn execute(self) -> Result<Exit, Failure> {
        // What is wrong with the flags is said before a database is looked for.
        if self.keep_going && self.file.is_none() {
            return Err(Failure::usage("--keep-going is for --file"));
        }
        let request = if self.file.is_none() { Some(self.one.request()?) } else { None };
        let database = self.database.open_usable_or_hidden(2).await?;
        let exit = match (request, &self.file) {
            (Some(request), _) => self.send_one(&database.pool, request).await,
            (None, Some(path)) => self.send_file(&database.pool, path.clone()).await,
            (None, None) => Err(Failure::usage("say what is asked, or give --file")),
        };
        database.close().await?;
        exit
    }

    async fn send_one(&self, pool: &PgPool, request: seatkeeper_jobs::Request) -> Result<Exit, Failure> {
        let id = request.request_id();
        let sent = send(pool, vec![(1, request)]).await?;
        if !sent.conflicts.is_empty() {
            say(format_args!(
                "seatkeeper: request {id} was asked before, with another kind or payload (RC409); a new request needs \
                 a new ID"
            ));
            return Ok(Exit::BadNews);
        }
        if let Some(bad) = sent.bad.first() {
            let field = bad.field.as_deref().unwrap_or("request");
            return Err(Failure::unable(format!("{}: {}", foreign(field), bad.problem)));
        }
        if !self.wait {
            sent.receipts.iter().try_for_each(|receipt| print_receipt(receipt, self.json))?;
            return Ok(Exit::Fine);
        }
        let answered = await_all(pool, vec![id], self.timeout, self.json, &ProgressBar::hidden()).await?;
        self.verdict(&answered, &format!("request {id} is in the queue and"))
    }

    async fn send_file(&self, pool: &PgPool, path: PathBuf) -> Result<Exit, Failure> {
        let source = Source { path: &path, keep_going: self.keep_going, remember_ids: self.wait };
        let bar = progress_bar("sending")?;
        let outcome = source.send(pool, &bar).await;
        bar.finish_and_clear();
        let mut outcome = outcome?;
        if outcome.bad > 0 && !self.keep_going {
            outcome.print(self.json, None)?;
            return Err(Failure::usage(format!(
                "{} bad lines: nothing was sent. Correct them, or send what is good with --keep-going",
                outcome.bad
            )));
        }
        let answered = if self.wait {
            let bar = progress_bar("answered")?;
            let ids = std::mem::take(&mut outcome.ids);
            let answered = await_all(pool, ids, self.timeout, self.json, &bar).await;
            bar.finish_and_clear();
            Some(answered?)
        } else {
            None
        };
        outcome.print(self.json, answered.as_ref())?;
        if outcome.bad > 0 {
            return Err(Failure::usage(format!("{} bad lines were not sent", outcome.bad)));
        }
        if outcome.conflicts > 0 {
            return Ok(Exit::BadNews);
        }
        answered.map_or(Ok(Exit::Fine), |answered| self.verdict(&answered, "requests are in the queue that"))
    }

    fn verdict(&self, answered: &Answered, waiting: &str) -> Result<Exit, Failure> {
        if answered.gone > 0 {
            return Err(Failure::unable(format!(
                "{} requests were in the database and are gone: it went back, to a backup or to a standby that lacked them. Send \
                 them again, with the same IDs",
                answered.gone
            )));
        }
        if answered.waiting > 0 {
            let timeout = humantime::format_duration(self.timeout);
            return Err(Failure::unable(format!(
                "{waiting} got no answer within {timeout}: is a worker running (`seatkeeper run`), is something paused?"
            )));
        }
        Ok(if answered.bad_news() { Exit::BadNews } else { Exit::Fine })
    }
}
