//! Answers of a Registry API v0.1: list pages, one server, and the lists of the `dev.toolhive` extensions.
//!
//! Lenient by rule: one bad row is counted and never drops its page. Older shapes still met in the wild are
//! understood: `metadata.next_cursor`, and rows that are a bare `server.json` without the envelope.

use serde::de::SeqAccess;
use serde_json::value::RawValue;

pub use super::LifeCycle;
use super::{
    FormatError,
    lenient::{FromJson, Pick, Raw, RawList, pick, record, same_key},
    not_json, without_mark,
};

/// One page of `GET /v0.1/servers`, its rows still text of the input.
#[derive(Debug, Clone, Default)]
pub struct Page<'a> {
    /// The rows that hold an object for a server; whether it has a usable name is for [`super::server`] to say.
    pub rows: Vec<Row<'a>>,
    /// Where the next page starts; `None` on the last one.
    pub next_cursor: Option<String>,
    /// Rows that are not objects, or hold no server.
    pub bad_rows: usize,
    /// Whether the page has a `metadata` object, as every Registry API's does.
    pub has_metadata: bool,
}

/// One server as a Registry API lists it.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The `server.json`, an object.
    pub server: &'a RawValue,
    /// The registry's own `_meta` beside it, an object.
    pub meta: Option<&'a RawValue>,
    /// The facts in `meta` under [`OFFICIAL_META`].
    pub official: Official,
}

/// What the registry itself says about one version of a server; all absent when it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Official {
    /// The state of this version; unknown words are absent.
    pub status: Option<LifeCycle>,
    /// RFC 3339 as a rule, verbatim.
    pub published_at: Option<String>,
    /// RFC 3339 as a rule, verbatim.
    pub updated_at: Option<String>,
    /// Whether the registry holds this version for the newest.
    pub is_latest: Option<bool>,
}

/// One page of an extension's list (skills or plugins).
#[derive(Debug, Clone, Default)]
pub struct ExtensionPage<'a> {
    /// The items that are objects.
    pub items: Vec<&'a RawValue>,
    /// Where the next page starts; `None` on the last one.
    pub next_cursor: Option<String>,
    /// Items that are not objects.
    pub bad_rows: usize,
}

/// The key of the registry's own facts in a row's `_meta`.
pub const OFFICIAL_META: &str = "io.modelcontextprotocol.registry/official";

/// Reads a list page in one pass over its bytes.
///
/// # Errors
/// [`FormatError::NotJson`], [`FormatError::Legacy`], or [`FormatError::NotRegistry`] when there is no list of servers.
pub fn parse_page(bytes: &[u8]) -> Result<Page<'_>, FormatError> {
    let text = text(bytes)?;
    if let Ok(Some(PageText { servers: Some(rows), metadata, .. })) = pick::<PageText<'_, Rows<'_>>>(text)
        && !rows.has_bare_rows
    {
        return Ok(page(rows, metadata));
    }
    parse_page_row_by_row(bytes, text)
}

/// The careful way: each row is cut out first, so that a bare row can be taken whole and a hostile one is lost alone.
fn parse_page_row_by_row<'a>(bytes: &[u8], text: &'a str) -> Result<Page<'a>, FormatError> {
    let top: PageText<'a, RawList<'a>> = pick(text)
        .map_err(|error| not_json(bytes, &error))?
        .ok_or_else(|| not_a_page("the top level is not an object"))?;
    let Some(list) = top.servers else {
        // One predicate decides what is legacy; here only its verdict is wanted.
        return Err(match super::upstream::parse_document(bytes) {
            Err(FormatError::Legacy) => FormatError::Legacy,
            _ => not_a_page("there is no list of servers"),
        });
    };
    let mut rows = Rows::default();
    for raw in list.0 {
        let parts = pick::<RowText<'a>>(raw.get()).ok().flatten();
        rows.push(parts.map(|parts| match parts.server {
            None if parts.name.is_some() => RowText { server: Some(Raw(raw)), ..parts },
            _ => parts,
        }));
    }
    Ok(page(rows, top.metadata))
}

/// Reads one page of an extension's list, whose items are under `member`.
///
/// # Errors
/// [`FormatError::NotJson`], or [`FormatError::NotRegistry`] when there is no such list.
pub fn parse_extension_page<'a>(bytes: &'a [u8], member: &str) -> Result<ExtensionPage<'a>, FormatError> {
    let top: ExtensionText<'a> = pick(text(bytes)?)
        .map_err(|error| not_json(bytes, &error))?
        .ok_or_else(|| not_a_page("the top level is not an object"))?;
    let list = if same_key(member, "plugins") { top.plugins } else { top.skills };
    let all = list.ok_or_else(|| not_a_page("there is no list of the extension's items"))?.0;
    let total = all.len();
    let items: Vec<_> = all.into_iter().filter(|raw| Raw(raw).is_object()).collect();
    Ok(ExtensionPage { bad_rows: total - items.len(), items, next_cursor: top.metadata.and_then(Metadata::cursor) })
}

