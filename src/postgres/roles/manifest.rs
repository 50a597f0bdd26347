//! The rights as they have to be, one by one: what [`ROLES_SQL`](super::ROLES_SQL) makes of a database with an up-to-date schema.
//!
//! PostgreSQL 14 to 18 give the same ones.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::drift::within;
use super::{RolePrefix, catalog};

/// What everybody has is given to this one.
pub(super) const PUBLIC: &str = "PUBLIC";
/// The right of who is in another role, which is what it is on.
pub(super) const MEMBER: &str = "MEMBER";

/// All rights on what is ours, and those of our roles in schema apalis: compared with a database by a test, which prints what it has
/// to be. Owners' own rights are left out, and so are the objects of extensions.
pub const MANIFEST: &str = include_str!("manifest.json");

static KNOWN: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    // A test reads it.
    serde_json::from_str(MANIFEST).unwrap_or_default()
});

/// A right as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// What it is on, as `grant … on` takes it: `table seatkeeper.users`; or `role`, and one without its prefix.
    pub on: String,
    /// Who has it: a role without its prefix, or PUBLIC.
    pub role: String,
    /// As `grant` takes it: `SELECT`, `UPDATE (status)`; or `MEMBER` of a role.
    pub right: String,
    /// Whether it may be passed on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grantable: bool,
}

/// What has to be.
pub(super) fn known() -> &'static [Entry] {
    &KNOWN
}

/// The rights of a database as it is, whatever this build knows: the [`MANIFEST`] of its roles. Those of others are left out.
///
/// # Errors
/// When the database cannot be asked.
pub async fn live(connection: &mut PgConnection) -> sqlx::Result<Vec<Entry>> {
    let prefix = RolePrefix::default();
    let mut read = within(connection).await?;
    let rights = catalog::rights(&mut read).await?;
    let memberships = catalog::memberships(&mut read, &prefix).await?;
    read.rollback().await?;

    let right_of = |row: catalog::Row| {
        let role = match &row.grantee {
            Some(name) => prefix.short(name)?.to_owned(),
            None if row.is_apalis => return None,
            None => PUBLIC.to_owned(),
        };
        Some(Entry { on: row.on, role, right: row.right?, grantable: row.is_grantable })
    };
    let membership_of = |row: catalog::Membership| {
        let (on, role) =
            (format!("role {}", prefix.short(&row.role)?), prefix.short(&row.member)?.to_owned());
        Some(Entry { on, role, right: MEMBER.to_owned(), grantable: row.is_admin })
    };
    let mut entries: Vec<Entry> = rights.into_iter().filter_map(right_of).collect();
    entries.extend(memberships.into_iter().filter_map(membership_of));
    entries.sort();
    entries.dedup();
    Ok(entries)
}

/// The rights as the file of the [`MANIFEST`], one a line.
#[must_use]
pub fn as_manifest(entries: &[Entry]) -> String {
    let lines: Vec<String> =
        entries.iter().map(|entry| serde_json::to_string(entry).unwrap_or_default()).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
