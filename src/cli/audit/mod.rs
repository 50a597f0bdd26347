//! `audit`: the whole history once more, and whether the answers and the state follow from it.

mod report;

use std::time::Instant;

use clap::Args;
use seatkeeper::audit::{Audit as Outcome, Progress, audit_watched};
use serde_json::json;

use super::database::DatabaseFlags;
use super::progress::progress_bar;
use super::terminal::{print, print_json};
use super::{Exit, Failure};

/// What the exit codes are, and the JSON.
const AFTER_HELP: &str = "\
Executes everything that was ever answered once more, one at a time, in the order of answer_seq and with the recorded \
changes of the catalog between, by the rules that the workers decide by. Then it compares every answer, balance, \
enrollment, booking, attendance, ledger row and counter with what is stored. It sees one moment, so the workers may go \
on; it writes nothing, and the rights of seatkeeper_reader are enough. Server and client hold the state in memory or on \
disk, not the history.

Exit codes: 0 everything follows. 1 something does not: the first finding is where to begin, since those after it may \
follow from it. 3 nothing differs, but not all could be covered (the report says up to where it got, and why), or the \
audit could not be done at all.

--json prints {verdict: follows | differs | not_covered, seconds, answers, changes, fills, users, enrollments, bookings, \
ledger, attendance, differing, findings: [{about, …, came_of?, asked?, stored, right}], not_covered: {seq, why} | null}: \
how many of each were worked out again or compared, how much differs, and the first 1000 of it. `about` is answer \
{request_id, kind, answer_seq}, fill {change_seq, session_id}, change {change_seq, table, key}, user {user_id}, semester \
{semester_id}, session {session_id}, enrollment {enrollment_id}, booking {booking_id}, attendance {booking_id}, ledger \
{request_id, enrollment_id} or unasked {transaction_id}; `came_of` is the request that a row came of. `stored` and \
`right` have the columns that differ; null is a row that is not there, or should not be.

What it cannot see: when exactly something was refused, between the answers before and after it; a position in a \
waitlist, which is a hint; rows that were brought in by other means than requests are told as what nobody asked for.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Audit {
    #[command(flatten)]
    database: DatabaseFlags,
    /// How many findings are shown
    #[arg(long, env = "SEATKEEPER_SHOW", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    show: u16,
    /// Print the outcome as JSON, findings up to 1000
    #[arg(long, env = "SEATKEEPER_JSON", conflicts_with = "show")]
    json: bool,
}

impl Audit {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let database = self.database.open_usable(1).await?;
        let began = Instant::now();
        let bar = progress_bar("replaying")?;
        let mut latest = None;
        let audited = audit_watched(&database.pool, |progress| {
            let (what, done, total) = match progress {
                Progress::Replaying { done, total } => ("replaying", done, total),
                Progress::Comparing { done, total } => ("comparing", done, total),
            };
            bar.set_message(what);
            bar.set_length(total);
            bar.set_position(done);
            latest = Some(progress);
        })
        .await;
        bar.finish_and_clear();
        let outcome = audited.map_err(|error| broken_off(&error, latest))?;
        database.close().await?;
        let seconds = began.elapsed().as_secs_f64();
        if self.json {
            let mut report = json!(outcome);
            report["verdict"] = json!(verdict(&outcome));
            report["seconds"] = json!(seconds);
            print_json(&report)?;
        } else {
            print(&report::page(&outcome, seconds, self.show.into()));
        }
        Ok(exit(&outcome))
    }
}

const fn verdict(outcome: &Outcome) -> &'static str {
    match exit(outcome) {
        Exit::Fine => "follows",
        Exit::BadNews => "differs",
        Exit::Usage | Exit::Unable => "not_covered",
    }
}

const fn exit(outcome: &Outcome) -> Exit {
    if outcome.differing > 0 {
        Exit::BadNews
    } else if outcome.not_covered.is_some() {
        Exit::Unable
    } else {
        Exit::Fine
    }
}

/// Why it came to nothing, and how far it was.
fn broken_off(error: &sqlx::Error, latest: Option<Progress>) -> Failure {
    let far = match latest {
        None => "before anything was replayed".to_owned(),
        Some(Progress::Replaying { done, total }) => {
            format!("after about {done} of {total} answers and changes were replayed")
        }
        Some(Progress::Comparing { .. }) => {
            "while the tables were compared with what came of the replay".to_owned()
        }
    };
    let why = super::database::refusal_to_read(error);
    Failure::unable(format!(
        "the audit broke off {far}, so nobody knows whether everything follows: {why}. It has changed nothing; run it again"
    ))
}
