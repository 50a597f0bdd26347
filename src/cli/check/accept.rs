//! `check accept` and `check unaccept`: recorded, with who and why.

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{ArgGroup, Args};
use seatkeeper::invariants::baseline::{self, Acceptance};
use seatkeeper::invariants::{Invariant, KEPT_KEYS};
use seatkeeper::operate::Operator;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::known;
use super::report::instant;
use crate::cli::database::DatabaseFlags;
use crate::cli::terminal::{foreign, print_json, print_line, say};
use crate::cli::{Exit, Failure, ask};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["invariant", "all_of"]))]
pub struct Accept {
    #[command(flatten)]
    rows: Rows,
    /// Until when, from now or as a date: 90d, 2027-01-31, 2027-01-31T08:00:00Z. Then they count again
    #[arg(long, env = "SEATKEEPER_EXPIRES")]
    expires: Option<String>,
    /// Accept rows, too, that do not offend now
    #[arg(long, env = "SEATKEEPER_FORCE")]
    force: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["invariant", "all_of"]))]
pub struct Unaccept {
    #[command(flatten)]
    rows: Rows,
}

#[derive(Debug, Args)]
struct Rows {
    #[command(flatten)]
    database: DatabaseFlags,
    /// The invariant that the rows break
    #[arg(long, env = "SEATKEEPER_INVARIANT", requires = "key")]
    invariant: Option<String>,
    /// A row, by its key as `check --json` shows it: '{"enrollment_id": 7}'. May be given several times
    #[arg(long, env = "SEATKEEPER_KEY", requires = "invariant")]
    key: Vec<String>,
    /// All rows of this invariant: those that the last run has found, or that are accepted
    #[arg(long, env = "SEATKEEPER_ALL_OF", value_name = "INVARIANT", conflicts_with = "key")]
    all_of: Option<String>,
    /// Why: recorded with your name
    #[arg(long, env = "SEATKEEPER_REASON")]
    reason: String,
    /// Your name, as it is recorded; else that of your account on this machine
    #[arg(long, visible_alias = "by", env = "SEATKEEPER_OPERATOR")]
    operator: Option<String>,
    /// Only say how many rows it would be
    #[arg(long, env = "SEATKEEPER_DRY_RUN")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, env = "SEATKEEPER_YES")]
    yes: bool,
    /// Print what was done as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Rows {
    /// The invariant, and the keys where they are named.
    fn named(&self) -> Result<(&'static Invariant, Option<Vec<Value>>), Failure> {
        if self.reason.trim().is_empty() {
            return Err(Failure::usage("--reason is empty: say why, for whoever reads the record"));
        }
        if let Some(id) = &self.all_of {
            return Ok((known("--all-of", id)?, None));
        }
        let invariant = known("--invariant", self.invariant.as_deref().unwrap_or_default())?;
        let keys = self.key.iter().map(|key| baseline::key(invariant, key)).collect::<Result<Vec<_>, _>>();
        keys.map(|keys| (invariant, Some(keys))).map_err(|error| Failure::usage(format!("--key: {error}")))
    }

    /// Whether it was said to go on, or is when asked.
    fn may_go_on(&self, what: &str) -> Result<bool, Failure> {
        if self.yes || self.all_of.is_none() { Ok(true) } else { ask::may_go_on(what) }
    }

    fn report(&self, json: &Value, text: &str) -> Result<(), Failure> {
        if self.json {
            print_json(json)
        } else {
            print_line(text);
            Ok(())
        }
    }
}

fn rows(count: usize) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

