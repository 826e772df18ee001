//! The bytes of a cache file: writing them and reading them back. No files here.
//!
//! After an eight-byte magic each record is `length (u32) ‖ CRC-32 of tag and payload (u32) ‖
//! tag (u8) ‖ payload`, little-endian.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Extension, ExtensionEntry};
use crate::snapshot::{Edition, Snapshot};

/// Changes with the layout and with anything that changes what a record means.
const MAGIC: &[u8; 8] = b"THVCAT01";

const HEADER_LENGTH: usize = 9;

const TAG_IDENTITY: u8 = b'I';
const TAG_ENTRY: u8 = b'E';
const TAG_OLDER: u8 = b'O';
const TAG_REMOVED: u8 = b'R';
const TAG_SKILL: u8 = b'S';
const TAG_PLUGIN: u8 = b'P';
const TAG_EXTENSIONS_RESTART: u8 = b'X';
const TAG_COMMIT: u8 = b'C';

/// When and how a catalog was last loaded: what the next load builds on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    /// When the source last said that this is its catalog.
    pub(crate) checked_at: Timestamp,
    /// When the catalog was last loaded whole.
    pub(crate) whole_at: Timestamp,
    /// The newest change that the registry told, for `updated_since`.
    pub(crate) newest_change: Option<Timestamp>,
    /// Whether the registry was seen to honour `updated_since`.
    pub(crate) incremental: bool,
    /// The document's entity tag.
    pub(crate) etag: Option<String>,
    /// The document's `Last-Modified`.
    pub(crate) last_modified: Option<String>,
}

/// Why a cache file is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// It is not a cache file, or one of another version.
    #[error("it is not a cache file of this version")]
    Foreign,
    /// It was written for another registry or another identity.
    #[error("it belongs to another registry or identity")]
    Identity,
    /// It ends before its first commit.
    #[error("it holds no complete catalog")]
    Incomplete,
}

/// What a cache file held.
#[derive(Debug)]
pub struct CacheContents {
    pub(crate) snapshot: Snapshot,
    pub(crate) marks: Marks,
    /// How many of the bytes counted: the end of the last commit.
    pub(crate) length: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Commit {
    written_by: String,
    version: String,
    last_updated: String,
    bad_rows: usize,
    marks: Marks,
}

/// One record of a log.
struct Frame<'a> {
    tag: u8,
    payload: Bytes,
    /// CRC-32 of the payload alone, as entries carry it.
    checksum: u32,
    rest: &'a [u8],
}

/// Everything read so far; becomes a snapshot at a commit.
#[derive(Default)]
struct Replay {
    entries: Vec<Option<Arc<Entry>>>,
    /// Filled at the first change: a whole load never writes a name twice.
    by_name: HashMap<Vec<u8>, usize>,
    indexed: bool,
    older: Vec<Arc<Entry>>,
    extensions: BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>,
    commits: usize,
}

// === writing ===

fn push(log: &mut Vec<u8>, tag: u8, payload: &[u8], checksum: u32) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    log.extend_from_slice(&length.to_le_bytes());
    log.extend_from_slice(&seal(tag, length, checksum).to_le_bytes());
    log.push(tag);
    log.extend_from_slice(payload);
}

fn push_plain(log: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    push(log, tag, payload, crc32fast::hash(payload));
}

/// Binds tag and length to the payload's checksum, which is known already for entries.
fn seal(tag: u8, length: u32, checksum: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[tag]);
    hasher.update(&length.to_le_bytes());
    hasher.update(&checksum.to_le_bytes());
    hasher.finalize()
}

fn push_commit(log: &mut Vec<u8>, snapshot: &Snapshot, marks: &Marks) {
    let Edition {
        version,
        last_updated,
    } = snapshot.edition().clone();
    let commit = Commit {
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        version,
        last_updated,
        bad_rows: snapshot.bad_rows(),
        marks: marks.clone(),
    };
    // The type has no map with odd keys, so that it always has a JSON form.
    push_plain(
        log,
        TAG_COMMIT,
        &serde_json::to_vec(&commit).unwrap_or_default(),
    );
}

fn push_extensions(log: &mut Vec<u8>, snapshot: &Snapshot) {
    push_plain(log, TAG_EXTENSIONS_RESTART, &[]);
    for (extension, items) in snapshot.extensions() {
        let tag = match extension {
            Extension::Skills => TAG_SKILL,
            Extension::Plugins => TAG_PLUGIN,
        };
        for item in items {
            push(log, tag, item.record(), item.checksum());
        }
    }
}

/// The bytes of a new file that holds `snapshot`.
pub(crate) fn whole(identity: &str, snapshot: &Snapshot, marks: &Marks) -> Vec<u8> {
    let entries = snapshot.entries().iter().chain(snapshot.older());
    let size: usize = entries
        .map(|entry| entry.record().len() + HEADER_LENGTH)
        .sum();
    let mut log = Vec::with_capacity(size + 4096);
    log.extend_from_slice(MAGIC);
    push_plain(&mut log, TAG_IDENTITY, identity.as_bytes());
    for entry in snapshot.entries() {
        push(&mut log, TAG_ENTRY, entry.record(), entry.checksum());
    }
    for entry in snapshot.older() {
        push(&mut log, TAG_OLDER, entry.record(), entry.checksum());
    }
    push_extensions(&mut log, snapshot);
    push_commit(&mut log, snapshot, marks);
    log
}

