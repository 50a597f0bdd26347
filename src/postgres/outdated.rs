//! Connections that are of no use any more, though they are open.
//!
//! *They remember the schema as it was.* sqlx has the server keep a statement for as long as the connection lives. When a
//! migration gives a column another type, the server refuses to execute what was prepared before ("cached plan must not change
//! result type"), on this connection for ever, and sqlx does not forget the statement. So a connection that was open when the
//! first such refusal was heard is closed before it is used again; the next one prepares anew.
//!
//! *They lead to a server that cannot write.* An address moves to the new primary, and what was opened before still leads to the
//! old one, which answers each look and refuses each batch (25006, or 0A000 for `begin read write` on a standby).

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::ErrorClass;

/// Connections from before this are not used any more.
static SINCE: Mutex<Option<Instant>> = Mutex::new(None);

/// Has every connection that is open now closed before it is used again, when this error says that one of them is outdated, or
/// leads to a server that cannot write.
pub fn note_unusable(error: &sqlx::Error) {
    if matches!(ErrorClass::of(error), ErrorClass::Outdated | ErrorClass::ReadOnly) {
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
