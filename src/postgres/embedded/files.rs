//! Files in places where others can write as well: opened so that nobody leads us elsewhere.
//!
//! The account of the server may do what it likes in its directory, and root looks there. A symbolic link in place of the password
//! would show root's files to whoever is told the password; one in place of the log would quote them. So a link is not followed, and
//! what was opened has to be a file of the account: by a link further up one only gets at what the account has itself.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::Uid;

use super::error::{EmbeddedError, io_error};

/// No file that is read here as a whole comes near.
const LONGEST: u64 = 1 << 20;

/// What every file is opened with: no link, and no waiting for the other end of a pipe.
const FLAGS: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

/// Opens a file of `owner` for reading; `None` when there is none.
pub(super) fn owned(path: &Path, owner: Uid) -> Result<Option<File>, EmbeddedError> {
    let file = match open(path, OFlag::O_RDONLY | FLAGS, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(error) => return Err(not_opened(path, error)),
    };
    let found = file.metadata().map_err(io_error("look at", path))?;
    match misplaced(&found, &[owner]) {
        None => Ok(Some(file)),
        Some(found) => Err(EmbeddedError::Misplaced { path: path.to_owned(), found }),
    }
}

/// What is in a file of `owner`; `None` when there is none.
pub(super) fn text_of(path: &Path, owner: Uid) -> Result<Option<Vec<u8>>, EmbeddedError> {
    let Some(file) = owned(path, owner)? else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    Ok(Some(bytes))
}

/// Opens a directory that only its owner can change: ourselves, or root; for root, anybody.
pub(super) fn safe_directory(path: &Path) -> Result<File, EmbeddedError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | FLAGS;
    let directory = open(path, flags, Mode::empty()).map_err(|error| not_opened(path, error))?;
    let directory = File::from(directory);
    let found = directory.metadata().map_err(io_error("look at", path))?;
    let (owner, own) = (Uid::from_raw(found.uid()), Uid::effective());
    let problem = if !(owner == own || owner.is_root() || own.is_root()) {
        format!("it belongs to uid {owner}")
    } else if found.mode() & 0o022 != 0 {
        format!("others can write there, its mode is {:o}", found.mode() & 0o7777)
    } else {
        return Ok(directory);
    };
    Err(EmbeddedError::OpenDirectory { path: path.to_owned(), found: problem })
}

/// Opens a file in a safe directory for reading and writing, and makes it for its owner alone if it is missing.
pub(super) fn in_directory(directory: &File, dir: &Path, name: &str) -> Result<File, EmbeddedError> {
    let path = dir.join(name);
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = openat(directory, name, OFlag::O_RDWR | OFlag::O_CREAT | FLAGS, mode)
        .map_err(|error| not_opened(&path, error))?;
    let file = File::from(file);
    let owner = directory.metadata().map_err(io_error("look at", dir))?;
    let found = file.metadata().map_err(io_error("look at", &path))?;
    // Who has its other name would see it change there.
    let problem = misplaced(&found, &[Uid::from_raw(owner.uid()), Uid::effective()])
        .or_else(|| (found.nlink() != 1).then(|| "it has other names as well".to_owned()));
    if let Some(found) = problem {
        return Err(EmbeddedError::Misplaced { path, found });
    }
    if found.uid() != owner.uid() && Uid::effective().is_root() {
        // So that the owner can go on without us.
        std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))
            .map_err(io_error("give away", &path))?;
    }
    Ok(file)
}

/// What is wrong with a file that has to be an ordinary one of one of these.
fn misplaced(found: &Metadata, owners: &[Uid]) -> Option<String> {
    if !found.is_file() {
        Some("it is no ordinary file".to_owned())
    } else if owners.iter().all(|owner| owner.as_raw() != found.uid()) {
        Some(format!("its owner is uid {}", found.uid()))
    } else {
        None
    }
}

fn not_opened(path: &Path, error: Errno) -> EmbeddedError {
    // What O_NOFOLLOW says of a link; FreeBSD has a word of its own.
    let is_link = path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    if is_link {
        return EmbeddedError::Misplaced { path: path.to_owned(), found: "it is a symbolic link".to_owned() };
    }
    io_error("open", path)(io::Error::from(error))
}
