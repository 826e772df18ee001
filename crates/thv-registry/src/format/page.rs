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
    not_json, text,
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
    if let Ok(Some(PageText {
        servers: Some(rows),
        metadata,
        ..
    })) = pick::<PageText<Rows<'_>>>(text)
        && !rows.some_are_bare
    {
        return Ok(page(rows, metadata));
    }
    parse_page_row_by_row(bytes, text)
}

/// The careful way: each row is cut out first, so that a bare row can be taken whole and a hostile one is lost alone.
fn parse_page_row_by_row<'a>(bytes: &[u8], text: &'a str) -> Result<Page<'a>, FormatError> {
    let top: PageText<RawList<'a>> = pick(text)
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
            None if parts.name.is_some() => RowText {
                server: Some(Raw(raw)),
                ..parts
            },
            _ => parts,
        }));
    }
    Ok(page(rows, top.metadata))
}

/// Reads one page of an extension's list, whose items are under `member`.
///
/// # Errors
/// [`FormatError::NotJson`], or [`FormatError::NotRegistry`] when there is no such list.
pub fn parse_extension_page<'a>(
    bytes: &'a [u8],
    member: &str,
) -> Result<ExtensionPage<'a>, FormatError> {
    let top: ExtensionText<'a> = pick(text(bytes)?)
        .map_err(|error| not_json(bytes, &error))?
        .ok_or_else(|| not_a_page("the top level is not an object"))?;
    let list = if same_key(member, "plugins") {
        top.plugins
    } else {
        top.skills
    };
    let all = list
        .ok_or_else(|| not_a_page("there is no list of the extension's items"))?
        .0;
    let total = all.len();
    let items: Vec<_> = all.into_iter().filter(|raw| Raw(raw).is_object()).collect();
    Ok(ExtensionPage {
        bad_rows: total - items.len(),
        items,
        next_cursor: top.metadata.and_then(Metadata::cursor),
    })
}

/// Reads the answer of a detail endpoint: `{"server": …, "_meta": …}`, or a bare `server.json`.
///
/// # Errors
/// [`FormatError::NotJson`], or [`FormatError::NotRegistry`] when there is no server in it.
pub fn parse_server_response(bytes: &[u8]) -> Result<Row<'_>, FormatError> {
    let raw: &RawValue =
        serde_json::from_str(text(bytes)?).map_err(|error| not_json(bytes, &error))?;
    let parts: RowText<'_> = pick(raw.get())
        .map_err(|error| not_json(bytes, &error))?
        .ok_or_else(|| not_a_page("the top level is not an object"))?;
    let server = parts.server.or_else(|| parts.name.map(|_| Raw(raw)));
    row(RowText { server, ..parts }).ok_or_else(|| not_a_page("there is no server in the answer"))
}

fn not_a_page(cause: &str) -> FormatError {
    FormatError::NotRegistry {
        cause: cause.to_owned(),
    }
}

