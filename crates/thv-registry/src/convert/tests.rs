use serde_json::{Value, json};

use super::*;
use crate::{
    format::{server::read_server, upstream::parse_document},
    view::{View, project},
};

fn convert(legacy: &Value) -> Conversion {
    convert_legacy(legacy.to_string().as_bytes()).unwrap()
}

fn text(conversion: &Conversion) -> &str {
    std::str::from_utf8(&conversion.document).unwrap()
}

fn notes(conversion: &Conversion) -> Vec<(&str, &str)> {
    conversion
        .notes
        .iter()
        .map(|note| (note.server.as_str(), note.what.as_str()))
        .collect()
}

/// A registry with only `servers`, so that a test can speak of one entry.
fn with_server(entry: &Value) -> Value {
    json!({"version": "1.0.0", "last_updated": "2026-02-20T00:00:00Z", "servers": {"one": entry}})
}

fn first_server(conversion: &Conversion) -> Value {
    let document: Value = serde_json::from_slice(&conversion.document).unwrap();
    document["data"]["servers"][0].clone()
}

fn full() -> Value {
    json!({
        "$schema": "https://example.test/old.json", "version": "1.0.0", "last_updated": "2026-02-20T00:00:00Z",
        "servers": {
            "zeta": {
                "title": "Zeta", "description": "A < B", "tier": "Official", "status": "Active",
                "transport": "streamable-http", "tools": ["t1"], "metadata": {"stars": 5, "pulls": 9, "last_updated": "2026-02-05T04:47:25Z"},
                "repository_url": "https://github.com/acme/zeta", "tags": ["data"], "custom_metadata": {"b": 1, "a": "x"},
                "image": "reg.test/zeta:1", "target_port": 8080, "proxy_port": 9000,
                "permissions": {"network": {"outbound": {"allow_host": ["x.test"], "allow_port": [443]}}, "read": ["/data"]},
                "env_vars": [{"name": "KEY", "description": "The key", "required": true, "secret": true}, {"name": "DIR", "description": "", "required": false, "default": "/d"}],
                "args": ["--fast"], "docker_tags": ["1", "latest"],
                "provenance": {"sigstore_url": "s", "repository_uri": "r", "signer_identity": "i", "runner_environment": "e", "cert_issuer": "c"}
            },
            "org.acme/alpha": {"description": "First", "tier": "Community", "status": "Deprecated", "transport": "stdio", "tools": [], "image": "reg.test/alpha:1"}
        },
        "remote_servers": {
            "beyond": {
                "description": "Elsewhere", "tier": "Official", "status": "active", "transport": "sse", "tools": ["far"],
                "url": "https://beyond.test/sse", "headers": [{"name": "X-Key", "description": "k", "required": true, "secret": true, "choices": ["a"]}],
                "oauth_config": {"issuer": "https://id.test", "scopes": ["read"]}, "env_vars": [{"name": "TOKEN", "description": "t", "required": false}]
            }
        }
    })
}

const GOLDEN: &str = include_str!("golden.json");

#[test]
fn w34_convert_keeps_order_and_long_descriptions() {
    let conversion = convert(&full());
    assert_eq!(text(&conversion), GOLDEN.trim_end());
    assert_eq!(notes(&conversion), []);

    let long = "word ".repeat(60).trim_end().to_owned();
    let conversion = convert(&with_server(&json!({
        "description": long, "tier": "Official", "transport": "stdio", "image": "i:1", "overview": "# One"
    })));
    let server = first_server(&conversion);
    let short = server["description"].as_str().unwrap();
    assert_eq!(short, format!("{}…", "word ".repeat(19).trim_end()));
    let publisher = &server["_meta"]["io.modelcontextprotocol.registry/publisher-provided"];
    assert_eq!(
        publisher["io.github.stacklok"]["i:1"]["overview"],
        format!("{long}\n\n# One")
    );
    let expected =
        "the description of 299 characters was cut to 100; the whole text is in `overview`";
    assert_eq!(notes(&conversion), [("one", expected)]);
}

