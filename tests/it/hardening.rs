//! HARDENING.md against the tree: what it declares is there, and what is there is declared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use seatkeeper::invariants::{Severity, catalogue, guards};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn declaration() -> String {
    std::fs::read_to_string(root().join("HARDENING.md")).unwrap()
}

/// The text of a section.
fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let from = text.find(&format!("## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    let rest = &text[from + 3..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

/// The cells of a table's rows, without its head.
fn rows(section: &str) -> Vec<Vec<String>> {
    let lines = section.lines().filter(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    lines.skip(2).map(cells).collect()
}

/// Words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The tests of this program by name, as it lists them itself.
fn tests() -> BTreeSet<String> {
    let listed = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--format", "terse"])
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Compares what is between two markers with what it has to be, or writes it when told to.
fn assert_between(marker: &str, due: &str) {
    let (begin, end) = (format!("<!-- begin {marker} -->\n"), format!("<!-- end {marker} -->"));
    let text = declaration();
    let from = text.find(&begin).unwrap() + begin.len();
    let until = text.find(&end).unwrap();
    if std::env::var_os("SEATKEEPER_WRITE_HARDENING").is_some() {
        std::fs::write(root().join("HARDENING.md"), format!("{}{due}{}", &text[..from], &text[until..]))
            .unwrap();
    } else {
        assert_eq!(&text[from..until], due, "SEATKEEPER_WRITE_HARDENING=1 writes it");
    }
}

#[test]
fn hardening_covers_modules_that_are_there() {
    let rows = rows(section(&declaration(), "Covered and hardened modules"));
    assert!(rows.len() >= 5);
    for row in &rows {
        for path in quoted(&row[0]).chain(quoted(&row[2])) {
            assert!(root().join(path).exists(), "{path} is not there");
        }
    }
}

#[test]
fn hardening_registers_every_race_with_its_test_its_guards_and_its_invariants() {
    let text = declaration();
    let rows = rows(section(&text, "Race register"));
    let map = std::fs::read_to_string(root().join("tests/it/races/README.md")).unwrap();
    let known: BTreeSet<&str> = map
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
        .filter(|word| is_race(word))
        .collect();
    let registered: BTreeSet<&str> =
        rows.iter().filter_map(|row| row[0].split(' ').next()).filter(|word| is_race(word)).collect();
    assert_eq!(registered, known, "the race map and the register");

    let tests = tests();
    let names: BTreeSet<&str> = tests.iter().filter_map(|test| test.rsplit("::").next()).collect();
    let guards: BTreeSet<String> = guards::manifest().into_iter().map(|guard| guard.name).collect();
    for row in &rows {
        for test in quoted(&row[4]) {
            assert!(names.contains(test), "{}: there is no test {test}", row[0]);
        }
        for guard in quoted(&row[2]) {
            assert!(guards.contains(guard), "{}: there is no guard {guard}", row[0]);
        }
        for id in row[3].split(", ").filter(|id| id.starts_with("INV-")) {
            assert!(catalogue().iter().any(|each| each.id == id), "{}: there is no {id}", row[0]);
        }
    }
    // What guards a race is seen by the invariant that watches it, when it is gone.
    for invariant in catalogue() {
        let is_named = rows.iter().any(|row| row[3].split(", ").any(|id| id == invariant.id));
        let is_of_another_kind = invariant.takes_manifest || invariant.severity == Severity::Warning;
        assert!(is_named || is_of_another_kind, "no race is watched by {}", invariant.id);
    }
}

fn is_race(word: &str) -> bool {
    word.strip_prefix("RACE-").is_some_and(|rest| rest.chars().any(|letter| letter.is_ascii_digit()))
}

#[test]
fn hardening_demonstrates_the_older_monitor_line_by_line() {
    let text = declaration();
    let cadence = section(&text, "Monitoring cadence");
    let table = &cadence[cadence.find("### The older monitor's table").unwrap()..];
    let tests = tests();
    let names: BTreeSet<&str> = tests.iter().filter_map(|test| test.rsplit("::").next()).collect();
    let rows = rows(table);
    for row in &rows {
        assert!(quoted(&row[2]).count() > 0, "nothing demonstrates {}", row[0]);
        for test in quoted(&row[2]) {
            assert!(names.contains(test), "{}: there is no test {test}", row[0]);
        }
    }
    for id in ["INV-01", "INV-02", "INV-03", "INV-04", "INV-05"] {
        assert!(rows.iter().any(|row| row[0].split(", ").any(|line| line == id)), "no line of {id}");
    }
}

#[test]
fn hardening_has_the_numbers_of_the_tests() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for test in tests() {
        *counts.entry(format!("tests/it: {}", test.split("::").next().unwrap())).or_insert(0) += 1;
    }
    let unit = ["src", "jobs/src", "jobs/tests"];
    for folder in unit {
        let number: usize = sources(&root().join(folder)).iter().map(|text| tests_in(text)).sum();
        counts.insert(format!("{folder}: unit tests and properties"), number);
    }
    let counterexamples = std::fs::read_dir(root().join("tests/counterexamples")).unwrap().count();
    let mutants = std::fs::read_dir(root().join("tests/mutants")).unwrap();
    let mutants = mutants
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "mutant"))
        .count();
    let total: usize = counts.values().sum();
    let mut due = "| suite | tests |\n|---|---|\n".to_owned();
    for (suite, number) in counts {
        writeln!(due, "| {suite} | {number} |").unwrap();
    }
    writeln!(due, "| **Total** | **{total}** |\n").unwrap();
    let guards = guards::manifest().len();
    writeln!(
        due,
        "Besides: {counterexamples} counterexamples, {mutants} bugs in the museum (tests/mutants), and {guards} guards of the database, each \
         of which is taken away in a test."
    )
    .unwrap();
    assert_between("coverage", &due);
}

fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            texts.push(std::fs::read_to_string(path).unwrap());
        }
    }
    texts
}

