//! Commits that wait for a synchronous standby. Nothing ends that from here: no timeout, and not the end of the client.

use sqlx::PgConnection;

use super::Finding;
use crate::postgres::replication_waits;

pub(super) async fn finding(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let row = sqlx::query!(
        r#"-- doctor.replication
           select current_setting('synchronous_standby_names') as "names!",
                  (select string_agg(distinct r.application_name, ', ') from pg_catalog.pg_stat_replication r) as standbys"#
    )
    .fetch_one(&mut *connection)
    .await?;
    let waits = replication_waits(connection).await?;
    Ok(if waits > 0 {
        Finding::problem(
            "replication",
            format!(
                "{waits} commits wait for a synchronous standby (synchronous_standby_names is \"{}\"; as far as this account may see, \
                 connected: {})",
                row.names,
                row.standbys.as_deref().unwrap_or("none")
            ),
            "bring a standby of that name back. Or take it out of synchronous_standby_names and reload: what is answered from then on \
             is on this machine alone",
        )
    } else if row.names.is_empty() {
        Finding::ok("replication", "no commit waits for a standby")
    } else {
        Finding::ok("replication", format!("synchronous_standby_names is \"{}\"; no commit waits", row.names))
    })
}