fn page(rows: Rows<'_>, metadata: Option<Metadata>) -> Page<'_> {
    Page {
        rows: rows.good,
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
    Some(Row {
        server: server.0,
        meta: meta.map(|meta| meta.0),
        official,
    })
}

/// A page's top level; `R` is how its rows are taken.
#[derive(Default)]
struct PageText<R> {
    servers: Option<R>,
    metadata: Option<Metadata>,
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
#[derive(Clone, Copy, Default)]
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
    good: Vec<Row<'a>>,
    bad: usize,
    some_are_bare: bool,
}

record!('a ExtensionText<'a> { skills: "skills", plugins: "plugins", metadata: "metadata" });
record!(Metadata {
    next_cursor: "nextCursor"
});
record!('a RowText<'a> { server: "server", meta: "_meta", name: "name" });
record!(MetaText {
    official: "io.modelcontextprotocol.registry/official"
});
record!(Official {
    status: "status",
    published_at: "publishedAt",
    updated_at: "updatedAt",
    is_latest: "isLatest",
});
record!('a PageText<Rows<'a>> { servers: "servers", metadata: "metadata" });
record!('a PageText<RawList<'a>> { servers: "servers", metadata: "metadata" });

impl Metadata {
    fn cursor(self) -> Option<String> {
        self.next_cursor.filter(|cursor| !cursor.is_empty())
    }
}

impl<'a> Rows<'a> {
    fn push(&mut self, parts: Option<RowText<'a>>) {
        self.some_are_bare |= parts
            .as_ref()
            .is_some_and(|parts| parts.server.is_none() && parts.name.is_some());
        match parts.and_then(row) {
            Some(row) => self.good.push(row),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_rows_facts_and_the_next_cursor() {
        let text = r#"{"servers":[{"server":{"name":"a/b"},"_meta":{
            "io.modelcontextprotocol.registry/official":{"status":"deprecated","statusMessage":"old",
                "publishedAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-02T00:00:00Z","isLatest":true},
            "com.example/own":1}}],"metadata":{"nextCursor":"a/b:1.0","count":1}}"#;
        let page = parse_page(text.as_bytes()).unwrap();
        let row = page.rows.first().unwrap();
        assert_eq!(row.server.get(), r#"{"name":"a/b"}"#);
        assert!(row.meta.unwrap().get().contains("com.example/own"));
        assert_eq!(
            row.official,
            Official {
                status: Some(LifeCycle::Deprecated),
                published_at: Some("2026-01-01T00:00:00Z".to_owned()),
                updated_at: Some("2026-01-02T00:00:00Z".to_owned()),
                is_latest: Some(true),
            }
        );
        assert_eq!(
            (
                page.next_cursor.as_deref(),
                page.bad_rows,
                page.has_metadata
            ),
            (Some("a/b:1.0"), 0, true)
        );
    }

    #[test]
    fn the_last_page_has_no_cursor_however_it_is_said() {
        for metadata in [
            "",
            r#","metadata":null"#,
            r#","metadata":{"nextCursor":null}"#,
            r#","metadata":{"next_cursor":""}"#,
        ] {
            let text = format!(r#"{{"servers":null{metadata}}}"#);
            let page = parse_page(text.as_bytes()).unwrap();
            assert_eq!(page.next_cursor, None);
            assert_eq!(page.has_metadata, metadata.contains('{'));
        }
        let old = parse_page(br#"{"servers":[],"metadata":{"next_cursor":"x"}}"#).unwrap();
        assert_eq!(old.next_cursor.as_deref(), Some("x"));
    }

    #[test]
    fn bad_rows_are_counted_and_their_neighbours_stay() {
        let text = r#"{"servers":[1,null,"x",[],{},{"server":7},{"server":{"name":"a/b"},"_meta":[]},
            {"server":{"name":"c/d"},"_meta":{"io.modelcontextprotocol.registry/official":{"status":5,"isLatest":"yes",
                "updatedAt":"\ud83d"}}}],"metadata":{}}"#;
        let page = parse_page(text.as_bytes()).unwrap();
        assert_eq!((page.rows.len(), page.bad_rows), (2, 6));
        assert!(
            page.rows
                .iter()
                .all(|row| row.official == Official::default())
        );
        assert!(page.rows.first().unwrap().meta.is_none());
    }

    #[test]
    fn a_number_that_no_float_holds_does_not_drop_the_page() {
        let page =
            parse_page(br#"{"servers":[1e999,{"server":{"name":"a/b","x":1e999}}],"metadata":{}}"#)
                .unwrap();
        assert_eq!((page.rows.len(), page.bad_rows), (1, 1));
    }

    #[test]
    fn bare_rows_of_older_registries_are_servers() {
        let text = br#"{"servers":[{"name":"a/b","_meta":{"io.modelcontextprotocol.registry/official":{"is_latest":true}}},
            {"server":{"name":"c/d"}}]}"#;
        let page = parse_page(text).unwrap();
        assert_eq!((page.rows.len(), page.bad_rows), (2, 0));
        let first = page.rows.first().unwrap();
        assert!(first.server.get().starts_with(r#"{"name":"a/b""#));
        assert_eq!(first.official.is_latest, Some(true));
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        assert!(matches!(
            parse_page(br#"{"error":"boom"}"#),
            Err(FormatError::NotRegistry { .. })
        ));
        assert!(matches!(
            parse_page(br#"{"data":{"servers":[]}}"#),
            Err(FormatError::NotRegistry { .. })
        ));
        assert!(matches!(
            parse_page(b"null"),
            Err(FormatError::NotRegistry { .. })
        ));
        assert!(matches!(
            parse_page(b"<html>"),
            Err(FormatError::NotJson { .. })
        ));
        assert_eq!(
            parse_page(br#"{"servers":{"a":{"image":"i"}}}"#).unwrap_err(),
            FormatError::Legacy
        );
    }

    #[test]
    fn an_extension_page_gives_its_items() {
        let text = br#"{"skills":[{"name":"s"},3],"metadata":{"nextCursor":"n"}}"#;
        let page = parse_extension_page(text, "skills").unwrap();
        assert_eq!(
            (page.items.len(), page.bad_rows, page.next_cursor.as_deref()),
            (1, 1, Some("n"))
        );
        assert!(parse_extension_page(text, "plugins").is_err());
        let none =
            parse_extension_page(br#"{"plugins":null,"metadata":{"count":0}}"#, "plugins").unwrap();
        assert!(none.items.is_empty());
    }

    #[test]
    fn a_detail_answer_is_an_envelope_or_a_bare_server() {
        let envelope = parse_server_response(br#"{"server":{"name":"a/b"},"_meta":{}}"#).unwrap();
        assert_eq!(envelope.server.get(), r#"{"name":"a/b"}"#);
        let bare = parse_server_response(br#" {"name":"a/b","_meta":{"x":1}} "#).unwrap();
        assert_eq!(bare.server.get(), r#"{"name":"a/b","_meta":{"x":1}}"#);
        assert!(parse_server_response(br#"{"title":"Not Found","status":404}"#).is_err());
    }
}
