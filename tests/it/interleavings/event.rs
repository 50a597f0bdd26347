//! What a statement did that another transaction can notice, and so which statements commute.
//!
//! All transactions are `read committed`, so one notices another only
//! - by a row (or a unique key, whose row's owner is locked with it) that the other has locked or changed: the rows are *seen*
//!   in `pgrowlocks`, not guessed;
//! - by looking for rows to lock with `skip locked`: it notices any lock in the tables that it names;
//! - by a commit: whatever reads a table that the other wrote. The tables written are *seen* in `pg_locks`, triggers included;
//!   those read are named in the text; what writes may also read, by triggers, anything;
//! - by the numbers that both draw from a sequence, since these say in which order the answers were given.
//!
//! Where that is not known (the statement failed), it is taken to depend on everything.

use std::collections::BTreeSet;

/// A row, as table and key.
pub type Row = (String, i64);

/// One statement that was let go.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// Whose, as a number.
    pub actor: usize,
    /// Its first line.
    pub name: String,
    /// Names these tables.
    pub tables: BTreeSet<String>,
    /// Locks rows, or tries to.
    pub locks: bool,
    /// Steps over locked rows.
    pub skips: bool,
    /// Writes, so that triggers may read anything.
    pub writes: bool,
    /// Draws numbers that others draw, too.
    pub draws: bool,
    /// Ends a transaction.
    pub ends: bool,
    /// Rows that it locked or changed; of an end: that all of the transaction did.
    pub rows: BTreeSet<Row>,
    /// Of an end: tables that become visible as changed.
    pub written: BTreeSet<String>,
    /// Who kept it waiting.
    pub waited_for: BTreeSet<usize>,
    /// It failed, or has not come back yet: everything may depend on it.
    pub unknown: bool,
}

/// What ends a transaction.
pub fn is_end(sql: &str) -> bool {
    let sql = sql.trim_start().to_lowercase();
    sql.starts_with("commit") || sql.starts_with("rollback")
}

/// What nobody notices wherever it is: in `read committed` the beginning takes no snapshot.
pub fn is_beginning(sql: &str) -> bool {
    sql.trim_start().to_lowercase().starts_with("begin")
}

impl Event {
    /// What the text says. An outside writer's statement also draws a number, by the trigger that records the change.
    pub fn of(actor: usize, sql: &str, is_outside: bool) -> Self {
        let text = sql.to_lowercase();
        let writes =
            ["insert into", "update seatkeeper.", "delete from"].iter().any(|word| text.contains(word));
        let locks =
            writes || ["for update", "for no key update", "share"].iter().any(|word| text.contains(word));
        Self {
            actor,
            name: name(sql),
            tables: tables(&text),
            locks,
            skips: text.contains("skip locked"),
            writes,
            draws: text.contains("nextval(") || (is_outside && writes),
            ends: is_end(&text),
            ..Self::default()
        }
    }

    /// Whether the order of these two makes a difference to anybody. Events of one actor are in order anyway.
    pub fn depends_on(&self, other: &Self) -> bool {
        if self.unknown || other.unknown {
            return true;
        }
        if self.ends && other.ends {
            // Neither looks at anything.
            return false;
        }
        (self.draws && other.draws)
            || self.waited_for.contains(&other.actor)
            || other.waited_for.contains(&self.actor)
            || self.meets(other)
            || other.meets(self)
            || self.shows(other)
            || other.shows(self)
    }

    /// The same row; or it looks for free rows where the other has locked one.
    fn meets(&self, other: &Self) -> bool {
        let locks = |event: &Self| event.locks || event.ends;
        if !locks(self) || !locks(other) {
            return false;
        }
        let finds = |(table, _): &Row| self.skips && self.tables.contains(table);
        other.rows.iter().any(|row| self.rows.contains(row) || finds(row))
    }

    /// As the end of a transaction it shows what the other reads.
    fn shows(&self, other: &Self) -> bool {
        self.ends
            && !self.written.is_empty()
            && (other.writes || other.tables.iter().any(|table| self.written.contains(table)))
    }
}

/// The first line that says something, without the marks of a comment.
pub fn name(sql: &str) -> String {
    let line = sql.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.trim_start_matches("-- ").split(';').next().unwrap_or_default().to_owned()
}

/// The tables of ours that a text names.
fn tables(text: &str) -> BTreeSet<String> {
    let names = text.split("seatkeeper.").skip(1);
    names.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()).collect()
}
