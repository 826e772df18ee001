//! Single server documents with one trait each, for tests that look at how one kind of entry is shown.

use serde_json::{Value, json};

use crate::generate::{PUBLISHER, Row, SCHEMA, document, moment};

/// A server that runs as a container and speaks on stdin and stdout.
pub fn container(name: &str, image: &str) -> Value {
    json!({
        "$schema": SCHEMA, "name": name, "description": "Runs as a container", "version": "1.4.2",
        "packages": [{"registryType": "oci", "identifier": image, "transport": {"type": "stdio"}}],
    })
}

/// A server that is reached over the network.
pub fn remote(name: &str, url: &str) -> Value {
    json!({
        "$schema": SCHEMA, "name": name, "description": "Runs somewhere else", "version": "0.9.0",
        "remotes": [{"type": "streamable-http", "url": url}],
    })
}

/// A server that is only published to npm.
pub fn npm(name: &str, package: &str) -> Value {
    json!({
        "$schema": SCHEMA, "name": name, "description": "Runs with npx", "version": "2.0.0",
        "packages": [{"registryType": "npm", "identifier": package, "version": "2.0.0", "transport": {"type": "stdio"}}],
    })
}

/// A container server that uses everything the container view can show: an HTTP port, variables declared both ways,
/// arguments, and two extension entries of which only one is about this image.
pub fn rich_container() -> Value {
    json!({
        "$schema": SCHEMA, "name": "test.rich/ledger", "description": "Keeps <ledgers> & more", "title": "Ledger",
        "repository": {"url": "https://git.example.test/ledger", "source": "gitlab"},
        "version": "3.1.4", "websiteUrl": "https://ledger.example.test",
        "packages": [
            {"registryType": "npm", "identifier": "@example/ledger", "version": "3.1.4", "transport": {"type": "stdio"}},
            {
                "registryType": "oci", "identifier": "registry.example.test/ledger:3.1.4",
                "transport": {"type": "streamable-http", "url": "http://localhost:8123/mcp"},
                "environmentVariables": [{"name": "LEDGER_ROOT", "description": "Where", "default": "/srv"}],
                "runtimeArguments": [{
                    "type": "named", "name": "--env", "value": "LEDGER_PIN={pin}", "isRequired": true,
                    "variables": {"pin": {"isSecret": true}},
                }],
                "packageArguments": [
                    {"type": "named", "name": "--mode", "value": "strict"},
                    {"type": "positional", "value": "run"},
                ],
            },
        ],
        "_meta": {PUBLISHER: {"io.github.stacklok": {
            "registry.example.test/other:1": {"status": "Deprecated", "tier": "Community", "tools": ["wrong"]},
            "registry.example.test/ledger:3.1.4": {
                "status": "active", "tier": "Official", "tools": ["post", "balance"], "tags": ["money"],
                "args": ["not", "these"], "metadata": {"stars": 12},
            },
        }}},
    })
}

/// One server per kind a registry can hold, in no particular order. The `v1beta` view has room for the first three.
pub fn every_kind() -> Vec<Value> {
    let mut two_images = container("test.kind/two-images", "registry.example.test/a:1");
    two_images["packages"].as_array_mut().expect("a list").push(
        json!({"registryType": "oci", "identifier": "registry.example.test/b:1", "transport": {"type": "stdio"}}),
    );
    let mut odd_port = container("test.kind/templated-port", "registry.example.test/c:1");
    odd_port["packages"][0]["transport"] =
        json!({"type": "sse", "url": "http://localhost:{port}/sse"});
    let bare = json!({"$schema": SCHEMA, "name": "test.kind/nothing-to-run", "description": "A name only", "version": "0.1.0"});
    vec![
        remote("test.kind/remote", "https://mcp.example.test/mcp"),
        container("test.kind/container", "registry.example.test/plain:1"),
        rich_container(),
        npm("test.kind/npm", "@example/kind"),
        two_images,
        odd_port,
        bare,
    ]
}

/// Rows around documents, all published at the same time.
pub fn rows(servers: impl IntoIterator<Item = Value>) -> Vec<Row> {
    servers
        .into_iter()
        .map(|server| Row::of(server, &moment(0)))
        .collect()
}

/// A registry document with these servers and nothing else.
pub fn registry_document(servers: impl IntoIterator<Item = Value>) -> String {
    document(&rows(servers), &[], &[]).to_string()
}

/// A registry in the format `ToolHive` used before the upstream one.
pub fn legacy_document() -> String {
    json!({
        "version": "1.0.0", "last_updated": "2025-06-01T00:00:00Z",
        "servers": {"fetch": {
            "description": "Fetches pages", "tier": "Community", "status": "Active", "transport": "stdio",
            "tools": ["fetch"], "image": "ghcr.io/example/fetch:1",
        }},
    })
    .to_string()
}
