//! The primitives by which this program touches files: bounded reads, atomic replacement, private
//! directories, locks between processes, and fingerprints that tell that a file has changed.
//!
//! Everything here blocks; async callers go through `tokio::task::spawn_blocking`. What the files
//! mean is the callers' business.

mod atomic;
mod fingerprint;
mod lock;
mod read;

pub use atomic::{close_to_others, create_private_dir, prove_writable, write_atomic};
pub use fingerprint::{Fingerprint, fingerprint};
pub use lock::{FileLock, LockError};
pub use read::{ReadError, read_bounded, read_bounded_if};

/// Device and inode: what makes two paths the same file. Always equal where the operating system
/// does not say.
#[cfg(unix)]
fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity(_metadata: &std::fs::Metadata) -> (u64, u64) {
    (0, 0)
}
