//! What it means when a guard of the database refuses a row.

use seatkeeper::postgres::describe;
use sqlx::postgres::PgDatabaseError;

use super::read::Row;
use crate::cli::lines::BadLine;

/// Whether the error is about what is in a row, and not about the database or other transactions.
pub fn is_about_rows(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code().map(String::from));
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// The line in words, with a field that it has.
pub fn bad_line(row: &Row, error: &sqlx::Error) -> BadLine {
    let line = row.line;
    let has = |field: &str| row.values.contains_key(field);
    let database = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    let constraint = database.and_then(PgDatabaseError::constraint).unwrap_or_default();
    let (field, problem) = match constraint {
        "uq_semester_code" => ("code", "another semester has it"),
        "chk_enrolled_within_capacity" => {
            ("max_players", "below the number that is enrolled (enrolled_count)")
        }
        "chk_confirmed_within_capacity" => {
            ("capacity", "below the number of confirmed bookings (confirmed_count)")
        }
        "chk_session_duration" if has("ends_at") => ("ends_at", "not after starts_at"),
        "chk_session_duration" => ("starts_at", "not before ends_at, which stays as it is"),
        "fk_session_semester" => ("semester_id", "there is no such semester; import semesters first"),
        "trg_session_semester_for_good" => {
            ("semester_id", "a session never changes its semester; add a new session instead")
        }
        "xcl_no_overlapping_confirmed_bookings" => {
            let field = if has("starts_at") { "starts_at" } else { "ends_at" };
            (field, "at this time somebody would be in two confirmed places at once")
        }
        _ => {
            if let Some(column) =
                database.filter(|error| error.code() == "23502").and_then(PgDatabaseError::column)
            {
                let problem = "missing; a new row needs it".to_owned();
                return BadLine { line, field: Some(column.to_owned()), problem };
            }
            return BadLine::whole(line, format!("the database refuses it: {}", describe(error)));
        }
    };
    BadLine { line, field: Some(field.to_owned()), problem: problem.to_owned() }
}