/// The bytes that turn a file of the catalog before into one of `snapshot`.
pub(crate) fn changes(
    upserts: &[Arc<Entry>],
    removed: &[String],
    extensions_changed: bool,
    snapshot: &Snapshot,
    marks: &Marks,
) -> Vec<u8> {
    let mut log = Vec::new();
    for entry in upserts {
        push(&mut log, TAG_ENTRY, entry.record(), entry.checksum());
    }
    for name in removed {
        push_plain(&mut log, TAG_REMOVED, name.as_bytes());
    }
    if extensions_changed {
        push_extensions(&mut log, snapshot);
    }
    push_commit(&mut log, snapshot, marks);
    log
}

// === reading ===

/// Reads a cache file written for `identity`, or for anyone when it is `None`.
///
/// # Errors
/// Says why the file holds no catalog for `identity`. No bytes make it panic.
pub fn read_cache_bytes(bytes: &[u8]) -> Result<CacheContents, CacheError> {
    read(&Bytes::copy_from_slice(bytes), None)
}

pub(crate) fn read(file: &Bytes, identity: Option<&str>) -> Result<CacheContents, CacheError> {
    let mut rest = file
        .strip_prefix(MAGIC.as_slice())
        .ok_or(CacheError::Foreign)?;
    let first = frame(file, rest).ok_or(CacheError::Incomplete)?;
    if first.tag != TAG_IDENTITY {
        return Err(CacheError::Foreign);
    }
    if identity.is_some_and(|identity| first.payload != identity.as_bytes()) {
        return Err(CacheError::Identity);
    }
    rest = first.rest;
    let mut replay = Replay::default();
    let mut pending = Vec::new();
    let mut committed = None;
    while let Some(next) = frame(file, rest) {
        rest = next.rest;
        if next.tag == TAG_COMMIT {
            let Ok(commit) = serde_json::from_slice::<Commit>(&next.payload) else {
                break;
            };
            if commit.written_by != env!("CARGO_PKG_VERSION") {
                return Err(CacheError::Foreign);
            }
            for (tag, record) in pending.drain(..) {
                replay.take(tag, record);
            }
            replay.commits += 1;
            committed = Some((commit, file.len() - rest.len()));
            continue;
        }
        let Some(record) = Record::decode(next.tag, next.payload, next.checksum) else {
            break;
        };
        pending.push((next.tag, record));
    }
    let (commit, length) = committed.ok_or(CacheError::Incomplete)?;
    let edition = Edition {
        version: commit.version,
        last_updated: commit.last_updated,
    };
    let entries = replay.entries.into_iter().flatten().collect();
    let mut snapshot = Snapshot::new(
        edition,
        entries,
        replay.older,
        replay.extensions,
        commit.bad_rows,
    );
    snapshot.forget_duplicates();
    Ok(CacheContents {
        snapshot,
        marks: commit.marks,
        length: length as u64,
    })
}

/// The record at the start of `rest`, a tail of `file`; `None` at a torn or damaged one.
fn frame<'a>(file: &Bytes, rest: &'a [u8]) -> Option<Frame<'a>> {
    let (header, behind) = rest.split_at_checked(HEADER_LENGTH)?;
    let length = u32::from_le_bytes(header.get(..4)?.try_into().ok()?);
    let sealed = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?);
    let tag = *header.get(8)?;
    let (payload, rest) = behind.split_at_checked(length as usize)?;
    let checksum = crc32fast::hash(payload);
    (seal(tag, length, checksum) == sealed).then(|| Frame {
        tag,
        payload: file.slice_ref(payload),
        checksum,
        rest,
    })
}

/// A decoded record that waits for its commit.
enum Record {
    Entry(Arc<Entry>),
    Item(Arc<ExtensionEntry>),
    Name(Bytes),
    Restart,
}

impl Record {
    fn decode(tag: u8, payload: Bytes, checksum: u32) -> Option<Self> {
        match tag {
            TAG_ENTRY | TAG_OLDER => Some(Self::Entry(Arc::new(Entry::decode(payload, checksum)?))),
            TAG_SKILL | TAG_PLUGIN => Some(Self::Item(Arc::new(ExtensionEntry::decode(
                payload, checksum,
            )?))),
            TAG_REMOVED => Some(Self::Name(payload)),
            TAG_EXTENSIONS_RESTART => Some(Self::Restart),
            _ => None,
        }
    }
}

// === impl Replay ===

impl Replay {
    fn take(&mut self, tag: u8, record: Record) {
        match record {
            Record::Entry(entry) if tag == TAG_OLDER => self.older.push(entry),
            Record::Entry(entry) => self.upsert(entry),
            Record::Name(name) => {
                if let Some(at) = self.position(&name)
                    && let Some(slot) = self.entries.get_mut(at)
                {
                    *slot = None;
                }
            }
            Record::Restart => self.extensions.clear(),
            Record::Item(item) => {
                let extension = if tag == TAG_SKILL {
                    Extension::Skills
                } else {
                    Extension::Plugins
                };
                self.extensions.entry(extension).or_default().push(item);
            }
        }
    }

    fn upsert(&mut self, entry: Arc<Entry>) {
        if self.commits == 0 {
            self.entries.push(Some(entry));
            return;
        }
        let at = self.position(entry.name_bytes()).unwrap_or_else(|| {
            self.by_name
                .insert(entry.name_bytes().to_vec(), self.entries.len());
            self.entries.push(None);
            self.entries.len() - 1
        });
        if let Some(slot) = self.entries.get_mut(at) {
            *slot = Some(entry);
        }
    }

    fn position(&mut self, name: &[u8]) -> Option<usize> {
        if !self.indexed {
            self.indexed = true;
            for (at, entry) in self.entries.iter().enumerate() {
                if let Some(entry) = entry {
                    self.by_name.insert(entry.name_bytes().to_vec(), at);
                }
            }
        }
        self.by_name.get(name).copied()
    }
}
