//! What `monitoring/` ships: that its names are those of the program and of each other, and that its alerts reach somebody.

mod end_to_end;
mod names;
mod provoked;
mod receiver;
mod runbooks;
mod stack;

use std::path::PathBuf;

use serde_yaml_ng::Value;

/// A file or folder of `monitoring/`.
fn shipped(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(path)
}

/// The files in a folder of the repository with this ending: name without the ending, and text.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths = entries.filter(|path| path.extension().is_some_and(|found| found == ending));
    let mut files: Vec<(String, String)> = paths
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing to look at");
    files
}

/// The text of a field; empty when it is not there.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list; none when it is not there.
fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_sequence).into_iter().flatten()
}

/// Every rule of the shipped files, alerts and records.
fn rules() -> Vec<Value> {
    let files = files("monitoring/rules", "yml");
    let parsed: Vec<Value> = files.iter().map(|(_, text)| serde_yaml_ng::from_str(text).unwrap()).collect();
    let groups = parsed.iter().flat_map(|file| items(file, "groups"));
    groups.flat_map(|group| items(group, "rules")).cloned().collect()
}

/// What the panels of the dashboard ask, with the title of each; variables as a query needs them.
fn panel_queries() -> Vec<(String, String)> {
    let json = std::fs::read_to_string(shipped("dashboards/seatkeeper.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&json).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().unwrap();
            let expr = expr.replace("$__rate_interval", "1m").replace("$job", "seatkeeper");
            assert!(!expr.contains('$'), "a variable that no test knows: {expr}");
            queries.push((panel["title"].as_str().unwrap().to_owned(), expr));
        }
    }
    assert!(queries.len() > 30, "{}", queries.len());
    queries
}
