//! Whether it adds up.

use seatkeeper::invariants::{Run, Status};
use serde::Serialize;

use super::audit::Audit;
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
pub fn checks(audit: &Audit, sent: usize) -> Vec<Check> {
    vec![
        places(audit),
        sessions(audit),
        bookings(audit),
        waitlists(audit),
        promotions(audit),
        answers(audit, sent),
        doors(audit),
        credits(audit),
        charges(audit),
        order(audit),
        replay(audit),
    ]
}

/// The invariants, in one snapshot.
pub fn roll_call(run: &Run) -> Check {
    let bad: Vec<&str> = run
        .results
        .iter()
        .filter(|outcome| outcome.status != Status::Holds)
        .map(|outcome| outcome.invariant.as_str())
        .collect();
    let mut says = format!(
        "{} of {} invariants hold, seen in one snapshot",
        grouped(run.results.len() - bad.len()),
        grouped(run.results.len())
    );
    if !bad.is_empty() {
        says.push_str("; not so ");
        says.push_str(&bad.join(", "));
    }
    Check { name: "roll call", holds: bad.is_empty(), says }
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

fn sessions(audit: &Audit) -> Check {
    let bookings = &audit.bookings;
    let (confirmed, places) = (bookings.sum(|each| each.confirmed), bookings.sum(|each| each.places));
    let holds = bookings
        .sessions
        .iter()
        .all(|each| each.confirmed <= each.places && each.confirmed == each.confirmed_count)
        && bookings.in_two_places == 0
        && bookings.without_enrollment == 0;
    let says = format!(
        "{} of {} places confirmed, none beyond; {} users in two places, {} not enrolled",
        grouped(confirmed),
        grouped(places),
        grouped(bookings.in_two_places),
        grouped(bookings.without_enrollment)
    );
    Check { name: "sessions", holds, says }
}

fn bookings(audit: &Audit) -> Check {
    let bookings = &audit.bookings;
    let confirmed = bookings.sum(|each| each.confirmed);
    let (waiting, cancelled) = (bookings.sum(|each| each.waiting), bookings.sum(|each| each.cancelled));
    let because = |why: &str| bookings.cancelled_because.get(why).copied().unwrap_or_default();
    let holds = i64::try_from(bookings.booked) == Ok(confirmed + waiting + cancelled)
        && cancelled == bookings.cancelled_because.values().sum::<i64>()
        && i64::try_from(bookings.given_back) == Ok(because("requested"))
        && i64::try_from(bookings.left) == Ok(because("unenrolled"));
    let says = format!(
        "{} booked = {} confirmed + {} waiting + {} cancelled",
        grouped(bookings.booked),
        grouped(confirmed),
        grouped(waiting),
        grouped(cancelled)
    );
    Check { name: "bookings", holds, says }
}

fn waitlists(audit: &Audit) -> Check {
    let bookings = &audit.bookings;
    let idle = bookings.sum(|each| each.idle);
    let says = format!(
        "{} overtaken in a queue; {} free places beside somebody who could take them",
        grouped(bookings.overtaken),
        grouped(idle)
    );
    Check { name: "waitlists", holds: bookings.overtaken == 0 && idle == 0, says }
}

fn promotions(audit: &Audit) -> Check {
    let promotions = &audit.bookings.promotions;
    let promoted = audit.bookings.sum(|each| each.promoted);
    let by = [promotions.by_cancelled_bookings, promotions.by_unenrollments, promotions.by_owners];
    let holds = promotions.wrong == 0 && i64::try_from(by.iter().sum::<usize>()) == Ok(promoted);
    let says = format!(
        "{} moved up, each once = {} by cancels + {} by unenrolls + {} by new places",
        grouped(promoted),
        grouped(by[0]),
        grouped(by[1]),
        grouped(by[2])
    );
    Check { name: "moved up", holds, says }
}

fn answers(audit: &Audit, sent: usize) -> Check {
    let requests = &audit.requests;
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
    let mut says = format!(
        "{} answers and {} fills worked out again, one at a time: {} differ",
        grouped(order.replayed),
        grouped(order.fills_replayed),
        grouped(order.differing)
    );
    for trouble in [&order.first_differing, &order.not_covered].into_iter().flatten() {
        says.push_str("; ");
        says.push_str(trouble);
    }
    let holds = order.differing == 0
        && order.not_covered.is_none()
        && order.replayed == audit.requests.asked
        && order.fills_replayed == audit.bookings.promotions.by_owners
        && order.bookings_compared == audit.bookings.booked;
    Check { name: "replay", holds, says }
}
