//! The second act: everybody has an answer, and the waitlists move. Some give their place back, some leave the camp, some
//! want to be in two places at once, and the camp's owner adds places, all at the same time.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use sqlx::PgPool;

use super::plan::{CAMP, CampPlaces, EVENING, MORNING, NOON};
use super::script::{Script, Step, book, cancel_by_booking, cancel_by_session, unenroll};
use crate::cli::Failure;

/// Somebody with a place, or in the waitlist.
struct Holder {
    booking: i64,
    player: i64,
    /// Whether they wait in the evening, too.
    evening: bool,
}

/// Writes the second act from what the first one left behind.
pub async fn write(pool: &PgPool, camp: CampPlaces, seed: u64) -> Result<Script, Failure> {
    let live = sqlx::query!(
        "-- demo.morning
         select b.booking_id, b.user_id, b.status,
                exists (select from seatkeeper.bookings e where e.user_id = b.user_id and e.session_id = $2
                            and e.status <> 'CANCELLED') as \"evening!\"
         from seatkeeper.bookings b
         where b.session_id = $1 and b.status <> 'CANCELLED' order by b.waitlist_ticket",
        MORNING,
        EVENING
    )
    .fetch_all(pool)
    .await?;
    let (mut confirmed, mut waiting) = (Vec::new(), Vec::new());
    for row in live {
        let of = if row.status == "CONFIRMED" { &mut confirmed } else { &mut waiting };
        of.push(Holder { booking: row.booking_id, player: row.user_id, evening: row.evening });
    }

    let mut script = Script::default();
    let (evening, day): (Vec<&Holder>, Vec<&Holder>) = confirmed.iter().partition(|holder| holder.evening);
    for (place, holder) in day.into_iter().enumerate() {
        leaves_or_stays(&mut script, place, holder)?;
    }
    for (place, holder) in evening.into_iter().enumerate() {
        changes_their_mind(&mut script, place, holder)?;
    }
    for waits in waiting.iter().skip(5).step_by(10) {
        script.ask(cancel_by_session(waits.player, MORNING)?);
    }
    // Somebody who tries to cancel the place of somebody else.
    if let (Some(holder), Some(waits)) = (confirmed.last(), waiting.first()) {
        script.ask(cancel_by_booking(waits.player, holder.booking)?);
    }
    let mut random = StdRng::seed_from_u64(seed.wrapping_add(1));
    script.steps.shuffle(&mut random);
    let when = random.random_range(0..=script.steps.len());
    script.steps.insert(when, Step::Places { session: EVENING, places: camp.evening });
    Ok(script)
}

/// Who does not wait in the evening may leave the camp, so that only its owner moves the waitlist of the evening.
fn leaves_or_stays(script: &mut Script, place: usize, holder: &Holder) -> Result<(), Failure> {
    match place % 4 {
        0 => {
            script.ask(unenroll(holder.player, CAMP)?);
        }
        // Twice, by two connections, with one ID.
        1 => {
            let cancel = script.ask(cancel_by_booking(holder.player, holder.booking)?);
            script.steps.push(Step::Ask(cancel));
        }
        // Keeps the place, and cannot be elsewhere.
        2 => {
            script.ask(book(holder.player, NOON)?);
        }
        _ => {}
    }
    Ok(())
}

fn changes_their_mind(script: &mut Script, place: usize, holder: &Holder) -> Result<(), Failure> {
    let player = holder.player;
    match place % 4 {
        // Twice, with two IDs.
        0 => {
            script.ask(cancel_by_session(player, MORNING)?);
            script.ask(cancel_by_session(player, MORNING)?);
        }
        // Gives the place up and wants it back: that is the end of the queue.
        1 => {
            script.ask_in_turn([cancel_by_session(player, MORNING)?, book(player, MORNING)?]);
        }
        2 => {
            script.ask(book(player, NOON)?);
        }
        _ => {}
    }
    Ok(())
}
