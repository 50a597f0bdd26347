//! What differs from what has to be, in words, with the statement that puts it right.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sqlx::{Connection, PgConnection, Postgres, Transaction};

use super::catalog::{self, Attributes, DefaultRight, Membership, Row};
use super::manifest::{self, Entry, MEMBER, PUBLIC};
use super::{ROLES, RolePrefix};
use crate::postgres::opening;

/// What kind of difference it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A role is not there, or has no right in this database.
    Role,
    /// A role may what no grant says: log in, go past every right.
    Attribute,
    /// A role is in another one, or is not.
    Membership,
    /// A right on an object is too much, or missing.
    Right,
    /// An object belongs to another account than its schema.
    Owner,
    /// Whatever is made next gets rights that nobody has looked at.
    Default,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// What kind of difference it is.
    pub kind: Kind,
    /// Whom it is about: a role, an account, or PUBLIC.
    pub role: String,
    /// The difference in words.
    pub problem: String,
    /// The statement that puts it right, where there is one.
    pub sql: Option<String>,
    /// Whether that is left to whoever brought it about: it is another account's right.
    pub is_others: bool,
    /// Why PostgreSQL has refused to put it right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Good to know, and no difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// How it is.
    pub what: String,
    /// The statement that changes it.
    pub sql: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Look {
    /// What differs.
    pub drift: Vec<Drift>,
    /// What is good to know.
    pub advice: Vec<Advice>,
}

impl Look {
    /// Whether the roles were never made, or never for this database.
    #[must_use]
    pub fn has_no_roles(&self) -> bool {
        self.drift.iter().filter(|one| one.kind == Kind::Role).count() == ROLES.len()
    }
}

/// Compares the roles of the server, and everybody's rights in this database, with what has to be. It takes no rights, and a schema
/// that is neither older nor newer than this build.
///
/// # Errors
/// When the database cannot be asked.
pub async fn look(connection: &mut PgConnection, prefix: &RolePrefix) -> sqlx::Result<Look> {
    let mut read = within(connection).await?;
    let found = look_within(&mut read, prefix).await?;
    read.rollback().await?;
    Ok(found)
}

/// A transaction in which the catalog's words mean the same everywhere.
pub(super) async fn within(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    let begin = format!("begin read only; {}; set local statement_timeout = 10000", catalog::WORDS);
    connection.begin_with(opening(&begin)).await
}

/// The same in a transaction that is open, after [`catalog::WORDS`].
pub(super) async fn look_within(connection: &mut PgConnection, prefix: &RolePrefix) -> sqlx::Result<Look> {
    let roles = catalog::attributes(connection, prefix).await?;
    let there: BTreeSet<&str> = roles.iter().filter_map(|role| prefix.short(&role.name)).collect();
    let missing = prefix.names().into_iter().filter(|name| !roles.iter().any(|role| role.name == *name));
    let mut drift: Vec<Drift> = missing.map(not_there).collect();
    drift.extend(roles.iter().flat_map(attributes));
    drift.extend(memberships(&catalog::memberships(connection, prefix).await?, prefix, &there));
    let rows = catalog::rights(connection).await?;
    drift.extend(owners(&rows, prefix));
    drift.extend(rights(&rows, prefix, &there));
    drift.extend(catalog::defaults(connection).await?.iter().filter_map(|row| default(row, prefix)));
    let advice = catalog::open_to_everybody(connection)
        .await?
        .map(|sql| Advice { what: "everybody on this server may connect to this database".to_owned(), sql });
    Ok(Look { drift, advice: advice.into_iter().collect() })
}

fn drift(kind: Kind, role: &str, problem: String, sql: Option<String>) -> Drift {
    Drift { kind, role: role.to_owned(), problem, sql, is_others: false, refused: None }
}

fn not_there(name: String) -> Drift {
    let problem = format!("{name} does not exist: `seatkeeper roles --apply` makes it");
    drift(Kind::Role, &name, problem, None)
}

fn attributes(role: &Attributes) -> impl Iterator<Item = Drift> {
    role.wrong.iter().map(|word| {
        let name = &role.name;
        let problem = match word.as_str() {
            "nologin" => format!("{name} may log in, and is to be given to accounts that do"),
            "nosuperuser" => format!("{name} is a superuser, whom no right keeps from anything"),
            "nocreatedb" => format!("{name} may create databases"),
            "nocreaterole" => format!("{name} may create roles"),
            "noreplication" => format!("{name} may replicate, and so read the whole server"),
            "nobypassrls" => format!("{name} may go past row level security"),
            _ => format!("{name} does not inherit the rights of the roles that it is in"),
        };
        drift(Kind::Attribute, name, problem, Some(format!("alter role {name} {word}")))
    })
}

