//! A run for people, at three in the morning too.

use chrono::{DateTime, Utc};
use seatkeeper::invariants::guards::Trouble;
use seatkeeper::invariants::{Invariant, Outcome, Run, Status, invariant};
use serde_json::Value;

use crate::cli::doctor::shortened;
use crate::cli::terminal::{Page, foreign, line};
use crate::cli::words::grouped;

/// Rows that are shown of each invariant.
const SHOWN: usize = 8;
/// The longest that one row is shown, in characters.
const LONGEST_ROW: usize = 240;

/// The run, told. `troubles` = what is wrong with the guards now; `None` = they could not be looked at.
pub fn page(run: &Run, troubles: Option<&[Trouble]>) -> Page {
    let mut page = Page::default();
    tell(&mut page, run, troubles);
    page
}

fn tell(page: &mut Page, run: &Run, troubles: Option<&[Trouble]>) {
    let count = |status| run.results.iter().filter(|outcome| outcome.status == status).count();
    let (violated, unknown) = (count(Status::Violated), count(Status::Unknown));
    line!(
        page,
        "Roll call {}: as of {}, {:.1} s",
        run.run_id,
        instant(run.started_at),
        (run.finished_at - run.started_at).as_seconds_f64()
    );
    page.gap();
    for outcome in &run.results {
        let summary = invariant(&outcome.invariant).map_or("", |known| &known.summary);
        let mark = match outcome.status {
            Status::Holds => "ok",
            Status::Violated => "VIOLATED",
            Status::Unknown => "UNKNOWN",
        };
        let accepted = match outcome.accepted {
            0 => String::new(),
            rows => format!(" ({} accepted)", grouped(rows)),
        };
        line!(page, "  {mark:<9} {:<8} {summary}{accepted}", outcome.invariant);
    }
    for outcome in run.results.iter().filter(|outcome| outcome.status != Status::Holds) {
        match invariant(&outcome.invariant) {
            Some(known) => tell_one(page, known, outcome, troubles),
            None => {
                page.gap();
                line!(page, "{}: this version does not know it", outcome.invariant);
            }
        }
    }
    // Accepted ones count where the header says so: beyond its threshold that is bad news, violated or not.
    for outcome in
        run.results.iter().filter(|outcome| outcome.status == Status::Holds && outcome.is_bad_news())
    {
        page.gap();
        line!(
            page,
            "{}: {} rows offend, more than may be, though all of them are accepted",
            outcome.invariant,
            grouped(outcome.violations.unwrap_or_default())
        );
    }
    let verdict = match (violated, unknown) {
        (0, 0) => "Everything holds.".to_owned(),
        (0, _) => format!("{unknown} could not be evaluated: nobody knows whether they hold."),
        (_, 0) => format!("{violated} violated."),
        _ => format!("{violated} violated; {unknown} could not be evaluated."),
    };
    page.gap();
    page.line(verdict);
}

fn tell_one(page: &mut Page, known: &Invariant, outcome: &Outcome, troubles: Option<&[Trouble]>) {
    let severity = known.severity.as_str();
    page.gap();
    line!(page, "{} ({severity}): {}", known.id, known.summary);
    if let Some(error) = &outcome.error {
        let todo = "remove the cause (a lock, a missing right, a timeout that is too short), and check again";
        line!(page, "  unknown   could not be evaluated: {}", foreign(error));
        line!(page, "  to do     {todo}");
        return;
    }
    let violations = outcome.violations.unwrap_or_default();
    let since = outcome.since.map(|since| format!(", the first since {}", instant(since)));
    let accepted = match outcome.accepted {
        0 => String::new(),
        rows => format!("; {} more are accepted", grouped(rows)),
    };
    let rows = violations - outcome.accepted;
    line!(
        page,
        "  broken    {} offend{}{}{accepted}",
        if rows == 1 { "1 row".to_owned() } else { format!("{} rows", grouped(rows)) },
        if rows == 1 { "s" } else { "" },
        since.unwrap_or_default()
    );
    if known.alert_above > 0 {
        let all = if known.counts_accepted { ", accepted ones included" } else { "" };
        line!(page, "            bad news only beyond {}{all}", known.alert_above);
    }
    let open: Vec<&Value> = outcome.sample.iter().filter(|row| row["accepted"] != true).collect();
    for (place, row) in open.iter().take(SHOWN).enumerate() {
        line!(page, "  {:<9} {}", if place == 0 { "rows" } else { "" }, one_row(known, row));
    }
    let more = rows - i64::try_from(open.len().min(SHOWN)).unwrap_or_default();
    if more > 0 {
        line!(page, "            and {} more", grouped(more));
    }
    tell_guards(page, known, troubles);
    // A step to a line.
    for (place, step) in known.repair.split_inclusive(". ").enumerate() {
        line!(page, "  {:<9} {}", if place == 0 { "to do" } else { "" }, step.trim_end());
    }
    let of_this = troubles.into_iter().flatten().filter(|trouble| trouble.invariant == known.id);
    let mut statements: Vec<&String> = Vec::new();
    for sql in of_this.flat_map(|trouble| &trouble.repair) {
        // All triggers of a table are enabled at once.
        if !statements.contains(&sql) {
            statements.push(sql);
        }
    }
    for (place, sql) in statements.into_iter().enumerate() {
        line!(page, "  {:<9} {};", if place == 0 { "sql" } else { "" }, shortened(sql));
    }
}

fn tell_guards(page: &mut Page, known: &Invariant, troubles: Option<&[Trouble]>) {
    if let Some(why) = &known.unguarded {
        line!(page, "  guard     none: {why}");
        return;
    }
    for (place, guard) in known.guards.iter().enumerate() {
        let state = match troubles {
            None => "could not be looked at".to_owned(),
            Some(troubles) => match troubles.iter().find(|trouble| trouble.name == *guard) {
                Some(trouble) => format!("should have held: {}", trouble.problem.to_uppercase()),
                None => "is live now".to_owned(),
            },
        };
        line!(page, "  {:<9} {guard} {state}", if place == 0 { "guard" } else { "" });
    }
}

/// `user_id 7, semester_id 3: enrollments 2; since 2026-11-02 08:00:00 UTC`
fn one_row(known: &Invariant, sample: &Value) -> String {
    let says = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let key: Vec<String> =
        known.key.iter().map(|column| format!("{column} {}", says(&sample["key"][column]))).collect();
    let rest: Vec<String> = sample["row"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(column, value)| !known.key.contains(column) && !value.is_null())
        // Told below, one by one.
        .filter(|(column, _)| !(known.takes_manifest && *column == "repair"))
        .map(|(column, value)| format!("{column} {}", says(value)))
        .collect();
    let mut line = key.join(", ");
    if !rest.is_empty() {
        line = format!("{line}: {}", rest.join(", "));
    }
    let line = foreign(line).up_to(LONGEST_ROW);
    let since = sample["first_seen"].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    match since {
        Some(since) => format!("{line}; since {}", instant(since)),
        None => line.to_string(),
    }
}

pub fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
