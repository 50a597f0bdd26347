//! The queue: how deep, how old, what failed, what is paused.

use std::time::Duration;

use seatkeeper_jobs::Kind;
use sqlx::PgConnection;

use super::Finding;
use crate::operate::Pause;

/// Counts go up to here, so that looking costs no more with ten million waiting.
const CAP: i64 = 100_000;
/// A ready request this old is worth a word, in seconds.
pub(super) const SLOW: f64 = 60.0;
/// A ready request this old is not being worked off, in seconds.
pub(super) const STUCK: f64 = 3_600.0;

pub(super) async fn findings(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let kinds: Vec<String> = Kind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect();
    // Of paused semesters nothing counts as late; there may be a backlog of it in the index of what is ready.
    let rows = sqlx::query!(
        r#"-- doctor.queue
           select k.kind as "kind!",
                  (select count(*) from (select from seatkeeper.requests r where r.kind = k.kind
                      and r.status = 'queued' and r.hold is null limit $2) x) as "ready!",
                  (select count(*) from (select from seatkeeper.requests r where r.kind = k.kind
                      and r.status = 'queued' and r.hold = 'paused' limit $2) x) as "parked!",
                  (select count(*) from (select from seatkeeper.requests r where r.kind = k.kind
                      and r.status = 'failed' limit $2) x) as "failed!",
                  exists (select from seatkeeper.pauses p where p.kind = k.kind
                          or (p.kind is null and p.semester_id is null)) as "is_paused!",
                  (select extract(epoch from clock_timestamp() - greatest(r.enqueued_at, r.run_at))::float8
                   from seatkeeper.requests r
                   where r.kind = k.kind and r.status = 'queued' and r.hold is null
                     and (r.semester_id is null or r.semester_id <> all (array(
                          select p.semester_id from seatkeeper.pauses p where p.semester_id is not null)))
                   order by r.seq limit 1) as oldest
           from unnest($1::text[]) k (kind)"#,
        &kinds,
        CAP
    )
    .fetch_all(connection)
    .await?;

    let mut findings = Vec::new();
    let (mut ready, mut oldest, mut failed) = (0, 0.0_f64, Vec::new());
    for row in &rows {
        ready += row.ready;
        if !row.is_paused {
            oldest = oldest.max(row.oldest.unwrap_or(0.0));
        }
        if row.failed > 0 {
            failed.push(format!("{} {}", count(row.failed), row.kind));
        }
        if row.parked > 0 {
            let what = format!("{} {} requests are set aside by a pause", count(row.parked), row.kind);
            findings.push(if row.is_paused {
                Finding::ok("backlog", what)
            } else {
                Finding::warning(
                    "backlog",
                    format!("{what} that has ended"),
                    "a running worker puts them back into the queue: is there one?",
                )
            });
        }
    }
    findings.insert(0, age(ready, oldest));
    findings.push(if failed.is_empty() {
        Finding::ok("failed", "no request has failed")
    } else {
        Finding::warning(
            "failed",
            format!("failed, without an answer: {}", failed.join(", ")),
            "`seatkeeper requests list --status failed` shows them; once the cause is gone, `seatkeeper requests retry`",
        )
    });
    Ok(findings)
}

/// What waits for its time.
pub(super) async fn scheduled(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let row = sqlx::query!(
        r#"-- doctor.scheduled
           select (select count(*) from (select from seatkeeper.requests r where r.status = 'queued' and r.hold = 'scheduled'
                   order by r.run_at limit $1) x) as "count!",
                  (select r.run_at::text from seatkeeper.requests r where r.status = 'queued' and r.hold = 'scheduled'
                   order by r.run_at limit 1) as next,
                  (select r.run_at::text from seatkeeper.requests r where r.status = 'queued' and r.hold = 'scheduled'
                   order by r.run_at desc limit 1) as last"#,
        CAP
    )
    .fetch_one(connection)
    .await?;
    Ok(match (row.next, row.last) {
        (Some(next), Some(last)) => Finding::ok(
            "scheduled",
            format!("{} wait for their time, from {next} to {last}", count(row.count)),
        ),
        _ => Finding::ok("scheduled", "none waits for its time"),
    })
}

fn age(ready: i64, oldest: f64) -> Finding {
    const TODO: &str = "is `seatkeeper run` running, and does it reach the database? See its log, and \
        `seatkeeper requests list --status queued`";
    let age = Duration::from_secs(Duration::try_from_secs_f64(oldest).unwrap_or_default().as_secs());
    let what = format!("{} ready, the oldest for {}", count(ready), humantime::format_duration(age));
    if oldest > STUCK {
        Finding::problem("queue", what, TODO)
    } else if oldest > SLOW {
        Finding::warning("queue", what, TODO)
    } else if ready == 0 {
        Finding::ok("queue", "nothing is ready")
    } else {
        Finding::ok("queue", what)
    }
}

pub(super) fn pause_finding(pause: &Pause) -> Finding {
    Finding::warning(
        "pause",
        format!("{} is paused since {} by {}: {}", pause.what(), pause.since, pause.paused_by, pause.reason),
        "`seatkeeper resume` ends it",
    )
}

pub(super) fn count(count: i64) -> String {
    if count >= CAP { format!("{CAP} or more") } else { count.to_string() }
}
