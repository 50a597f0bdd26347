//! The last changes, when nobody asks any more: whatever they free has to be filled without being asked.

use super::super::load::Load;
use super::super::producer::is_passing;

/// Sends all who wait away and adds places, for nobody to take; then everybody may come again, and takes them.
pub async fn change_last(load: &Load) {
    let waiters = "select b.user_id from seatkeeper.bookings b where b.status = 'WAITLISTED'";
    // A single statement locks in no order; and the workers lock users, and sessions, ascending.
    let locked = |table: &str, key: &str, which: &str| {
        format!("select from seatkeeper.{table} where {key} in ({which}) order by {key} for no key update")
    };
    let longed_for = "select b.session_id from seatkeeper.bookings b where b.status = 'WAITLISTED'";
    let places = locked("sessions", "session_id", longed_for);
    let more = format!(
        "update seatkeeper.sessions set capacity = confirmed_count + 1 where session_id in ({longed_for})"
    );
    let users = locked("users", "user_id", waiters);
    let away = format!("update seatkeeper.users set is_active = false where user_id in ({waiters})");
    load.answered().await;
    change(load, [&users, &away]).await;
    change(load, [&places, &more]).await;
    // The places are looked at, and nobody can take them.
    load.answered().await;
    let everybody = locked("users", "user_id", "select user_id from seatkeeper.users");
    change(load, [&everybody, "update seatkeeper.users set is_active = true"]).await;
}

async fn change(load: &Load, statements: [&str; 2]) {
    let statements = statements.map(str::to_owned);
    loop {
        match super::change(&mut *load.connection().await, &statements, true).await {
            Ok(()) => return load.count(|tally| tally.changes += 1),
            Err(error) if is_passing(&error) => {}
            Err(error) => panic!("seed {}: {error} in {statements:?}", load.seed),
        }
    }
}