fn memberships(found: &[Membership], prefix: &RolePrefix, there: &BTreeSet<&str>) -> Vec<Drift> {
    let due = |entry: &&Entry| entry.right == MEMBER;
    let role_of = |entry: &Entry| prefix.name(entry.on.strip_prefix("role ").unwrap_or(&entry.on));
    let is_due = |one: &Membership| {
        let mut due = manifest::known().iter().filter(due);
        due.any(|entry| prefix.name(&entry.role) == one.member && role_of(entry) == one.role)
    };
    let mut all = Vec::new();
    for one in found {
        let Membership { member, role, granted_by, .. } = one;
        let quoted = quoted(role, prefix);
        let (problem, sql) = if !is_due(one) {
            (
                format!("{member} is in {role}, and has all of its rights"),
                format!("revoke {quoted} from {member}{granted_by}"),
            )
        } else if one.is_admin {
            (
                format!("{member} may have others in {role}"),
                format!("revoke admin option for {quoted} from {member}{granted_by}"),
            )
        } else if !one.inherits {
            (
                format!("{member} is in {role}, and does not inherit its rights"),
                format!("grant {quoted} to {member} with inherit true{granted_by}"),
            )
        } else {
            continue;
        };
        all.push(drift(Kind::Membership, member, problem, Some(sql)));
    }
    for entry in manifest::known().iter().filter(due) {
        let (member, role) = (prefix.name(&entry.role), role_of(entry));
        let is_there = |name: &str| prefix.short(name).is_some_and(|short| there.contains(short));
        let is_found = found.iter().any(|one| one.member == member && one.role == role);
        if !is_found && is_there(&member) && is_there(&role) {
            let sql = format!("grant {role} to {member}");
            all.push(drift(Kind::Membership, &member, format!("{member} is not in {role}"), Some(sql)));
        }
    }
    all
}

/// Who has a right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Grantee {
    Everybody,
    /// A role of ours, without its prefix.
    Ours(String),
    Other(String),
}

impl Grantee {
    fn of(name: Option<&str>, prefix: &RolePrefix) -> Self {
        match name {
            None => Self::Everybody,
            Some(name) => match prefix.short(name) {
                Some(short) => Self::Ours(short.to_owned()),
                None => Self::Other(name.to_owned()),
            },
        }
    }

    /// Its name, and how SQL has it.
    fn names(&self, prefix: &RolePrefix) -> (String, String) {
        match self {
            Self::Everybody => (PUBLIC.to_owned(), "public".to_owned()),
            Self::Ours(short) => (prefix.name(short), prefix.name(short)),
            Self::Other(name) => (name.clone(), quoted(name, prefix)),
        }
    }
}

/// What is wrong with rights of one grantee on one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Wrong {
    Missing,
    /// Missing, and so is what it would be on.
    Nothing,
    TooMuch {
        may_pass_on: bool,
    },
    /// Too much, and not given by the owner: it goes with the right of whoever passed it on.
    PassedOn(String),
    /// To be had, and not to be passed on.
    Grantable,
}

fn rights(rows: &[Row], prefix: &RolePrefix, there: &BTreeSet<&str>) -> Vec<Drift> {
    let mut due: BTreeMap<(&str, &str, &str), bool> = manifest::known()
        .iter()
        .filter(|entry| {
            entry.right != MEMBER && (entry.role == PUBLIC || there.contains(entry.role.as_str()))
        })
        .map(|entry| ((entry.on.as_str(), entry.role.as_str(), entry.right.as_str()), entry.grantable))
        .collect();
    // Roles are the whole server's: they may be there for another database alone.
    let is_given = |short: &str| {
        rows.iter().any(|row| row.grantee.as_deref().and_then(|name| prefix.short(name)) == Some(short))
    };
    let idle = there.iter().filter(|short| !is_given(short)).map(|short| {
        let name = prefix.name(short);
        let problem =
            format!("{name} has none of its rights in this database: `seatkeeper roles --apply` gives them");
        drift(Kind::Role, &name, problem, None)
    });
    let mut all: Vec<Drift> = idle.collect();
    due.retain(|(_, role, _), _| *role == PUBLIC || is_given(role));
    let mut found: BTreeMap<(&str, Grantee, Wrong), BTreeSet<&str>> = BTreeMap::new();
    for row in rows {
        let Some(right) = row.right.as_deref() else { continue };
        let role = match row.grantee.as_deref().map(|name| prefix.short(name)) {
            Some(Some(short)) => short,
            // An application that shares it gives what it likes.
            _ if row.is_apalis => continue,
            Some(None) => "",
            None => PUBLIC,
        };
        let grantee = Grantee::of(row.grantee.as_deref(), prefix);
        let key = (row.on.as_str(), role, right);
        let wrong = match &row.passed_on_by {
            Some(other) => Wrong::PassedOn(other.clone()),
            None => match due.remove(&key) {
                None => Wrong::TooMuch { may_pass_on: row.is_grantable },
                Some(grantable) if row.is_grantable && !grantable => Wrong::Grantable,
                Some(_) => continue,
            },
        };
        found.entry((&row.on, grantee, wrong)).or_default().insert(right);
    }
    for (on, role, right) in due.into_keys() {
        let grantee = if role == PUBLIC { Grantee::Everybody } else { Grantee::Ours(role.to_owned()) };
        let wrong = if rows.iter().any(|row| row.on == on) { Wrong::Missing } else { Wrong::Nothing };
        found.entry((on, grantee, wrong)).or_default().insert(right);
    }
    let told = |((on, grantee, wrong), rights)| right(on, &grantee, &wrong, &rights, prefix);
    all.extend(found.into_iter().map(told));
    all
}

