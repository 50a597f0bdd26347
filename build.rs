//! The migrations and the invariants are part of the binary: building again when one is added. An invariant's file that is
//! not of the form fails the build.

use std::fmt::Write as _;
use std::path::Path;

#[path = "src/invariants/parse.rs"]
#[expect(dead_code, reason = "the build only wants to know whether it can be read")]
mod parse;

const INVARIANTS: &str = "monitoring/invariants";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=sqlx.toml");
    println!("cargo:rerun-if-changed={INVARIANTS}");
    println!("cargo:rerun-if-changed=src/invariants/parse.rs");

    let mut files = Vec::new();
    for entry in std::fs::read_dir(INVARIANTS)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "sql") {
            files.push(path);
        }
    }
    files.sort();
    let mut list = "[\n".to_owned();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        parse::parse(&name, &std::fs::read_to_string(&path)?)?;
        let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join(path);
        writeln!(list, "({name:?}, include_str!({path:?})),")?;
    }
    list.push(']');
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("invariants.rs"), list)?;
    Ok(())
}
