//! Whether the roles, and everybody's rights, are what they have to be.

use sqlx::PgConnection;

use super::Finding;
use crate::postgres::roles::{Drift, Kind, RolePrefix, look};
use crate::postgres::{Schema, needed};

const SUBJECT: &str = "roles";

pub(super) async fn findings(
    connection: &mut PgConnection,
    schema: Schema,
    prefix: &RolePrefix,
) -> sqlx::Result<Vec<Finding>> {
    if matches!(schema, Schema::Usable { applied } if applied > needed()) {
        return Ok(vec![Finding::ok(SUBJECT, "not compared: the schema is newer than this version")]);
    }
    let found = look(connection, prefix).await?;
    let has_none = found.has_no_roles();
    let differing: Vec<&Drift> =
        found.drift.iter().filter(|one| !(has_none && one.kind == Kind::Role)).collect();
    let mut findings = vec![if !differing.is_empty() {
        problem(&differing)
    } else if has_none {
        Finding::ok(
            SUBJECT,
            "none were made for this database, and nobody but the owner works here; `seatkeeper roles --apply` makes them",
        )
    } else {
        Finding::ok(
            SUBJECT,
            "all are there, and they and everybody else have the rights that they are to have",
        )
    }];
    if !has_none {
        findings.extend(found.advice.into_iter().map(|advice| Finding {
            todo: Some(format!(
                "where others have accounts there: `{}`, after `grant connect` to the accounts that work here",
                advice.sql
            )),
            ..Finding::ok("connect", advice.what)
        }));
    }
    Ok(findings)
}

fn problem(differing: &[&Drift]) -> Finding {
    let words: Vec<&str> = differing.iter().map(|one| one.problem.as_str()).collect();
    // What an account was given on purpose, its owner alone can tell.
    let ours = differing.iter().filter(|one| !one.is_others).filter_map(|one| one.sql.clone());
    Finding::problem(
        SUBJECT,
        words.join("; "),
        "`seatkeeper roles --apply`, as the owner of the schema, puts right what it may and names the rest; `seatkeeper roles --check` \
         shows each difference with the statement that mends it",
    )
    .with(ours.collect())
}
