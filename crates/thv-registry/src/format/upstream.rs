//! Whole registry documents: `{"version", "meta": {"last_updated"}, "data": {"servers", "skills", "plugins"}}`.
//!
//! Here is the one predicate that tells such a document from the outdated `ToolHive` format and from a page of a
//! Registry API (lessons W31, F24, F25). Rows are cut out, not decoded; [`super::server`] reads them.

use serde_json::value::RawValue;

use super::{
    FormatError,
    lenient::{Raw, RawList, pick, record},
    not_json, text,
};

/// A registry document, its rows still text of the input.
#[derive(Debug, Clone, Default)]
pub struct Document<'a> {
    /// The document's own version; empty when absent.
    pub version: String,
    /// `meta.last_updated`, verbatim; empty when absent.
    pub last_updated: String,
    /// Each element of `data.servers`, whatever it is.
    pub servers: Vec<&'a RawValue>,
    /// Each element of `data.skills`.
    pub skills: Vec<&'a RawValue>,
    /// Each element of `data.plugins`.
    pub plugins: Vec<&'a RawValue>,
}

impl Document<'_> {
    /// Whether the document lists nothing at all: fine for a catalog that became empty, not for one being set up.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.skills.is_empty() && self.plugins.is_empty()
    }
}

/// Reads a registry document in one pass.
///
/// # Errors
/// [`FormatError::Legacy`] for the outdated format, [`FormatError::Empty`] when `data` has none of the three lists,
/// [`FormatError::NotRegistry`] for other JSON (with a hint when it is a Registry API page),
/// [`FormatError::NotJson`] for the rest.
pub fn parse_document(bytes: &[u8]) -> Result<Document<'_>, FormatError> {
    let top: Top<'_> = read_top(bytes)?;
    match top.data {
        Some(Data {
            servers: None,
            skills: None,
            plugins: None,
        }) => Err(FormatError::Empty),
        Some(Data {
            servers,
            skills,
            plugins,
        }) => Ok(Document {
            version: top.version,
            last_updated: top.meta.last_updated,
            servers: servers.unwrap_or_default().0,
            skills: skills.unwrap_or_default().0,
            plugins: plugins.unwrap_or_default().0,
        }),
        None if top.is_api_page() => Err(FormatError::NotRegistry {
            cause:
                "this is a page of a Registry API; set the API's base URL as the registry instead"
                    .to_owned(),
        }),
        None if top.is_legacy() => Err(FormatError::Legacy),
        None => Err(FormatError::NotRegistry {
            cause: "there is no `data` object at the top level".to_owned(),
        }),
    }
}

/// What a document is, by its top level alone; for `thv registry convert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Upstream,
    ApiPage,
    Legacy,
    Other,
}

/// Decides a document's shape with the same rules as [`parse_document`].
pub(crate) fn shape(bytes: &[u8]) -> Result<Shape, FormatError> {
    let top = read_top(bytes)?;
    Ok(if top.data.is_some() {
        Shape::Upstream
    } else if top.is_api_page() {
        Shape::ApiPage
    } else if top.is_legacy() {
        Shape::Legacy
    } else {
        Shape::Other
    })
}

fn read_top(bytes: &[u8]) -> Result<Top<'_>, FormatError> {
    pick(text(bytes)?)
        .map_err(|error| not_json(bytes, &error))?
        .ok_or_else(|| FormatError::NotRegistry {
            cause: "the top level is not an object".to_owned(),
        })
}

/// The top-level members that decide what a document is.
#[derive(Default)]
struct Top<'a> {
    version: String,
    meta: Meta,
    data: Option<Data<'a>>,
    metadata: Option<Raw<'a>>,
    servers: Option<Raw<'a>>,
    remote_servers: Option<Raw<'a>>,
    groups: Option<Raw<'a>>,
}

#[derive(Default)]
struct Meta {
    last_updated: String,
}

#[derive(Default)]
struct Data<'a> {
    servers: Option<RawList<'a>>,
    skills: Option<RawList<'a>>,
    plugins: Option<RawList<'a>>,
}

/// What a Registry API page's first row looks like.
#[derive(Default)]
struct Envelope<'a> {
    server: Option<Raw<'a>>,
}

record!('a Top<'a> {
    version: "version",
    meta: "meta",
    data: "data",
    metadata: "metadata",
    servers: "servers",
    remote_servers: "remote_servers",
    groups: "groups",
});
record!(Meta {
    last_updated: "last_updated"
});
record!('a Data<'a> { servers: "servers", skills: "skills", plugins: "plugins" });
record!('a Envelope<'a> { server: "server" });

