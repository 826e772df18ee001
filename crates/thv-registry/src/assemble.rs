//! Rows in, snapshot out: which version of a server is the latest, what is dropped, and what
//! can be taken over from the snapshot before.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry as Slot, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::entry::{Entry, Extension, ExtensionEntry};
use crate::format::page::{LifeCycle, Row};
use crate::json;
use crate::snapshot::{Edition, Snapshot};
use crate::version_order;

/// Collects the rows of one whole load.
#[derive(Debug)]
pub(crate) struct Assembler {
    known: Recogniser,
    seen: Timestamp,
    keep_older: bool,
    latest: HashMap<String, Arc<Entry>>,
    older: Vec<Arc<Entry>>,
    extensions: BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>,
    bad_rows: usize,
    newest: Option<Timestamp>,
    undated: bool,
}

/// Finds the entry that was already made from the same bytes.
#[derive(Debug, Default)]
pub(crate) struct Recogniser {
    entries: HashMap<u64, Arc<Entry>>,
}

/// What one list of changes asks of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// Entries that are new or look different.
    pub(crate) upserts: Vec<Arc<Entry>>,
    /// Names whose latest version the registry withdrew.
    pub(crate) withdrawn: Vec<String>,
    /// The newest time of change among all rows.
    pub(crate) newest: Option<Timestamp>,
    /// Rows that could not be read.
    pub(crate) bad_rows: usize,
}

// === impl Recogniser ===

impl Recogniser {
    pub(crate) fn of<'a>(known: impl IntoIterator<Item = &'a Arc<Entry>>) -> Self {
        Self {
            entries: known
                .into_iter()
                .map(|entry| (fingerprint(&entry.raw()), Arc::clone(entry)))
                .collect(),
        }
    }

    /// The entry of `row`: the one known already when nothing about it differs.
    fn entry(&self, row: &Row<'_>, seen: Timestamp) -> Option<Arc<Entry>> {
        if !self.entries.is_empty() {
            let raw = json::compact(row.server.get());
            let known = self
                .entries
                .get(&fingerprint(&raw))
                .filter(|known| known.raw() == raw && same_meta(known, row.meta));
            if let Some(known) = known {
                return Some(Arc::clone(known));
            }
        }
        Entry::from_row(row, seen).ok().map(Arc::new)
    }
}

fn fingerprint(raw: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    raw.hash(&mut hasher);
    hasher.finish()
}

fn same_meta(known: &Entry, meta: Option<&RawValue>) -> bool {
    meta.is_none_or(|meta| known.registry_meta() == json::compact(meta.get()))
}

// === impl Assembler ===

impl Assembler {
    /// Begins a load. What `known` already holds is taken over where the bytes are the same;
    /// `seen` is the time given to rows that carry none; older versions are kept or dropped.
    pub(crate) fn new(known: Option<&Snapshot>, seen: Timestamp, keep_older: bool) -> Self {
        Self {
            known: Recogniser::of(
                known
                    .into_iter()
                    .flat_map(|known| known.entries().iter().chain(known.older())),
            ),
            seen,
            keep_older,
            latest: HashMap::new(),
            older: Vec::new(),
            extensions: BTreeMap::new(),
            bad_rows: 0,
            newest: None,
            undated: false,
        }
    }

