//! The outcome for people, at three in the morning too.

use seatkeeper::audit::{About, Audit, Finding, NotCovered};
use serde_json::Value;

use crate::cli::terminal::{Page, foreign, line};
use crate::cli::words::grouped;

/// The outcome, told with at most so many findings.
pub fn page(audit: &Audit, seconds: f64, show: usize) -> Page {
    let mut page = Page::default();
    tell(&mut page, audit, seconds, show);
    page
}

fn tell(page: &mut Page, audit: &Audit, seconds: f64, show: usize) {
    line!(
        page,
        "Audit: {} answers, {} changes of the catalog and {} fills worked out again, {seconds:.1} s",
        grouped(audit.answers),
        grouped(audit.changes),
        grouped(audit.fills)
    );
    if audit.not_covered.is_none() {
        line!(
            page,
            "Compared with what came of it: {} users, {} enrollments, {} bookings, {} of attendance, {} ledger rows",
            grouped(audit.users),
            grouped(audit.enrollments),
            grouped(audit.bookings),
            grouped(audit.attendance),
            grouped(audit.ledger)
        );
    }
    for finding in audit.findings.iter().take(show) {
        tell_one(page, finding);
    }
    let more = audit.differing.saturating_sub(show);
    if more > 0 {
        page.gap();
        line!(page, "  and {} more (--show, --json)", grouped(more));
    }
    if let Some(stop) = &audit.not_covered {
        tell_stop(page, audit, stop);
    }
    page.gap();
    match (audit.differing, &audit.not_covered) {
        (0, None) => page.line("Everything follows."),
        (0, Some(_)) => page.line("Nothing differs so far, and nobody knows about the rest."),
        (differing, _) => {
            let do_not = if differing == 1 { "1 does" } else { "do" };
            let count = if differing == 1 { String::new() } else { format!("{} ", grouped(differing)) };
            line!(
                page,
                "{count}{do_not} not follow. Begin with the first: what comes later may follow from it."
            );
            page.line(
                "To do: keep a copy of the database as it is. `seatkeeper requests show ID` tells the story of a request, and \
                 `seatkeeper check` whether a guard is missing. A row that was edited by hand is set right by hand, as it is \
                 told above; a balance by a grant_credits request. An answer that no hand has touched is a defect: report it \
                 with this output.",
            );
        }
    }
}

fn tell_one(page: &mut Page, finding: &Finding) {
    let what = what(&finding.about);
    let of = finding.came_of.map(|request| format!(" (of request {request})"));
    page.gap();
    line!(page, "  DIFFERS   {what}{}", of.unwrap_or_default());
    if let Some(asked) = &finding.asked {
        line!(page, "  asked     {}", fields(asked));
    }
    let (stored, right) = match finding.about {
        About::Answer { .. } => (answer(&finding.stored), answer(&finding.right)),
        _ => (fields(&finding.stored), fields(&finding.right)),
    };
    let absent = |side: String, words: &str| if side.is_empty() { words.to_owned() } else { side };
    line!(page, "  stored    {}", absent(stored, "nothing: the row is not there"));
    line!(page, "  right     {}", absent(right, "nothing: no request made this row"));
}

fn what(about: &About) -> String {
    match about {
        About::Answer { request_id, kind, answer_seq: Some(seq) } => {
            format!("the answer to request {request_id} ({kind}), number {seq} in the order")
        }
        About::Answer { request_id, kind, answer_seq: None } => {
            format!("the answer to request {request_id} ({kind}), which has no number in the order")
        }
        About::Fill { change_seq, session_id } => {
            format!("who got a free place in session {session_id}, number {change_seq} in the order")
        }
        About::Change { change_seq, table, key } => {
            format!("the record of a change: catalog_changes, change_seq {change_seq} ({table} {key})")
        }
        About::User { user_id } => format!("users, user_id {user_id}"),
        About::Semester { semester_id } => format!("semesters, semester_id {semester_id}"),
        About::Session { session_id } => format!("sessions, session_id {session_id}"),
        About::Enrollment { enrollment_id } => format!("enrollments, enrollment_id {enrollment_id}"),
        About::Booking { booking_id } => format!("bookings, booking_id {booking_id}"),
        About::Attendance { booking_id } => format!("attendance, booking_id {booking_id}"),
        About::Ledger { request_id, enrollment_id } => {
            let of = enrollment_id.map(|id| format!(" for enrollment {id}")).unwrap_or_default();
            format!("credit_transactions, request_id {request_id}{of}")
        }
        About::Unasked { transaction_id } => format!("credit_transactions, transaction_id {transaction_id}"),
    }
}

/// `refused, semester_full` or `applied: balance 90, charged 10, enrollment_id 4`.
fn answer(told: &Value) -> String {
    let Some(outcome) = told.get("outcome") else { return fields(told) };
    let mut words = vec![outcome.as_str().unwrap_or("no outcome").to_owned()];
    words.extend(told["reason"].as_str().map(ToOwned::to_owned));
    words.extend(told["status"].as_str().map(|status| format!("status {status}")));
    let result = fields(&told["result"]);
    let words = words.join(", ");
    if result.is_empty() { words } else { short(format!("{words}: {result}")) }
}

/// `enrolled_count 13, status CANCELLED`; empty for what is not there.
fn fields(side: &Value) -> String {
    let says = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    short(match side {
        Value::Null => String::new(),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} {}", says(value))).collect();
            fields.join(", ")
        }
        other => says(other),
    })
}

fn short(text: String) -> String {
    foreign(text).to_string()
}

fn tell_stop(page: &mut Page, audit: &Audit, stop: &NotCovered) {
    page.gap();
    match stop.seq {
        Some(seq) => {
            line!(page, "  NOT COVERED from number {seq} in the order on: {}", foreign(&stop.why));
            line!(
                page,
                "  It got through {} answers before that; the rows of the tables were not compared.",
                grouped(audit.answers)
            );
        }
        None => line!(page, "  NOT COVERED: {}", foreign(&stop.why)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{answer, fields};

    #[test]
    fn sides_are_told_in_words() {
        assert_eq!(
            fields(&json!({ "status": "CANCELLED", "cancelled_at": null })),
            "cancelled_at null, status CANCELLED"
        );
        assert_eq!(fields(&json!(null)), "");
        let refused = json!({ "outcome": "refused", "reason": "semester_full", "result": null });
        assert_eq!(answer(&refused), "refused, semester_full");
        let applied =
            json!({ "outcome": "applied", "reason": null, "result": { "balance": 3 }, "status": "failed" });
        assert_eq!(answer(&applied), "applied, status failed: balance 3");
        let long = fields(&json!("x".repeat(9_999)));
        assert!(long.len() < 1_000 && long.ends_with("more characters)"), "{long}");
    }
}
