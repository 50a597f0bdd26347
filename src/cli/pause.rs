//! `pause` and `resume`.

use clap::Args;
use seatkeeper::operate::{self, Operator, Pause as Paused, Scope, ScopeError};
use seatkeeper_jobs::{Kind, SemesterId};
use serde_json::json;

use super::database::DatabaseFlags;
use super::terminal::{Page, foreign, line, print, print_json};
use super::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Pause {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct Resume {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    database: DatabaseFlags,
    #[command(flatten)]
    scope: ScopeFlags,
    /// Why: recorded with your name
    #[arg(long, env = "SEATKEEPER_REASON")]
    reason: String,
    /// Your name, as it is recorded; else that of your account on this machine
    #[arg(long, env = "SEATKEEPER_OPERATOR")]
    operator: Option<String>,
    /// Print the result as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ScopeFlags {
    /// Every request of this kind
    #[arg(long, env = "SEATKEEPER_KIND")]
    kind: Option<Kind>,
    /// Every request in the lane of this semester
    #[arg(long, env = "SEATKEEPER_SEMESTER")]
    semester: Option<SemesterId>,
    /// Every request
    #[arg(long, env = "SEATKEEPER_EVERYTHING")]
    everything: bool,
}

impl ScopeFlags {
    const fn scope(&self) -> Scope {
        match (self.kind, self.semester) {
            (Some(kind), _) => Scope::Kind(kind),
            (None, Some(semester)) => Scope::Semester(semester),
            (None, None) => Scope::Everything,
        }
    }
}

impl Common {
    fn has_reason(&self) -> Result<(), Failure> {
        if self.reason.trim().is_empty() {
            return Err(Failure::usage("--reason is empty: say why, for whoever reads the record"));
        }
        Ok(())
    }

    fn report(&self, page: &Page, changed: bool, pause: Option<&Paused>) -> Result<(), Failure> {
        if self.json {
            print_json(&json!({ "changed": changed, "pause": pause }))
        } else {
            print(page);
            Ok(())
        }
    }
}

impl Pause {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let Common { database, scope, reason, operator, .. } = &self.common;
        self.common.has_reason()?;
        let database = database.open_usable(1).await?;
        let transactions = operate::transactions(database.pool.clone());
        let scope = scope.scope();
        let (pause, was_paused) =
            operate::pause(&transactions, scope, &Operator::new(operator.clone()), reason).await.map_err(
                |error| match error {
                    ScopeError::Database(error) => error.into(),
                    error @ ScopeError::UnknownSemester(_) => Failure::unable(error.to_string()),
                },
            )?;
        let mut page = Page::default();
        if was_paused {
            let (by, reason) = (foreign(&pause.paused_by), foreign(&pause.reason));
            line!(page, "{scope} was paused before: since {} by {by}: {reason}", pause.since);
        } else {
            line!(page, "{scope} is paused; producers can still enqueue. `seatkeeper resume` ends it");
        }
        self.common.report(&page, !was_paused, Some(&pause))?;
        database.close().await?;
        Ok(Exit::Fine)
    }
}

impl Resume {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let Common { database, scope, reason, operator, .. } = &self.common;
        self.common.has_reason()?;
        let database = database.open_usable(1).await?;
        let transactions = operate::transactions(database.pool.clone());
        let scope = scope.scope();
        let ended = operate::resume(&transactions, scope, &Operator::new(operator.clone()), reason).await?;
        let mut page = Page::default();
        match &ended {
            Some(pause) => {
                let by = foreign(&pause.paused_by);
                line!(page, "{scope} goes on; it was paused since {} by {by}", pause.since);
            }
            None => line!(page, "{scope} was not paused"),
        }
        // One scope lies within another: say so, before somebody wonders why nothing moves.
        for pause in operate::pauses(&database.pool).await? {
            let (by, reason) = (foreign(&pause.paused_by), foreign(&pause.reason));
            line!(page, "still paused: {}, by {by}: {reason}", foreign(pause.what()));
        }
        self.common.report(&page, ended.is_some(), ended.as_ref())?;
        database.close().await?;
        Ok(Exit::Fine)
    }
}