/// Reads the answer of a detail endpoint: `{"server": …, "_meta": …}`, or a bare `server.json`.
///
/// # Errors
/// [`FormatError::NotJson`], or [`FormatError::NotRegistry`] when there is no server in it.
pub fn parse_server_response(bytes: &[u8]) -> Result<Row<'_>, FormatError> {
    let raw: &RawValue = serde_json::from_str(text(bytes)?).map_err(|error| not_json(bytes, &error))?;
    let parts: RowText<'_> = pick(raw.get())
        .map_err(|error| not_json(bytes, &error))?
        .ok_or_else(|| not_a_page("the top level is not an object"))?;
    let server = parts.server.or_else(|| parts.name.map(|_| Raw(raw)));
    row(RowText { server, ..parts }).ok_or_else(|| not_a_page("there is no server in the answer"))
}

fn text(bytes: &[u8]) -> Result<&str, FormatError> {
    std::str::from_utf8(without_mark(bytes))
        .map_err(|error| FormatError::NotJson { cause: format!("the text is not UTF-8: {error}") })
}

fn not_a_page(cause: &str) -> FormatError {
    FormatError::NotRegistry { cause: cause.to_owned() }
}

fn page<'a>(rows: Rows<'a>, metadata: Option<Metadata>) -> Page<'a> {
    Page {
        rows: rows.rows,
        bad_rows: rows.bad,
        has_metadata: metadata.is_some(),
        next_cursor: metadata.and_then(Metadata::cursor),
    }
}

fn row(parts: RowText<'_>) -> Option<Row<'_>> {
    let server = parts.server.filter(|server| server.is_object())?;
    let meta = parts.meta.filter(|meta| meta.is_object());
    let official = meta
        .and_then(|meta| pick::<MetaText>(meta.0.get()).ok().flatten())
        .map(|meta| meta.official)
        .unwrap_or_default();
    Some(Row { server: server.0, meta: meta.map(|meta| meta.0), official })
}

/// A page's top level; `R` is how its rows are taken.
struct PageText<'a, R> {
    servers: Option<R>,
    metadata: Option<Metadata>,
    marker: std::marker::PhantomData<&'a ()>,
}

/// An extension list's top level.
#[derive(Default)]
struct ExtensionText<'a> {
    skills: Option<RawList<'a>>,
    plugins: Option<RawList<'a>>,
    metadata: Option<Metadata>,
}

/// Where a page ends.
#[derive(Default)]
struct Metadata {
    next_cursor: Option<String>,
}

/// A row's envelope. `name` is there only in a bare row.
#[derive(Default)]
struct RowText<'a> {
    server: Option<Raw<'a>>,
    meta: Option<Raw<'a>>,
    name: Option<Raw<'a>>,
}

#[derive(Default)]
struct MetaText {
    official: Official,
}

/// Rows in the order of the page.
#[derive(Default)]
struct Rows<'a> {
    rows: Vec<Row<'a>>,
    bad: usize,
    has_bare_rows: bool,
}

record!('a ExtensionText<'a> { skills: "skills", plugins: "plugins", metadata: "metadata" });
record!(Metadata { next_cursor: "nextCursor" });
record!('a RowText<'a> { server: "server", meta: "_meta", name: "name" });
record!(MetaText { official: "io.modelcontextprotocol.registry/official" });
record!(Official {
    status: "status",
    published_at: "publishedAt",
    updated_at: "updatedAt",
    is_latest: "isLatest",
});
record!('a PageText<'a, Rows<'a>> { servers: "servers", metadata: "metadata" });
record!('a PageText<'a, RawList<'a>> { servers: "servers", metadata: "metadata" });

impl<R> Default for PageText<'_, R> {
    fn default() -> Self {
        Self { servers: None, metadata: None, marker: std::marker::PhantomData }
    }
}

impl Metadata {
    fn cursor(self) -> Option<String> {
        self.next_cursor.filter(|cursor| !cursor.is_empty())
    }
}

impl<'a> Rows<'a> {
    fn push(&mut self, parts: Option<RowText<'a>>) {
        self.has_bare_rows |= parts.as_ref().is_some_and(|parts| parts.server.is_none() && parts.name.is_some());
        match parts.and_then(row) {
            Some(row) => self.rows.push(row),
            None => self.bad += 1,
        }
    }
}

impl<'de> FromJson<'de> for Rows<'de> {
    fn from_null() -> Option<Self> {
        Some(Self::default())
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut rows = Self::default();
        while let Some(parts) = seq.next_element_seed(Pick::<RowText<'de>>::new())? {
            rows.push(parts);
        }
        Ok(Some(rows))
    }
}
