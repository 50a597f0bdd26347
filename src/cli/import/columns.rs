//! The tables of the catalog, and how their columns are written in a file.

use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::Value;

use crate::cli::terminal::cut;

/// What is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Who can enroll
    Users,
    /// What one enrolls in
    Semesters,
    /// Dated slots of semesters
    Sessions,
}

/// A table of the catalog.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    /// The column that tells the rows apart.
    pub key: &'static str,
    /// Whether rows only fit together, so that all of them change in one statement.
    pub moves_as_a_whole: bool,
    /// Those that a file may have; the key is among them.
    pub columns: &'static [Column],
}

/// A column of it.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    kind: Kind,
    nullable: bool,
}

#[derive(Debug)]
enum Kind {
    /// A whole number within these bounds.
    Number(i64, i64),
    Bool,
    /// Of at most so many characters, as `trg_semester_text_length` has it.
    Text(usize),
    Instant,
    /// One of these.
    Word(&'static [&'static str]),
}

const ID: Kind = Kind::Number(1, i64::MAX);
const COUNT: Kind = Kind::Number(0, i32::MAX as i64);

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false }
}

const fn nullable(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: true }
}

const USERS: Table = Table {
    name: "seatkeeper.users",
    key: "user_id",
    moves_as_a_whole: false,
    columns: &[column("user_id", ID), column("is_active", Kind::Bool)],
};

const SEMESTERS: Table = Table {
    name: "seatkeeper.semesters",
    key: "semester_id",
    moves_as_a_whole: false,
    columns: &[
        column("semester_id", ID),
        column("code", Kind::Text(200)),
        column("name", Kind::Text(500)),
        column(
            "status",
            Kind::Word(&[
                "DRAFT",
                "ENROLLMENT_OPEN",
                "ENROLLMENT_CLOSED",
                "IN_PROGRESS",
                "COMPLETED",
                "CANCELLED",
            ]),
        ),
        nullable("max_players", COUNT),
        column("enrollment_cost", Kind::Number(0, i64::MAX)),
        column("refund_percent", Kind::Number(0, 100)),
        nullable("enrollment_closes_at", Kind::Instant),
        nullable("unenroll_closes_at", Kind::Instant),
    ],
};

const SESSIONS: Table = Table {
    name: "seatkeeper.sessions",
    key: "session_id",
    moves_as_a_whole: true,
    columns: &[
        column("session_id", ID),
        column("semester_id", ID),
        column("starts_at", Kind::Instant),
        column("ends_at", Kind::Instant),
        column("capacity", COUNT),
        column("status", Kind::Word(&["SCHEDULED", "CANCELLED"])),
        nullable("booking_closes_at", Kind::Instant),
        nullable("cancellation_closes_at", Kind::Instant),
    ],
};

impl What {
    /// Its table.
    pub const fn table(self) -> &'static Table {
        match self {
            Self::Users => &USERS,
            Self::Semesters => &SEMESTERS,
            Self::Sessions => &SESSIONS,
        }
    }

    /// Its name in the plural.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Semesters => "semesters",
            Self::Sessions => "sessions",
        }
    }
}

impl Table {
    /// The column of this name.
    ///
    /// # Errors
    /// In words, when a file may not have it.
    pub fn column(&self, name: &str) -> Result<&'static Column, String> {
        if let Some(column) = self.columns.iter().find(|column| column.name == name) {
            return Ok(column);
        }
        Err(match name {
            "credit_balance" => {
                "balances are not imported: give credits with grant_credits requests (`seatkeeper enqueue`)"
                    .into()
            }
            "enrolled_count" | "confirmed_count" | "last_decided_at" => {
                "kept by Seatkeeper itself: leave it out".into()
            }
            _ => {
                let known: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
                format!("no such column; there are {}", known.join(", "))
            }
        })
    }
}

impl Column {
    /// Reads a field of a CSV file; an empty one is null where the column can be.
    ///
    /// # Errors
    /// In words, when it is no value of the column.
    pub fn read_text(&self, text: &str) -> Result<Value, String> {
        let trimmed = text.trim();
        if trimmed.is_empty() && self.nullable {
            return Ok(Value::Null);
        }
        match &self.kind {
            Kind::Text(_) => self.check(Value::from(text)),
            _ if trimmed.is_empty() => Err(format!("empty; {} is due", self.due())),
            Kind::Number(..) => {
                self.check(trimmed.parse::<i64>().map_or_else(|_| Value::from(trimmed), Value::from))
            }
            Kind::Bool => match trimmed {
                "true" | "t" | "TRUE" | "True" | "1" => Ok(true.into()),
                "false" | "f" | "FALSE" | "False" | "0" => Ok(false.into()),
                other => self.check(Value::from(other)),
            },
            Kind::Instant | Kind::Word(_) => self.check(Value::from(trimmed)),
        }
    }

