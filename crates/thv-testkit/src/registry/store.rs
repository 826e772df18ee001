//! The rows a registry holds, and the pages, searches and lookups over them.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::generate::Row;

const PAGE_DEFAULT: usize = 30;
const PAGE_CAP: usize = 100;

/// Everything the fake serves.
#[derive(Debug)]
pub(super) struct Store {
    rows: BTreeMap<(String, String), Stored>,
    pub(super) raw_rows: Vec<String>,
    pub(super) extensions: Option<Extensions>,
    pub(super) documents: HashMap<String, StaticDocument>,
    pub(super) redirects: HashMap<String, String>,
    pub(super) ignores_updated_since: bool,
    pub(super) omits_official_meta: bool,
    pub(super) page_cap: usize,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            rows: BTreeMap::new(),
            raw_rows: Vec::new(),
            extensions: None,
            documents: HashMap::new(),
            redirects: HashMap::new(),
            ignores_updated_since: false,
            omits_official_meta: false,
            page_cap: PAGE_CAP,
        }
    }
}

#[derive(Debug)]
struct Stored {
    row: Row,
    updated: Option<jiff::Timestamp>,
    envelope: String,
}

impl Stored {
    fn of(row: Row) -> Self {
        Stored {
            updated: row.updated_at.parse().ok(),
            envelope: row.envelope().to_string(),
            row,
        }
    }
}

/// The skills and plugins of the `ToolHive` extension.
#[derive(Debug)]
pub(super) struct Extensions {
    pub(super) skills: Vec<Value>,
    pub(super) plugins: Vec<Value>,
}

/// A file that is served as it is.
#[derive(Clone, Debug)]
pub(super) struct StaticDocument {
    pub(super) body: Bytes,
    pub(super) etag: String,
    pub(super) media_type: String,
}

impl StaticDocument {
    pub(super) fn new(body: Bytes, media_type: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        StaticDocument {
            etag: format!("\"{:016x}\"", hasher.finish()),
            body,
            media_type: media_type.to_owned(),
        }
    }
}

/// The query of the list endpoint, decoded.
#[derive(Debug, Default)]
pub(super) struct ListQuery {
    pub(super) cursor: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) search: Option<String>,
    pub(super) version: Option<String>,
    pub(super) updated_since: Option<jiff::Timestamp>,
}

impl Store {
    pub(super) fn upsert(&mut self, row: Row) {
        if row.is_latest {
            for stored in self.versions_mut(&row.name) {
                if stored.row.is_latest {
                    stored.row.is_latest = false;
                    stored.envelope = stored.row.envelope().to_string();
                }
            }
        }
        self.rows
            .insert((row.name.clone(), row.version.clone()), Stored::of(row));
    }

    pub(super) fn set_status(&mut self, name: &str, status: &str, updated_at: &str) {
        for stored in self.versions_mut(name) {
            status.clone_into(&mut stored.row.status);
            updated_at.clone_into(&mut stored.row.updated_at);
            *stored = Stored::of(stored.row.clone());
        }
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.rows.retain(|(stored, _), _| stored != name);
    }

    pub(super) fn live_names(&self) -> Vec<String> {
        self.rows
            .values()
            .filter(|stored| stored.row.is_latest && stored.row.status != "deleted")
            .map(|stored| stored.row.name.clone())
            .collect()
    }

    /// A page of the list and the cursor of the next one.
    pub(super) fn page(&self, query: &ListQuery) -> (String, Option<String>) {
        let start = match &query.cursor {
            Some(cursor) => {
                let (name, version) = cursor.rsplit_once(':').unwrap_or((cursor, ""));
                Bound::Excluded((name.to_owned(), version.to_owned()))
            }
            None => Bound::Unbounded,
        };
        let since = query.updated_since.filter(|_| !self.ignores_updated_since);
        let needle = query.search.as_ref().map(|text| text.to_lowercase());
        let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, self.page_cap);
        let mut fitting = self
            .rows
            .range((start, Bound::Unbounded))
            .map(|(_, stored)| stored)
            .filter(|stored| fits(stored, query.version.as_deref(), since, needle.as_deref()));
        let mut envelopes: Vec<String> = Vec::with_capacity(limit);
        let mut last = None;
        for stored in fitting.by_ref().take(limit) {
            envelopes.push(self.shown(stored));
            last = Some(&stored.row);
        }
        let next = last
            .filter(|_| fitting.next().is_some())
            .map(|row| format!("{}:{}", row.name, row.version));
        let count = envelopes.len();
        envelopes.extend(self.raw_rows.iter().cloned());
        let metadata = match &next {
            Some(cursor) => json!({"nextCursor": cursor, "count": count}),
            None => json!({"count": count}),
        };
        (
            format!(
                r#"{{"servers":[{}],"metadata":{metadata}}}"#,
                envelopes.join(",")
            ),
            next,
        )
    }

    /// All versions of a server, newest publication first; `None` when it is unknown.
    pub(super) fn versions(&self, name: &str) -> Option<String> {
        let mut found: Vec<&Stored> = self
            .versions_of(name)
            .filter(|stored| stored.row.status != "deleted")
            .collect();
        if found.is_empty() {
            return None;
        }
        found.reverse();
        let envelopes: Vec<String> = found.iter().map(|stored| self.shown(stored)).collect();
        Some(format!(
            r#"{{"servers":[{}],"metadata":{{"count":{}}}}}"#,
            envelopes.join(","),
            found.len()
        ))
    }

    /// One version of a server; `latest` is a name for the current one.
    pub(super) fn version(&self, name: &str, version: &str) -> Option<String> {
        self.versions_of(name)
            .find(|stored| {
                let wanted = if version == "latest" {
                    stored.row.is_latest
                } else {
                    stored.row.version == version
                };
                wanted && stored.row.status != "deleted"
            })
            .map(|stored| self.shown(stored))
    }

    fn shown(&self, stored: &Stored) -> String {
        if self.omits_official_meta {
            json!({"server": stored.row.server}).to_string()
        } else {
            stored.envelope.clone()
        }
    }

    fn versions_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Stored> {
        self.rows
            .range((
                Bound::Included((name.to_owned(), String::new())),
                Bound::Unbounded,
            ))
            .take_while(move |((stored, _), _)| stored == name)
            .map(|(_, stored)| stored)
    }

    fn versions_mut<'a>(&'a mut self, name: &'a str) -> impl Iterator<Item = &'a mut Stored> {
        self.rows
            .range_mut((
                Bound::Included((name.to_owned(), String::new())),
                Bound::Unbounded,
            ))
            .take_while(move |((stored, _), _)| stored == name)
            .map(|(_, stored)| stored)
    }
}

fn fits(
    stored: &Stored,
    version: Option<&str>,
    since: Option<jiff::Timestamp>,
    needle: Option<&str>,
) -> bool {
    let row = &stored.row;
    let version_fits = match version {
        Some("latest") => row.is_latest,
        Some(wanted) => row.version == wanted,
        None => true,
    };
    // The official registry shows deleted rows only to a client that asks for changes.
    let time_fits = match since {
        Some(since) => stored.updated.is_some_and(|updated| updated >= since),
        None => row.status != "deleted",
    };
    let text_fits = needle.is_none_or(|needle| {
        row.name.to_lowercase().contains(needle)
            || row.server["description"]
                .as_str()
                .is_some_and(|text| text.to_lowercase().contains(needle))
    });
    version_fits && time_fits && text_fits
}
