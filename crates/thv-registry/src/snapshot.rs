//! One immutable catalog: what a registry offered at one moment.
//!
//! Entries are sorted by name and shared with the snapshots before and after, so that a load
//! that changes little costs little. Nothing here waits on the network or takes a lock; the
//! big response bodies and the search index are made when they are first asked for.

mod change;
mod content;
mod short_names;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio::sync::OnceCell;

use self::content::Content;
use self::short_names::ShortNames;

use crate::entry::{Entry, Extension, ExtensionEntry, ViewRef};
use crate::error::LookupError;
use crate::json;
use crate::limits::MAX_CANDIDATES;
use crate::prepared::Prepared;
use crate::search::{SearchIn, SearchIndex};

/// What a registry says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edition {
    /// Version of the document; `1.0.0` where the source has none.
    pub version: String,
    /// When it was last updated, RFC 3339; empty when unknown.
    pub last_updated: String,
}

/// One immutable catalog: what a registry offered at one moment.
#[derive(Debug)]
pub struct Snapshot {
    edition: Edition,
    entries: Vec<Arc<Entry>>,
    older: Vec<Arc<Entry>>,
    extensions: BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>,
    bad_rows: usize,
    /// Of the latest versions alone.
    servers: Content,
    content: Content,
    digest: String,
    counts: OnceLock<Counts>,
    short_names: OnceLock<ShortNames>,
    search: OnceLock<Arc<SearchIndex>>,
    /// The index of the catalog that this one came from; most of it may still hold.
    search_before: Option<Arc<SearchIndex>>,
    v1beta_servers: OnceCell<Arc<Prepared>>,
    v1beta_registry: OnceCell<Arc<Prepared>>,
}

/// How many entries each view shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All servers.
    pub servers: usize,
    /// Servers that `v1beta` shows as containers.
    pub containers: usize,
    /// Servers that `v1beta` shows as remote ones.
    pub remotes: usize,
    /// Servers that have no `v1beta` view.
    pub omitted: usize,
    /// Skills.
    pub skills: usize,
    /// Plugins.
    pub plugins: usize,
}

// === impl Snapshot ===

impl Snapshot {
    /// A snapshot of `entries` (latest versions, any order, unique names), `older` versions of
    /// them and the items of the extensions.
    pub(crate) fn new(
        edition: Edition,
        mut entries: Vec<Arc<Entry>>,
        mut older: Vec<Arc<Entry>>,
        mut extensions: BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>,
        bad_rows: usize,
    ) -> Self {
        entries.sort_by(|left, right| left.name_bytes().cmp(right.name_bytes()));
        older.sort_by(|left, right| {
            left.name()
                .cmp(right.name())
                .then_with(|| crate::version_order::compare(right, left))
        });
        sort_items(&mut extensions);
        let mut servers = Content::default();
        for entry in &entries {
            servers.add(entry);
        }
        let mut content = servers.with(content_of_items(&extensions));
        for entry in &older {
            content.add_older(entry);
        }
        let digest = content.digest(&edition);
        Self {
            servers,
            content,
            edition,
            entries,
            older,
            extensions,
            bad_rows,
            digest,
            counts: OnceLock::new(),
            short_names: OnceLock::new(),
            search: OnceLock::new(),
            search_before: None,
            v1beta_servers: OnceCell::new(),
            v1beta_registry: OnceCell::new(),
        }
    }

    /// Drops all but the first of entries with one name: bytes from outside may hold such.
    pub(crate) fn forget_duplicates(&mut self) {
        self.entries
            .dedup_by(|later, kept| later.name_bytes() == kept.name_bytes());
    }

    /// What the registry says of itself.
    pub fn edition(&self) -> &Edition {
        &self.edition
    }

    /// Version of the registry document.
    pub fn version(&self) -> &str {
        &self.edition.version
    }

    /// When the registry was last updated, RFC 3339; empty when unknown.
    pub fn last_updated(&self) -> &str {
        &self.edition.last_updated
    }

    /// A short name for exactly this content, for entity tags.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The latest version of each server, sorted by name.
    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Versions that a document holds beside the latest ones, sorted by name, newest first.
    pub fn older(&self) -> &[Arc<Entry>] {
        &self.older
    }

    /// Whether this is the other snapshot, told anew.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Whether the same servers and items are in both, whatever the editions.
    pub(crate) fn has_content_of(&self, other: &Self) -> bool {
        self.content == other.content
    }

    /// Rows that could not be read at all, in the last whole load.
    pub fn bad_rows(&self) -> usize {
        self.bad_rows
    }

    /// Items of an extension, sorted by namespace and name.
    pub fn extension(&self, extension: Extension) -> &[Arc<ExtensionEntry>] {
        self.extensions
            .get(&extension)
            .map_or(&[], |items| items.as_slice())
    }

