//! Files that somebody else wrote: names of columns, fields and values of theirs are echoed where they are wrong.

use serde_json::json;

use super::{HOSTILE, assert_exact, assert_harmless};
use crate::operate::cli;
use crate::support::TestDb;

/// A file of this ending.
fn file(ending: &str, text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn what_is_wrong_in_a_file_is_told_in_one_line_each() {
    let db = TestDb::new().await;
    let quoted = HOSTILE.replace('"', "\"\"");
    let header = file(".csv", &format!("user_id,\"{quoted}\"\n1,2\n"));
    let value = file(".csv", &format!("user_id,is_active\n1,\"{quoted}\"\n"));
    let field = file(".ndjson", &format!("{}\n{}\n", json!({ HOSTILE: 1 }), json!({ "user_id": HOSTILE })));
    let asked = file(".ndjson", &format!("{}\n", json!({ "request_id": "x", HOSTILE: 1 })));
    for (arguments, file) in [
        (vec!["import", "users", "--file"], &header),
        (vec!["import", "users", "--file"], &value),
        (vec!["import", "users", "--file"], &field),
        (vec!["enqueue", "--file"], &asked),
    ] {
        let arguments = [&arguments[..], &[file.path().to_str().unwrap()]].concat();
        let what = arguments.join(" ");
        let output = cli(&db.direct, &arguments).await;
        assert_eq!(output.status.code(), Some(2), "{what}");
        assert_harmless(&what, std::str::from_utf8(&output.stdout).unwrap());
        assert_harmless(&what, std::str::from_utf8(&output.stderr).unwrap());
        if arguments[0] == "import" {
            assert!(String::from_utf8_lossy(&output.stderr).contains("forged"), "{output:?}");
        }
        let output = cli(&db.direct, &[&arguments[..], &["--json"]].concat()).await;
        assert_eq!(output.status.code(), Some(2), "{what}");
        let part = if arguments[0] == "import" { "forged" } else { "line" };
        assert_exact(&what, std::str::from_utf8(&output.stdout).unwrap(), part);
        assert_harmless(&what, std::str::from_utf8(&output.stderr).unwrap());
    }
}

/// A name of a file is the operator's own, and is harmless all the same; what is long is cut, and says so.
#[tokio::test]
async fn what_is_long_is_cut_and_says_so() {
    let db = TestDb::new().await;
    let long = "x".repeat(50_000);
    let header = file(".csv", &format!("user_id,{long}\n1,2\n"));
    let output = cli(&db.direct, &["import", "users", "--file", header.path().to_str().unwrap()]).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.len() < 5_000 && stderr.contains("xxx… ("), "{} bytes: {stderr:.500}", stderr.len());
    assert!(stderr.contains("no such column"), "what comes behind is told: {stderr:.900}");
    let missing = format!("no\nforged{HOSTILE}.csv");
    let output = cli(&db.direct, &["import", "users", "--file", &missing]).await;
    assert_harmless("import", std::str::from_utf8(&output.stderr).unwrap());
}
