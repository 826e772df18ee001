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
    #[error("{} is locked by another process; waited {waited:.0?}", path.display())]
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
    /// Where the lock of the file at `path` is: beside it, as `<file>.lock`.
    pub fn beside(path: &Path) -> PathBuf {
        let mut lock = path.as_os_str().to_owned();
        lock.push(".lock");
        PathBuf::from(lock)
    }

    /// Takes the lock at `path` (conventionally [`FileLock::beside`] a file), blocking at most `timeout` and
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hook::HookClock;
    use crate::world::ManualClock;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> ManualClock {
        ManualClock::new(jiff::Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_held_lock_is_waited_for_and_then_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep").join("a.lock");
        let held = FileLock::acquire(&path, &clock(), SECOND).unwrap();
        let error = FileLock::acquire(&path, &clock(), SECOND).unwrap_err();
        assert_eq!(
            error,
            LockError::Timeout {
                path: path.clone(),
                waited: SECOND
            }
        );
        drop(held);
        let _again = FileLock::acquire(&path, &clock(), Duration::ZERO).unwrap();
        assert!(path.exists(), "lock files are never deleted");
    }

    #[test]
    fn a_lock_released_while_waiting_is_won() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        let mut held = Some(FileLock::acquire(&path, &clock(), SECOND).unwrap());
        let clock = HookClock::new(move || drop(held.take()));
        let _won = FileLock::acquire(&path, &clock, SECOND).unwrap();
        assert_eq!(clock.monotonic(), LOCK_POLL);
    }

    #[cfg(unix)]
    #[test]
    fn appendix_d3_a_lock_file_unlinked_under_us_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        let mut go = Some(FileLock::acquire(&path, &clock(), SECOND).unwrap());
        // A Go process ends: it deletes the file and lets go of it, and the next one has already
        // locked a new file of that name.
        let (next, hook_path) = (
            std::sync::Arc::new(std::sync::Mutex::new(None)),
            path.clone(),
        );
        let hook_next = std::sync::Arc::clone(&next);
        let waiting = HookClock::new(move || {
            if let Some(go) = go.take() {
                std::fs::remove_file(&hook_path).unwrap();
                let lock = FileLock::acquire(&hook_path, &clock(), SECOND).unwrap();
                *hook_next.lock().unwrap() = Some(lock);
                drop(go);
            }
        });
        let outcome = FileLock::acquire(&path, &waiting, SECOND);
        assert!(
            matches!(outcome, Err(LockError::Timeout { .. })),
            "the lock on the deleted file does not count: {outcome:?}"
        );
        drop(next.lock().unwrap().take());
        let _won = FileLock::acquire(&path, &clock(), Duration::ZERO).unwrap();
        assert!(path.exists());
    }

    #[test]
    fn a_lock_that_cannot_be_created_is_an_error_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let clock = clock();
        let error = FileLock::acquire(directory.path(), &clock, SECOND).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
        assert_eq!(clock.monotonic(), Duration::ZERO);
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_file_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.lock");
        let _lock = FileLock::acquire(&path, &clock(), SECOND).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
