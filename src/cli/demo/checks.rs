//! Whether it adds up.

use serde::Serialize;

use super::audit::Audit;
use super::plan::Plan;
use crate::cli::words::grouped;

/// One thing that has to hold.
#[derive(Debug, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub holds: bool,
    /// The figures.
    pub says: String,
}

/// Everything that has to hold.
pub fn checks(audit: &Audit, plan: &Plan) -> Vec<Check> {
    vec![
        places(audit),
        answers(audit, plan),
        doors(audit),
        credits(audit),
        charges(audit),
        order(audit),
        replay(audit),
    ]
}

fn places(audit: &Audit) -> Check {
    let places = &audit.places;
    let holds = places.taken <= places.seats
        && places.taken == places.active_enrollments
        && places.taken == places.enrolled_count;
    let says = format!(
        "{} of {} seats = {} active enrollments = {} counted on the semester",
        grouped(places.taken),
        grouped(places.seats),
        grouped(places.active_enrollments),
        grouped(places.enrolled_count)
    );
    Check { name: "places", holds, says }
}

fn answers(audit: &Audit, plan: &Plan) -> Check {
    let requests = &audit.requests;
    let sent = plan.grants.len() + plan.asks.len();
    let by_reason: usize = audit.refused_by_reason.values().sum();
    let holds = requests.applied + by_reason == sent
        && requests.refused == by_reason
        && requests.unanswered == 0
        && usize::try_from(audit.stored) == Ok(sent);
    let says = format!(
        "{} applied + {} refused = {} requests, each answered once",
        grouped(requests.applied),
        grouped(by_reason),
        grouped(sent)
    );
    Check { name: "answers", holds, says }
}

fn doors(audit: &Audit) -> Check {
    let doors = &audit.doors;
    let holds = doors.first_receipt == doors.sent_again
        && doors.conflicts_refused == doors.conflicts
        && doors.malformed_refused == doors.malformed;
    let says = format!(
        "{} of {} sent again got the first receipt; {} of {} conflicts and {} of {} malformed ones were refused",
        grouped(doors.first_receipt),
        grouped(doors.sent_again),
        grouped(doors.conflicts_refused),
        grouped(doors.conflicts),
        grouped(doors.malformed_refused),
        grouped(doors.malformed)
    );
    Check { name: "doors", holds, says }
}

fn credits(audit: &Audit) -> Check {
    let credits = &audit.credits;
    let holds = credits.granted == credits.balances + credits.charged - credits.refunded
        && credits.wrong_balances == 0;
    let says = format!(
        "{} granted = {} in balances + {} charged - {} refunded",
        grouped(credits.granted),
        grouped(credits.balances),
        grouped(credits.charged),
        grouped(credits.refunded)
    );
    Check { name: "credits", holds, says }
}

fn charges(audit: &Audit) -> Check {
    let wrong = audit.credits.wrong_charges;
    let says = format!("{} enrollments charged or refunded other than once", grouped(wrong));
    Check { name: "charged once", holds: wrong == 0, says }
}

fn order(audit: &Audit) -> Check {
    let says = format!(
        "{} requests overtaken by one that was sent after they were in",
        grouped(audit.order.overtaken)
    );
    Check { name: "first come", holds: audit.order.overtaken == 0, says }
}

fn replay(audit: &Audit) -> Check {
    let order = &audit.order;
    let says = format!(
        "{} answers worked out again, one at a time: {} differ",
        grouped(order.replayed),
        grouped(order.differing)
    );
    Check { name: "replay", holds: order.differing == 0 && order.replayed == audit.requests.asked, says }
}
