//! Families of shared state: the same on every replica, read from the database at each scrape.
//!
//! Each family is read by itself, within a bound, and one that cannot be read has no sample: what cannot be read must never look like an
//! empty queue. `seatkeeper_db_scrape_success` is 1 when all were read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgConnection, PgPool, Postgres};
use tokio::sync::Mutex;

use super::queue::{self, Ready, WHOLE_WITHIN};
use super::transactions::{self, Seen};
use super::{invariants, schedules};
use crate::batch::Floors;
use crate::postgres::{ErrorClass, WALK_INDEXES, opening, replication_waits};
use crate::schedule;

/// A scrape waits no longer than this for the database.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Scrapes closer together than this share one read, unless told otherwise.
const FRESH_FOR: Duration = Duration::from_millis(1500);
/// The least that a family is given.
const LEAST: Duration = Duration::from_millis(20);

/// Reads and renders the shared families. One read at a time, whoever asks.
#[derive(Debug)]
pub struct SharedState {
    pool: PgPool,
    fresh_for: Duration,
    last: Mutex<Last>,
}

/// What is remembered from scrape to scrape.
#[derive(Debug, Default)]
struct Last {
    rendered: Option<(Instant, String)>,
    floors: Floors,
    seen: Seen,
}

impl SharedState {
    /// Reads from this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, fresh_for: FRESH_FOR, last: Mutex::default() }
    }

    /// Scrapes closer together than this share one read.
    #[must_use]
    pub fn fresh_for(self, fresh_for: Duration) -> Self {
        Self { fresh_for, ..self }
    }

    /// The families as Prometheus text.
    pub async fn render(&self) -> String {
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &last.rendered
            && at.elapsed() < self.fresh_for
        {
            return text.clone();
        }
        let text = match tokio::time::timeout(READ_TIMEOUT, self.read(&mut last)).await {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => {
                crate::postgres::note_unusable(&error);
                tracing::warn!(error = %crate::postgres::describe(&error), "shared metrics could not be read");
                success(false)
            }
            Err(_) => {
                crate::postgres::note_silence();
                tracing::warn!("shared metrics could not be read within {READ_TIMEOUT:?}");
                success(false)
            }
        };
        last.rendered = Some((Instant::now(), text.clone()));
        text
    }

    /// From what costs next to nothing to what may cost a lot: each is given half of the time that is left.
    async fn read(&self, last: &mut Last) -> sqlx::Result<String> {
        let until = Instant::now() + READ_TIMEOUT;
        let mut reads = Reads { connection: self.pool.acquire().await?, until, all: true };
        let mut text = String::new();
        if let Some(counts) = reads.bounded("requests sent again", sent_again).await? {
            let name = "seatkeeper_duplicates_total";
            family(&mut text, name, "counter", "Requests that were sent again");
            sample(&mut text, name, "", counts.0);
            let name = "seatkeeper_conflicts_total";
            family(&mut text, name, "counter", "Known IDs that were sent with something else");
            sample(&mut text, name, "", counts.1);
        }
        if let Some(pauses) = reads.bounded("pauses", pauses).await? {
            family(&mut text, "seatkeeper_paused", "gauge", "Pauses in force");
            for (what, count) in pauses {
                sample(&mut text, "seatkeeper_paused", &format!("what=\"{what}\""), count);
            }
        }
        let waits = async |connection: &mut PgConnection| replication_waits(connection).await;
        if let Some(waits) = reads.bounded("waits for a standby", waits).await? {
            let name = "seatkeeper_replication_waits";
            family(&mut text, name, "gauge", "Commits that wait for a synchronous standby");
            sample(&mut text, name, "", waits);
        }
        if let Some(states) = reads.bounded("schedules", schedule::states).await? {
            schedules::render(&mut text, &states);
        }
        if let Some(invariants) = reads.bounded("invariants", invariants::read).await? {
            invariants::render(&mut text, &invariants);
        }
        let seen = &mut last.seen;
        let oldest = async |connection: &mut PgConnection| transactions::read(connection, seen).await;
        if let Some(oldest) = reads.bounded("open transactions", oldest).await? {
            transactions::render(&mut text, &oldest);
        }
        let failed = reads.bounded("failed requests", queue::failed).await?;
        let scheduled = reads.bounded("scheduled requests", queue::scheduled).await?;
        let ready = reads.ready(&mut last.floors).await?;
        queue::render(&mut text, ready.as_ref(), scheduled.as_ref(), failed.as_ref());
        Ok(text + &success(reads.all))
    }
}

