//! The form of an invariant's file: a strict header, and one SELECT. Used by the build, which refuses a file that is not
//! of this form, and by the program.

/// How bad a violation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nobody is woken.
    Warning,
    /// A promise is broken: somebody is woken.
    Critical,
}

impl Severity {
    /// The name, as in labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What must hold, and how it is checked. A violation is a row of its SELECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invariant {
    /// `INV-01` … `INV-B01` …
    pub id: String,
    /// What holds, in a sentence.
    pub summary: String,
    /// How bad a violation is.
    pub severity: Severity,
    /// Bad news begins beyond this many rows.
    pub alert_above: i64,
    /// Whether accepted rows count for that, too.
    pub counts_accepted: bool,
    /// The columns that identify an offending row.
    pub key: Vec<String>,
    /// The constraints, indexes and triggers that should have held. Empty when none can.
    pub guards: Vec<String>,
    /// Why there is no guard, where there is none.
    pub unguarded: Option<String>,
    /// Whether the SELECT takes the manifest of guards as its parameter: those of this invariant.
    pub takes_manifest: bool,
    /// The invariant whose SELECT it is, where the file has none of its own.
    pub select_of: Option<String>,
    /// What to do, in imperative sentences.
    pub repair: String,
    /// The SELECT. Empty where it is another invariant's, until the catalogue fills it in.
    pub select: String,
}

impl Invariant {
    /// Whether this many offending rows, some of them accepted, are bad news.
    #[must_use]
    pub const fn breaches(&self, violations: i64, accepted: i64) -> bool {
        let counted = if self.counts_accepted { violations } else { violations - accepted };
        counted > self.alert_above
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    /// The file's name.
    pub file: String,
    /// The field of the header, or `select`.
    pub field: String,
    /// In words.
    pub problem: String,
}

impl std::fmt::Display for BadFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.field, self.problem)
    }
}

impl std::error::Error for BadFile {}

/// The fields, in the order in which they stand. With those that may be left out.
const FIELDS: [(&str, bool); 10] = [
    ("invariant", true),
    ("summary", true),
    ("severity", true),
    ("alert_above", true),
    ("alert_counts", false),
    ("key", true),
    ("guards", true),
    ("manifest", false),
    ("select", false),
    ("repair", true),
];

/// Reads a file of `monitoring/invariants/`.
///
/// # Errors
/// When it is not of the form: a field that is unknown, missing, empty, given twice or out of order, a name that does not
/// fit, no SELECT, more than one, or one beside that of another invariant.
pub fn parse(file: &str, text: &str) -> Result<Invariant, BadFile> {
    let bad = |field: &str, problem: &str| BadFile {
        file: file.to_owned(),
        field: field.to_owned(),
        problem: problem.to_owned(),
    };
    let (fields, select) = split(file, text)?;
    let field = |name: &str| fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let needed = |name: &str| field(name).ok_or_else(|| bad(name, "is missing"));

    let id = needed("invariant")?;
    let number = id.strip_prefix("INV-").map(|rest| rest.strip_prefix('B').unwrap_or(rest));
    if !number.is_some_and(|n| n.len() == 2 && n.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(bad("invariant", "is not like INV-01 or INV-B01"));
    }
    let name =
        file.strip_prefix(id).and_then(|rest| rest.strip_prefix('_')).and_then(|n| n.strip_suffix(".sql"));
    if !name.is_some_and(is_snake) {
        return Err(bad("invariant", &format!("the file has to be called {id}_in_snake_case.sql")));
    }
    let severity = match needed("severity")? {
        "critical" => Severity::Critical,
        "warning" => Severity::Warning,
        _ => return Err(bad("severity", "is neither critical nor warning")),
    };
    let alert_above = needed("alert_above")?.parse::<i64>().ok().filter(|above| *above >= 0);
    let alert_above = alert_above.ok_or_else(|| bad("alert_above", "is not a number from 0"))?;
    let counts_accepted = match field("alert_counts") {
        None | Some("unaccepted") => false,
        Some("all") => true,
        Some(_) => return Err(bad("alert_counts", "is neither all nor unaccepted")),
    };
    let key = list(needed("key")?);
    if key.iter().any(|column| !is_snake(column)) {
        return Err(bad("key", "is not a list of columns"));
    }
    let guards = needed("guards")?;
    let unguarded = guards.strip_prefix("none:").map(|why| why.trim().to_owned());
    let guards = if unguarded.is_some() { Vec::new() } else { list(guards) };
    if unguarded.as_deref() == Some("") || guards.iter().any(|guard| !is_snake(guard)) {
        return Err(bad("guards", "is neither a list of names nor `none: why`"));
    }
    let takes_manifest = match field("manifest") {
        None => false,
        Some("guards") => true,
        Some(_) => return Err(bad("manifest", "is not guards")),
    };
    let select_of = field("select").map(ToOwned::to_owned);
    if select_of.is_some() != select.is_empty() {
        return Err(bad("select", "is another invariant's, or stands after the header"));
    }
    if select_of.is_none() && takes_manifest != select.contains("$1") || select.contains("$2") {
        return Err(bad("manifest", "$1 and nothing else is the manifest, where the header says so"));
    }
    Ok(Invariant {
        id: id.to_owned(),
        summary: needed("summary")?.to_owned(),
        severity,
        alert_above,
        counts_accepted,
        key,
        guards,
        unguarded,
        takes_manifest,
        select_of,
        repair: needed("repair")?.to_owned(),
        select,
    })
}

