//! Where the cluster lives: below the data directory, or where the server's account can reach it.

use std::ffi::OsStr;
use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

use super::account::Account;
use super::error::{EmbeddedError, io_error};
use super::files;

/// In the data directory: the home, when the account can reach it there.
const INSIDE: &str = "postgres";

/// In the data directory: a file with the path of the home, when it is elsewhere.
const LOCATION: &str = "cluster-location";

/// Where else, the best first: /var/tmp outlives a reboot.
const ELSEWHERE: [&str; 2] = ["/var/tmp", "/tmp"];

/// A private directory (0700) of the server's account that holds everything of the server.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) dir: PathBuf,
    pub(super) account: Account,
}

impl Home {
    /// PGDATA; exists only as a complete cluster.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The superuser's password, readable for the account and for root only.
    pub(super) fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// Who may connect, and how.
    pub(super) fn rules_of_access(&self) -> PathBuf {
        self.data().join("pg_hba.conf")
    }

    /// What the server writes to stderr.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// Finds the home of `data_dir` (canonical and locked by us), or makes one. Blocks.
    ///
    /// For root in the directory of somebody else everything is done, and owned, by that account: it could lead root anywhere, and
    /// root would have no reason to trust the home of a third one that it names.
    pub(super) fn settle(
        data_dir: &Path,
        owner: (Uid, Gid),
        account: Account,
    ) -> Result<Self, EmbeddedError> {
        let is_theirs = account.foreign && !owner.0.is_root();
        let account = if is_theirs { Account::owner(owner.0, owner.1) } else { account };
        let location = data_dir.join(LOCATION);
        let recorded = files::text_of(&location, owner.0)?
            .map(|bytes| PathBuf::from(OsStr::from_bytes(bytes.trim_ascii_end())));
        if let Some(path) = recorded {
            return match path.symlink_metadata() {
                Ok(found) => Self::existing(path, &found, account, is_theirs),
                Err(_) => Err(EmbeddedError::ClusterGone { file: location, path }),
            };
        }
        let inside = data_dir.join(INSIDE);
        if let Ok(found) = inside.symlink_metadata() {
            // Without a cluster it is only the remainder of a start that was cut short.
            if inside.join("data").exists() {
                return Self::existing(inside, &found, account, is_theirs);
            }
        }
        Self::make(data_dir, inside, &location, account, is_theirs)
    }

