//! The server: its version, its settings, its clock, its room for connections.

use chrono::Utc;
use sqlx::PgConnection;

use super::Finding;

/// The oldest version that the schema is made for.
const OLDEST_SERVER: i32 = 140_000;
/// Clocks further apart than this are worth a word, in milliseconds.
const SKEW: i64 = 2_000;

pub(super) async fn findings(connection: &mut PgConnection, workers: u16) -> sqlx::Result<Vec<Finding>> {
    let mut findings = settings(connection).await?;
    findings.push(clock(connection).await?);
    findings.push(connections(connection, workers).await?);
    Ok(findings)
}

async fn settings(connection: &mut PgConnection) -> sqlx::Result<Vec<Finding>> {
    let row = sqlx::query!(
        r#"-- doctor.settings
           select current_setting('server_version_num')::integer as "version!", current_setting('server_version') as "name!",
                  pg_is_in_recovery() as "is_standby!", current_setting('fsync') = 'on' as "fsync!",
                  current_setting('full_page_writes') = 'on' as "full_page_writes!",
                  current_setting('synchronous_commit') as "synchronous_commit!",
                  current_setting('autovacuum') = 'on' as "autovacuum!",
                  current_setting('default_transaction_isolation') as "isolation!",
                  -- Our own sessions say otherwise: what whoever does not is given.
                  (select s.reset_val from pg_catalog.pg_settings s where s.name = 'default_transaction_read_only') = 'on'
                      as "read_only!",
                  (select s.reset_val from pg_catalog.pg_settings s where s.name = 'transaction_timeout') as transaction_timeout"#
    )
    .fetch_one(connection)
    .await?;
    let mut findings = vec![if row.version < OLDEST_SERVER {
        Finding::problem("version", format!("PostgreSQL {}", row.name), "upgrade to PostgreSQL 14 or newer")
    } else {
        Finding::ok("version", format!("PostgreSQL {}", row.name))
    }];
    if row.is_standby {
        findings.push(Finding::problem(
            "standby",
            "this server is a standby: it cannot write, nothing is worked off here",
            "connect to the primary; several hosts in --database-url are tried in turn by a proxy only",
        ));
    }
    for (setting, is_on) in [("fsync", row.fsync), ("full_page_writes", row.full_page_writes)] {
        findings.push(if is_on {
            Finding::ok(setting, "on")
        } else {
            Finding::problem(
                setting,
                "off: a crash of the machine can corrupt or lose what was answered",
                format!("`alter system set {setting} = on`, then reload the configuration"),
            )
        });
    }
    findings.push(if row.synchronous_commit == "off" {
        Finding::problem(
            "synchronous_commit",
            "off: answers that somebody has read can be gone after a crash",
            "set it to on, for the server and for the roles of the workers and producers",
        )
    } else {
        Finding::ok("synchronous_commit", row.synchronous_commit)
    });
    if !row.autovacuum {
        findings.push(Finding::warning(
            "autovacuum",
            "off: tables and indexes swell, and the plans of the queue are made on old figures",
            "`alter system set autovacuum = on`, then reload the configuration",
        ));
    }
    if row.isolation != "read committed" {
        findings.push(Finding::warning(
            "isolation",
            format!(
                "the default is {}: workers do not mind, but producers get 40001 for a concurrent duplicate",
                row.isolation
            ),
            "have producers begin with `isolation level read committed`, or repeat the transaction with the same ID",
        ));
    }
    if row.read_only {
        findings.push(Finding::warning(
            "read_only",
            "default_transaction_read_only is on: workers and chores write all the same, producers cannot enqueue",
            "find out first why it was set (a disk that is nearly full, a move to another server?); then reset it where it was: \
             `alter database`, `alter role` or `alter system`, each `… reset default_transaction_read_only`",
        ));
    }
    if let Some(timeout) = row.transaction_timeout.filter(|timeout| timeout != "0") {
        findings.push(Finding::warning(
            "transaction_timeout",
            format!(
                "transaction_timeout is {timeout} ms: transactions of ours ask for none, those of producers that take longer are ended \
                 (25P04)"
            ),
            "producers that enqueue in long transactions of their own have to be given more, or none: `alter role … set \
             transaction_timeout = 0`",
        ));
    }
    Ok(findings)
}

async fn clock(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let before = Utc::now();
    let theirs = sqlx::query_scalar!(
        r#"-- doctor.clock
           select clock_timestamp() as "clock!""#
    )
    .fetch_one(connection)
    .await?;
    let round_trip = Utc::now() - before;
    let ours = before + round_trip / 2;
    let skew = (theirs - ours).num_milliseconds();
    Ok(if skew.abs() > SKEW + round_trip.num_milliseconds() {
        let which = if skew > 0 { "ahead of" } else { "behind" };
        Finding::warning(
            "clock",
            format!("the database's clock is {} ms {which} this machine's", skew.abs()),
            "deadlines follow the database's clock; have both machines keep their time (NTP)",
        )
    } else {
        Finding::ok("clock", format!("within {} ms of this machine's", skew.abs().max(1)))
    })
}

async fn connections(connection: &mut PgConnection, workers: u16) -> sqlx::Result<Finding> {
    let row = sqlx::query!(
        r#"-- doctor.connections
           select current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
                      as "room!",
                  (select count(*) from pg_catalog.pg_stat_activity where backend_type = 'client backend') as "used!""#
    )
    .fetch_one(connection)
    .await?;
    let needed = i64::from(workers) * 2 + 3 + i64::from(crate::queue::chores::CONNECTIONS);
    let free = row.room - row.used;
    let what = format!(
        "{} of {} are in use; a `run` with {workers} workers takes up to {needed}",
        row.used, row.room
    );
    Ok(if row.room < needed {
        Finding::problem("connections", what, "raise max_connections, or run with fewer --workers")
    } else if free < needed {
        Finding::warning(
            "connections",
            what,
            "if it is not running yet: raise max_connections, or put a pooler before the producers",
        )
    } else {
        Finding::ok("connections", what)
    })
}