fn is_snake(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(|each| each.trim().to_owned()).collect()
}

/// The fields of the header, and the SELECT.
fn split(file: &str, text: &str) -> Result<(Vec<(String, String)>, String), BadFile> {
    let bad = |field: &str, problem: &str| {
        Err(BadFile { file: file.to_owned(), field: field.to_owned(), problem: problem.to_owned() })
    };
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut lines = text.lines();
    let mut rest = Vec::new();
    for line in lines.by_ref() {
        let Some(comment) = line.strip_prefix("--") else {
            rest.push(line);
            break;
        };
        // Two blanks more: the line before goes on.
        if let Some(more) = comment.strip_prefix("   ") {
            let Some((_, value)) = fields.last_mut() else {
                return bad("invariant", "the file has to begin with `-- invariant: …`");
            };
            value.push(' ');
            value.push_str(more.trim());
            continue;
        }
        let field = comment.strip_prefix(' ').and_then(|line| line.split_once(':'));
        let Some((name, value)) = field.filter(|(name, _)| is_snake(name)) else {
            // The last field is followed by the SELECT, and comments on that.
            if fields.last().is_some_and(|(last, _)| last == "repair") {
                rest.push(line);
                break;
            }
            let field = fields.last().map_or("invariant", |(name, _)| name.as_str());
            return bad(field, &format!("`{line}` is neither `-- field: value` nor a continuation"));
        };
        let Some(place) = FIELDS.iter().position(|(field, _)| *field == name) else {
            return bad(name, "is not known");
        };
        let before = fields.last().and_then(|(last, _)| FIELDS.iter().position(|(field, _)| field == last));
        if before.is_some_and(|before| before >= place) {
            return bad(name, "stands in the wrong place, or twice");
        }
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    if let Some((name, _)) = FIELDS.iter().find(|(name, due)| *due && !fields.iter().any(|(n, _)| n == name))
    {
        return bad(name, "is missing");
    }
    if let Some((name, _)) = fields.iter().find(|(_, value)| value.trim().is_empty()) {
        return bad(name, "is empty");
    }
    rest.extend(lines);
    let select = rest.join("\n").trim().trim_end_matches(';').trim_end().to_owned();
    let code = without_comments(&select);
    let is_another = select.is_empty() && fields.iter().any(|(name, _)| name == "select");
    if !is_another && !code.starts_with("select") && !code.starts_with("with") {
        return bad("select", "there is no SELECT after the header");
    }
    // What stands between apostrophes is a text.
    if code.split('\'').step_by(2).any(|code| code.contains(';')) {
        return bad("select", "there is more than one statement");
    }
    Ok((fields, select))
}

/// The first word is looked for behind comments; a semicolon in one ends nothing.
fn without_comments(select: &str) -> String {
    let lines = select.lines().map(|line| line.split_once("--").map_or(line, |(code, _)| code));
    lines.collect::<Vec<_>>().join("\n").trim_start().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{Severity, parse};

    const GOOD: &str = "\
-- invariant: INV-01
-- summary: Nobody has
--   two places
-- severity: critical
-- alert_above: 0
-- key: user_id, semester_id
-- guards: uq_active_enrollment
-- repair: Withdraw one.
--   Then check again.
select user_id, semester_id from seatkeeper.enrollments;
";

    fn good() -> String {
        GOOD.to_owned()
    }

    #[test]
    fn a_file_of_the_form_is_read() {
        let invariant = parse("INV-01_two_places.sql", &good()).unwrap();
        assert_eq!((invariant.id.as_str(), invariant.severity), ("INV-01", Severity::Critical));
        assert_eq!(invariant.summary, "Nobody has two places");
        assert_eq!(invariant.key, ["user_id", "semester_id"]);
        assert_eq!(invariant.guards, ["uq_active_enrollment"]);
        assert_eq!(invariant.repair, "Withdraw one. Then check again.");
        assert_eq!(invariant.select, "select user_id, semester_id from seatkeeper.enrollments");
        assert!(!invariant.takes_manifest && !invariant.counts_accepted);
        let commented = good().replace("select user_id", "-- By the index; nothing else.\nselect user_id");
        assert!(parse("INV-01_two_places.sql", &commented).unwrap().select.starts_with("-- By the index"));
        let quoting = good().replace("select user_id", "select 'a; b', user_id");
        assert!(parse("INV-01_two_places.sql", &quoting).is_ok());
        let shared = good()
            .replace("-- repair", "-- select: INV-02\n-- repair")
            .replace(invariant.select.as_str(), "");
        let shared = parse("INV-01_two_places.sql", shared.trim_end_matches([';', '\n'])).unwrap();
        assert_eq!((shared.select_of.as_deref(), shared.select.as_str()), (Some("INV-02"), ""));
        let locked = good().replace("uq_active_enrollment", "none: only locks hold this");
        let locked = parse("INV-01_two_places.sql", &locked).unwrap();
        assert_eq!((locked.guards.len(), locked.unguarded.as_deref()), (0, Some("only locks hold this")));
    }

    #[test]
    fn whatever_is_not_of_the_form_is_named() {
        let changed = |from: &str, to: &str| good().replace(from, to);
        for (field, problem, text) in [
            ("invariant", "like INV-01", changed("invariant: INV-01", "invariant: INV-1")),
            ("invariant", "has to be called", changed("invariant: INV-01", "invariant: INV-02")),
            ("invariant", "is missing", changed("-- invariant: INV-01\n", "")),
            ("summary", "is empty", changed("summary: Nobody has\n--   two places", "summary:")),
            ("severity", "neither", changed("severity: critical", "severity: bad")),
            ("alert_above", "not a number", changed("alert_above: 0", "alert_above: -1")),
            ("alert_above", "is missing", changed("-- alert_above: 0\n", "")),
            ("owner", "not known", changed("-- key", "-- owner: me\n-- key")),
            ("summary", "wrong place", changed("-- key", "-- summary: again\n-- key")),
            ("key", "wrong place", changed("-- guards", "-- key: user_id\n-- guards")),
            ("key", "not a list", changed("user_id, semester_id\n", "user_id,\n")),
            ("guards", "neither", changed("uq_active_enrollment", "none:")),
            ("manifest", "nothing else", changed("-- repair", "-- manifest: guards\n-- repair")),
            ("summary", "neither", changed("--   two", "--two")),
            ("note", "not known", changed("select user_id", "-- note: by the index\nselect user_id")),
            ("select", "no SELECT", changed("select user_id", "delete user_id")),
            ("select", "another invariant's", changed("-- repair", "-- select: INV-02\n-- repair")),
            ("select", "more than one", changed("from sea", "; select from sea")),
        ] {
            let error = parse("INV-01_two_places.sql", &text).unwrap_err();
            assert_eq!(error.field, field, "{error}");
            assert!(error.problem.contains(problem), "{error}");
            assert!(error.to_string().starts_with("INV-01_two_places.sql: "), "{error}");
        }
    }
}