    /// Reads a value of a JSON file.
    ///
    /// # Errors
    /// In words, when it is no value of the column.
    pub fn check(&self, value: Value) -> Result<Value, String> {
        if value.is_null() && self.nullable {
            return Ok(value);
        }
        let fits = match (&self.kind, &value) {
            (Kind::Number(least, most), _) => {
                value.as_i64().is_some_and(|number| (*least..=*most).contains(&number))
            }
            (Kind::Bool, _) => value.is_boolean(),
            (Kind::Text(most), Value::String(text)) => {
                !text.contains('\0') && text.chars().nth(*most).is_none()
            }
            (Kind::Instant, Value::String(text)) => is_instant(text),
            (Kind::Word(words), Value::String(text)) => words.contains(&text.as_str()),
            _ => false,
        };
        if fits {
            return Ok(value);
        }
        Err(format!("{}: {} is due", cut(&value.to_string(), 60), self.due()))
    }

    fn due(&self) -> String {
        match &self.kind {
            Kind::Number(least, i64::MAX) => format!("a whole number from {least} on"),
            Kind::Number(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Bool => "true or false".into(),
            Kind::Text(most) => format!("text of up to {most} characters, without NUL,"),
            Kind::Instant => "an instant like 2030-01-31T08:00:00Z (RFC 3339)".into(),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
        }
    }
}

/// Whether it is an instant that the database keeps: within the years 1 to 9999.
fn is_instant(text: &str) -> bool {
    const BOUNDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_214_400;
    // PostgreSQL reads neither leap seconds nor a year of more digits the same way everywhere.
    DateTime::parse_from_rfc3339(text).is_ok_and(|instant| {
        BOUNDS.contains(&instant.with_timezone(&Utc).timestamp()) && !text.contains(":60")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::What;

    fn text(what: What, column: &str, text: &str) -> Result<Value, String> {
        what.table().column(column)?.read_text(text)
    }

    #[test]
    fn fields_are_read_by_the_column() {
        assert_eq!(text(What::Users, "user_id", " 7 "), Ok(json!(7)));
        assert_eq!(text(What::Users, "is_active", "f"), Ok(json!(false)));
        assert_eq!(text(What::Semesters, "max_players", ""), Ok(Value::Null));
        assert_eq!(text(What::Semesters, "name", ""), Ok(json!("")));
        assert_eq!(text(What::Semesters, "code", " A "), Ok(json!(" A ")));
        let instant = "2030-01-31T08:00:00+02:00";
        assert_eq!(text(What::Sessions, "starts_at", instant), Ok(json!(instant)));
    }

    #[test]
    fn what_is_due_is_said() {
        for (what, column, field, part) in [
            (What::Users, "user_id", "0", "from 1 on"),
            (What::Users, "user_id", "9223372036854775808", "from 1 on"),
            (What::Users, "user_id", "", "empty"),
            (What::Users, "is_active", "yes", "true or false"),
            (What::Semesters, "max_players", "2147483648", "to 2147483647"),
            (What::Semesters, "refund_percent", "101", "0 to 100"),
            (What::Semesters, "status", "OPEN", "ENROLLMENT_OPEN"),
            (What::Sessions, "starts_at", "2030-01-31 08:00", "RFC 3339"),
            (What::Sessions, "starts_at", "9999-12-31T12:00:00Z", "RFC 3339"),
            (What::Sessions, "ends_at", "2030-01-31T08:00:60Z", "RFC 3339"),
            (What::Users, "credit_balance", "5", "grant_credits"),
            (What::Semesters, "enrolled_count", "5", "leave it out"),
            (What::Semesters, "colour", "5", "there are semester_id, code"),
        ] {
            let problem = text(what, column, field).expect_err("no value of the column");
            assert!(problem.contains(part), "{column} {field}: {problem}");
        }
    }
}
