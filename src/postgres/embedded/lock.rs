//! One seatkeeper per data directory: an advisory lock that the kernel releases however its holder ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid};

use super::error::{EmbeddedError, io_error};
use super::files;
use super::guardian::POLL;

/// How long a busy lock is waited for: a holder that was just killed may still be on its way out, and a
/// program that is just being started holds a copy of its parent's files for an instant.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lock on a data directory, held until it is dropped.
#[derive(Debug)]
pub(super) struct DirLock {
    file: File,
    /// Whose the data directory is.
    pub(super) owner: (Uid, Gid),
}

impl DirLock {
    /// Takes the lock, or says who has it. The file stays behind: removing it would let two holders in. Refuses a directory that
    /// others can write: they could have put anything there.
    pub(super) async fn take(dir: &Path) -> Result<Self, EmbeddedError> {
        let path = dir.join("lock");
        let directory = files::safe_directory(dir)?;
        let found = directory.metadata().map_err(io_error("look at", dir))?;
        let owner = (Uid::from_raw(found.uid()), Gid::from_raw(found.gid()));
        // Whoever can open it can lock it.
        let mut file = files::in_directory(&directory, dir, "lock")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // Only a courtesy: without it the message names the directory alone.
                    let _ = file.read_to_string(&mut holder);
                    let holder = Some(holder.trim().to_owned()).filter(|pid| !pid.is_empty());
                    return Err(EmbeddedError::InUse { dir: dir.to_owned(), holder });
                }
                Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
            }
        }
        let written = file
            .rewind()
            .and_then(|()| file.set_len(0))
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(io_error("write", &path))?;
        Ok(Self { file, owner })
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing is not enough while a child process between fork and exec shares the file.
        let _ = self.file.unlock();
    }
}
