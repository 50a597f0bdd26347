//! `rules`: the alert rules of the invariants, written from the invariants themselves.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use seatkeeper::invariants::rules;
use serde_json::json;

use super::terminal::{Page, line, print, print_json, print_line, print_own};
use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Rules {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write the alert rules of the invariants, or say whether they are up to date
    Generate(Generate),
}

#[derive(Debug, Args)]
struct Generate {
    /// Write nothing; exit 1 when the file is not what it has to be, and show where
    #[arg(long, env = "SEATKEEPER_CHECK")]
    check: bool,
    /// Where the runbooks are found; the name of the alert follows
    #[arg(long, env = "SEATKEEPER_RUNBOOK_BASE", default_value = rules::RUNBOOK_BASE)]
    runbook_base: String,
    /// The file; - for standard output
    #[arg(long, env = "SEATKEEPER_OUTPUT", default_value = "monitoring/rules/invariants.yml")]
    output: PathBuf,
    /// Print what was done as JSON
    #[arg(long, env = "SEATKEEPER_JSON", conflicts_with = "check")]
    json: bool,
}

impl Rules {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let What::Generate(generate) = self.what;
        let file = generate.output.display().to_string();
        let unable = |error: std::io::Error| Failure::unable(format!("{file}: {error}"));
        let text = rules::generate(&generate.runbook_base);
        if generate.check {
            let there = std::fs::read_to_string(&generate.output).map_err(unable)?;
            let differences = rules::differences(&there, &text);
            if differences.is_empty() {
                print_line(format_args!("{file} is what the invariants say"));
                return Ok(Exit::Fine);
            }
            let mut page = Page::default();
            line!(page, "{file} is not what the invariants say; `seatkeeper rules generate` writes it");
            differences.lines().for_each(|difference| page.line(difference));
            print(&page);
            return Ok(Exit::BadNews);
        }
        if file == "-" {
            print_own(&text);
            return Ok(Exit::Fine);
        }
        if let Some(folder) = generate.output.parent() {
            std::fs::create_dir_all(folder).map_err(unable)?;
        }
        std::fs::write(&generate.output, &text).map_err(unable)?;
        let alerts = text.lines().filter(|line| line.trim_start().starts_with("- alert:")).count();
        if generate.json {
            print_json(&json!({ "file": file, "alerts": alerts }))?;
        } else {
            print_line(format_args!("{file}: {alerts} alerts"));
        }
        Ok(Exit::Fine)
    }
}
