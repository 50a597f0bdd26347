//! `doctor`: what is wrong, and what to do.

use clap::Args;
use seatkeeper::doctor::{self, Finding, Level};
use serde_json::json;

use super::database::DatabaseFlags;
use super::roles::RolePrefixFlag;
use super::terminal::{self, Page, foreign, line, print, print_json, print_own};
use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Batches in parallel of one `run`, for its need of connections
    #[arg(long, env = "SEATKEEPER_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    #[command(flatten)]
    roles: RolePrefixFlag,
    /// Print the findings as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
    /// Print nothing but the statements that put right what was found, to be read and then run by psql. Rows that a guard would
    /// have refused have to be repaired first (`check`)
    #[arg(long, env = "SEATKEEPER_SQL", conflicts_with = "json")]
    sql: bool,
}

impl Doctor {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let database = self.database.open(1).await?;
        let findings = doctor::examine_with(&database.pool, self.workers, &self.roles.role_prefix).await?;
        database.close().await?;
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (warnings, problems) = (count(Level::Warning), count(Level::Problem));
        if self.json {
            let report = json!({ "problems": problems, "warnings": warnings, "findings": findings });
            print_json(&report)?;
        } else if self.sql {
            let statements = findings.iter().flat_map(|finding| &finding.sql);
            print_own(&statements.map(|statement| to_be_run(statement)).collect::<String>());
        } else {
            let mut page = Page::default();
            findings.iter().for_each(|finding| tell(&mut page, finding));
            line!(page, "{problems} problems, {warnings} warnings");
            print(&page);
        }
        Ok(if problems == 0 { Exit::Fine } else { Exit::BadNews })
    }
}

fn tell(page: &mut Page, finding: &Finding) {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Problem => "PROBLEM",
    };
    line!(page, "{level:<8}  {:<18}  {}", finding.subject, finding.what);
    if let Some(todo) = &finding.todo {
        line!(page, "{:30}-> {todo}", "");
    }
    for sql in &finding.sql {
        line!(page, "{:33}{};", "", shortened(sql));
    }
}

/// A statement as psql takes it. In one that would have to be changed to be shown, somebody else has named an object: it is left to
/// them who can see what they do.
fn to_be_run(statement: &str) -> String {
    // Our functions have many lines, and nothing of others in them.
    let is_ours = statement.starts_with("create or replace function ");
    let lines = if is_ours { statement.lines().collect() } else { vec![statement] };
    if lines.into_iter().all(terminal::is_plain) {
        format!("{statement};\n")
    } else {
        format!(
            "-- left out, since it names something in characters that nobody sees (exact in --json): {}\n",
            foreign(statement)
        )
    }
}

/// A function's statement is as long as the function.
pub fn shortened(sql: &str) -> String {
    match sql.split_once('\n') {
        Some((first, _)) => format!("{first} … (whole: `seatkeeper doctor --sql`)"),
        None => sql.to_owned(),
    }
}
