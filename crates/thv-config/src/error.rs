//! What can go wrong with the configuration, told apart by what the caller can do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::disk::LockError;

/// Why the configuration could not be located, read or changed. The file on disk is untouched in
/// every case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing says where this user's files live: set `HOME` or the XDG variables.
    #[error("no home directory: set HOME, or {variable} to an absolute path")]
    NoHome {
        /// The variable that would answer the question that failed.
        variable: &'static str,
    },
    /// The file is there and cannot be read: permissions, or a faulty disk.
    #[error("cannot read the configuration file {}: {cause}", path.display())]
    Unreadable {
        /// The configuration file.
        path: PathBuf,
        /// What the operating system said.
        cause: String,
    },
    /// The file is larger than any configuration: probably the wrong file.
    #[error(
        "the configuration file {} is larger than {limit} bytes; is this the right file?",
        path.display()
    )]
    TooLarge {
        /// The configuration file.
        path: PathBuf,
        /// [`crate::limits::CONFIG_MAX_BYTES`].
        limit: u64,
    },
    /// The file's text is no configuration, and stayed so: a person has to repair or remove it.
    #[error(
        "the configuration file {} is broken and was left as it is: {cause}; repair it, or remove it to start afresh",
        path.display()
    )]
    Malformed {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong with it, and where.
        cause: String,
    },
    /// The file is of a version that this program does not know.
    #[error(
        "the configuration file {} was written by a newer version of this program and was left as it is; update this one",
        path.display()
    )]
    Newer {
        /// The configuration file.
        path: PathBuf,
    },
    /// Another process held the lock all the time: try again.
    #[error("another process is changing the configuration ({} was locked for {waited:.0?}); try again", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The file or its directory does not accept writes.
    #[error("cannot write the configuration file {}: {cause}", path.display())]
    Unwritable {
        /// The file that could not be written.
        path: PathBuf,
        /// What the operating system said.
        cause: String,
    },
    /// The change cannot be expressed in this file without losing something else that is in it.
    #[error("cannot change the configuration file {} safely: {cause}; edit it by hand", path.display())]
    NotEditable {
        /// The configuration file.
        path: PathBuf,
        /// What stands in the way.
        cause: String,
    },
    /// The process is stopping, and the work was not begun.
    #[error("the process is stopping")]
    Stopping,
}

impl From<LockError> for ConfigError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Timeout { path, waited } => Self::Locked { path, waited },
            LockError::Io { path, cause } => Self::Unwritable { path, cause },
        }
    }
}
