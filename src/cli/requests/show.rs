//! `requests show`.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use seatkeeper::operate::{self, Pause, Story};
use uuid::Uuid;

use super::place;
use crate::cli::database::{DatabaseFlags, refusal_to_read};
use crate::cli::terminal::{Page, foreign, line, print, print_json};
use crate::cli::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    database: DatabaseFlags,
    /// The request
    request_id: Uuid,
    /// Print the story as JSON
    #[arg(long, env = "SEATKEEPER_JSON")]
    json: bool,
}

impl Show {
    pub async fn execute(self) -> Result<Exit, Failure> {
        let database = self.database.open_usable(1).await?;
        let story = operate::story(&database.pool, self.request_id)
            .await
            .map_err(|error| Failure::unable(refusal_to_read(&error)))?;
        database.close().await?;
        let Some(story) = story else {
            return Err(Failure::unable(format!(
                "request {} is not known to this database; look for it with `seatkeeper requests list`",
                self.request_id
            )));
        };
        if self.json {
            print_json(&story)?;
        } else {
            print(&tell(&story));
        }
        Ok(Exit::Fine)
    }
}

/// The story in lines of a label and what there is to say.
#[derive(Default)]
pub(super) struct Lines(Page);

impl Lines {
    pub(super) fn add(&mut self, label: &str, what: impl std::fmt::Display) {
        line!(self.0, "{label:<12}{what}");
    }

    fn add_if(&mut self, label: &str, what: Option<impl std::fmt::Display>) {
        if let Some(what) = what {
            self.add(label, what);
        }
    }
}

fn tell(story: &Story) -> Page {
    let mut lines = Lines::default();
    lines.add("request", story.request_id);
    lines.add("asked", asked(story));
    lines.add("arrived", format!("{} (number {})", at(story.enqueued_at), story.seq));
    lines.add_if("producer", story.producer.as_deref().map(foreign));
    lines.add_if("account", story.enqueued_by.as_deref().map(foreign));
    lines.add_if("trace", story.traceparent.as_deref().map(foreign));
    match story.semester_id {
        Some(lane) => lines.add("lane", format!("semester {lane}")),
        None => lines.add("lane", "none: answered by itself"),
    }
    lines.add_if("run at", story.run_at.map(at));
    lines.add_if("expires", story.expires_at.map(at));
    lines.add("attempts", story.attempts);
    lines.add_if("last error", story.last_error.as_deref().map(foreign));
    lines.add("status", status(story));
    for reason in why_not_yet(story) {
        lines.add("waits", reason);
    }
    lines.add_if("result", story.result.as_ref());
    if let (Some(finished), Some(number)) = (story.finished_at, story.answer_seq) {
        lines.add("answered", format!("{} (answer {number})", at(finished)));
    } else {
        lines.add_if("ended", story.finished_at.map(at));
    }
    place::tell(&mut lines, story);
    for row in &story.enrollments {
        let withdrawn = row.withdrawn_at.map(|then| format!(", withdrawn {}", at(then))).unwrap_or_default();
        lines.add(
            "enrollment",
            format!(
                "{}: user {} in semester {}, {}, paid {}, enrolled {}{withdrawn}",
                row.enrollment_id,
                row.user_id,
                row.semester_id,
                row.status,
                row.price_paid,
                at(row.enrolled_at)
            ),
        );
    }
    for row in &story.ledger {
        lines.add(
            "ledger",
            format!(
                "{}: user {}, {} {:+}, balance then {}",
                row.transaction_id, row.user_id, row.transaction_type, row.amount, row.balance_after
            ),
        );
    }
    for act in &story.actions {
        let role =
            act.role.as_ref().map(|role| format!(" (database role {})", foreign(role))).unwrap_or_default();
        lines.add(
            "operator",
            format!(
                "{}: {} by {}{role}: {}",
                at(act.acted_at),
                foreign(&act.action),
                foreign(&act.operator),
                foreign(&act.reason)
            ),
        );
    }
    lines.0
}

fn asked(story: &Story) -> String {
    let mut text = foreign(&story.kind).to_string();
    let ids = [
        ("user", story.user_id),
        ("semester", if story.session_id.or(story.booking_id).is_some() { None } else { story.semester_id }),
        ("session", story.session_id),
        ("booking", story.booking_id),
        ("enrollment", story.enrollment_id),
        ("amount", story.amount),
    ];
    for (name, id) in ids {
        if let Some(id) = id {
            let _ = write!(text, " {name} {id}");
        }
    }
    if let Some(field) = &story.payload_defect {
        let _ = write!(text, " (the stored payload is not well-formed: {})", foreign(field));
    }
    text
}

fn status(story: &Story) -> String {
    match (story.outcome.as_deref(), story.reason.as_deref()) {
        (Some(outcome), Some(reason)) => format!("{}, {outcome}: {reason}", story.status),
        (Some(outcome), None) => format!("{}, {outcome}", story.status),
        (None, Some(reason)) => format!("{}: {reason}", story.status),
        (None, None) => story.status.clone(),
    }
}

/// Why a queued request is not answered yet; empty for any other.
fn why_not_yet(story: &Story) -> Vec<String> {
    let Some(before) = story.before else { return Vec::new() };
    let mut why = Vec::new();
    if let (true, Some(run_at)) = (story.is_scheduled, story.run_at) {
        why.push(format!("for its time, {}", at(run_at)));
    }
    why.extend(story.pauses.iter().map(for_resume));
    if story.hold.as_deref() == Some("paused") && story.pauses.is_empty() {
        why.push("to be put back into the queue after a pause: a running worker does that".to_owned());
    }
    if story.hold.as_deref() == Some("scheduled") && !story.is_scheduled {
        why.push("to be put into the queue, its time has come: a running worker does that".to_owned());
    }
    if !story.is_executable {
        why.push(format!("for a version that answers {} requests: this one does not", story.kind));
    }
    if before.grants > 0 && story.kind != "grant_credits" {
        why.push(format!("for {} grants of its user that arrived earlier", before.grants));
    }
    let more = if before.or_more { " or more" } else { "" };
    match (before.count, why.is_empty()) {
        (0, true) => why.push("for nobody: it is next; see `seatkeeper doctor` if it stays so".to_owned()),
        (0, false) => {}
        (count, _) => why.push(format!("for {count}{more} that arrived earlier and are ready")),
    }
    why
}

pub(super) fn for_resume(pause: &Pause) -> String {
    format!(
        "for `seatkeeper resume`: {} is paused since {} by {}: {}",
        foreign(pause.what()),
        at(pause.since),
        foreign(&pause.paused_by),
        foreign(&pause.reason)
    )
}

pub(super) fn at(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}
