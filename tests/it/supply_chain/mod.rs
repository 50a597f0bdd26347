//! What this project takes of others, held against tests/supply-chain.yml: where packages come from, on which terms, and whether a
//! locked version is known to be unsafe. Nothing is asked of a network: what is known of packages is in a file that
//! `scripts/advisories` makes, and then has judged.

mod licences;
mod versions;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use versions::Version;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    source: String,
    licences: Vec<String>,
    licence_files: Vec<LicenceFile>,
    #[cfg_attr(
        not(advisories),
        expect(dead_code, reason = "there is nothing to be accepted where there are no advisories")
    )]
    accepted: Vec<Accepted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LicenceFile {
    package: String,
    licence: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    advisory: String,
    package: String,
    reason: String,
}

/// What `scripts/advisories` wrote.
#[derive(Deserialize)]
struct Known {
    packages: BTreeSet<String>,
    advisories: Vec<Advisory>,
}

#[derive(Deserialize)]
struct Advisory {
    id: String,
    package: String,
    kind: String,
    patched: Vec<String>,
    unaffected: Vec<String>,
}

/// A package of Cargo.lock. Our own have no source.
#[derive(Default)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    has_checksum: bool,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn policy() -> Policy {
    serde_yaml_ng::from_str(&read("tests/supply-chain.yml")).unwrap()
}

fn locked(text: &str) -> Vec<Locked> {
    let packages: Vec<Locked> = text
        .split("[[package]]\n")
        .skip(1)
        .map(|entry| {
            let value = |key: &str| {
                let line = entry
                    .lines()
                    .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
                line.map(str::to_owned)
            };
            Locked {
                name: value("name").unwrap(),
                version: value("version").unwrap(),
                source: value("source"),
                has_checksum: value("checksum").is_some(),
            }
        })
        .collect();
    assert!(!packages.is_empty(), "nothing is locked");
    packages
}

/// What is wrong with where packages come from.
fn foreign_sources(packages: &[Locked], source: &str, ours: &[&str]) -> Vec<String> {
    let wrong = packages.iter().filter(|package| match &package.source {
        Some(from) => from != source || !package.has_checksum,
        None => !ours.contains(&package.name.as_str()),
    });
    wrong.map(|package| format!("{} {}: {:?}", package.name, package.version, package.source)).collect()
}

/// What is wrong with the packages in the light of what is known of them.
fn faults(packages: &[Locked], known: &Known, accepted: &[Accepted]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut used = BTreeSet::new();
    for package in packages.iter().filter(|package| package.source.is_some()) {
        let name = &package.name;
        if !known.packages.contains(name) {
            faults.push(format!("{name}: not in the data yet, which scripts/advisories makes"));
        }
        let version = Version::of(&package.version);
        let affecting = known.advisories.iter().filter(|advisory| {
            let mut ranges = advisory.patched.iter().chain(&advisory.unaffected);
            advisory.package == *name && !ranges.any(|range| version.is_in(range))
        });
        for Advisory { id, kind, .. } in affecting {
            let entry = accepted.iter().position(|entry| entry.advisory == *id && entry.package == *name);
            match entry {
                Some(entry) => drop(used.insert(entry)),
                None => faults.push(format!("{name} {}: {id} ({kind})", package.version)),
            }
        }
    }
    for (number, entry) in accepted.iter().enumerate() {
        let Accepted { advisory, package, reason } = entry;
        if !used.contains(&number) {
            faults.push(format!("{package}: {advisory} is accepted, and affects nothing that is locked"));
        }
        if reason.trim().is_empty() {
            faults.push(format!("{package}: {advisory} is accepted without a reason"));
        }
    }
    faults
}

