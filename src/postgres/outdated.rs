//! Connections that remember the schema as it was.
//!
//! sqlx has the server keep a statement for as long as the connection lives. When a migration gives a column another type, the
//! server refuses to execute what was prepared before ("cached plan must not change result type"), on this connection for
//! ever, and sqlx does not forget the statement. So a connection that was open when the first such refusal was heard is closed before it
//! is used again; the next one prepares anew.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::ErrorClass;

/// Connections from before this are not used any more.
static SINCE: Mutex<Option<Instant>> = Mutex::new(None);

/// Has every connection that is open now closed before it is used again, when this error says that one of them is outdated.
pub fn note_outdated(error: &sqlx::Error) {
    if ErrorClass::of(error) == ErrorClass::Outdated {
        retire_connections();
    }
}

/// Has every connection of this process that is open now closed before it is used again.
pub fn retire_connections() {
    *SINCE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Instant::now());
}

/// Whether a connection that was opened this long ago is not to be used any more.
pub(super) fn is_outdated(age: Duration) -> bool {
    let since = *SINCE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    since.is_some_and(|since| age >= since.elapsed())
}
