//! What the names of the roles begin with. Roles are the whole server's: two installations on one server need names of their own.

use std::str::FromStr;

use super::{ROLES, ROLES_SQL};

/// What all of [`ROLES`] begin with.
const DEFAULT: &str = "seatkeeper_";
/// The longest name that PostgreSQL keeps whole, in bytes.
const LONGEST_NAME: usize = 63;

/// What the names of an installation's roles begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolePrefix(String);

/// Why no name of a role can begin so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnusablePrefix {
    /// It would have to be quoted, or is no name at all.
    #[error("it has to be made of a–z, 0–9 and _, and to begin with a letter or _")]
    Letters,
    /// Those are PostgreSQL's own.
    #[error("pg_ is kept for PostgreSQL's own roles")]
    Reserved,
    /// PostgreSQL would cut the names, perhaps to the same one.
    #[error("with it {0} would be longer than {LONGEST_NAME} bytes")]
    TooLong(String),
}

impl Default for RolePrefix {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl FromStr for RolePrefix {
    type Err = UnusablePrefix;

    fn from_str(text: &str) -> Result<Self, UnusablePrefix> {
        let begins_well = text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
        let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        if !begins_well || !text.chars().all(is_plain) {
            return Err(UnusablePrefix::Letters);
        }
        if text.starts_with("pg_") {
            return Err(UnusablePrefix::Reserved);
        }
        let prefix = Self(text.to_owned());
        match prefix.names().into_iter().find(|name| name.len() > LONGEST_NAME) {
            Some(name) => Err(UnusablePrefix::TooLong(name)),
            None => Ok(prefix),
        }
    }
}

impl RolePrefix {
    /// The names of the roles.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        short_names().map(|name| self.name(name)).collect()
    }

    /// A role's name: `producer` → `seatkeeper_producer`.
    #[must_use]
    pub fn name(&self, short: &str) -> String {
        format!("{}{short}", self.0)
    }

    /// The other way round; `None` = it is no role of ours.
    #[must_use]
    pub fn short<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(&self.0)?;
        short_names().any(|short| short == rest).then_some(rest)
    }

    /// [`ROLES_SQL`] with these names.
    #[must_use]
    pub fn sql(&self) -> String {
        let is_of_a_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let mut sql = String::with_capacity(ROLES_SQL.len());
        let mut rest = ROLES_SQL;
        while let Some(from) = rest.find(is_of_a_word) {
            let (before, word) = rest.split_at(from);
            let (word, after) =
                word.split_at(word.find(|letter| !is_of_a_word(letter)).unwrap_or(word.len()));
            sql.push_str(before);
            match word.strip_prefix(DEFAULT).filter(|_| ROLES.contains(&word)) {
                Some(short) => sql.push_str(&self.name(short)),
                None => sql.push_str(word),
            }
            rest = after;
        }
        sql.push_str(rest);
        sql
    }
}

/// The names of the roles without a prefix.
fn short_names() -> impl Iterator<Item = &'static str> {
    ROLES.into_iter().map(|name| name.strip_prefix(DEFAULT).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::{ROLES, ROLES_SQL, RolePrefix, UnusablePrefix};

    #[test]
    fn only_the_names_of_the_roles_are_changed() {
        let default = RolePrefix::default();
        assert_eq!((default.sql().as_str(), default.names()), (ROLES_SQL, ROLES.map(String::from).to_vec()));
        let other: RolePrefix = "club_a_".parse().unwrap();
        let sql = other.sql();
        assert_eq!(sql.replace("club_a_", "seatkeeper_"), ROLES_SQL);
        for (name, other_name) in ROLES.iter().zip(other.names()) {
            assert!(!sql.contains(name) && sql.contains(&other_name), "{name}");
            assert_eq!((default.short(name), other.short(name)), (other.short(&other_name), None));
        }
        assert_eq!(default.short("seatkeeper_owner"), None);
    }

    #[test]
    fn a_prefix_that_makes_no_name_is_refused() {
        for bad in ["", "Club_", "1_", "a-", "a b", "ä_", "a\"", "a'; --", "a\0"] {
            assert_eq!(bad.parse::<RolePrefix>(), Err(UnusablePrefix::Letters), "{bad}");
        }
        for bad in ["pg_", "pg_club_"] {
            assert_eq!(bad.parse::<RolePrefix>(), Err(UnusablePrefix::Reserved), "{bad}");
        }
        let longest = ROLES.iter().map(|name| name.len()).max().unwrap() - "seatkeeper_".len();
        "a".repeat(63 - longest).parse::<RolePrefix>().unwrap();
        let too_long = "a".repeat(64 - longest).parse::<RolePrefix>();
        assert!(matches!(too_long, Err(UnusablePrefix::TooLong(_))), "{too_long:?}");
        for good in ["_", "club2_", "pgclub"] {
            good.parse::<RolePrefix>().unwrap();
        }
    }
}