#[test]
fn every_package_comes_from_where_all_come_from() {
    let wrong =
        foreign_sources(&locked(&read("Cargo.lock")), &policy().source, &["seatkeeper", "seatkeeper-jobs"]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_package_from_elsewhere_is_noticed() {
    let packages = locked(
        "version = 4\n
         [[package]]\nname = \"good\"\nversion = \"1.0.0\"\nsource = \"registry+here\"\nchecksum = \"00\"\n
         [[package]]\nname = \"ours\"\nversion = \"1.0.0\"\n
         [[package]]\nname = \"path\"\nversion = \"1.0.0\"\n
         [[package]]\nname = \"git\"\nversion = \"1.0.0\"\nsource = \"git+there\"\n
         [[package]]\nname = \"unchecked\"\nversion = \"1.0.0\"\nsource = \"registry+here\"\n",
    );
    let wrong = foreign_sources(&packages, "registry+here", &["ours"]);
    let names: Vec<&str> = wrong.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["path", "git", "unchecked"]);
}

/// Of the packages that are built here: the manifests of other systems' are not at hand without a network.
#[test]
fn every_licence_is_one_of_those_that_are_allowed() {
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let printed = |command: &mut Command| {
        let done = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let about = printed(cargo().args(["--version", "--verbose"]));
    let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = printed(
        cargo()
            .args(["metadata", "--offline", "--locked", "--all-features", "--format-version", "1"])
            .args(["--filter-platform", host]),
    );
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let policy = policy();
    let mut files = BTreeSet::new();
    let mut wrong = Vec::new();
    let packages = metadata["packages"].as_array().unwrap();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let name = package["name"].as_str().unwrap();
        let file = policy.licence_files.iter().find(|entry| entry.package == name);
        let expression = match (package["license"].as_str(), file) {
            (Some(expression), None) => expression,
            (None, Some(file)) => {
                files.insert(name);
                assert!(!file.reason.trim().is_empty(), "{name}: without a reason");
                &file.licence
            }
            (stated, _) => {
                wrong.push(format!("{name}: {stated:?}, and in licence_files or not"));
                continue;
            }
        };
        if !licences::satisfied(expression, &policy.licences) {
            wrong.push(format!("{name}: {expression}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(files.len(), policy.licence_files.len(), "licence_files: only {files:?} are there");
}

/// There is such a test where there is something to judge by: `scripts/advisories` makes it, and builds with it.
#[cfg(advisories)]
#[test]
fn no_locked_version_is_known_to_be_unsafe() {
    let file =
        std::env::var_os("SEATKEEPER_ADVISORIES").expect("scripts/advisories sets SEATKEEPER_ADVISORIES");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let known: Known = serde_json::from_str(&text).unwrap();
    let faults = faults(&locked(&read("Cargo.lock")), &known, &policy().accepted);
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_is_affected_unknown_or_accepted_in_vain_is_noticed() {
    let known: Known = serde_json::from_value(serde_json::json!({
        "packages": ["sieve", "other"],
        "advisories": [
            { "id": "A-1", "package": "sieve", "kind": "vulnerability",
              "patched": [">= 1.2.3", ">= 1.1.9, < 1.2.0"], "unaffected": ["< 1.0.0"] },
            { "id": "A-2", "package": "other", "kind": "unmaintained", "patched": [], "unaffected": [] },
        ],
    }))
    .unwrap();
    let package = |name: &str, version: &str| Locked {
        name: name.into(),
        version: version.into(),
        source: Some("registry+here".into()),
        has_checksum: true,
    };
    let accepted = |advisory: &str, package: &str, reason: &str| Accepted {
        advisory: advisory.into(),
        package: package.into(),
        reason: reason.into(),
    };
    let found = |packages: &[Locked], accepted: &[Accepted]| faults(packages, &known, accepted);

    for affected in ["1.0.0", "1.1.8", "1.2.0", "1.2.2", "1.2.3-rc.1"] {
        let expected = format!("sieve {affected}: A-1 (vulnerability)");
        assert_eq!(found(&[package("sieve", affected)], &[]), [expected]);
    }
    for fine in ["0.9.9", "1.1.9", "1.2.3", "2.0.0"] {
        assert_eq!(found(&[package("sieve", fine)], &[]), [""; 0], "{fine}");
    }
    assert_eq!(found(&[package("other", "7.0.0")], &[]), ["other 7.0.0: A-2 (unmaintained)"]);
    let reasoned = accepted("A-2", "other", "for the tests only");
    assert_eq!(found(&[package("other", "7.0.0")], &[reasoned]), [""; 0]);
    assert_eq!(found(&[package("other", "7.0.0")], &[accepted("A-2", "other", " ")]).len(), 1);
    // Of another package, or fixed meanwhile.
    let elsewhere = accepted("A-2", "sieve", "a reason");
    assert_eq!(found(&[package("other", "7.0.0")], &[elsewhere]).len(), 2);
    let in_vain = accepted("A-1", "sieve", "a reason");
    let said = found(&[package("sieve", "1.2.3")], &[in_vain]);
    assert_eq!(said, ["sieve: A-1 is accepted, and affects nothing that is locked"]);
    let said = found(&[package("brandnew", "1.0.0")], &[]);
    assert_eq!(said, ["brandnew: not in the data yet, which scripts/advisories makes"]);
    // Ours is nobody's business.
    assert_eq!(
        found(&[Locked { name: "ours".into(), version: "0.1.0".into(), ..Locked::default() }], &[]),
        [""; 0]
    );
}
