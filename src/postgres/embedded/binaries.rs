//! Finds an installed PostgreSQL server.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::error::EmbeddedError;

/// The oldest major version that the schema works with.
const OLDEST: u32 = 14;

/// Names the directory of the server's programs; nothing else is looked at then.
const VARIABLE: &str = "SEATKEEPER_PG_BIN";

/// Where distributions keep one directory per version: the parent, the beginning of the name.
const VERSIONED: [(&str, &str); 3] =
    [("/usr/lib/postgresql", ""), ("/opt/homebrew/opt", "postgresql"), ("/usr/local/opt", "postgresql")];

/// The programs of one installed version.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    /// Major version.
    pub(super) version: u32,
}

impl Binaries {
    /// Full path of one of the programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// What was found on this machine, in order of preference; never empty.
#[derive(Debug)]
pub(super) struct Installed {
    usable: Vec<Binaries>,
    looked: String,
}

impl Installed {
    /// Looks into `dir`, else into what SEATKEEPER_PG_BIN names, else everywhere. The programs are tried
    /// as the account that is to run them. Blocks.
    pub(super) fn find(dir: Option<&Path>, account: &Account) -> Result<Self, EmbeddedError> {
        let named = dir
            .map(Path::to_owned)
            .or_else(|| std::env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from));
        let mut found = Self { usable: Vec::new(), looked: String::new() };
        if let Some(dir) = named {
            // Relative to our directory, which is not the one that the programs run in.
            found.examine(&std::path::absolute(&dir).unwrap_or(dir), account);
        } else {
            found.search(account);
        }
        if found.usable.is_empty() {
            return Err(EmbeddedError::NoBinaries { looked: found.looked });
        }
        Ok(found)
    }

    /// The preferred version for a new cluster, or the one that an existing cluster was made by.
    pub(super) fn choose(&self, data: &Path, cluster: Option<&str>) -> Result<Binaries, EmbeddedError> {
        let fits = |binaries: &&Binaries| cluster.is_none_or(|made| binaries.version.to_string() == made);
        self.usable.iter().find(fits).cloned().ok_or_else(|| EmbeddedError::OtherVersion {
            data: data.to_owned(),
            cluster: cluster.unwrap_or_default().to_owned(),
            looked: self.looked.clone(),
        })
    }

    fn search(&mut self, account: &Account) {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let before = self.looked.len();
        for dir in std::env::split_paths(&path) {
            if dir.is_absolute() && dir.join("postgres").exists() && dir.join("initdb").exists() {
                self.examine(&dir, account);
            }
        }
        if self.looked.len() == before {
            self.note("PATH", "no directory with both postgres and initdb");
        }
        for (parent, prefix) in VERSIONED {
            let mut group = Self { usable: Vec::new(), looked: String::new() };
            for dir in children(Path::new(parent), prefix) {
                group.examine(&dir.join("bin"), account);
            }
            if group.looked.is_empty() {
                self.note(&format!("{parent}/{prefix}*/bin"), "nothing there");
            }
            group.usable.sort_by_key(|binaries| std::cmp::Reverse(binaries.version));
            self.usable.append(&mut group.usable);
            self.looked.push_str(&group.looked);
        }
    }

    /// Takes `dir` in when it holds a version that we can use, and notes what it holds.
    fn examine(&mut self, dir: &Path, account: &Account) {
        let place = dir.display().to_string();
        for program in ["postgres", "initdb"] {
            if !dir.join(program).exists() {
                return self.note(&place, &format!("no {program}"));
            }
        }
        let answer = match account.command(dir.join("postgres")).arg("--version").output() {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => return self.note(&place, &format!("{} cannot run it: {error}", account.name)),
        };
        match major(&answer) {
            Some(version) if version >= OLDEST => {
                self.note(&place, &format!("PostgreSQL {version}"));
                self.usable.push(Binaries { dir: dir.to_owned(), version });
            }
            Some(version) => self.note(&place, &format!("PostgreSQL {version} is older than {OLDEST}")),
            None => self.note(&place, "it does not say its version"),
        }
    }

    fn note(&mut self, place: &str, finding: &str) {
        let separator = if self.looked.is_empty() { "" } else { "\n" };
        // Writing to a String cannot fail.
        let _ = write!(self.looked, "{separator}  {place}: {finding}");
    }
}

/// Directories in `parent` whose name begins with `prefix`.
fn children(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

/// The major version in `postgres (PostgreSQL) 15.18 (Debian …)`; betas count as their version.
fn major(answer: &str) -> Option<u32> {
    let digits = answer.split("(PostgreSQL) ").nth(1)?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_distribution_form() {
        assert_eq!(major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(major("bash: postgres: command not found"), None);
    }
}
