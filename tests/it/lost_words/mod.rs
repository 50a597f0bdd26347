//! Lost words: connections that break after any byte, replies to COMMIT that nobody hears, and connections that fall silent.
//! Whoever does not know asks again, and nothing is lost and nothing happens twice.

mod every_byte;
mod fates;
mod producers;
mod silence;
mod under_load;

use crate::support::proxy::Seen;

/// Fails when fewer were cut than should have been, or not in every type of message.
pub fn assert_covered(who: &str, seed: u64, seen: &Seen, least: u32, kinds: [&str; 2]) {
    use crate::support::proxy::Direction::{ToClient, ToServer};
    assert!(seen.number() >= least, "seed {seed}: only {} cuts of {who}: {seen}", seen.number());
    for (direction, kinds) in [ToServer, ToClient].into_iter().zip(kinds) {
        let cut = seen.kinds(direction);
        let missed: String = kinds.chars().filter(|kind| !cut.contains(*kind)).collect();
        assert!(missed.is_empty(), "seed {seed}: {who} never cut {direction:?} in {missed}: {seen}");
    }
}
