//! What may be put right is: each by itself, so that what PostgreSQL refuses keeps nothing else from it.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::drift::{Kind, Look, look_within};
use super::{Drift, RolePrefix, catalog};
use crate::postgres::describe;

/// The longest that one of them waits for somebody who is changing the same.
const PATIENCE: &str = "set local lock_timeout = '10s'";

/// Takes the right to pass on from our roles, and with it all that they have passed on.
pub(super) async fn take_grant_options(
    connection: &mut PgConnection,
    prefix: &RolePrefix,
) -> sqlx::Result<()> {
    let mut read = connection.begin().await?;
    sqlx::raw_sql(catalog::WORDS).execute(&mut *read).await?;
    let rows = catalog::rights(&mut read).await?;
    read.rollback().await?;
    for row in rows.iter().filter(|row| row.is_grantable && row.passed_on_by.is_none()) {
        let Some(role) = row.grantee.as_deref().filter(|name| prefix.short(name).is_some()) else { continue };
        if let Some(right) = &row.right {
            let sql = format!("revoke grant option for {right} on {} from {role} cascade", row.on);
            attempt(connection, &sql).await?;
        }
    }
    Ok(())
}

/// Puts right what is PUBLIC's or our roles', and gives what differs still.
pub(super) async fn put_right(
    connection: &mut PgConnection,
    prefix: &RolePrefix,
) -> sqlx::Result<Vec<Drift>> {
    let found = look_here(connection, prefix).await?.drift;
    let mut refusals = BTreeMap::new();
    let mut is_changed = false;
    for sql in found
        .iter()
        .filter(|one| !one.is_others && one.kind != Kind::Owner)
        .filter_map(|one| one.sql.as_ref())
    {
        is_changed = true;
        if let Some(refusal) = attempt(connection, sql).await? {
            refusals.insert(sql.clone(), refusal);
        }
    }
    if !is_changed {
        return Ok(found);
    }
    let mut left = look_here(connection, prefix).await?.drift;
    for one in &mut left {
        one.refused = one.sql.as_ref().and_then(|sql| refusals.get(sql)).cloned();
    }
    Ok(left)
}

/// Looks within an open transaction, whose settings stay as they are.
async fn look_here(connection: &mut PgConnection, prefix: &RolePrefix) -> sqlx::Result<Look> {
    let mut read = connection.begin().await?;
    sqlx::raw_sql(catalog::WORDS).execute(&mut *read).await?;
    let found = look_within(&mut read, prefix).await?;
    read.rollback().await?;
    Ok(found)
}

/// Runs a statement; gives the words of PostgreSQL when it refuses it, which undoes nothing else.
async fn attempt(connection: &mut PgConnection, sql: &str) -> sqlx::Result<Option<String>> {
    let mut alone = connection.begin().await?;
    sqlx::raw_sql(PATIENCE).execute(&mut *alone).await?;
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *alone).await {
        Ok(_) => alone.commit().await.map(|()| None),
        Err(error @ sqlx::Error::Database(_)) => {
            let words = describe(&error);
            alone.rollback().await?;
            Ok(Some(words))
        }
        Err(error) => Err(error),
    }
}
