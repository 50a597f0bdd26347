//! What a PostgreSQL error means for the work in hand. The decision is made here, once, from the SQLSTATE.

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use super::distrust;

/// The most characters of a message that are kept.
const LONGEST: usize = 300;

/// What to do about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorClass {
    /// Another transaction was in the way and PostgreSQL chose this one: again, soon.
    Deadlock,
    /// A concurrent update was in the way: again, soon.
    Serialization,
    /// A lock was not to be had in time: leave out who needs it, for a while.
    LockTimeout,
    /// The server is away, going, or coming: again, with patience. Never an attempt.
    Connection,
    /// The connection remembers the schema as it was before a migration: again, on another. Never an attempt.
    Outdated,
    /// The server cannot write now (disk full, no permission, no memory), or is not trusted: wait. Never an attempt.
    Environment,
    /// The server, or the database, is read-only: a standby, most often. Wait, and look on another connection. Never an attempt.
    ReadOnly,
    /// A named guard of the database fired.
    Constraint(String),
    /// Anything else: the fault of one of the requests, or of a defect.
    Other,
}

impl ErrorClass {
    /// The class of an error.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        if distrust(error).is_some_and(|distrust| distrust.lasts) {
            return Self::Environment;
        }
        match error {
            sqlx::Error::Database(database) if is_outdated(database.as_ref()) => Self::Outdated,
            sqlx::Error::Database(database) if is_standby(database.as_ref()) => Self::ReadOnly,
            sqlx::Error::Database(database) => Self::of_sqlstate(
                database.code().as_deref().unwrap_or_default(),
                database.constraint().unwrap_or_default(),
            ),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed
            // What is left of a connection that broke in the middle of a message
            | sqlx::Error::Protocol(_) => Self::Connection,
            _ => Self::Other,
        }
    }

    fn of_sqlstate(code: &str, constraint: &str) -> Self {
        match code {
            "40P01" => Self::Deadlock,
            "40001" => Self::Serialization,
            "55P03" => Self::LockTimeout,
            // admin shutdown, crash shutdown, cannot connect now; idle-in-transaction timeout: the worker was stopped;
            // transaction timeout: somebody's limit for others
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => Self::Connection,
            // read-only transaction
            "25006" => Self::ReadOnly,
            // insufficient privilege, or rows that row level security would hide; invalid or absent role, no such database
            "42501" | "28000" | "28P01" | "3D000" => Self::Environment,
            _ if code.starts_with("08") => Self::Connection,
            // insufficient resources, system error, configuration file error, operator intervention on storage
            _ if code.starts_with("53") || code.starts_with("58") || code.starts_with("F0") => {
                Self::Environment
            }
            _ if code.starts_with("23") && !constraint.is_empty() => Self::Constraint(constraint.to_owned()),
            _ => Self::Other,
        }
    }
}

/// "cached plan must not change result type" has no SQLSTATE of its own, and its text is in the language of the server: it is
/// known by the routine that reports it, the same in all versions.
fn is_outdated(error: &dyn DatabaseError) -> bool {
    is_unsupported(error, "RevalidateCachedQuery")
}

/// `begin read write` on a standby: a refused value of a setting, of which no statement of ours knows another.
fn is_standby(error: &dyn DatabaseError) -> bool {
    is_unsupported(error, "call_bool_check_hook")
}

fn is_unsupported(error: &dyn DatabaseError, routine: &str) -> bool {
    error.code().as_deref() == Some("0A000")
        && error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::routine) == Some(routine)
}

/// An error in words that may be stored and logged: its message and names, never its DETAIL, which echoes rows.
#[must_use]
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            let constraint = database.constraint().map(|name| format!(" [{name}]")).unwrap_or_default();
            format!("{code}{constraint}: {}", shortened(database.message()))
        }
        other => {
            let words =
                distrust(other).map(|distrust| format!("the server is not trusted: {}", distrust.what));
            shortened(&words.unwrap_or_else(|| other.to_string()))
        }
    }
}

/// As much of it as is worth keeping, with a sign where it was cut.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorClass;

    #[test]
    fn trouble_with_the_server_is_never_the_fault_of_a_request() {
        for code in ["57P01", "57P02", "57P03", "08000", "08006", "08P01", "25P03", "25P04"] {
            assert_eq!(ErrorClass::of_sqlstate(code, ""), ErrorClass::Connection, "{code}");
        }
        assert_eq!(ErrorClass::of_sqlstate("25006", ""), ErrorClass::ReadOnly);
        for code in ["53100", "53200", "53300", "42501", "58030"] {
            assert_eq!(ErrorClass::of_sqlstate(code, ""), ErrorClass::Environment, "{code}");
        }
        assert_eq!(ErrorClass::of_sqlstate("57014", ""), ErrorClass::Other);
        assert_eq!(
            ErrorClass::of_sqlstate("23514", "chk_enrolled_within_capacity"),
            ErrorClass::Constraint("chk_enrolled_within_capacity".into())
        );
    }
}