fn tests_in(text: &str) -> usize {
    text.lines().filter(|line| matches!(line.trim(), "#[test]" | "#[tokio::test]")).count()
}

/// The alerts whose expression is about this invariant, in the rules as they are shipped.
fn alerts(rules: &str, id: &str) -> String {
    let rules = rules.split("- alert: ").skip(1);
    let about = rules.filter(|rule| rule.contains(&format!("invariant=\"{id}\"")));
    let names: BTreeSet<&str> = about.filter_map(|rule| rule.lines().next()).collect();
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn hardening_has_the_cadence_of_the_monitor() {
    let rules = std::fs::read_to_string(root().join("monitoring/rules/invariants.yml")).unwrap();
    let mut due =
        "| invariant | holds when | severity | checked | alert when | alerts |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for each in catalogue() {
        let checked = if each.severity == Severity::Critical { "weekly, hourly" } else { "weekly" };
        let counted = if each.counts_accepted { "all" } else { "not accepted" };
        let alerts = alerts(&rules, &each.id);
        assert!(!alerts.is_empty(), "no alert tells of {}", each.id);
        writeln!(
            due,
            "| {} | {} | {} | {checked} | {counted} > {} | {alerts} |",
            each.id,
            each.summary,
            each.severity.as_str(),
            each.alert_above
        )
        .unwrap();
    }
    assert_between("cadence", &due);
}

#[test]
fn hardening_freezes_what_the_script_holds() {
    let text = declaration();
    let notice = section(&text, "Freeze notice");
    let script = std::fs::read_to_string(root().join("scripts/freeze-check")).unwrap();
    for folder in ["src/decide", "src/batch", "migrations"] {
        assert!(notice.contains(folder), "{folder}");
        assert!(root().join(folder).is_dir());
    }
    assert!(
        script.contains(r#"(("src", "decide"), ("src", "batch"))"#) && script.contains(r#""migrations/""#)
    );
    assert!(std::fs::read_to_string(root().join("scripts/test")).unwrap().contains("scripts/freeze-check"));
}
