//! Advisory locks between processes: `flock` on a file of its own, as the Go program does it.
//!
//! A Go `thv` deletes its lock files after use, so a lock may be won on a file that no longer has a
//! name, while somebody else locks the new file under the old name. Each lock won is therefore
//! compared with what the path names, and won again if they differ. We never delete a lock file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::atomic::{create_private_dir, directory_of};
use crate::limits::LOCK_POLL;
use crate::world::Clock;

/// Why a lock was not won.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Somebody else held it all the time: try again later.
    #[error("{} is locked by another process; waited {waited:?}", path.display())]
    Timeout {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The lock file can be neither opened nor created.
    #[error("cannot lock {}: {cause}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the operating system said.
        cause: String,
    },
}

/// A lock that is held until this value is dropped. Hold it for far less than a second, never
/// across a network call: other processes give up after one.
#[derive(Debug)]
#[must_use = "the lock is released as soon as this value is dropped"]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes the lock at `path` (conventionally `<file>.lock`), blocking at most `timeout` and
    /// trying every [`LOCK_POLL`]. Two values in one process exclude each other as two processes
    /// do. The file is created, mode 0600, when missing.
    pub fn acquire(path: &Path, clock: &dyn Clock, timeout: Duration) -> Result<Self, LockError> {
        let failed = |error: io::Error| LockError::Io {
            path: path.to_owned(),
            cause: error.to_string(),
        };
        let start = clock.monotonic();
        let mut file = open(path).map_err(failed)?;
        loop {
            let held_elsewhere = match file.try_lock() {
                Ok(()) if is_named(&file, path).map_err(failed)? => {
                    return Ok(Self { _file: file });
                }
                Ok(()) => {
                    file = open(path).map_err(failed)?;
                    false
                }
                Err(TryLockError::WouldBlock) => true,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            };
            let waited = clock.monotonic().saturating_sub(start);
            if waited >= timeout {
                return Err(LockError::Timeout {
                    path: path.to_owned(),
                    waited,
                });
            }
            if held_elsewhere {
                clock.pause(LOCK_POLL.min(timeout.saturating_sub(waited)));
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    create_private_dir(directory_of(path))?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

/// Whether `path` still names the file that is open here.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let open = super::identity(&file.metadata()?);
    match std::fs::metadata(path) {
        Ok(named) => Ok(super::identity(&named) == open),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
