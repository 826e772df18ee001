//! One `thv` reads its catalog from another: the standard door is an API registry like any other.

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
use thv_testkit::client::Address;
use thv_testkit::generate;
use thv_testkit::registry::FakeRegistry;

const THV: &str = env!("CARGO_BIN_EXE_thv");

async fn all(address: &Address) -> Vec<Value> {
    let mut found = Vec::new();
    for page in 1.. {
        let body = address
            .get(&format!(
                "/registry/default/v0.1/servers?limit=200&page={page}"
            ))
            .await
            .json();
        let servers = body["servers"].as_array().unwrap().clone();
        if servers.is_empty() {
            break;
        }
        found.extend(servers);
    }
    found
}

#[tokio::test]
async fn a_second_thv_shows_the_catalog_of_the_first() {
    let rows = generate::servers(260, 3);
    let document = generate::document(&rows, &[], &[]).to_string();
    let first = Server::in_new_home(THV, |home| {
        home.use_document(&document);
    })
    .await;
    let second = Server::in_new_home(THV, |_| {}).await;
    let answer = second
        .put(
            "/api/v1beta/registry/default",
            &json!({"api_url": first.url(), "allow_private_ip": true}),
        )
        .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"type": "api"})),
        "{answer:?}"
    );
    assert_eq!(all(second.address()).await, all(first.address()).await);

    let view = |address: Address| async move {
        address
            .get("/api/v1beta/registry/default/servers")
            .await
            .json()
    };
    assert_eq!(
        view(second.address().clone()).await,
        view(first.address().clone()).await
    );
}

#[tokio::test]
async fn the_command_line_recognises_our_own_door_as_an_api() {
    let first = Server::in_new_home(THV, |_| {}).await;
    let home = thv_testkit::home::Home::new();
    let ran =
        thv_testkit::binary::cli(THV, &home, &["config", "set-registry", &first.url(), "-p"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let shown = thv_testkit::binary::cli(THV, &home, &["config", "get-registry"]).await;
    assert_eq!(
        shown.stdout.trim_end(),
        format!("Current registry: {} (API endpoint)", first.url())
    );
    let found =
        thv_testkit::binary::cli(THV, &home, &["registry", "info", "osv", "--format", "json"])
            .await;
    assert_eq!(found.code, 0, "{found:?}");
    assert_eq!(found.json()["name"], "io.github.stacklok/osv");
}

#[tokio::test]
async fn status_and_history_pass_through_two_hops() {
    let registry = FakeRegistry::start().await;
    registry.extend(generate::servers(120, 6));
    let first = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    let second = Server::in_new_home(THV, |home| home.use_api(&first.url())).await;
    let rows = generate::servers(120, 6);
    let old = rows
        .iter()
        .find(|row| row.status == "deprecated" && row.is_latest)
        .unwrap();
    let path = format!(
        "/v0.1/servers/{}/versions/latest",
        old.name.replace('/', "%2F")
    );
    let answer = second.get(&path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json()["_meta"][generate::OFFICIAL]["status"],
        "deprecated"
    );
    assert_eq!(answer.json()["server"], old.server);

    let many = rows
        .iter()
        .filter(|row| row.status == "active")
        .find(|row| !row.is_latest)
        .unwrap();
    let path = format!("/v0.1/servers/{}/versions", many.name.replace('/', "%2F"));
    let expected = registry_versions(&rows, &many.name);
    let answer = second.get(&path).await.json();
    assert_eq!(
        answer["servers"].as_array().unwrap().len(),
        expected,
        "{path}"
    );
}

fn registry_versions(rows: &[generate::Row], name: &str) -> usize {
    rows.iter().filter(|row| row.name == name).count()
}