    pub(crate) fn extensions(&self) -> &BTreeMap<Extension, Vec<Arc<ExtensionEntry>>> {
        &self.extensions
    }

    /// Skills, sorted by namespace and name.
    pub fn skills(&self) -> &[Arc<ExtensionEntry>] {
        self.extension(Extension::Skills)
    }

    /// Plugins, sorted by namespace and name.
    pub fn plugins(&self) -> &[Arc<ExtensionEntry>] {
        self.extension(Extension::Plugins)
    }

    /// One item of an extension.
    pub fn extension_item(
        &self,
        extension: Extension,
        namespace: &str,
        name: &str,
    ) -> Option<&Arc<ExtensionEntry>> {
        let items = self.extension(extension);
        let at = items
            .binary_search_by(|item| item.key().cmp(&(namespace, name)))
            .ok()?;
        items.get(at)
    }

    /// The server of exactly this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        let at = self.position(name.as_bytes()).ok()?;
        self.entries.get(at)
    }

    /// All versions known here of the server of exactly this name, the latest first.
    pub fn versions(&self, name: &str) -> Vec<Arc<Entry>> {
        let Some(latest) = self.get(name) else {
            return Vec::new();
        };
        let first = self.older.partition_point(|entry| entry.name() < name);
        let older = self.older.iter().skip(first);
        std::iter::once(latest)
            .chain(older.take_while(|entry| entry.name() == name))
            .cloned()
            .collect()
    }

    /// The server of this full name, or of this short name when only one server has it.
    ///
    /// # Errors
    /// [`LookupError::NotFound`], or [`LookupError::Ambiguous`] with the candidates.
    pub fn resolve(&self, query: &str) -> Result<&Arc<Entry>, LookupError> {
        self.resolve_among(query, |_| true)
    }

    /// The same among the servers that `v1beta` shows: there, a server that it has no form for
    /// makes no short name ambiguous.
    ///
    /// # Errors
    /// As [`Snapshot::resolve`].
    pub fn resolve_shown(&self, query: &str) -> Result<&Arc<Entry>, LookupError> {
        self.resolve_among(query, |entry| !matches!(entry.view(), ViewRef::Omitted(_)))
    }

    fn resolve_among(
        &self,
        query: &str,
        counts: impl Fn(&Entry) -> bool,
    ) -> Result<&Arc<Entry>, LookupError> {
        if let Some(entry) = self.get(query) {
            return Ok(entry);
        }
        let candidates = if query.contains('/') || query.is_empty() {
            &[]
        } else {
            self.with_short_name(query)
        };
        let mut entries = candidates
            .iter()
            .filter_map(|at| self.entries.get(*at as usize))
            .filter(|entry| counts(entry));
        match (entries.next(), entries.next()) {
            (Some(only), None) => Ok(only),
            (Some(first), Some(second)) => Err(LookupError::Ambiguous {
                query: query.to_owned(),
                candidates: [first, second]
                    .into_iter()
                    .chain(entries)
                    .take(MAX_CANDIDATES)
                    .map(|entry| entry.name().to_owned())
                    .collect(),
            }),
            (None, _) => Err(LookupError::NotFound {
                query: query.to_owned(),
            }),
        }
    }

    /// Positions of the entries whose name ends in `/short`, ascending.
    fn with_short_name(&self, short: &str) -> &[u32] {
        self.short_names
            .get_or_init(|| ShortNames::build(&self.entries))
            .find(&self.entries, short)
    }

    /// Entries that contain `query`, whatever the case, in name order.
    pub fn search(&self, query: &str, search_in: SearchIn) -> Vec<&Arc<Entry>> {
        self.search_index()
            .find(query, search_in)
            .into_iter()
            .filter_map(|at| self.entries.get(at))
            .collect()
    }

    fn search_index(&self) -> &SearchIndex {
        self.search.get_or_init(|| {
            let before = self.search_before.as_deref();
            Arc::new(SearchIndex::build(&self.entries, before))
        })
    }

    /// Makes what the first lookup and the first search would otherwise make.
    pub(crate) fn warm(&self) {
        self.search_index();
        self.with_short_name("");
    }

    /// How many entries each view shows. Counted at the first call.
    pub fn counts(&self) -> Counts {
        *self.counts.get_or_init(|| self.count())
    }

    fn count(&self) -> Counts {
        let mut counts = Counts {
            servers: self.entries.len(),
            skills: self.skills().len(),
            plugins: self.plugins().len(),
            ..Counts::default()
        };
        for entry in &self.entries {
            match entry.view() {
                ViewRef::Container(_) => counts.containers += 1,
                ViewRef::Remote(_) => counts.remotes += 1,
                ViewRef::Omitted(_) => counts.omitted += 1,
            }
        }
        counts
    }

    /// Servers without a `v1beta` view and why, in name order.
    pub fn omitted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(|entry| match entry.view() {
            ViewRef::Omitted(why) => Some((entry.name(), why)),
            ViewRef::Container(_) | ViewRef::Remote(_) => None,
        })
    }

    /// The body `{"servers":[…],"remote_servers":[…]}` of the `v1beta` list, with its newline.
    /// Rendered on a blocking thread at the first call.
    pub async fn v1beta_servers(self: &Arc<Self>) -> Arc<Prepared> {
        self.prepared(&self.v1beta_servers, "servers", Self::render_v1beta_servers)
            .await
    }

    /// The `registry` object of the `v1beta` item, without a newline. Rendered on a blocking
    /// thread at the first call.
    pub async fn v1beta_registry(self: &Arc<Self>) -> Arc<Prepared> {
        self.prepared(
            &self.v1beta_registry,
            "registry",
            Self::render_v1beta_registry,
        )
        .await
    }

    async fn prepared(
        self: &Arc<Self>,
        cell: &OnceCell<Arc<Prepared>>,
        kind: &str,
        render: fn(&Self) -> Vec<u8>,
    ) -> Arc<Prepared> {
        let prepared = cell.get_or_init(|| async {
            let snapshot = Arc::clone(self);
            let body = tokio::task::spawn_blocking(move || render(&snapshot))
                .await
                .unwrap_or_default();
            Arc::new(Prepared::new(body, format!("\"{}-{kind}\"", self.digest)))
        });
        Arc::clone(prepared.await)
    }

    fn render_v1beta_servers(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.entries.len() * 1024);
        body.extend_from_slice(b"{\"servers\":[");
        self.join_views(&mut body, |view| match view {
            ViewRef::Container(json) => Some(json),
            ViewRef::Remote(_) | ViewRef::Omitted(_) => None,
        });
        body.push(b']');
        let before = body.len();
        body.extend_from_slice(b",\"remote_servers\":[");
        let any = self.join_views(&mut body, remote);
        if any {
            body.push(b']');
        } else {
            body.truncate(before);
        }
        body.extend_from_slice(b"}\n");
        body.shrink_to_fit();
        body
    }

    fn join_views<'a>(
        &'a self,
        body: &mut Vec<u8>,
        pick: impl Fn(ViewRef<'a>) -> Option<&'a [u8]>,
    ) -> bool {
        let mut any = false;
        for entry in &self.entries {
            if let Some(json) = pick(entry.view()) {
                if any {
                    body.push(b',');
                }
                body.extend_from_slice(json);
                any = true;
            }
        }
        any
    }

    fn render_v1beta_registry(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.entries.len() * 1024);
        body.extend_from_slice(b"{\"version\":");
        push_json(&mut body, self.version());
        body.extend_from_slice(b",\"last_updated\":");
        push_json(&mut body, self.last_updated());
        body.extend_from_slice(b",\"servers\":{");
        self.join_named(&mut body, |view| match view {
            ViewRef::Container(json) => Some(json),
            ViewRef::Remote(_) | ViewRef::Omitted(_) => None,
        });
        body.push(b'}');
        let before = body.len();
        body.extend_from_slice(b",\"remote_servers\":{");
        if self.join_named(&mut body, remote) {
            body.push(b'}');
        } else {
            body.truncate(before);
        }
        body.push(b'}');
        body.shrink_to_fit();
        body
    }

    fn join_named<'a>(
        &'a self,
        body: &mut Vec<u8>,
        pick: impl Fn(ViewRef<'a>) -> Option<&'a [u8]>,
    ) -> bool {
        let mut any = false;
        for entry in &self.entries {
            if let Some(json) = pick(entry.view()) {
                if any {
                    body.push(b',');
                }
                push_json(body, entry.name());
                body.push(b':');
                body.extend_from_slice(json);
                any = true;
            }
        }
        any
    }
}

fn remote(view: ViewRef<'_>) -> Option<&[u8]> {
    match view {
        ViewRef::Remote(json) => Some(json),
        ViewRef::Container(_) | ViewRef::Omitted(_) => None,
    }
}

fn push_json(body: &mut Vec<u8>, text: &str) {
    // A string always has a JSON form.
    body.extend_from_slice(&json::to_vec(&text).unwrap_or_default());
}

fn sort_items(extensions: &mut BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>) {
    for items in extensions.values_mut() {
        items.sort_by(|left, right| left.key().cmp(&right.key()));
    }
}

fn content_of_items(extensions: &BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>) -> Content {
    let mut content = Content::default();
    for (extension, items) in extensions {
        for item in items {
            content.add_item(*extension, item);
        }
    }
    content
}

#[cfg(test)]
mod tests;
