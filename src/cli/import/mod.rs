//! `import`: the catalog from files, without disturbing whoever works.

mod columns;
mod read;
mod records;
mod refusal;
mod write;

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use self::columns::What;
use self::read::{Format, Rows, read};
use self::write::{Manner, Written, write};
use super::database::DatabaseFlags;
use super::progress::progress_bar;
use super::terminal::{print_json, print_line, say};
use super::words::grouped;
use super::{Exit, Failure};

/// Bad lines that the JSON repeats; all of them are named on standard error.
const REPEATED: usize = 1000;

#[derive(Debug, Args)]
#[command(after_help = "\
Rows are added, or changed where they differ: only the columns that the file has are touched. To import everything, \
take semesters, then sessions, then users. Balances are no part of it: give credits with grant_credits requests.")]
pub struct Import {
    /// What is in the file
    #[arg(env = "SEATKEEPER_IMPORT")]
    what: What,
    #[command(flatten)]
    database: DatabaseFlags,
    /// The file: CSV with the names of the columns in the first line, or a JSON object in each line; `-` for standard
    /// input
    #[arg(long, env = "SEATKEEPER_FILE")]
    file: PathBuf,
    /// How the file is written, when its name does not end in .csv, .ndjson or .jsonl
    #[arg(long, env = "SEATKEEPER_FORMAT")]
    format: Option<Format>,
    /// Import the good lines although some are bad, in one transaction for every 500; exits 2 in the end when there
    /// were any
    #[arg(long, env = "SEATKEEPER_KEEP_GOING")]
    keep_going: bool,
    /// Do all of it, and take it back
    #[arg(long, env = "SEATKEEPER_DRY_RUN")]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Import {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let format = self.format.map_or_else(|| Format::of(&self.file), Ok)?;
        let bar = progress_bar("importing")?;
        let rows = read(&self.file, format, self.what.table())?;
        // Without a header nobody knows what the lines mean: there is nothing to show to a database.
        let written = if rows.has_header { self.write(&rows, &bar).await? } else { Ok(Written::default()) };
        let keep_going = self.keep_going && rows.has_header;
        let mut bad = rows.bad;
        if let Ok(written) = &written {
            bad.extend_from_slice(&written.bad);
        }
        bad.sort_by_key(|bad| bad.line);
        bad.iter().for_each(say);
        let written = written?;
        let is_written = !self.dry_run && (keep_going || bad.is_empty());
        let counts = written.counts;
        if self.json {
            let repeated = &bad[..bad.len().min(REPEATED)];
            print_json(&json!({
                "what": self.what.as_str(), "added": counts.added, "changed": counts.changed,
                "unchanged": counts.unchanged, "bad": bad.len(), "bad_lines": repeated, "written": is_written
            }))?;
        } else {
            let note = if is_written { "" } else { " (nothing was written)" };
            print_line(format_args!(
                "{}: {} added, {} changed, {} unchanged{note}",
                self.what.as_str(),
                grouped(counts.added),
                grouped(counts.changed),
                grouped(counts.unchanged)
            ));
        }
        let bad = grouped(bad.len());
        match (bad.as_str(), keep_going) {
            ("0", _) => Ok(Exit::Fine),
            (_, true) => {
                Err(Failure::usage(format!("{bad} things are wrong in the file: those lines were left out")))
            }
            (_, false) => Err(Failure::usage(format!(
                "{bad} things are wrong in the file: nothing was imported. Correct them, or import the good lines \
                 with --keep-going"
            ))),
        }
    }

    /// Writes the rows, as far as that is asked for. The inner error came while writing: what is bad in the file is told with it.
    async fn write(&self, rows: &Rows, bar: &ProgressBar) -> Result<Result<Written, Failure>, Failure> {
        let database = self.database.open_usable_or_hidden(1).await?;
        let manner = match (self.dry_run, self.keep_going) {
            // A file that is bad already is only looked at, so that the database's objections are named as well.
            (false, false) if !rows.bad.is_empty() => Manner::DryRun,
            (true, _) => Manner::DryRun,
            (false, true) => Manner::KeepGoing,
            (false, false) => Manner::AllOrNothing,
        };
        bar.set_length(rows.rows.len().try_into().unwrap_or(u64::MAX));
        let show = |done: usize| bar.set_position(done.try_into().unwrap_or(u64::MAX));
        let written = write(&database.pool, self.what.table(), &rows.rows, manner, show).await;
        bar.finish_and_clear();
        database.close().await?;
        Ok(written)
    }
}
