//! Families of shared state: the same on every replica, read from the database at each scrape.
//!
//! When the read fails there is no sample for them, and `seatkeeper_db_scrape_success 0`: a database that is down
//! must never look like an empty queue.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::sync::Mutex;

use super::{invariants, schedules};
use crate::postgres::{WALK_INDEXES, opening, replication_waits};
use crate::schedule;

/// A scrape waits no longer than this for the database.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Scrapes closer together than this share one read.
const FRESH_FOR: Duration = Duration::from_millis(1500);
/// Depths are exact up to here, so that a scrape costs no more with ten million waiting.
const DEPTH_CAP: i64 = 100_000;

/// Reads and renders the shared families. One read at a time, whoever asks.
#[derive(Debug)]
pub struct SharedState {
    pool: PgPool,
    last: Mutex<Option<(Instant, String)>>,
}

impl SharedState {
    /// Reads from this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, last: Mutex::new(None) }
    }

    /// The families as Prometheus text.
    pub async fn render(&self) -> String {
        let mut last = self.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < FRESH_FOR
        {
            return text.clone();
        }
        let text = match tokio::time::timeout(READ_TIMEOUT, self.read()).await {
            Ok(Ok(text)) => text + &success(true),
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
        *last = Some((Instant::now(), text.clone()));
        text
    }

    async fn read(&self) -> sqlx::Result<String> {
        let kinds: Vec<String> =
            seatkeeper_jobs::Kind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect();
        // Among millions of answered requests any other way would be a scan of all of them.
        let read = format!("begin read only; set local statement_timeout = 1000; {WALK_INDEXES}");
        let mut transaction = self.pool.begin_with(opening(&read)).await?;
        let queue = sqlx::query!(
            r#"-- metrics.queue
               select k.kind as "kind!",
                      (select count(*) from (select from seatkeeper.requests r where r.kind = k.kind
                          and r.status = 'queued' and r.hold is null order by r.seq limit $2) x) as "ready!",
                      (select count(*) from (select from seatkeeper.requests r where r.kind = k.kind
                          and r.status = 'queued' and r.hold = 'scheduled' order by r.run_at limit $2) x) as "scheduled!",
                      (select count(*) from (select from seatkeeper.requests r where r.kind = k.kind
                          and r.status = 'failed' order by r.finished_at limit $2) x) as "failed!",
                      coalesce((select extract(epoch from clock_timestamp() - greatest(r.enqueued_at, r.run_at))::float8
                          from seatkeeper.requests r
                          where r.kind = k.kind and r.status = 'queued' and r.hold is null
                          order by r.seq limit 1), 0) as "oldest!"
               from unnest($1::text[]) k (kind)"#,
            &kinds,
            DEPTH_CAP
        )
        .fetch_all(&mut *transaction)
        .await?;
        let pauses = sqlx::query!(
            r#"-- metrics.pauses
               select w.what as "what!", count(p.pause_id) as "count!"
               from (select unnest($1::text[] || array['semester', 'everything']) as what) w
               left join seatkeeper.pauses p
                   on w.what = coalesce(p.kind, case when p.semester_id is null then 'everything' else 'semester' end)
               group by w.what order by w.what"#,
            &kinds
        )
        .fetch_all(&mut *transaction)
        .await?;
        let counts = sqlx::query!(
            r#"-- metrics.sent_again
               select (select case when is_called then last_value else 0 end from seatkeeper.duplicates_seq) as "duplicates!",
                      (select case when is_called then last_value else 0 end from seatkeeper.conflicts_seq) as "conflicts!""#
        )
        .fetch_one(&mut *transaction)
        .await?;
        let replication_waits = replication_waits(&mut *transaction).await?;
        let states = schedule::states(&mut transaction).await?;
        let invariants = invariants::read(&mut transaction).await?;
        transaction.commit().await?;

        let mut text = String::new();
        family(
            &mut text,
            "seatkeeper_queue_depth",
            "gauge",
            "Requests that are not answered, up to 100000 each",
        );
        for row in &queue {
            for (state, depth) in [("ready", row.ready), ("scheduled", row.scheduled), ("failed", row.failed)]
            {
                sample(
                    &mut text,
                    "seatkeeper_queue_depth",
                    &format!("kind=\"{}\",state=\"{state}\"", row.kind),
                    depth,
                );
            }
        }
        let name = "seatkeeper_queue_oldest_ready_age_seconds";
        family(&mut text, name, "gauge", "Age of the oldest request that is ready; 0 when there is none");
        for row in &queue {
            sample(&mut text, name, &format!("kind=\"{}\"", row.kind), row.oldest.max(0.0));
        }
        family(&mut text, "seatkeeper_paused", "gauge", "Pauses in force");
        for row in &pauses {
            sample(&mut text, "seatkeeper_paused", &format!("what=\"{}\"", row.what), row.count);
        }
        family(&mut text, "seatkeeper_duplicates_total", "counter", "Requests that were sent again");
        sample(&mut text, "seatkeeper_duplicates_total", "", counts.duplicates);
        family(
            &mut text,
            "seatkeeper_conflicts_total",
            "counter",
            "Known IDs that were sent with something else",
        );
        sample(&mut text, "seatkeeper_conflicts_total", "", counts.conflicts);
        let name = "seatkeeper_replication_waits";
        family(&mut text, name, "gauge", "Commits that wait for a synchronous standby");
        sample(&mut text, name, "", replication_waits);
        invariants::render(&mut text, &invariants);
        schedules::render(&mut text, &states);
        Ok(text)
    }
}

fn success(read: bool) -> String {
    let mut text = String::new();
    let name = "seatkeeper_db_scrape_success";
    family(&mut text, name, "gauge", "Whether the shared families could be read from the database");
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
