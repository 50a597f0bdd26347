//! What the last roll call found, and when that was.

use chrono::{Duration, Utc};
use sqlx::PgConnection;

use super::Finding;
use crate::invariants::{Last, Severity, Status, catalogue, invariant};

/// The full roll call is made every week; a day of grace.
const OLD: Duration = Duration::days(8);

pub(super) async fn finding(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    const TODO: &str = "`seatkeeper check` says which rows, since when, and what to do";
    let lasts = Last::of_each(connection).await?;
    let Some(latest) = lasts.iter().map(|last| last.finished_at).max() else {
        return Ok(Finding::ok("roll call", "there was none yet; `seatkeeper check` makes one"));
    };
    let named = |status: Status, is: &dyn Fn(&Last) -> bool| -> Vec<&str> {
        let found = lasts.iter().filter(|last| last.status == status.as_str() && is(last));
        found.map(|last| last.invariant.as_str()).collect()
    };
    let is_bad_news = |last: &Last| {
        invariant(&last.invariant).zip(last.violations).is_some_and(|(known, violations)| {
            known.breaches(violations, last.accepted)
                && (known.severity == Severity::Critical || known.counts_accepted)
        })
    };
    let bad: Vec<&str> =
        lasts.iter().filter(|last| is_bad_news(last)).map(|last| last.invariant.as_str()).collect();
    let unknown = named(Status::Unknown, &|_| true);
    let other = named(Status::Violated, &|last| !is_bad_news(last));
    let old: Vec<&str> = lasts
        .iter()
        .filter(|last| Utc::now() - last.finished_at > OLD)
        .map(|last| last.invariant.as_str())
        .collect();
    let when = format!("the last one was finished {}", latest.format("%Y-%m-%d %H:%M:%S UTC"));
    Ok(if !bad.is_empty() {
        Finding::problem("roll call", format!("{when}; violated: {}", bad.join(", ")), TODO)
    } else if !unknown.is_empty() {
        let what = format!("{when}; could not be evaluated: {}", unknown.join(", "));
        Finding::warning("roll call", what, "`seatkeeper check` says why: a lock, a missing right, a timeout")
    } else if !other.is_empty() {
        Finding::warning("roll call", format!("{when}; rows of {} are not accepted", other.join(", ")), TODO)
    } else if !old.is_empty() {
        let what = format!("{when}; not looked at for more than a week: {}", old.join(", "));
        Finding::warning(
            "roll call",
            what,
            "is `seatkeeper run` running? `seatkeeper check` makes a run by hand",
        )
    } else {
        let what = match catalogue().len() - lasts.len() {
            0 => format!("{when}; all {} invariants hold", lasts.len()),
            left => format!("{when}; {} invariants hold, {left} were not looked at yet", lasts.len()),
        };
        Finding::ok("roll call", what)
    })
}
