//! The wire form as written down in `golden/`: what was once written is read, and written the same, for good.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use seatkeeper_jobs::{Applied, Job, Kind, Reason, Receipt, Request};
use serde_json::Value;
use sha2::{Digest, Sha256};

type Outcome = Result<(), Box<dyn Error>>;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn read(path: &Path) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The files of a directory whose names begin with what they are: `payload`, `result`, ...
fn files(directory: &str, prefix: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(golden().join(directory))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            found.push(path);
        }
    }
    assert!(!found.is_empty(), "golden/{directory} has no {prefix}");
    Ok(found)
}

#[test]
fn payloads_are_read_and_written_the_same() -> Outcome {
    for &kind in Kind::ALL {
        for path in files(kind.as_str(), "payload")? {
            let payload = read(&path)?;
            let job = Job::read(kind, &payload).map_err(|error| format!("{}: {error}", path.display()))?;
            assert_eq!(job.kind(), kind);
            assert_eq!(job.payload(), payload, "{}", path.display());
        }
    }
    Ok(())
}

#[test]
fn results_are_read_and_written_the_same() -> Outcome {
    for &kind in Kind::ALL {
        for path in files(kind.as_str(), "result")? {
            let result = read(&path)?;
            let applied =
                Applied::read(kind, &result).map_err(|error| format!("{}: {error}", path.display()))?;
            assert_eq!(serde_json::to_value(&applied)?, result, "{}", path.display());
        }
    }
    Ok(())
}

#[test]
fn a_result_with_more_fields_is_still_read() -> Outcome {
    for &kind in Kind::ALL {
        for path in files(kind.as_str(), "result")? {
            let mut result = read(&path)?;
            let known = Applied::read(kind, &result)?;
            result["added_by_a_later_version"] = true.into();
            assert_eq!(Applied::read(kind, &result)?, known);
        }
    }
    Ok(())
}

#[test]
fn requests_are_read_and_written_the_same() -> Outcome {
    for path in files("request", "")? {
        let line = fs::read_to_string(&path)?;
        let request = Request::read_line(&line).map_err(|error| format!("{}: {error}", path.display()))?;
        assert_eq!(serde_json::to_value(&request)?, read(&path)?, "{}", path.display());
    }
    Ok(())
}

#[test]
fn receipts_are_read_and_written_the_same() -> Outcome {
    for path in files("receipt", "")? {
        let receipt: Receipt = serde_json::from_value(read(&path)?)?;
        assert_eq!(serde_json::to_value(&receipt)?, read(&path)?, "{}", path.display());
        assert_eq!(receipt.applied()?.is_some(), path.ends_with("applied.json"), "{}", path.display());
    }
    Ok(())
}

#[test]
fn every_reason_is_listed_and_none_is_gone() -> Outcome {
    let listed: Vec<Reason> = serde_json::from_value(read(&golden().join("reasons.json"))?)?;
    for reason in Reason::ALL {
        assert_eq!(listed.iter().filter(|each| *each == reason).count(), 1, "{reason}");
    }
    assert_eq!(listed.len(), Reason::ALL.len());
    Ok(())
}

#[test]
fn what_was_written_down_has_not_changed() -> Outcome {
    let mut listed = BTreeMap::new();
    for line in fs::read_to_string(golden().join("MANIFEST"))?.lines() {
        let (digest, name) = line.split_once("  ").ok_or("a line of MANIFEST is `digest  name`")?;
        assert!(listed.insert(name.to_owned(), digest.to_owned()).is_none(), "{name} is listed twice");
    }
    for (name, digest) in digests(&golden(), "")? {
        match listed.remove(&name) {
            None => return Err(format!("add to MANIFEST:\n{digest}  {name}").into()),
            Some(listed) => {
                assert_eq!(listed, digest, "golden/{name} has changed; see golden/README.md");
            }
        }
    }
    assert!(listed.is_empty(), "gone from golden/: {:?}", listed.keys());
    Ok(())
}

/// The digests of the JSON files of a directory and those below it, by their path.
fn digests(directory: &Path, prefix: &str) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() {
            found.extend(digests(&path, &format!("{prefix}{name}/"))?);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let mut digest = String::new();
            for byte in Sha256::digest(fs::read(&path)?) {
                write!(digest, "{byte:02x}")?;
            }
            found.insert(format!("{prefix}{name}"), digest);
        }
    }
    Ok(found)
}
