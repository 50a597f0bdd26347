//! What becomes of the connections of a proxy: drawn for each by its number, from the seed of the run.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::proxy::{Direction, Fate, Loss};

/// Whose connections they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A worker's, which gives up on a connection that has fallen silent.
    Worker,
    /// A producer's that waits for as long as it takes: silence would be all that it ever hears.
    Patient,
}

/// The fates of one proxy.
pub fn drawn(seed: u64, stream: u64, whose: Whose) -> impl Fn(u64) -> Fate + Send + Sync + 'static {
    move |number| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream((stream << 32) + number);
        draw(&mut rng, whose)
    }
}

fn draw(rng: &mut ChaCha8Rng, whose: Whose) -> Fate {
    let direction = Direction::BOTH[rng.random_range(0..2)];
    match rng.random_range(0..100) {
        // Any byte; the early ones as likely as all the others.
        0..20 => Fate::Byte(direction, up_to(rng, 60_000)),
        20..50 => {
            let share = [0.0, 1.0, rng.random_range(0.01..0.99)][rng.random_range(0..3)];
            Fate::Message(direction, up_to(rng, 400), share)
        }
        lost => {
            let loss = match lost {
                50..60 => Loss::OnTheWay,
                60..70 => Loss::Unheard,
                70..72 if whose == Whose::Worker => Loss::Silence,
                _ => Loss::Reply,
            };
            Fate::Commit(rng.random_range(0..6), loss)
        }
    }
}

/// Each order of magnitude as likely as the others.
fn up_to(rng: &mut ChaCha8Rng, most: u32) -> u64 {
    let bits = rng.random_range(0.0..f64::from(most).ln());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and `most`")]
    let drawn = bits.exp() as u64;
    drawn
}
