//! The migrations, the invariants and the runbooks are part of the binary: building again when one is added. An invariant's
//! file that is not of the form fails the build.

use std::fmt::Write as _;
use std::path::Path;

#[path = "src/invariants/parse.rs"]
#[expect(dead_code, reason = "the build only wants to know whether it can be read")]
mod parse;

const INVARIANTS: &str = "monitoring/invariants";
const RUNBOOKS: &str = "monitoring/runbooks";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The test of the advisories is there where scripts/advisories has made them.
    println!("cargo::rustc-check-cfg=cfg(advisories)");
    println!("cargo::rerun-if-env-changed=SEATKEEPER_ADVISORIES");
    if std::env::var_os("SEATKEEPER_ADVISORIES").is_some() {
        println!("cargo::rustc-cfg=advisories");
    }
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=sqlx.toml");
    println!("cargo:rerun-if-changed={INVARIANTS}");
    println!("cargo:rerun-if-changed={RUNBOOKS}");
    println!("cargo:rerun-if-changed=src/invariants/parse.rs");
    let mut invariants = Vec::new();
    for (name, text) in embed(INVARIANTS, "sql", "invariants.rs")? {
        invariants.push(parse::parse(&name, &text)?);
    }
    for sharing in invariants.iter().filter(|each| each.select_of.is_some()) {
        let is_whose = |other: &&parse::Invariant| Some(&other.id) == sharing.select_of.as_ref();
        let whose = invariants.iter().find(is_whose);
        if !whose
            .is_some_and(|whose| !whose.select.is_empty() && whose.takes_manifest == sharing.takes_manifest)
        {
            return Err(
                format!("{}: select: is not an invariant with such a SELECT of its own", sharing.id).into()
            );
        }
    }
    embed(RUNBOOKS, "md", "runbooks.rs")?;
    Ok(())
}

/// Writes a list of the files in a folder, name and text, for `include!`. Gives them.
fn embed(
    folder: &str,
    ending: &str,
    list: &str,
) -> Result<Vec<(String, String)>, Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            files.push(path);
        }
    }
    files.sort();
    let mut rust = "[\n".to_owned();
    let mut texts = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        texts.push((name.clone(), std::fs::read_to_string(&path)?));
        let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join(path);
        writeln!(rust, "({name:?}, include_str!({path:?})),")?;
    }
    rust.push(']');
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join(list), rust)?;
    Ok(texts)
}
