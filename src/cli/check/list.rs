//! `check list` and `check baseline`.

use clap::Args;
use seatkeeper::invariants::{baseline, catalogue};
use serde_json::json;

use super::report::instant;
use crate::cli::database::DatabaseFlags;
use crate::cli::terminal::{Page, foreign, line, print, print_json};
use crate::cli::{Exit, Failure};

/// Needs no database: the invariants are part of the program.
#[derive(Debug, Args)]
pub struct List {
    /// Print the invariants as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl List {
    pub fn execute(self) -> Result<Exit, Failure> {
        if self.json {
            let all: Vec<_> = catalogue()
                .iter()
                .map(|each| {
                    json!({
                        "invariant": each.id, "summary": each.summary, "severity": each.severity,
                        "alert_above": each.alert_above,
                        "alert_counts": if each.counts_accepted { "all" } else { "unaccepted" },
                        "key": each.key, "guards": each.guards, "unguarded": each.unguarded, "repair": each.repair,
                    })
                })
                .collect();
            print_json(&all)?;
            return Ok(Exit::Fine);
        }
        let mut page = Page::default();
        for each in catalogue() {
            let held = match &each.unguarded {
                Some(why) => format!("no guard: {why}"),
                None => each.guards.join(", "),
            };
            let above = match each.alert_above {
                0 => String::new(),
                above => format!(", alert above {above}"),
            };
            line!(page, "{:<8}  {}{above}", each.id, each.severity.as_str());
            line!(page, "          {}", each.summary);
            line!(page, "          key {}; {held}", each.key.join(", "));
        }
        print(&page);
        Ok(Exit::Fine)
    }
}

#[derive(Debug, Args)]
pub struct Baseline {
    #[command(flatten)]
    database: DatabaseFlags,
    /// Print the rows as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Baseline {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let database = self.database.open_usable(1).await?;
        let accepted = baseline::list(&database.pool).await?;
        database.close().await?;
        if self.json {
            print_json(&accepted)?;
            return Ok(Exit::Fine);
        }
        let mut page = Page::default();
        for each in &accepted {
            let until = match each.expires_at {
                None => "for good".to_owned(),
                Some(at) if each.is_expired => format!("EXPIRED {}", instant(at)),
                Some(at) => format!("until {}", instant(at)),
            };
            line!(
                page,
                "{:<8}  {}  {until}; by {} on {}: {}",
                foreign(&each.invariant),
                foreign(&each.key),
                foreign(&each.accepted_by),
                instant(each.accepted_at),
                foreign(&each.reason)
            );
        }
        line!(page, "{} accepted", accepted.len());
        print(&page);
        Ok(Exit::Fine)
    }
}
