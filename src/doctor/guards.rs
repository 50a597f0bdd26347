//! Whether every constraint, index, trigger and function of the schema is there, as it is defined, and in force.

use sqlx::PgConnection;

use super::Finding;
use crate::invariants::guards;

pub(super) async fn finding(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let troubles = guards::troubles(connection).await?;
    let wrong: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    Ok(if wrong.is_empty() {
        Finding::ok(
            "guards",
            format!("all {} are there, as they are defined, and in force", guards::manifest().len()),
        )
    } else {
        Finding::problem(
            "guards",
            wrong.join("; "),
            "pause everything, put them back as `seatkeeper migrate sql` has them (validate constraints, reindex, \
             enable triggers), and look with `seatkeeper check` for rows that they would have refused",
        )
    })
}