impl Top<'_> {
    /// A list of servers with the API's `metadata` beside it, or with rows in the API's envelope.
    fn is_api_page(&self) -> bool {
        let Some(servers) = self.servers.filter(|servers| servers.is_list()) else {
            return false;
        };
        self.metadata.is_some_and(Raw::is_object) || first_row_is_envelope(servers.0.get())
    }

    /// Asked after [`Top::is_api_page`]: any of the outdated format's members, holding something.
    fn is_legacy(&self) -> bool {
        [self.servers, self.remote_servers, self.groups]
            .into_iter()
            .flatten()
            .any(|member| member.is_object() || member.is_list())
    }
}

fn first_row_is_envelope(list: &str) -> bool {
    let rows: Option<RawList<'_>> = pick(list).ok().flatten();
    rows.and_then(|rows| rows.0.first().copied())
        .and_then(|row| pick::<Envelope<'_>>(row.get()).ok().flatten())
        .and_then(|row| row.server)
        .is_some_and(Raw::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> FormatError {
        parse_document(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_document_gives_its_rows_uncut() {
        let text = "\u{feff} {\"$schema\":\"s\",\"version\":\"1.2.3\",\"meta\":{\"last_updated\":\"2026-01-02T03:04:05Z\"},
            \"data\":{\"servers\":[ {\"name\" : 1e999} ,7],\"skills\":null,\"plugins\":[{}]}}";
        let document = parse_document(text.as_bytes()).unwrap();
        assert_eq!(document.version, "1.2.3");
        assert_eq!(document.last_updated, "2026-01-02T03:04:05Z");
        let rows: Vec<&str> = document.servers.iter().map(|raw| raw.get()).collect();
        assert_eq!(rows, ["{\"name\" : 1e999}", "7"]);
        assert!(document.skills.is_empty());
        assert_eq!(document.plugins.len(), 1);
        assert!(!document.is_empty());
    }

    #[test]
    fn f24_the_schema_member_does_not_make_a_legacy_document_upstream() {
        let text = r#"{"$schema":"https://example.test/upstream-registry.schema.json","version":"1.0.0",
            "servers":{"fetch":{"image":"i"}}}"#;
        assert_eq!(error(text), FormatError::Legacy);
    }

    #[test]
    fn f25_a_legacy_document_is_an_error_not_an_empty_registry() {
        for text in [
            r#"{"servers":{}}"#,
            r#"{"servers":{"fetch":{"image":"i"}},"remote_servers":{},"metadata":{}}"#,
            r#"{"remote_servers":{"x":{"url":"u"}}}"#,
            r#"{"groups":[]}"#,
            r#"{"data":[],"servers":{}}"#,
            r#"{"data":null,"servers":[{"image":"i"}]}"#,
        ] {
            assert_eq!(error(text), FormatError::Legacy, "{text}");
        }
    }

    #[test]
    fn f25_a_document_without_any_list_is_an_error() {
        assert_eq!(error(r#"{"data":{}}"#), FormatError::Empty);
        assert_eq!(
            error(r#"{"data":{"servers":{"a":{}}}}"#),
            FormatError::Empty
        );
        let empty = parse_document(br#"{"data":{"servers":[]}}"#).unwrap();
        assert!(empty.is_empty());
    }

    #[test]
    fn w31_one_legacy_predicate() {
        let both = br#"{"servers":{"stray":{"image":"i"}},"groups":[],"data":{"servers":[{"name":"a/b"}]}}"#;
        assert_eq!(parse_document(both).unwrap().servers.len(), 1);
        assert_eq!(shape(both).unwrap(), Shape::Upstream);

        let pages = [
            r#"{"servers":[{"server":{"name":"a/b"}}],"metadata":{"count":1}}"#,
            r#"{"servers":[],"metadata":{"count":0}}"#,
            r#"{"servers":[{"server":{"name":"a/b"}}]}"#,
        ];
        for page in pages {
            let FormatError::NotRegistry { cause } = error(page) else {
                panic!("{page}")
            };
            assert!(cause.contains("Registry API"), "{cause}");
            assert_eq!(shape(page.as_bytes()).unwrap(), Shape::ApiPage);
        }
    }

    #[test]
    fn other_texts_say_what_they_are() {
        let cases = [
            ("", "the text is empty"),
            ("  \n", "the text is empty"),
            ("<!doctype html>", "the text is HTML or XML"),
            (
                "{\"data\":{\"servers\":[",
                "EOF while parsing a list at line 1 column 20",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                error(text),
                FormatError::NotJson {
                    cause: expected.to_owned()
                }
            );
        }
        assert!(matches!(error("[1]"), FormatError::NotRegistry { .. }));
        assert!(matches!(
            error(r#"{"error":"no","servers":null}"#),
            FormatError::NotRegistry { .. }
        ));
        assert!(matches!(
            parse_document(b"\xff{}"),
            Err(FormatError::NotJson { .. })
        ));
    }
}