    /// Takes one row; says whether it brought a name that was not there.
    pub(crate) fn add(&mut self, row: &Row<'_>) -> bool {
        let Some(entry) = self.known.entry(row, self.seen) else {
            self.bad_rows += 1;
            return false;
        };
        match changed_at(row) {
            Some(changed) => self.newest = self.newest.max(Some(changed)),
            None => self.undated = true,
        }
        if entry.life_cycle() == LifeCycle::Deleted {
            return false;
        }
        match self.latest.entry(entry.name().to_owned()) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
                true
            }
            Slot::Occupied(mut slot) => {
                let loser = if version_order::compare(&entry, slot.get()).is_gt() {
                    slot.insert(entry)
                } else {
                    entry
                };
                if self.keep_older && loser.version() != slot.get().version() {
                    self.older.push(loser);
                }
                false
            }
        }
    }

    pub(crate) fn add_bad_rows(&mut self, count: usize) {
        self.bad_rows += count;
    }

    /// Takes one item of an extension.
    pub(crate) fn add_extension_item(&mut self, extension: Extension, item: &RawValue) {
        match ExtensionEntry::new(item) {
            Ok(item) => self
                .extensions
                .entry(extension)
                .or_default()
                .push(Arc::new(item)),
            Err(_) => self.bad_rows += 1,
        }
    }

    pub(crate) fn set_extension(&mut self, extension: Extension, items: Vec<Arc<ExtensionEntry>>) {
        self.extensions.insert(extension, items);
    }

    pub(crate) fn len(&self) -> usize {
        self.latest.len()
    }

    /// The newest time of change among the rows, where each of them tells its own. A registry
    /// with undated rows cannot be asked for changes: what it leaves out would be unknowable.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.newest.filter(|_| !self.undated)
    }

    pub(crate) fn finish(mut self, edition: Edition) -> Snapshot {
        for items in self.extensions.values_mut() {
            latest_items(items);
        }
        let entries = self.latest.into_values().collect();
        Snapshot::new(edition, entries, self.older, self.extensions, self.bad_rows)
    }
}

/// When the registry says that the row last changed.
pub(crate) fn changed_at(row: &Row<'_>) -> Option<Timestamp> {
    row.official.updated_at.as_deref()?.parse().ok()
}

/// Keeps one item per namespace and name: the one with the later version.
pub(crate) fn latest_items(items: &mut Vec<Arc<ExtensionEntry>>) {
    let parse = |item: &ExtensionEntry| semver::Version::parse(item.version()).ok();
    items.sort_by(|left, right| {
        left.key()
            .cmp(&right.key())
            .then_with(|| parse(right).cmp(&parse(left)))
    });
    items.dedup_by(|later, kept| later.key() == kept.key());
}

// === impl Delta ===

impl Delta {
    /// Takes one row of a list of changes to `base`.
    pub(crate) fn add(
        &mut self,
        base: &Snapshot,
        known: &Recogniser,
        row: &Row<'_>,
        seen: Timestamp,
    ) {
        let Some(entry) = known.entry(row, seen) else {
            self.bad_rows += 1;
            return;
        };
        self.newest = self.newest.max(Some(entry.updated_at()));
        let present = base.get(entry.name());
        if entry.life_cycle() == LifeCycle::Deleted {
            if present.is_some_and(|present| present.version() == entry.version()) {
                self.withdrawn.push(entry.name().to_owned());
            }
            return;
        }
        // What the registry marks as latest now outranks what it marked earlier.
        let wins = present.is_none_or(|present| {
            !Arc::ptr_eq(present, &entry)
                && (present.version() == entry.version()
                    || entry.marked_latest() == Some(true)
                    || version_order::compare(&entry, present).is_gt())
        });
        if wins {
            self.upserts.push(entry);
        }
    }

    /// The snapshot that `base` becomes, and the names that left it.
    pub(crate) fn apply(
        &self,
        base: &Snapshot,
        extensions: BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>,
        edition: Edition,
    ) -> Snapshot {
        let mut latest: HashMap<&[u8], &Arc<Entry>> = HashMap::new();
        for entry in &self.upserts {
            match latest.entry(entry.name_bytes()) {
                Slot::Vacant(slot) => {
                    slot.insert(entry);
                }
                Slot::Occupied(mut slot) => {
                    if version_order::compare(entry, slot.get()).is_ge() {
                        slot.insert(entry);
                    }
                }
            }
        }
        let upserts = latest.into_values().map(Arc::clone).collect();
        let withdrawn = self.withdrawn.iter().map(String::as_str);
        base.changed(edition, upserts, withdrawn, extensions)
    }
}