/// The reading of one scrape.
struct Reads {
    connection: PoolConnection<Postgres>,
    until: Instant,
    /// Whether all were read so far.
    all: bool,
}

impl Reads {
    /// Reads in a transaction of its own, within this time. (Among millions of answered requests, any other plan than a walk along the
    /// right index would be a scan of all of them.)
    async fn attempt<T>(
        &mut self,
        within: Duration,
        read: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let within = within.max(LEAST).as_millis();
        let begin = format!("begin read only; set local statement_timeout = {within}; {WALK_INDEXES}");
        let mut transaction = self.connection.begin_with(opening(&begin)).await?;
        let outcome = read(&mut transaction).await;
        match &outcome {
            Ok(_) => transaction.commit().await?,
            Err(error) if is_of_one_family(error) => transaction.rollback().await?,
            Err(_) => {}
        }
        outcome
    }

    /// A family; `None` when the database would not give it within the time.
    async fn bounded<T>(
        &mut self,
        what: &str,
        read: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> sqlx::Result<Option<T>> {
        let within = self.left() / 2;
        match self.attempt(within, read).await {
            Ok(read) => Ok(Some(read)),
            Err(error) if is_of_one_family(&error) => {
                let error = crate::postgres::describe(&error);
                tracing::warn!(%error, what, "a family of the shared metrics could not be read");
                self.all = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What is ready, from the beginning where it is time for that and does not take long, and else from the floors on.
    async fn ready(&mut self, floors: &mut Floors) -> sqlx::Result<Option<BTreeMap<String, Ready>>> {
        let (known, all) = (floors.known(), floors.all());
        if known.lanes.len() < all.lanes.len() {
            let began = Instant::now();
            let within = WHOLE_WITHIN.min(self.left() / 2);
            let read = async |connection: &mut PgConnection| queue::ready(connection, floors, &known).await;
            match self.attempt(within, read).await {
                Ok(ready) => return Ok(Some(ready)),
                Err(error) if is_of_one_family(&error) => floors.gave_up(&known, began.elapsed()),
                Err(error) => return Err(error),
            }
        }
        let read = async |connection: &mut PgConnection| {
            queue::settle(&mut *connection, floors).await?;
            let known = floors.all();
            queue::ready(connection, floors, &known).await
        };
        self.bounded("ready requests", read).await
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

/// Whether the other families can be read all the same.
fn is_of_one_family(error: &sqlx::Error) -> bool {
    let database = matches!(error, sqlx::Error::Database(_));
    database && !matches!(ErrorClass::of(error), ErrorClass::Connection | ErrorClass::Outdated)
}

/// How many requests were sent again: the same, and with something else.
async fn sent_again(connection: &mut PgConnection) -> sqlx::Result<(i64, i64)> {
    let counts = sqlx::query!(
        r#"-- metrics.sent_again
           select (select case when is_called then last_value else 0 end from seatkeeper.duplicates_seq) as "duplicates!",
                  (select case when is_called then last_value else 0 end from seatkeeper.conflicts_seq) as "conflicts!""#
    )
    .fetch_one(connection)
    .await?;
    Ok((counts.duplicates, counts.conflicts))
}

/// Pauses by what they are about.
async fn pauses(connection: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(
        r#"-- metrics.pauses
           select w.what as "what!", count(p.pause_id) as "count!"
           from (select unnest($1::text[] || array['semester', 'everything']) as what) w
           left join seatkeeper.pauses p
               on w.what = coalesce(p.kind, case when p.semester_id is null then 'everything' else 'semester' end)
           group by w.what order by w.what"#,
        &queue::kinds()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.what, row.count)).collect())
}

fn success(read: bool) -> String {
    let mut text = String::new();
    let name = "seatkeeper_db_scrape_success";
    family(&mut text, name, "gauge", "Whether all shared families could be read from the database");
    sample(&mut text, name, "", u8::from(read));
    text
}

pub(super) fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

pub(super) fn sample(text: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = writeln!(text, "{name}{labels} {value}");
}

/// Anybody's words as the value of a label: it ends up in somebody's mail.
pub(super) fn label_value(words: &str) -> String {
    let replaced = words.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    replaced.collect::<String>().replace('\\', "\\\\").replace('"', "\\\"")
}
