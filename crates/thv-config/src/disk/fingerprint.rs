//! Telling cheaply, by polling, that a file is not the one it was.

use std::path::Path;
use std::time::{Duration, SystemTime};

/// What `stat` says about one state of a file. Two equal fingerprints mean, for all practical
/// purposes, the same bytes; a change of permissions changes the fingerprint too, because a file may
/// become readable by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    modified: Duration,
    length: u64,
    identity: (u64, u64),
    changed: (i64, i64),
}

/// The fingerprint of the file at `path`, symbolic links followed; `None` when there is none to be
/// seen.
pub fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(path).ok()?;
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .unwrap_or_default();
    Some(Fingerprint {
        modified,
        length: metadata.len(),
        identity: super::identity(&metadata),
        changed: changed(&metadata),
    })
}

#[cfg(unix)]
fn changed(metadata: &std::fs::Metadata) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_metadata: &std::fs::Metadata) -> (i64, i64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::write_atomic;

    #[test]
    fn a_file_has_the_same_fingerprint_until_it_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        assert_eq!(fingerprint(&path), None);
        write_atomic(&path, b"same").unwrap();
        let first = fingerprint(&path);
        assert!(first.is_some());
        assert_eq!(fingerprint(&path), first);
        // The old file is kept alive so that its inode cannot be given to the new one.
        let _old = std::fs::File::open(&path).unwrap();
        write_atomic(&path, b"same").unwrap();
        assert_ne!(fingerprint(&path), first);
    }
}