fn right(on: &str, grantee: &Grantee, wrong: &Wrong, rights: &BTreeSet<&str>, prefix: &RolePrefix) -> Drift {
    let (name, in_sql) = grantee.names(prefix);
    let rights = rights.iter().copied().collect::<Vec<_>>().join(", ");
    let is_others = matches!(grantee, Grantee::Other(_));
    let who = if is_others { format!("{name}, no role of Seatkeeper's,") } else { name.clone() };
    let (problem, sql) = match wrong {
        Wrong::Missing => {
            (format!("{who} lacks {rights} on {on}"), Some(format!("grant {rights} on {on} to {in_sql}")))
        }
        Wrong::Nothing => (format!("{who} lacks {rights} on {on}, which is not there"), None),
        Wrong::TooMuch { may_pass_on: false } => {
            (format!("{who} has {rights} on {on}"), Some(format!("revoke {rights} on {on} from {in_sql}")))
        }
        // What was passed on goes with it.
        Wrong::TooMuch { may_pass_on: true } => (
            format!("{who} has {rights} on {on}, and may pass it on"),
            Some(format!("revoke {rights} on {on} from {in_sql} cascade")),
        ),
        Wrong::PassedOn(by) => (format!("{who} has {rights} on {on}, passed on by {by}"), None),
        Wrong::Grantable => (
            format!("{who} may pass on {rights} on {on}"),
            Some(format!("revoke grant option for {rights} on {on} from {in_sql} cascade")),
        ),
    };
    Drift { is_others, ..drift(Kind::Right, &name, problem, sql) }
}

fn owners(rows: &[Row], prefix: &RolePrefix) -> Vec<Drift> {
    let mut all: BTreeMap<&str, Drift> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.is_apalis && !row.is_part) {
        let (on, owner) = (row.on.as_str(), row.owner.as_str());
        if owner != row.schema_owner {
            let sql = format!("alter {on} owner to {}", quoted(&row.schema_owner, prefix));
            let problem = format!("{on} belongs to {owner}, and the schema to {}", row.schema_owner);
            all.insert(on, Drift { is_others: true, ..drift(Kind::Owner, owner, problem, Some(sql)) });
        } else if on.starts_with("schema ") && prefix.short(owner).is_some() {
            let problem = format!("{on} belongs to {owner}, a role that is given to others");
            all.insert(on, Drift { is_others: true, ..drift(Kind::Owner, owner, problem, None) });
        }
    }
    all.into_values().collect()
}

fn default(row: &DefaultRight, prefix: &RolePrefix) -> Option<Drift> {
    let grantee = Grantee::of(row.grantee.as_deref(), prefix);
    let is_ours = matches!(grantee, Grantee::Ours(_));
    if row.schema == "apalis" && !is_ours {
        return None;
    }
    let (name, in_sql) = grantee.names(prefix);
    let DefaultRight { maker, schema, of, right, .. } = row;
    let problem = format!("{name} is given {right} on all {of} that {maker} will make in schema {schema}");
    let sql = format!(
        "alter default privileges for role {} in schema {schema} revoke {right} on {of} from {in_sql}",
        quoted(maker, prefix)
    );
    let is_others = matches!(grantee, Grantee::Other(_));
    Some(Drift { is_others, ..drift(Kind::Default, &name, problem, Some(sql)) })
}

/// A name as SQL has it. Those of our roles need no quotes.
fn quoted(name: &str, prefix: &RolePrefix) -> String {
    if prefix.short(name).is_some() { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
