//! `requests list`.

use clap::Args;
use seatkeeper::operate::{self, Filter, Listed};
use seatkeeper_jobs::{Outcome, Reason, Status};

use super::FilterFlags;
use crate::cli::database::{DatabaseFlags, refusal_to_read};
use crate::cli::terminal::{Page, foreign, line, print, print_json, print_line, say};
use crate::cli::{Exit, Failure};

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    filter: FilterFlags,
    /// Only requests that are queued, done, failed or cancelled
    #[arg(long, env = "SEATKEEPER_STATUS")]
    status: Option<Status>,
    /// Only requests that were applied, or refused
    #[arg(long, env = "SEATKEEPER_OUTCOME")]
    outcome: Option<Outcome>,
    /// Only requests that were refused, or failed, because of this
    #[arg(long, env = "SEATKEEPER_LIST_REASON")]
    reason: Option<Reason>,
    /// The most requests to list
    #[arg(long, env = "SEATKEEPER_LIMIT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Only requests that arrived before the one with this number (its seq): how a list is continued
    #[arg(long, env = "SEATKEEPER_BEFORE")]
    before: Option<i64>,
    /// Print one JSON object a line
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl List {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let database = self.database.open_usable(1).await?;
        let filter = Filter {
            status: self.status,
            outcome: self.outcome,
            reason: self.reason,
            ..self.filter.filter()
        };
        let limit = i64::from(self.limit);
        // One more than is shown tells whether there is more.
        let mut listed = operate::list(&database.pool, &filter, self.before, limit + 1)
            .await
            .map_err(|error| Failure::unable(refusal_to_read(&error)))?;
        database.close().await?;
        let shown = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = listed.len() > shown;
        listed.truncate(shown);

        if self.json {
            listed.iter().try_for_each(print_json)?;
        } else if listed.is_empty() {
            print_line("no such requests");
        } else {
            print(&table(&listed));
        }
        if has_more && let Some(last) = listed.last() {
            say(format_args!("there are more: go on with --before {}", last.seq));
        }
        Ok(Exit::Fine)
    }
}

fn table(listed: &[Listed]) -> Page {
    let mut page = Page::default();
    line!(
        page,
        "{:>10}  {:<36}  {:<17}  {:<19}  {:>10}  {:>10}  {:<20}  reason",
        "seq",
        "request",
        "kind",
        "status",
        "user",
        "semester",
        "arrived"
    );
    for request in listed {
        let status = match (&request.outcome, &request.hold) {
            (Some(outcome), _) => outcome.clone(),
            (None, Some(hold)) => format!("{} ({hold})", request.status),
            (None, None) => request.status.clone(),
        };
        let id = |id: Option<i64>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        line!(
            page,
            "{:>10}  {}  {:<17}  {:<19}  {:>10}  {:>10}  {:<20}  {}",
            request.seq,
            request.request_id,
            foreign(&request.kind),
            foreign(status),
            id(request.user_id),
            id(request.semester_id),
            request.enqueued_at.format("%Y-%m-%dT%H:%M:%SZ"),
            foreign(request.reason.as_deref().or(request.last_error.as_deref()).unwrap_or("-"))
        );
    }
    page
}