impl Accept {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let (invariant, keys) = self.rows.named()?;
        let expires = self.expires.as_deref().map(Expiry::parse).transpose()?;
        let database = self.rows.database.open_usable(2).await?;
        let expires_at = match expires {
            None => None,
            Some(expiry) => Some(expiry.at(now(&database.pool).await?)?),
        };
        let keys = match keys {
            Some(keys) => self.offending(&database.pool, invariant, keys).await?,
            None => self.last_found(&database.pool, invariant).await?,
        };
        let until = expires_at.map_or("for good".to_owned(), |at| format!("until {}", instant(at)));
        let (count, id) = (rows(keys.len()), &invariant.id);
        let mut report = json!({ "action": "accept", "invariant": id, "dry_run": self.rows.dry_run,
                                 "selected": keys.len(), "accepted": 0, "expires_at": expires_at });
        if self.rows.dry_run || keys.is_empty() {
            self.rows.report(&report, &format!("{count} of {id} would be accepted {until}"))?;
        } else if self.rows.may_go_on(&format!("{count} of {id} will be accepted {until}"))? {
            let operator = Operator::new(self.rows.operator.clone());
            let acceptance = Acceptance { operator: &operator, reason: &self.rows.reason, expires_at };
            let (done, action) = baseline::accept(&database.pool, invariant, &keys, &acceptance).await?;
            report["accepted"] = json!(done);
            report["operator_actions"] = json!([action]);
            self.rows.report(&report, &format!("{} of {id} accepted {until}", rows(done)))?;
        } else {
            say("nothing was changed");
        }
        database.close().await?;
        Ok(Exit::Fine)
    }

    /// A key that does not offend is a slip of the keyboard, which would hide a row that breaks the rule some day.
    async fn offending(
        &self,
        pool: &PgPool,
        invariant: &Invariant,
        keys: Vec<Value>,
    ) -> Result<Vec<Value>, Failure> {
        if self.force {
            return Ok(keys);
        }
        let offending = baseline::offending(pool, invariant, &keys).await?;
        match keys.iter().find(|key| !offending.contains(key)) {
            None => Ok(keys),
            Some(key) => Err(Failure::unable(format!(
                "{} does not offend against {} now; nothing was accepted. If that is meant: --force",
                foreign(key),
                invariant.id
            ))),
        }
    }

    async fn last_found(&self, pool: &PgPool, invariant: &Invariant) -> Result<Vec<Value>, Failure> {
        let keys = baseline::sighted(pool, invariant).await?;
        if keys.len() >= KEPT_KEYS {
            return Err(Failure::unable(format!(
                "{} has {KEPT_KEYS} offending rows or more: that is no baseline. Accept them one by one, or repair them",
                invariant.id
            )));
        }
        let accepted = baseline::list(pool).await?;
        let is_open = |key: &Value| {
            !accepted.iter().any(|row| row.invariant == invariant.id && row.key == *key && !row.is_expired)
        };
        Ok(keys.into_iter().filter(is_open).collect())
    }
}

impl Unaccept {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let (invariant, keys) = self.rows.named()?;
        let database = self.rows.database.open_usable(2).await?;
        let accepted: Vec<Value> = baseline::list(&database.pool)
            .await?
            .into_iter()
            .filter(|row| {
                row.invariant == invariant.id && keys.as_ref().is_none_or(|keys| keys.contains(&row.key))
            })
            .map(|row| row.key)
            .collect();
        if let Some(key) = keys.iter().flatten().find(|key| !accepted.contains(key)) {
            return Err(Failure::unable(format!(
                "{} of {} is not accepted; nothing was changed",
                foreign(key),
                invariant.id
            )));
        }
        let (count, id) = (rows(accepted.len()), &invariant.id);
        let mut report = json!({ "action": "unaccept", "invariant": id, "dry_run": self.rows.dry_run,
                                 "selected": accepted.len(), "unaccepted": 0 });
        if self.rows.dry_run || accepted.is_empty() {
            self.rows.report(&report, &format!("{count} of {id} would count again"))?;
        } else if self.rows.may_go_on(&format!("{count} of {id} will count again"))? {
            let operator = Operator::new(self.rows.operator.clone());
            let (gone, action) =
                baseline::unaccept(&database.pool, invariant, keys.as_deref(), &operator, &self.rows.reason)
                    .await?;
            report["unaccepted"] = json!(gone.len());
            report["operator_actions"] = json!(action.into_iter().collect::<Vec<_>>());
            let verb = if gone.len() == 1 { "counts" } else { "count" };
            self.rows.report(&report, &format!("{} of {id} {verb} again", rows(gone.len())))?;
        } else {
            say("nothing was changed");
        }
        database.close().await?;
        Ok(Exit::Fine)
    }
}

/// The database's clock: by it an acceptance expires.
async fn now(pool: &PgPool) -> Result<DateTime<Utc>, Failure> {
    Ok(sqlx::query_scalar("select clock_timestamp()").fetch_one(pool).await?)
}

/// When an acceptance expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    At(DateTime<Utc>),
    In(std::time::Duration),
}

impl Expiry {
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Ok(at) = text.parse::<DateTime<Utc>>() {
            return Ok(Self::At(at));
        }
        if let Ok(day) = text.parse::<NaiveDate>() {
            return Ok(Self::At(day.and_time(NaiveTime::MIN).and_utc()));
        }
        humantime::parse_duration(text).map(Self::In).map_err(|_| {
            Failure::usage(format!(
                "--expires: {text} is neither a date (2027-01-31, 2027-01-31T08:00:00Z) nor a time from now (90d)"
            ))
        })
    }

    fn at(self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
        let at = match self {
            Self::At(at) => Some(at),
            Self::In(from_now) => chrono::Duration::from_std(from_now)
                .ok()
                .and_then(|from_now| now.checked_add_signed(from_now)),
        };
        match at {
            Some(at) if at <= now => {
                Err(Failure::usage(format!("--expires: {} is in the past", instant(at))))
            }
            Some(at) if at.format("%Y").to_string().len() == 4 => Ok(at),
            _ => Err(Failure::usage("--expires: that is too far away; leave it out for good")),
        }
    }
}
