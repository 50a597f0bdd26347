//! Writes `schemas/` anew after a payload, a result or a reason changed. A test compares it.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    fs::create_dir_all(&directory)?;
    for (name, content) in seatkeeper_jobs::schema::documents() {
        fs::write(directory.join(&name), format!("{content:#}\n"))?;
        println!("{name}");
    }
    Ok(())
}
