//! The repository tests its own shape: the architecture invariants of `src/lib.rs`, and a few habits.

use std::path::{Path, PathBuf};

const LONGEST_FILE: usize = 400;

/// Every file of ours with one of these endings, with its text.
fn files(folders: &[&str], endings: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .and_then(|ending| ending.to_str())
                .is_some_and(|e| endings.contains(&e))
            {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!found.is_empty(), "nothing to look at");
    found
}

/// Lines that contain one of these words, outside the files for which `allowed` holds.
fn spoken(folders: &[&str], words: &[&str], allowed: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, text) in files(folders, &["rs"]) {
        if !allowed(&path) {
            let hits = text.lines().enumerate().filter(|(_, line)| {
                !line.trim_start().starts_with("//") && words.iter().any(|word| line.contains(word))
            });
            lines.extend(hits.map(|(number, line)| format!("{}:{}: {line}", path.display(), number + 1)));
        }
    }
    lines
}

#[test]
fn files_stay_small() {
    let long: Vec<String> = files(&["src", "jobs", "migrations", "tests", "benches"], &["rs", "sql"])
        .into_iter()
        .filter(|(_, text)| text.lines().count() > LONGEST_FILE)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn no_file_is_named_after_nothing() {
    for (path, _) in files(&["src", "jobs/src", "tests"], &["rs"]) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["utils", "util", "common", "helpers", "misc", "manager"].contains(&stem),
            "{}",
            path.display()
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in files(&["src", "jobs/src", "tests", "benches"], &["rs"]) {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn the_rules_do_no_io_and_read_no_clock() {
    let spoken = spoken(
        &["src/decide"],
        &[
            "sqlx",
            "tokio",
            "Utc::now",
            "Instant::now",
            "SystemTime",
            "std::fs",
            "std::net",
            "async ",
            "rand::rng",
        ],
        |_| false,
    );
    assert!(spoken.is_empty(), "{spoken:#?}");
}

#[test]
fn only_the_queue_names_apalis_and_only_metrics_spell_their_names() {
    let apalis = spoken(&["src"], &["apalis::", "apalis_"], |path| path.starts_with("src/queue"));
    assert!(apalis.is_empty(), "{apalis:#?}");
    let cron = spoken(&["src"], &["tokio_cron_scheduler", "croner"], |path| path.starts_with("src/schedule"));
    assert!(cron.is_empty(), "{cron:#?}");
    let metrics =
        spoken(&["src"], &["counter!(", "gauge!(", "histogram!("], |path| path.starts_with("src/metrics"));
    assert!(metrics.is_empty(), "{metrics:#?}");
}

/// What is printed goes through one place, which escapes it. Texts with lines of their own are those of verbs that print nothing
/// that others wrote.
#[test]
fn the_terminal_is_written_to_in_one_place() {
    let macros = ["print", "println", "eprint", "eprintln", "dbg"].map(|name| format!("{name}!("));
    let mut words: Vec<&str> = macros.iter().map(String::as_str).collect();
    words.extend(["stdout()", "stderr()", "std::io::stdout", "std::io::stderr"]);
    let in_tests = ["src/decide/properties", "src/cli/terminal.rs"];
    let printed = spoken(&["src"], &words, |path| in_tests.iter().any(|known| path.starts_with(known)));
    // The log for people, each field of which was escaped before.
    let known = "log.with(lines.fmt_fields(fields).with_writer(std::io::stderr)).init();";
    let printed: Vec<_> = printed.iter().filter(|line| !line.ends_with(known)).collect();
    assert!(printed.is_empty(), "{printed:#?}");
    let own = ["bench", "demo", "doctor.rs", "migrate.rs", "roles.rs", "rules.rs", "terminal.rs"];
    let own = spoken(&["src"], &["print_own"], |path| {
        own.iter().any(|known| path.starts_with(Path::new("src/cli").join(known)))
    });
    assert!(own.is_empty(), "{own:#?}");
}

#[test]
fn a_batch_opens_its_transactions_in_one_place() {
    let begins = spoken(
        &["src/batch", "src/queue", "src/decide"],
        &["pool.begin", "begin_with", ".acquire()"],
        |_| false,
    );
    assert!(begins.is_empty(), "{begins:#?}");
}

#[test]
fn tests_await_conditions_and_hide_nothing() {
    // Put together here, so that this file does not find itself.
    let words = [["sl", "eep("].concat(), ["#[ig", "nore"].concat(), ["todo", "!("].concat()];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let spoken = spoken(&["tests", "jobs/tests"], &words, |_| false);
    assert!(spoken.is_empty(), "{spoken:#?}");
}

/// Which connection a pooler lends is luck. A transaction keeps the one that it has; for all that lives longer there is
/// `TestDb::session`. (`scripts/compatibility pooler` wipes sessions after each transaction, so that what relies on one is red.)
#[test]
fn what_outlives_a_transaction_is_in_a_session_of_the_test() {
    let backend = spoken(&["tests/it"], &[concat!("\"select pg_backend", "_pid()")], |path| {
        ["tests/it/support/plain_sql.rs", "tests/it/surroundings.rs", "tests/it/pooler.rs"]
            .iter()
            .any(|known| path == Path::new(known))
    });
    assert!(backend.is_empty(), "asked of a connection, not of a transaction: {backend:#?}");
    let words =
        ["create temp", "set role", "reset role", "set session ", "set search_path", "pg_advisory_lock("];
    let sessions = files(&["tests/it"], &["rs"]).into_iter().filter(|(path, text)| {
        !path.ends_with("tidy.rs") && (text.contains(".session()") || text.contains(".direct"))
    });
    let sessions: Vec<PathBuf> = sessions.map(|(path, _)| path).collect();
    // Those are never run through a pooler, or are what is in between.
    let elsewhere =
        ["tests/it/interleavings", "tests/it/histories", "tests/it/lost_words", "tests/it/support"];
    let relying = spoken(&["tests/it"], &words, |path| {
        path.ends_with("tidy.rs")
            || sessions.iter().any(|known| known == path)
            || elsewhere.iter().any(|folder| path.starts_with(folder))
    });
    assert!(relying.is_empty(), "{relying:#?}");
}

/// Roles are the whole server's, and some tests look whether a text has made any: what others make there is told by its name.
#[test]
fn roles_on_the_server_of_all_tests_are_named_as_such() {
    let mut found = 0;
    for (path, text) in files(&["tests/it"], &["rs"]) {
        if text.contains("own_server") || path.ends_with("tidy.rs") {
            continue;
        }
        let named =
            ["create role ", "let role = format!(\""].iter().flat_map(|before| text.split(before).skip(1));
        for name in named {
            found += 1;
            assert!(name.starts_with('{') || name.starts_with("role_"), "{}: {:.30}", path.display(), name);
        }
    }
    assert!(found > 5, "only {found} roles: are they made in another way?");
}

/// Where row level security would hide rows, PostgreSQL refuses: a transaction that does not ask for that answers wrongly. (The
/// laboratory works on databases of its own.)
#[test]
fn every_transaction_asks_for_what_all_of_ours_ask_for() {
    let mut found = 0;
    for (path, text) in files(&["src"], &["rs"]) {
        let laboratory = ["src/cli/bench", "src/cli/demo"].iter().any(|folder| path.starts_with(folder));
        for begun in text.split(".begin_with(").skip(1).filter(|_| !laboratory) {
            let asked = begun.trim_start();
            let asks = ["opening(", "postgres::opening(", "AssertSqlSafe(self.begin"];
            assert!(asks.iter().any(|known| asked.starts_with(known)), "{}: {asked:.80}", path.display());
            found += 1;
        }
        assert!(
            laboratory || !text.contains("pool.begin()") || path.ends_with("postgres/roles/mod.rs"),
            "{}",
            path.display()
        );
    }
    assert!(found > 10, "{found} transactions: looked for in the wrong way");
}

/// A guard that a mutant takes away is where it says; or `scripts/mutants` would only find out after an hour.
#[test]
fn every_mutant_has_something_to_take_away() {
    for (path, text) in files(&["tests/mutants"], &["mutant"]) {
        let name = path.display();
        let (head, rest) = text.split_once("--- as it is\n").unwrap_or_else(|| panic!("{name}: no guard"));
        let (guard, without) = rest.split_once("--- without the guard\n").unwrap();
        let file = head.lines().find_map(|line| line.strip_prefix("file: ")).unwrap();
        let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
            .unwrap_or_else(|_| panic!("{name}: no {file}"));
        let guard = guard.trim_end_matches('\n');
        let at = source.find(guard).unwrap_or_else(|| panic!("{name}: its text is not in {file}"));
        assert_ne!(guard, without.trim_end_matches('\n'), "{name}");
        if let Some(function) = function_around(&source[..at])
            && file.starts_with("migrations/")
        {
            let again = format!("create or replace function {function}(");
            let later: Vec<_> = files(&["migrations"], &["sql"])
                .into_iter()
                .filter(|(path, text)| !path.ends_with(file) && text.contains(&again))
                .map(|(path, _)| path)
                .filter(|path| path.file_name() > Path::new(file).file_name())
                .collect();
            assert!(
                later.is_empty(),
                "{name}: {function} is defined again in {later:?}, and the bug would be gone"
            );
        }
    }
}

/// The function of the database whose body this text leads into.
fn function_around(before: &str) -> Option<&str> {
    let begin = ["create function ", "create or replace function "];
    let at = begin.iter().filter_map(|begin| before.rfind(begin).map(|at| at + begin.len())).max()?;
    let (name, rest) = before[at..].split_once('(')?;
    (rest.matches("$$").count() == 1).then_some(name)
}

/// For every step of a batch, known by the fail point behind it, a bug is seeded in it.
#[test]
fn every_step_of_a_batch_has_its_mutant() {
    let between = |text: &str, from: &str, to: char| -> std::collections::BTreeSet<String> {
        text.split(from).skip(1).filter_map(|rest| rest.split(to).next().map(str::to_owned)).collect()
    };
    let sources: String = files(&["src/batch"], &["rs"]).into_iter().map(|(_, text)| text).collect();
    let mutants: String = files(&["tests/mutants"], &["mutant"])
        .into_iter()
        .map(|(_, text)| text.split("--- as it is").next().unwrap().to_owned())
        .collect();
    let steps = between(&sources, "fail_point!(\"", '"');
    assert!(steps.len() > 30, "{steps:?}");
    assert_eq!(between(&mutants, "\nstep: ", '\n'), steps);
}

/// Every race of the map has its test and its mutants, and every mutant has a race, a step of a batch or a door.
#[test]
fn the_race_map_is_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = std::fs::read_to_string(root.join("tests/it/races/README.md")).unwrap();
    let rows: Vec<Vec<&str>> = map
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| race "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let quoted = |cell: usize| {
        let cells = rows.iter().map(move |row| row[cell]);
        let names = cells.flat_map(|text| text.split('`').skip(1).step_by(2));
        names.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let sources: String = files(&["tests/it/races"], &["rs"]).into_iter().map(|(_, text)| text).collect();
    let written: std::collections::BTreeSet<String> = sources
        .split("#[tokio::test")
        .skip(1)
        .filter_map(|test| test.split("async fn ").nth(1)?.split('(').next().map(str::to_owned))
        .collect();
    assert_eq!(quoted(4), written, "the tests of the races");
    let mutants: Vec<(PathBuf, String)> = files(&["tests/mutants"], &["mutant"]);
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    for mutant in quoted(5) {
        assert!(mutants.iter().any(|(path, _)| name(path) == mutant), "no mutant {mutant}");
    }
    for (path, text) in &mutants {
        assert!(
            quoted(5).contains(&name(path))
                || text.lines().any(|line| line.starts_with("step: ") || line.starts_with("door: ")),
            "{}: neither in the race map, nor in a step of a batch, nor in a door",
            path.display()
        );
    }
    let guards = seatkeeper::invariants::guards::manifest();
    for guard in quoted(3) {
        assert!(guards.iter().any(|known| known.name == guard), "no guard {guard}");
    }
}

/// Suites that draw what they do, and how each of them holds what came of it against the audit; or why not.
#[test]
fn every_suite_that_draws_what_it_does_ends_with_the_audit() {
    let left_out =
        [("bad_input", "what it draws is refused at the doors, or has no answer; nothing is left to replay")];
    let audits = ["assert_follows(", "load.check()", "audited(&db)", "audit(&db.pool)"];
    let mut suites: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    for (path, text) in files(&["tests/it"], &["rs"]) {
        let path = path.strip_prefix("tests/it").unwrap().with_extension("");
        let suite = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        suites.entry(suite).or_default().push_str(&text);
    }
    let draws = ["seed_from_u64", "Load::prepare", concat!("rand::", "random"), "TestRng"];
    let drawing = suites.iter().filter(|(suite, text)| {
        !["tidy", "support"].contains(&suite.as_str()) && draws.iter().any(|word| text.contains(word))
    });
    let mut with_audit = Vec::new();
    let mut without = Vec::new();
    for (suite, text) in drawing {
        if audits.iter().any(|call| text.contains(call)) {
            with_audit.push(suite);
        } else if !left_out.iter().any(|(known, _)| known == suite) {
            without.push(suite);
        }
    }
    println!("with the audit: {with_audit:?}");
    assert!(without.is_empty(), "neither ends with the audit nor says why not: {without:?}");
    assert!(with_audit.len() >= 5, "{with_audit:?}");
}
