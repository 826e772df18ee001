//! A cache file: where it lies, who may write it, and when it is written anew.
//!
//! Everything here blocks.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use thv_config::disk::{self, FileLock, Fingerprint, ReadError};
use thv_config::world::Clock;
use tracing::{debug, warn};

use super::log::{self, CacheContents, Marks};
use crate::entry::Entry;
use crate::limits::{CACHE_FILE_AGE, CACHE_LOCK_TIME, CACHE_WASTE_DIVISOR, MAX_DOCUMENT_BYTES};
use crate::snapshot::Snapshot;

const PREFIX: &str = "catalog-";
const SUFFIX: &str = ".thv";

/// The cache file of one registry as one identity reads it.
#[derive(Debug)]
pub(crate) struct CacheFile {
    path: PathBuf,
    identity: String,
    clock: Arc<dyn Clock>,
    /// The file as this process last left it; appending to anything else could mix catalogs.
    ours: Mutex<Option<Ours>>,
}

#[derive(Clone, Copy, Debug)]
struct Ours {
    fingerprint: Fingerprint,
    /// Bytes that count.
    length: u64,
    /// Bytes of the last whole write.
    base: u64,
}

/// What changed since the catalog that the file holds.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) upserts: Vec<Arc<Entry>>,
    pub(crate) removed: Vec<String>,
    pub(crate) extensions: bool,
}

// === impl CacheFile ===

impl CacheFile {
    /// The file in `directory` for what `identity` names: source, settings and reader.
    pub(crate) fn new(directory: &Path, identity: String, clock: Arc<dyn Clock>) -> Self {
        let mut name = PREFIX.to_owned();
        for byte in Sha256::digest(&identity).iter().take(16) {
            // Writing to a string does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        name.push_str(SUFFIX);
        Self {
            path: directory.join(name),
            identity,
            clock,
            ours: Mutex::new(None),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The catalog that the file holds, if it holds one.
    pub(crate) fn load(&self) -> Option<CacheContents> {
        let fingerprint = disk::fingerprint(&self.path)?;
        let bytes = match disk::read_bounded(&self.path, MAX_DOCUMENT_BYTES) {
            Ok(bytes) => Bytes::from(bytes),
            Err(ReadError::NotFound) => return None,
            Err(error) => {
                warn!(file = %self.path.display(), %error, "catalog cache not read");
                return None;
            }
        };
        let size = bytes.len() as u64;
        match log::read(&bytes, Some(&self.identity)) {
            Ok(contents) => {
                if size == contents.length {
                    *self.ours() = Some(Ours {
                        fingerprint,
                        length: contents.length,
                        base: contents.length,
                    });
                }
                Some(contents)
            }
            Err(error) => {
                debug!(file = %self.path.display(), %error, "catalog cache not used");
                None
            }
        }
    }

    /// Writes the whole catalog; the file before is replaced in one step.
    pub(crate) fn store(&self, snapshot: &Snapshot, marks: &Marks) {
        if let Err(error) = self.with_lock(|file| file.store_locked(snapshot, marks)) {
            warn!(file = %self.path.display(), %error, "catalog cache not written");
        }
    }

    /// Appends what changed; writes the whole catalog where that is not possible or where most
    /// of the file would be superseded records.
    pub(crate) fn append(&self, changes: &Changes, snapshot: &Snapshot, marks: &Marks) {
        if let Err(error) = self.with_lock(|file| file.append_locked(changes, snapshot, marks)) {
            warn!(file = %self.path.display(), %error, "catalog cache not written");
        }
    }

    /// Removes the file.
    pub(crate) fn remove(&self) {
        *self.ours() = None;
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(file = %self.path.display(), %error, "catalog cache not removed");
        }
    }

    fn with_lock(&self, write: impl FnOnce(&Self) -> io::Result<()>) -> io::Result<()> {
        if let Some(directory) = self.path.parent() {
            disk::create_private_dir(directory)?;
        }
        let lock = self.path.with_extension("lock");
        let _held = FileLock::acquire(&lock, self.clock.as_ref(), CACHE_LOCK_TIME)
            .map_err(io::Error::other)?;
        write(self)
    }

    fn store_locked(&self, snapshot: &Snapshot, marks: &Marks) -> io::Result<()> {
        let bytes = log::whole(&self.identity, snapshot, marks);
        disk::write_atomic(&self.path, &bytes)?;
        let length = bytes.len() as u64;
        *self.ours() = disk::fingerprint(&self.path).map(|fingerprint| Ours {
            fingerprint,
            length,
            base: length,
        });
        Ok(())
    }

    fn append_locked(
        &self,
        changes: &Changes,
        snapshot: &Snapshot,
        marks: &Marks,
    ) -> io::Result<()> {
        let bytes = log::changes(
            &changes.upserts,
            &changes.removed,
            changes.extensions,
            snapshot,
            marks,
        );
        let added = bytes.len() as u64;
        let current = disk::fingerprint(&self.path);
        let appendable = self.ours().filter(|ours| {
            current == Some(ours.fingerprint)
                && ours.length <= ours.base + ours.base / CACHE_WASTE_DIVISOR
        });
        let Some(ours) = appendable else {
            return self.store_locked(snapshot, marks);
        };
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(ours.length))?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        *self.ours() = disk::fingerprint(&self.path).map(|fingerprint| Ours {
            fingerprint,
            length: ours.length + added,
            ..ours
        });
        Ok(())
    }

    fn ours(&self) -> std::sync::MutexGuard<'_, Option<Ours>> {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes cache files of ours in `directory` that nobody has written for
/// [`CACHE_FILE_AGE`]. Files of other names are not ours and stay.
pub(crate) fn sweep(directory: &Path, now: Timestamp) {
    let Ok(files) = fs::read_dir(directory) else {
        return;
    };
    for file in files.flatten() {
        let name = file.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        // Lock files stay: somebody may hold one, and removing it would let in a second.
        let ours = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        let written = file.metadata().and_then(|metadata| metadata.modified());
        let old = written.is_ok_and(|written| {
            Timestamp::try_from(written)
                .is_ok_and(|written| now.duration_since(written).unsigned_abs() > CACHE_FILE_AGE)
        });
        if ours && old {
            debug!(file = name, "removing an old catalog cache");
            // Somebody else may have removed it first.
            let _ = fs::remove_file(file.path());
        }
    }
}

#[cfg(test)]
mod tests;
