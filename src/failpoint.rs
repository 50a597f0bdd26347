//! Fail points: places between the steps of a batch at which a test lets the process die.
//!
//! Without the feature `failpoints` nothing of them is in the program: the macro is empty, and the crate `fail` is not
//! linked (`scripts/no-fail-points` proves both of a release build). `tests/it/crash/matrix` hits each of them.

/// A place between two steps, by its name: what has just been done.
#[cfg(feature = "failpoints")]
macro_rules! fail_point {
    ($name:literal) => {
        fail::fail_point!($name)
    };
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
macro_rules! fail_point {
    ($name:literal) => {};
}

pub(crate) use fail_point;

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    /// Environment variable with the point at which the process dies, and the how manieth time it gets there:
    /// `commit.endings`, `decide.one:2`.
    pub const CRASH_AT: &str = "SEATKEEPER_CRASH_AT";

    /// Lets this happen when the process is at the point for the `hit`th time, from 1.
    ///
    /// # Errors
    /// When the crate `fail` refuses, in its words.
    pub fn arm(point: &str, hit: usize, action: impl Fn() + Send + Sync + 'static) -> Result<(), String> {
        let hits = AtomicUsize::new(0);
        fail::cfg_callback(point, move || {
            if hits.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                action();
            }
        })
    }

    /// SIGKILL to this very process: it gets no further.
    pub fn die() {
        loop {
            if kill(Pid::this(), Signal::SIGKILL).is_err() {
                std::process::abort();
            }
        }
    }

    /// Lets the process die where the environment says.
    ///
    /// # Errors
    /// When what it says is no point and number.
    pub fn arm_from_environment() -> Result<(), String> {
        let Ok(place) = std::env::var(CRASH_AT) else { return Ok(()) };
        let (point, hit) = place.split_once(':').unwrap_or((&place, "1"));
        let hit = hit.parse().map_err(|error| format!("{CRASH_AT}={place}: {error}"))?;
        arm(point, hit, die)
    }
}

#[cfg(feature = "failpoints")]
pub use armed::{CRASH_AT, arm, arm_from_environment, die};