#[test]
fn w34_every_change_is_reported_per_server() {
    let conversion = convert(&with_server(&json!({
        "name": "Has Space", "description": "", "title": "t".repeat(101), "tier": "Gold", "status": "retired", "transport": "pipe",
        "tools": ["ok", "not ok", "ok"], "tags": ["Data Base", "data-base", "c"], "image": "i:1", "target_port": 80,
        "permissions": {"read": ["/a", "b", "/"], "network": {"outbound": {"allow_port": [0, 443]}}},
        "metadata": {"pulls": 3, "stars": "many"}, "future": {"x": 1}, "proxy_port": 0
    })));
    let server = first_server(&conversion);
    assert_eq!(server["name"], "io.github.stacklok/Has-Space");
    assert_eq!(server["description"], "io.github.stacklok/Has-Space");
    let extension = json!({
        "metadata": {}, "status": "active", "tags": ["data-base"], "tools": ["ok"],
        "permissions": {"network": {"outbound": {"allow_port": [443]}}, "read": ["/a"]}
    });
    let publisher = &server["_meta"]["io.modelcontextprotocol.registry/publisher-provided"];
    assert_eq!(publisher["io.github.stacklok"]["i:1"], extension);
    let lines: Vec<&str> = notes(&conversion)
        .into_iter()
        .map(|(_, what)| what)
        .collect();
    assert_eq!(
        lines,
        [
            "members the upstream format cannot hold, or of the wrong kind, were dropped: future, metadata.stars",
            "the transport `pipe` is unknown upstream and became `stdio`",
            "the target port 80 was dropped: the transport is stdio",
            "the read permission for `b` is not an absolute path and was dropped",
            "the read permission for `/` is not an absolute path and was dropped",
            "the allowed port 0 does not exist and was dropped",
            "the name `io.github.stacklok/Has Space` is not allowed upstream and became `io.github.stacklok/Has-Space`",
            "there is no description; the name stands in for it",
            "the status `retired` is unknown upstream and became `active`",
            "the tier `Gold` is unknown upstream and was dropped",
            "tool names not allowed upstream were dropped: not ok",
            "the tag `Data Base` is not allowed upstream and became `data-base`",
            "the tag `c` is not allowed upstream and was dropped",
            &format!(
                "the title was cut to 100 characters; it was: {}",
                "t".repeat(101)
            ),
        ]
    );
}

#[test]
fn w34_servers_of_groups_are_listed_and_the_group_is_reported() {
    let conversion = convert(&json!({
        "version": "v1", "last_updated": "yesterday", "servers": {"a": {"image": "a:1", "description": "a"}},
        "groups": [{"name": "tools", "servers": {"b": {"image": "b:1", "description": "b"}, "a": {"image": "c:1", "description": "c"}}}]
    }));
    let document = parse_document(&conversion.document).unwrap();
    assert_eq!(document.servers.len(), 2);
    assert_eq!(
        notes(&conversion),
        [
            (
                "",
                "the upstream format has no groups: the 2 servers of `tools` are listed without it"
            ),
            (
                "",
                "the version `v1` is not three numbers and became `1.0.0`"
            ),
            (
                "",
                "the last update `yesterday` is not a time and became `1970-01-01T00:00:00Z`"
            ),
            (
                "a",
                "skipped: another entry is named `io.github.stacklok/a` already"
            ),
        ]
    );
}

#[test]
fn entries_of_which_nothing_can_be_made_are_skipped_with_a_reason() {
    let conversion = convert(&json!({
        "version": "1.0.0", "last_updated": "2026-02-20T00:00:00Z", "servers": {"a": 5, "b": {"description": "x"}},
        "remote_servers": {"c": {"url": "ftp://x"}}
    }));
    assert_eq!(
        notes(&conversion),
        [
            ("a", "skipped: the entry is not an object"),
            ("b", "skipped: it names no image"),
            ("c", "skipped: `ftp://x` is not an http or https URL"),
        ]
    );
}

#[test]
fn a_converted_registry_projects_back_to_what_it_was() {
    let legacy = full();
    let conversion = convert(&legacy);
    let document = parse_document(&conversion.document).unwrap();
    let views: Vec<View> = document
        .servers
        .iter()
        .map(|raw| project(&read_server(raw).unwrap(), false))
        .collect();
    let [
        View::Remote(beyond),
        View::Container(zeta),
        View::Container(alpha),
    ] = views.as_slice()
    else {
        panic!("{views:?}")
    };
    let image = |key: &str| -> ImageMetadata {
        serde_json::from_value(legacy["servers"][key].clone()).unwrap()
    };
    let mut expected = image("zeta");
    expected.base.name = "io.github.stacklok/zeta".to_owned();
    assert_eq!(**zeta, expected);
    let mut expected = image("org.acme/alpha");
    expected.base.name = "org.acme/alpha".to_owned();
    assert_eq!(**alpha, expected);
    let mut expected: RemoteServerMetadata =
        serde_json::from_value(legacy["remote_servers"]["beyond"].clone()).unwrap();
    expected.base.name = "io.github.stacklok/beyond".to_owned();
    assert_eq!(**beyond, expected);
}

#[test]
fn what_is_not_legacy_is_refused_before_anything_is_done() {
    let upstream = convert(&full()).document;
    assert_eq!(
        convert_legacy(&upstream),
        Err(ConvertError::AlreadyUpstream)
    );
    let both = json!({"data": {}, "servers": {}}).to_string();
    assert_eq!(
        convert_legacy(both.as_bytes()),
        Err(ConvertError::AlreadyUpstream)
    );
    for other in [
        r#"{"servers":[],"metadata":{}}"#,
        r#"{"servers":[{"image":"i"}]}"#,
        "{}",
    ] {
        assert!(
            matches!(
                convert_legacy(other.as_bytes()),
                Err(ConvertError::NotLegacy { .. })
            ),
            "{other}"
        );
    }
    assert!(matches!(
        convert_legacy(b"{"),
        Err(ConvertError::Format(FormatError::NotJson { .. }))
    ));
}
