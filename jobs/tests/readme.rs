//! The guide for producers shows the examples that are run, and leaves nothing out.

use std::error::Error;
use std::fs;
use std::path::Path;

use seatkeeper_jobs::{BookingState, CancelledBecause, Kind, Outcome, Reason, Status};
use serde_json::Value;

fn read(name: &str) -> Result<String, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

#[test]
fn the_examples_are_shown_as_they_are_run() -> Result<(), Box<dyn Error>> {
    let readme = read("README.md")?;
    for (file, language) in [
        ("enqueue.sql", "sql"),
        ("enqueue.rs", "rust"),
        ("enqueue.py", "python"),
        ("book.sql", "sql"),
        ("book.rs", "rust"),
        ("book.py", "python"),
        ("sessions.sql", "sql"),
    ] {
        let text = read(&format!("examples/{file}"))?;
        assert!(
            readme.contains(&format!("```{language}\n{text}```\n")),
            "README.md does not show examples/{file} word by word"
        );
    }
    Ok(())
}

#[test]
fn every_word_of_the_contract_is_explained() -> Result<(), Box<dyn Error>> {
    let readme = read("README.md")?;
    let kinds = Kind::ALL.iter().map(|kind| kind.as_str());
    let reasons = Reason::ALL.iter().map(|reason| reason.as_str());
    let states = Status::ALL.iter().map(|s| s.as_str()).chain(Outcome::ALL.iter().map(|o| o.as_str()));
    let bookings = BookingState::ALL
        .iter()
        .map(|state| state.as_str())
        .chain(CancelledBecause::ALL.iter().map(|because| because.as_str()));
    let codes = ["RC409", "RC422", "40001", "40P01"];
    for word in kinds.chain(reasons).chain(states).chain(bookings).chain(codes) {
        assert!(readme.contains(&format!("`{word}`")), "README.md does not mention {word}");
    }
    Ok(())
}

#[test]
fn the_table_of_kinds_names_every_field() -> Result<(), Box<dyn Error>> {
    let readme = read("README.md")?;
    for kind in Kind::ALL {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| `{kind}` | ")))
            .ok_or_else(|| format!("no row for {kind}"))?;
        for what in ["payload", "result"] {
            let schema: Value = serde_json::from_str(&read(&format!("schemas/{kind}.{what}.json"))?)?;
            for field in schema["properties"].as_object().ok_or("a schema has properties")?.keys() {
                assert!(row.contains(&format!("`{field}`")), "the row of {kind} does not name {field}");
            }
        }
    }
    Ok(())
}
