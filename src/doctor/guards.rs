//! Whether every constraint, index, trigger, function, column and sequence of the schema is there, as it is defined, and in
//! force; and whether somebody has added what goes past them.

use sqlx::PgConnection;

use super::Finding;
use crate::invariants::guards::{self, Trouble};

pub(super) async fn findings(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let troubles = guards::troubles(connection).await?;
    let (settings, others): (Vec<_>, Vec<_>) = troubles.into_iter().partition(|one| one.what == "setting");
    let hides = |one: &Trouble| one.what == "policy" || one.problem.contains("row level security");
    let (hidden, others): (Vec<_>, Vec<_>) = others.into_iter().partition(hides);

    let mut findings = vec![if others.is_empty() {
        Finding::ok(
            "guards",
            format!("all {} are there, as they are defined, and in force", guards::manifest().len()),
        )
    } else {
        problem(
            "guards",
            &others,
            "pause everything, look with `seatkeeper check` for rows that they would have refused and repair these first; then \
             run the statements below (`seatkeeper doctor --sql` prints nothing else), `seatkeeper roles --apply` where \
             functions or sequences were made anew, and `seatkeeper check` again",
        )
    }];
    if !hidden.is_empty() {
        findings.push(problem(
            "row security",
            &hidden,
            "rows that a worker cannot see are to it as if they were not there: take the policies away and disable it; if \
             some may not read everything, give them the roles of `seatkeeper roles`, or views of their own",
        ));
    }
    if !settings.is_empty() {
        findings.push(problem(
            "replication role",
            &settings,
            "replica is for sessions that apply what another server has checked already: reset it (it holds for new connections: \
             restart what is connected), then look with `seatkeeper check` and `seatkeeper audit` for what went in meanwhile; \
             where no statement is shown, it is in the URL or in the server's command line",
        ));
    }
    Ok(findings)
}

fn problem(subject: &'static str, troubles: &[Trouble], todo: &str) -> Finding {
    let wrong: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    let mut sql: Vec<String> = Vec::new();
    for statement in troubles.iter().flat_map(|one| &one.repair) {
        // All triggers of a table are enabled at once.
        if !sql.contains(statement) {
            sql.push(statement.clone());
        }
    }
    Finding::problem(subject, wrong.join("; "), todo).with(sql)
}