    /// Takes the file away that said where the home was, after the home was removed.
    pub(super) fn forget(data_dir: &Path) -> Result<(), EmbeddedError> {
        let location = data_dir.join(LOCATION);
        match std::fs::remove_file(&location) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &location)(error))
            }
            _ => Ok(()),
        }
    }

    /// Checks a home that is there: nobody else's, closed to others, no symbolic link, within reach.
    fn existing(
        dir: PathBuf,
        found: &Metadata,
        account: Account,
        is_theirs: bool,
    ) -> Result<Self, EmbeddedError> {
        let owner = Uid::from_raw(found.uid());
        let account = if account.foreign && !owner.is_root() && !is_theirs {
            Account::owner(owner, Gid::from_raw(found.gid()))
        } else {
            account
        };
        let problem = if found.is_symlink() {
            Some("it is a symbolic link".to_owned())
        } else if !found.is_dir() {
            Some("it is a file".to_owned())
        } else if owner != account.uid {
            Some(format!("its owner is uid {owner}"))
        } else if found.mode() & 0o077 != 0 {
            Some(format!("others have access to it, its mode is {:o}", found.mode() & 0o7777))
        } else {
            None
        };
        if let Some(found) = problem {
            return Err(EmbeddedError::NotPrivate { path: dir, account: account.name, found });
        }
        let home = Self { dir, account };
        if home.within_reach() { Ok(home) } else { Err(home.unreachable()) }
    }

    fn make(
        data_dir: &Path,
        inside: PathBuf,
        location: &Path,
        account: Account,
        is_theirs: bool,
    ) -> Result<Self, EmbeddedError> {
        let home = Self { dir: inside, account };
        match if is_theirs { home.create_as_account() } else { home.create() } {
            Ok(()) if home.within_reach() => return Ok(home),
            Ok(()) if !home.account.foreign => return Err(home.unreachable()),
            Err(error) if !home.account.foreign => {
                return Err(io_error("create the directory", &home.dir)(error));
            }
            // An empty directory that the account cannot reach, or that root could not give away.
            _ => drop(std::fs::remove_dir(&home.dir)),
        }
        let mut bases: Vec<PathBuf> = ELSEWHERE.iter().map(PathBuf::from).collect();
        bases.push(std::env::temp_dir());
        for base in &bases {
            // A name that cannot be guessed: these directories are open to everybody, and a known name
            // could be taken by somebody else first. The location file remembers it.
            let name = format!("seatkeeper-{}-{:016x}", home.account.uid, rand::random::<u64>());
            let elsewhere = Self { dir: base.join(name), account: home.account.clone() };
            if elsewhere.create().is_ok() {
                if elsewhere.within_reach() {
                    elsewhere.record(data_dir, location, is_theirs)?;
                    return Ok(elsewhere);
                }
                drop(std::fs::remove_dir(&elsewhere.dir));
            }
        }
        let tried = bases.iter().map(|base| base.display().to_string()).collect::<Vec<_>>().join(", ");
        Err(EmbeddedError::NowhereToLive { account: home.account.name, tried })
    }

    /// Makes the directory in one of the account's own.
    fn create_as_account(&self) -> io::Result<()> {
        self.account.sh_ok(r#"[ -d "$1" ] || mkdir -m 700 "$1""#, &[self.dir.as_os_str()], "")?;
        let found = self.dir.symlink_metadata()?;
        if !found.is_dir() || found.uid() != self.account.uid.as_raw() {
            return Err(io::Error::other("it exists and is not ours"));
        }
        Ok(())
    }

    /// Makes the directory, or takes one over that is ours or the account's already.
    fn create(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let found = self.dir.symlink_metadata()?;
        let owner = Uid::from_raw(found.uid());
        if !found.is_dir() || !(owner == Uid::effective() || owner == self.account.uid) {
            return Err(io::Error::other("it exists and is not ours"));
        }
        if owner != self.account.uid {
            lchown(&self.dir, Some(self.account.uid.as_raw()), Some(self.account.gid.as_raw()))?;
        }
        Ok(())
    }

    /// Whether the account can really write there: only trying takes every parent, access list and mount
    /// option into account.
    fn within_reach(&self) -> bool {
        let script = r#"cd "$1" && chmod 700 . && : > .probe && rm .probe"#;
        self.account.sh_ok(script, &[self.dir.as_os_str()], "").is_ok()
    }

    fn unreachable(self) -> EmbeddedError {
        EmbeddedError::Unreachable { path: self.dir, account: self.account.name }
    }

    /// Says in the data directory where the home is, and in the home whose it is. Written before there is
    /// anything to lose, and renamed into place, so that a crash leaves a whole file or none.
    fn record(&self, data_dir: &Path, location: &Path, is_theirs: bool) -> Result<(), EmbeddedError> {
        let note = r#"cat > "$1/belongs-to""#;
        self.account
            .sh_ok(note, &[self.dir.as_os_str()], &format!("{}\n", data_dir.display()))
            .map_err(io_error("write into", &self.dir))?;
        let draft = location.with_extension("new");
        let mut line = self.dir.as_os_str().as_bytes().to_vec();
        line.push(b'\n');
        if is_theirs {
            let keep = r#"rm -f "$1" && printf '%s\n' "$2" > "$1" && mv -f "$1" "$3""#;
            let args = [draft.as_os_str(), self.dir.as_os_str(), location.as_os_str()];
            return self.account.sh_ok(keep, &args, "").map_err(io_error("write", location));
        }
        std::fs::write(&draft, line)
            .and_then(|()| std::fs::rename(&draft, location))
            .map_err(io_error("write", location))
    }
}
