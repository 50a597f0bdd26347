//! `check`: the roll call now, and the baseline of what is accepted.

mod accept;
mod list;
mod report;

use std::time::Duration;

use clap::{Args, Subcommand};
use seatkeeper::invariants::{Invariant, Run, Selection, Status, Trigger, call_the_roll, guards, invariant};
use serde_json::json;

use super::database::{DatabaseFlags, refusal};
use super::terminal::{print, print_json};
use super::{Exit, Failure};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Check {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    now: Now,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The invariants: what has to hold, and what holds it
    List(list::List),
    /// The rows that are accepted, by whom, why, and until when
    Baseline(list::Baseline),
    /// Accept offending rows that are all right as they are
    Accept(accept::Accept),
    /// Have accepted rows count again
    Unaccept(accept::Unaccept),
}

#[derive(Debug, Args)]
struct Now {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Only these invariants: INV-01,INV-B02
    #[arg(long, env = "SEATKEEPER_ONLY", value_delimiter = ',', value_name = "INVARIANT")]
    only: Vec<String>,
    /// Any violation that is not accepted is bad news, not only a critical one
    #[arg(long, env = "SEATKEEPER_STRICT")]
    strict: bool,
    /// The longest that one check may take
    #[arg(long, env = "SEATKEEPER_CHECK_TIMEOUT", default_value = "5min", value_parser = timeout)]
    timeout: Duration,
    /// Print the run as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Check {
    pub async fn execute(self) -> Result<Exit, Failure> {
        match self.what {
            None => self.now.execute().await,
            Some(What::List(verb)) => verb.execute(),
            Some(What::Baseline(verb)) => verb.execute().await,
            Some(What::Accept(verb)) => verb.execute().await,
            Some(What::Unaccept(verb)) => verb.execute().await,
        }
    }
}

impl Now {
    async fn execute(self) -> Result<Exit, Failure> {
        let which = if self.only.is_empty() {
            Selection::all()
        } else {
            let only: Vec<&str> = self.only.iter().map(|id| id.trim()).collect();
            Selection::only(&only).map_err(|error| Failure::usage(format!("--only: {error}")))?
        };
        let database = self.database.open_usable(2).await?;
        let run =
            call_the_roll(&database.pool, &which, Trigger::Manual, self.timeout).await.map_err(|error| {
                match error.as_database_error().and_then(|error| error.code()).as_deref() {
                    // To read is not enough, and what is read by halves is not told.
                    Some("42501") => Failure::unable(format!(
                        "{}; what a roll call finds is stored: it takes the rights of seatkeeper_operator",
                        refusal(&error)
                    )),
                    _ => error.into(),
                }
            })?;
        if self.json {
            let mut report = json!(run);
            for result in report["results"].as_array_mut().into_iter().flatten() {
                let known = result["invariant"].as_str().and_then(invariant);
                result["alert_above"] = json!(known.map(|invariant| invariant.alert_above));
            }
            print_json(&report)?;
        } else {
            // Only a hint for whoever repairs; the run is what counts.
            let mut connection = database.pool.acquire().await?;
            let troubles = guards::troubles(&mut connection).await.ok();
            drop(connection);
            print(&report::page(&run, troubles.as_deref()));
        }
        database.close().await?;
        Ok(exit(&run, self.strict))
    }
}

fn exit(run: &Run, strict: bool) -> Exit {
    let is = |status| run.results.iter().any(|outcome| outcome.status == status);
    if run.results.iter().any(seatkeeper::invariants::Outcome::is_bad_news) || strict && is(Status::Violated)
    {
        Exit::BadNews
    } else if is(Status::Unknown) {
        Exit::Unable
    } else {
        Exit::Fine
    }
}

/// A timeout of a check.
fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout.is_zero() || timeout > Duration::from_secs(24 * 60 * 60) {
        return Err("give more than nothing, and no more than a day".to_owned());
    }
    Ok(timeout)
}

fn known(flag: &str, id: &str) -> Result<&'static Invariant, Failure> {
    let which = Selection::only(&[id]).map_err(|error| Failure::usage(format!("{flag}: {error}")))?;
    which.invariants().next().ok_or_else(|| Failure::usage(format!("{flag}: no invariant")))
}
