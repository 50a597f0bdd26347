//! `requests retry` and `requests cancel`.

use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressDrawTarget};
use seatkeeper::operate::{self, Change, Filter, Operator, Other, Selection};
use seatkeeper_jobs::Reason;
use serde_json::json;
use uuid::Uuid;

use super::FilterFlags;
use crate::cli::database::DatabaseFlags;
use crate::cli::terminal::{foreign, print_json, print_line, say};
use crate::cli::{Exit, Failure, ask};

/// From here on a progress bar is worth its while.
const LONG: usize = 5_000;

#[derive(Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    common: Common,
    /// Only requests that failed because of this
    #[arg(long, env = "SEATKEEPER_FAILED_BECAUSE")]
    failed_because: Option<Reason>,
}

#[derive(Debug, Args)]
pub struct Cancel {
    #[command(flatten)]
    common: Common,
}

impl Retry {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let filter = Filter { reason: self.failed_because, ..self.common.filter.filter() };
        self.common.execute(Change::Retry, filter).await
    }
}

impl Cancel {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let filter = self.common.filter.filter();
        self.common.execute(Change::Cancel, filter).await
    }
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["request_ids", "all"]))]
struct Common {
    #[command(flatten)]
    database: DatabaseFlags,
    /// The requests; or else a filter says which
    request_ids: Vec<Uuid>,
    #[command(flatten)]
    filter: FilterFlags,
    /// Every one that there is, without a filter
    #[arg(long, env = "SEATKEEPER_ALL")]
    all: bool,
    /// Why: recorded with your name
    #[arg(long, env = "SEATKEEPER_REASON")]
    reason: String,
    /// Your name, as it is recorded; else that of your account on this machine
    #[arg(long, env = "SEATKEEPER_OPERATOR")]
    operator: Option<String>,
    /// Only say how many requests would be changed
    #[arg(long, env = "SEATKEEPER_DRY_RUN")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, env = "SEATKEEPER_YES")]
    yes: bool,
    /// Print what was done as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Common {
    async fn execute(self, change: Change, filter: Filter) -> Result<Exit, Failure> {
        let by_id = !self.request_ids.is_empty();
        if by_id != filter.is_empty() && !self.all {
            return Err(Failure::usage(if by_id {
                "give IDs or a filter, not both"
            } else {
                "which requests? Give their IDs, a filter, or --all"
            }));
        }
        if self.all && !filter.is_empty() {
            return Err(Failure::usage("give --all or a filter, not both"));
        }
        if self.reason.trim().is_empty() {
            return Err(Failure::usage("--reason is empty: say why, for whoever reads the record"));
        }
        let database = self.database.open_usable(2).await?;
        let (selection, others) = if by_id {
            let mut ids = self.request_ids.clone();
            ids.sort_unstable();
            ids.dedup();
            operate::select_ids(&database.pool, change, &ids).await?
        } else {
            (operate::select(&database.pool, change, &filter).await?, Vec::new())
        };
        let unknown: Vec<String> =
            others.iter().filter(|o| o.status.is_none()).map(|other| other.request_id.to_string()).collect();
        if !unknown.is_empty() {
            return Err(Failure::unable(format!(
                "not known to this database: {}; nothing was changed",
                unknown.join(", ")
            )));
        }
        let exit = if self.dry_run || selection.count() == 0 {
            self.report(change, &selection, &others, &operate::Progress::default())?
        } else if !by_id && !self.yes && !may_go_on(change, &selection)? {
            say("nothing was changed");
            Exit::Fine
        } else {
            let bar = bar(selection.count());
            let done = operate::change(
                &operate::transactions(database.pool.clone()),
                change,
                &selection,
                &Operator::new(self.operator.clone()),
                &self.reason,
                |progress| bar.set_position(u64::try_from(progress.changed).unwrap_or_default()),
            )
            .await;
            bar.finish_and_clear();
            let progress = done.map_err(|error| {
                Failure::unable(format!(
                    "the database refused, or went away: {}; what was changed before is recorded, \
                     and the same command finds what is left",
                    foreign(seatkeeper::postgres::describe(&error))
                ))
            })?;
            self.report(change, &selection, &others, &progress)?
        };
        database.close().await?;
        Ok(exit)
    }

    fn report(
        &self,
        change: Change,
        selection: &Selection,
        others: &[Other],
        progress: &operate::Progress,
    ) -> Result<Exit, Failure> {
        if self.json {
            let mut left_alone: Vec<_> = others
                .iter()
                .map(|other| json!({ "request_id": other.request_id, "status": other.status }))
                .collect();
            left_alone.extend(
                progress
                    .left_alone
                    .iter()
                    .map(|id| json!({ "request_id": id, "status": "changed_meanwhile" })),
            );
            let report = json!({
                "action": change.as_str(),
                "dry_run": self.dry_run,
                "selected": selection.count(),
                "changed": progress.changed,
                "left_alone": left_alone,
                "operator_actions": progress.actions,
            });
            print_json(&report)?;
        } else {
            for other in others {
                let status = other.status.as_deref().unwrap_or("unknown");
                let status = foreign(status);
                say(format_args!(
                    "{} is {status}, not {}: left alone",
                    other.request_id,
                    change.from().as_str()
                ));
            }
            for id in progress.left_alone.iter().take(20) {
                say(format_args!("{id} changed meanwhile: left alone"));
            }
            if progress.left_alone.len() > 20 {
                let more = progress.left_alone.len() - 20;
                say(format_args!("and {more} more changed meanwhile: left alone"));
            }
            if self.dry_run {
                print_line(format_args!("{} would be {}", number(selection.count()), done(change)));
            } else {
                print_line(format_args!("{} {}", number(progress.changed), done(change)));
            }
        }
        Ok(if others.is_empty() && progress.left_alone.is_empty() { Exit::Fine } else { Exit::BadNews })
    }
}

const fn done(change: Change) -> &'static str {
    match change {
        Change::Retry => "put back into the queue",
        Change::Cancel => "cancelled",
    }
}

fn number(count: usize) -> String {
    if count == 1 { "1 request".to_owned() } else { format!("{count} requests") }
}

/// Asks for a yes to a change of everything that a filter gave.
fn may_go_on(change: Change, selection: &Selection) -> Result<bool, Failure> {
    let lanes = selection.lanes.keys().flatten().count();
    let lanes = if lanes == 1 { "1 semester".to_owned() } else { format!("{lanes} semesters") };
    ask::may_go_on(&format!("{} in {lanes} will be {}", number(selection.count()), done(change)))
}

fn bar(count: usize) -> ProgressBar {
    let bar = ProgressBar::new(u64::try_from(count).unwrap_or_default());
    if count < LONG {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar
}
