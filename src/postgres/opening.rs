//! What every transaction, and every connection, of ours asks for, however the server, the database or the role is set.
//!
//! - `row_security = off`: where row level security would hide rows from us, PostgreSQL refuses instead (42501). A batch that
//!   does not see a user would answer `user_not_found`, for good.
//! - `transaction_timeout = 0` (PostgreSQL 17 or newer): a limit that somebody set for others would end batches and roll calls.
//!   Within a transaction no other value has an effect. Where the setting does not exist, one of our own is set in its place,
//!   which means nothing.
//!
//! A transaction asks by itself, since a pooler's connection belongs to nobody; a connection besides, for statements that run
//! alone (those of apalis-postgres are of that kind). It asks for `default_transaction_read_only = off` as well: whoever
//! switched it on meant programs that do not know what they do, and transactions of ours say `read write` anyway.

use sqlx::{AssertSqlSafe, Executor, PgConnection};

/// Since the settings are looked up by name, the same text does on every version.
const IN_A_TRANSACTION: &str = "; set local row_security = off; select pg_catalog.set_config(\
    case when pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 170000 then 'transaction_timeout' \
    else 'seatkeeper.transaction_timeout' end, '0', true)";

const ON_A_CONNECTION: &str = "set row_security = off; set default_transaction_read_only = off; \
    select pg_catalog.set_config(\
    case when pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 170000 then 'transaction_timeout' \
    else 'seatkeeper.transaction_timeout' end, '0', false)";

/// The statements that open a transaction of ours: these (`begin …; set local …`), and what every one asks for.
#[must_use]
pub fn opening(begin: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("{begin}{IN_A_TRANSACTION}"))
}

/// Sets up a connection that is ours alone.
pub(super) async fn set_up(connection: &mut PgConnection) -> sqlx::Result<()> {
    connection.execute(ON_A_CONNECTION).await.map(|_| ())
}
