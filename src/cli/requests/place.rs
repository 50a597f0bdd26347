//! The part of `requests show` that is about a place in a session.

use seatkeeper::operate::{BookingNow, KeptBy, SessionNow, Story};

use super::show::{Lines, at, for_resume};
use crate::cli::terminal::foreign;

/// Adds the session and the booking as they are now, and what keeps the booking waiting.
pub fn tell(lines: &mut Lines, story: &Story) {
    match (&story.session, story.session_id, story.booking_id) {
        (Some(session), ..) => {
            lines.add("session", session_now(session));
            lines.add("times", times(session));
        }
        (None, Some(session), _) => lines.add("session", format!("{session}: there is none")),
        (None, None, Some(booking)) => lines.add("booking", format!("{booking}: there is none")),
        (None, None, None) => {}
    }
    for conflict in &story.conflicts {
        lines.add(
            "overlaps",
            format!(
                "booking {} of session {}, CONFIRMED, {} to {}",
                conflict.booking_id,
                conflict.session_id,
                at(conflict.starts_at),
                at(conflict.ends_at)
            ),
        );
    }
    let Some(booking) = &story.booking else { return };
    lines.add("booking", booking_now(booking));
    if let (Some(status), Some(then)) = (&booking.attendance, booking.attendance_recorded_at) {
        lines.add("attendance", format!("{status}, recorded {}", at(then)));
    }
    if let (Some(position), Some(session)) = (booking.waitlist_position, &story.session) {
        lines.add("place", format!("{position} in the waitlist of {}", session.waiting));
        for why in kept_waiting(booking, session) {
            lines.add("waits", why);
        }
    }
}

fn session_now(session: &SessionNow) -> String {
    format!(
        "{} of semester {}: {}, {} of {} places taken, {} waiting",
        session.session_id,
        session.semester_id,
        session.status,
        session.confirmed_count,
        session.capacity,
        session.waiting
    )
}

fn times(session: &SessionNow) -> String {
    format!(
        "{} {}; booking closes {}, giving back {}",
        if session.has_started { "started" } else { "starts" },
        at(session.starts_at),
        at(session.booking_closes_at),
        at(session.cancellation_closes_at)
    )
}

fn booking_now(booking: &BookingNow) -> String {
    let mut text = format!(
        "{} of user {}, now {}, booked {}",
        booking.booking_id,
        booking.user_id,
        booking.status,
        at(booking.booked_at)
    );
    if let Some(then) = booking.promoted_at {
        text += &format!(", promoted {}", at(then));
    }
    if let (Some(then), Some(why)) = (booking.cancelled_at, &booking.cancelled_because) {
        text += &format!(", cancelled {} because {}", at(then), because(why));
    }
    text
}

fn because(why: &str) -> &str {
    match why {
        "requested" => "it was asked for (requested)",
        "unenrolled" => "the user left the semester (unenrolled)",
        "superseded" => "the user got a place at that time in another session (superseded)",
        "semester_cancelled" => "the semester was cancelled (semester_cancelled)",
        other => other,
    }
}

fn kept_waiting(booking: &BookingNow, session: &SessionNow) -> Vec<String> {
    let mut all = Vec::new();
    for why in &booking.kept_waiting_by {
        all.push(match why {
            KeptBy::SessionCancelled => "in vain as long as the session is CANCELLED".to_owned(),
            KeptBy::SessionStarted => {
                format!("in vain: the session has started at {}", at(session.starts_at))
            }
            KeptBy::UserInactive => {
                format!("and is passed over as long as user {} is not active", booking.user_id)
            }
            KeptBy::NotEnrolled => format!(
                "and is passed over: user {} has no active enrollment in semester {}",
                booking.user_id, session.semester_id
            ),
            KeptBy::PlaceElsewhere => {
                format!("and is passed over: user {} has a place at that time elsewhere", booking.user_id)
            }
            KeptBy::SessionFull => {
                format!("for a place: {} of {} are taken", session.confirmed_count, session.capacity)
            }
            KeptBy::OthersFirst => {
                format!("for {} before it that can take a place", booking.able_before.unwrap_or_default())
            }
            KeptBy::Paused => {
                all.extend(booking.pauses.iter().map(for_resume));
                continue;
            }
            KeptBy::FillPending => fill_pending(session),
        });
    }
    if all.is_empty() {
        all.push("beside a free place that it could take, which must not be: please report it".to_owned());
    }
    all
}

fn fill_pending(session: &SessionNow) -> String {
    let since = session.fill_marked_at.map(at).unwrap_or_default();
    match (&session.fill_last_error, session.fill_retry_at.map(at)) {
        (Some(error), Some(then)) => {
            format!(
                "for the session to be filled, marked since {since}, tried again at {then} after: {}",
                foreign(error)
            )
        }
        _ => format!(
            "for a worker to look at the session, which is marked for filling since {since}: is `seatkeeper run` running?"
        ),
    }
}
