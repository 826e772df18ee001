//! `/health` and `/api/v1beta/**` over sources that work. What happens when a source does not is in `faults.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use serde_json::{Value, json};
use thv_testkit::binary::Server;
use thv_testkit::client::Answer;
use thv_testkit::fixture;
use thv_testkit::generate;

const THV: &str = env!("CARGO_BIN_EXE_thv");

async fn built_in() -> Server {
    Server::in_new_home(THV, |_| {}).await
}

async fn serving(servers: impl IntoIterator<Item = Value>) -> Server {
    let document = fixture::registry_document(servers);
    Server::in_new_home(THV, |home| {
        home.use_document(&document);
    })
    .await
}

fn keys(value: &Value, answer: &Answer) -> Vec<String> {
    // serde_json sorts keys; the order on the wire is read from the text.
    let text = answer.text();
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| text.find(&format!("\"{key}\":")));
    keys
}

#[tokio::test]
async fn health_is_204_with_the_nonce_of_the_discovery_record() {
    let server = built_in().await;
    for path in ["/health", "/health/"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert!(answer.body.is_empty());
        assert_ne!(answer.header("content-type"), "application/json");
        let nonce = answer.header("x-toolhive-nonce");
        assert!(
            nonce.len() == 32
                && nonce
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        );
        let record: Value =
            serde_json::from_slice(&std::fs::read(server.home().server_record()).unwrap()).unwrap();
        assert_eq!(record["nonce"], nonce);
    }
}

#[tokio::test]
async fn the_version_is_compact_json_and_a_line_end() {
    let server = built_in().await;
    let answer = server.get("/api/v1beta/version").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    let version = answer.json()["version"].as_str().unwrap().to_owned();
    assert!(
        version.starts_with('v') || version.starts_with("build-"),
        "{version}"
    );
    assert_eq!(answer.text(), format!("{{\"version\":\"{version}\"}}\n"));
}

#[tokio::test]
async fn the_built_in_registry_is_described_and_listed() {
    let server = built_in().await;
    let answer = server.get("/api/v1beta/registry").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let list = answer.json();
    assert_eq!(
        list.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["registries"]
    );
    let only = &list["registries"][0];
    assert_eq!(list["registries"].as_array().unwrap().len(), 1);
    assert_eq!(
        keys(only, &answer),
        [
            "name",
            "version",
            "last_updated",
            "server_count",
            "type",
            "source",
            "auth_status",
            "auth_type"
        ]
    );
    assert_eq!(only["name"], "default");
    assert_eq!(only["type"], "default");
    assert_eq!(only["source"], "");
    assert_eq!(only["auth_status"], "none");
    assert_eq!(only["auth_type"], "");
    assert!(only["server_count"].as_u64().unwrap() > 0);

    let item = server.get("/api/v1beta/registry/default").await.json();
    for key in [
        "name",
        "version",
        "last_updated",
        "server_count",
        "type",
        "source",
        "auth_status",
        "auth_type",
    ] {
        assert_eq!(item[key], only[key], "{key}");
    }
    let registry = &item["registry"];
    assert!(registry["servers"]["io.github.stacklok/osv"]["image"].is_string());
    assert!(!registry["remote_servers"].as_object().unwrap().is_empty());

    let servers = server
        .get("/api/v1beta/registry/default/servers")
        .await
        .json();
    assert!(
        servers["servers"].as_array().unwrap().len()
            + servers["remote_servers"].as_array().unwrap().len()
            >= 20
    );
    let all = server
        .get("/registry/default/v0.1/servers?limit=200")
        .await
        .json();
    assert!(
        all["metadata"]["total"].as_u64().unwrap() >= 40,
        "{}",
        all["metadata"]
    );
}

#[tokio::test]
async fn one_server_is_found_by_full_and_by_short_name() {
    let server = built_in().await;
    for path in ["osv", "io.github.stacklok%2Fosv"] {
        let answer = server
            .get(&format!("/api/v1beta/registry/default/servers/{path}"))
            .await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let found = answer.json();
        assert_eq!(found["server"]["name"], "io.github.stacklok/osv");
        assert_eq!(found["is_remote"], false);
        assert!(found.get("remote_server").is_none());
    }
    let answer = server
        .get("/api/v1beta/registry/default/servers/no-such-server")
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "Server not found\n")
    );
}

#[tokio::test]
async fn names_other_than_default_are_not_found() {
    let server = built_in().await;
    for path in ["", "/servers", "/servers/osv"] {
        let answer = server
            .get(&format!("/api/v1beta/registry/other{path}"))
            .await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "Registry not found\n"),
            "{path}"
        );
    }
    let answer = server.put("/api/v1beta/registry/other", &json!({})).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "Registry not found\n")
    );
    let answer = server
        .post("/api/v1beta/registry/other/refresh", &json!({}))
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "Registry not found\n")
    );
    let answer = server.address().delete("/api/v1beta/registry/other").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "Registry not found\n")
    );
}

#[tokio::test]
async fn registries_cannot_be_added_and_the_default_cannot_be_removed() {
    let server = built_in().await;
    let answer = server
        .post("/api/v1beta/registry", &json!({"name": "mine"}))
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (501, "Adding custom registries is not currently supported\n")
    );
    let answer = server
        .address()
        .delete("/api/v1beta/registry/default")
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (400, "Cannot remove the default registry\n")
    );
}

#[tokio::test]
async fn the_container_view_shows_all_that_the_document_says_about_the_image() {
    let server = serving([fixture::rich_container()]).await;
    let answer = server
        .get("/api/v1beta/registry/default/servers/ledger")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json()["server"],
        json!({
            "name": "test.rich/ledger", "title": "Ledger", "description": "Keeps <ledgers> & more",
            "tier": "Official", "status": "active", "transport": "streamable-http", "tools": ["post", "balance"],
            "metadata": {"stars": 12}, "repository_url": "https://git.example.test/ledger", "tags": ["money"],
            "image": "registry.example.test/ledger:3.1.4", "target_port": 8123,
            "env_vars": [
                {"name": "LEDGER_ROOT", "description": "Where", "required": false, "default": "/srv"},
                {"name": "LEDGER_PIN", "description": "", "required": true, "secret": true},
            ],
            "args": ["--mode", "strict", "run"],
        })
    );
    let text = answer.text();
    assert!(
        text.contains(r"Keeps \u003cledgers\u003e \u0026 more"),
        "{text}"
    );
    assert!(
        text.ends_with("}\n") && !text.contains("\": "),
        "compact, with a line end: {text}"
    );
}

#[tokio::test]
async fn w33_deprecated_is_said_whatever_the_case() {
    let mut shouting = fixture::container("test.old/upper", "registry.example.test/u:1");
    shouting["_meta"] = json!({generate::PUBLISHER: {"io.github.stacklok": {"registry.example.test/u:1": {"status": "Deprecated"}}}});
    let mut quiet = fixture::container("test.old/lower", "registry.example.test/l:1");
    quiet["_meta"] = json!({generate::PUBLISHER: {"io.github.stacklok": {"registry.example.test/l:1": {"status": "deprecated"}}}});
    let server = serving([shouting, quiet]).await;
    let list = server.cli(&["registry", "list"]).await;
    assert_eq!(list.code, 0, "{list:?}");
    assert_eq!(
        list.stdout.to_uppercase().matches("DEPRECATED").count(),
        2,
        "{}",
        list.stdout
    );
}
