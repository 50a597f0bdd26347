//! `requests wait`.

use std::time::Duration;

use clap::Args;
use seatkeeper::operate;
use seatkeeper_jobs::{Receipt, Status};
use serde_json::json;
use uuid::Uuid;

use crate::cli::database::DatabaseFlags;
use crate::cli::terminal::{print_json, print_line};
use crate::cli::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Wait {
    #[command(flatten)]
    database: DatabaseFlags,
    /// The requests
    #[arg(required = true)]
    request_ids: Vec<Uuid>,
    /// How long to wait at most
    #[arg(long, env = "SEATKEEPER_TIMEOUT", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Print the receipts as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Wait {
    pub async fn execute(self) -> Result<Exit, Failure> {
        // No look at the schema: producers may wait for their answers, and may look at nothing else.
        let database = self.database.open(1).await?;
        let waited = operate::wait(&database.pool, &self.request_ids, self.timeout, |receipt| {
            if !self.json {
                print_line(line(receipt));
            }
        })
        .await?;
        database.close().await?;

        if self.json {
            print_json(
                &json!({ "receipts": waited.finished, "queued": waited.queued, "unknown": waited.unknown }),
            )?;
        }
        if !waited.unknown.is_empty() {
            let unknown: Vec<String> = waited.unknown.iter().map(ToString::to_string).collect();
            return Err(Failure::unable(format!(
                "not known to this database, or asked by another account: {}; a request is known once its producer has committed",
                unknown.join(", ")
            )));
        }
        if waited.finished.iter().any(|receipt| receipt.status != Status::Done) {
            return Ok(Exit::BadNews);
        }
        match waited.queued.first() {
            None => Ok(Exit::Fine),
            Some(first) => Err(Failure::unable(format!(
                "{} still queued after {}; `seatkeeper requests show {first}` says why",
                waited.queued.len(),
                humantime::format_duration(self.timeout)
            ))),
        }
    }
}

fn line(receipt: &Receipt) -> String {
    let what = receipt.outcome.map_or(receipt.status.as_str(), |outcome| outcome.as_str());
    let why = receipt.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let result = receipt.result.as_ref().map(|result| format!(" {result}")).unwrap_or_default();
    format!("{}  {}  {what}{why}{result}", receipt.request_id, receipt.kind)
}
