//! `doctor`: what is wrong, and what to do.

use clap::Args;
use seatkeeper::doctor::{self, Finding, Level};
use serde_json::json;

use super::database::DatabaseFlags;
use super::{Exit, Failure, print};

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Batches in parallel of one `run`, for its need of connections
    #[arg(long, env = "SEATKEEPER_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
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
        let findings = doctor::examine(&database.pool, self.workers).await?;
        database.close().await?;
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (warnings, problems) = (count(Level::Warning), count(Level::Problem));
        if self.json {
            let report = json!({ "problems": problems, "warnings": warnings, "findings": findings });
            print(&format!("{report}\n"));
        } else if self.sql {
            let statements = findings.iter().flat_map(|finding| &finding.sql);
            print(&statements.map(|statement| format!("{statement};\n")).collect::<String>());
        } else {
            let lines: String = findings.iter().map(line).collect();
            print(&format!("{lines}{problems} problems, {warnings} warnings\n"));
        }
        Ok(if problems == 0 { Exit::Fine } else { Exit::BadNews })
    }
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Problem => "PROBLEM",
    };
    let todo = finding.todo.as_ref().map(|todo| format!("\n{:30}-> {todo}", "")).unwrap_or_default();
    let statements: String =
        finding.sql.iter().map(|sql| format!("\n{:33}{};", "", shortened(sql))).collect();
    format!("{level:<8}  {:<18}  {}{todo}{statements}\n", finding.subject, finding.what)
}

/// A function's statement is as long as the function.
pub fn shortened(sql: &str) -> String {
    match sql.split_once('\n') {
        Some((first, _)) => format!("{first} … (whole: `seatkeeper doctor --sql`)"),
        None => sql.to_owned(),
    }
}
