//! Whether every sequence is ahead of all numbers that are stored.

use sqlx::PgConnection;

use super::Finding;
use crate::postgres;

pub(super) async fn finding(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let behind = match postgres::sequences_behind(connection).await {
        Ok(behind) => behind,
        // One of them is not there, or the function: what is wrong with the guards says which.
        Err(error @ sqlx::Error::Database(_)) => {
            return Ok(Finding::problem(
                "sequences",
                format!("could not be compared with what is stored: {}", postgres::describe(&error)),
                "see what is said of the guards",
            ));
        }
        Err(error) => return Err(error),
    };
    Ok(if behind.is_empty() {
        Finding::ok("sequences", "all are ahead of what is stored")
    } else {
        let what =
            behind.iter().map(|row| format!("{} is at {}, {} is stored", row.sequence, row.next, row.stored));
        let todo = behind.iter().map(|row| format!("`{}`", row.repair));
        Finding::problem(
            "sequences",
            format!(
                "{}: numbers would be given twice, so nothing is decided",
                what.collect::<Vec<_>>().join("; ")
            ),
            format!("{}; workers go on by themselves then", todo.collect::<Vec<_>>().join(", ")),
        )
    })
}
