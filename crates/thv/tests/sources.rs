//! Reading a source once it is set: files that change, and API registries with all their pages and oddities.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::time::{Duration, Instant};

use serde_json::json;
use thv_testkit::binary::Server;
use thv_testkit::fixture;
use thv_testkit::generate::{self, Row, moment};
use thv_testkit::registry::{FakeRegistry, Fault, Rule, SERVERS};
use thv_testkit::wait::{PATIENCE, until};

const THV: &str = env!("CARGO_BIN_EXE_thv");
const DEFAULT: &str = "/api/v1beta/registry/default";

async fn built_in() -> Server {
    Server::in_new_home(THV, |_| {}).await
}

async fn names(server: &Server) -> Vec<String> {
    let mut found = Vec::new();
    for page in 1.. {
        let answer = server
            .get(&format!(
                "/registry/default/v0.1/servers?limit=200&page={page}"
            ))
            .await;
        if answer.status != 200 {
            return vec![format!("{answer:?}")];
        }
        let body = answer.json();
        let servers = body["servers"].as_array().unwrap();
        if servers.is_empty() {
            break;
        }
        found.extend(
            servers
                .iter()
                .map(|server| server["name"].as_str().unwrap().to_owned()),
        );
    }
    found
}

async fn until_names(server: &Server, expected: &[&str]) {
    until(&format!("{expected:?}"), PATIENCE, || async {
        (names(server).await == expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_of_the_file_is_noticed() {
    let document = |name: &str| fixture::registry_document([fixture::npm(name, "@example/x")]);
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&document("test.file/before"));
    })
    .await;
    assert_eq!(names(&server).await, ["test.file/before"]);
    server
        .home()
        .write("registry.json", document("test.file/after"));
    until_names(&server, &["test.file/after"]).await;
    // As an editor does it: a new file under the old name.
    let new = server
        .home()
        .write("registry.json.new", document("test.file/renamed"));
    std::fs::rename(new, server.home().join("registry.json")).unwrap();
    until_names(&server, &["test.file/renamed"]).await;
}

#[tokio::test]
async fn a_file_that_breaks_is_said_to_be_stale_and_heals() {
    let document = |name: &str| fixture::registry_document([fixture::npm(name, "@example/x")]);
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&document("test.file/good"));
    })
    .await;
    assert_eq!(names(&server).await, ["test.file/good"]);
    server.home().write("registry.json", "{\"version\":");
    // The broken state may or may not be seen in between; what counts is that it ends.
    server
        .home()
        .write("registry.json", document("test.file/healed"));
    until_names(&server, &["test.file/healed"]).await;
}

#[tokio::test]
async fn more_than_ten_thousand_servers_are_read_to_the_end() {
    let registry = FakeRegistry::with_servers(10_700).await;
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    let total = until("the whole catalog", Duration::from_mins(3), || async {
        let answer = server.get("/registry/default/v0.1/servers?limit=1").await;
        if answer.status == 200 {
            answer.json()["metadata"]["total"].as_u64()
        } else {
            None
        }
    })
    .await;
    assert_eq!(total, registry.live_names().len() as u64);
    let first = &registry.requests_for(SERVERS)[0];
    assert_eq!(first.param("limit"), Some("100"));
    assert_eq!(first.param("cursor"), None);
    assert!(
        first.header("user-agent").unwrap().starts_with("ToolHive/"),
        "{first:?}"
    );
}

#[tokio::test]
async fn latest_wins_deleted_is_dropped_deprecated_is_marked() {
    let registry = FakeRegistry::start().await;
    let row = |name: &str, version: &str, latest: bool| {
        let mut server = fixture::container(name, "registry.example.test/x:1");
        server["version"] = version.into();
        let mut row = Row::of(server, &moment(0));
        row.is_latest = latest;
        row
    };
    registry.extend([
        row("test.v/many", "2.0.0", false),
        row("test.v/many", "1.9.9", true),
        row("test.v/one", "1.0.0", true),
    ]);
    registry.extend([
        row("test.v/old", "1.0.0", true),
        row("test.v/gone", "1.0.0", true),
    ]);
    registry.set_status("test.v/old", "deprecated", &moment(1));
    registry.set_status("test.v/gone", "deleted", &moment(1));
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    assert_eq!(
        names(&server).await,
        ["test.v/many", "test.v/old", "test.v/one"]
    );
    let many = server
        .get("/registry/default/v0.1/servers/test.v%2Fmany/versions/latest")
        .await
        .json();
    assert_eq!(many["version"], "1.9.9", "the registry's word decides");
    let old = server
        .get("/api/v1beta/registry/default/servers/old")
        .await
        .json();
    assert_eq!(old["server"]["status"], "Deprecated");
}

#[tokio::test]
async fn a_registry_without_its_own_metadata_is_read_too() {
    let registry = FakeRegistry::start().await;
    registry.send_official_meta(false);
    registry.extend(fixture::rows(fixture::every_kind()));
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    assert_eq!(names(&server).await, registry.live_names());
}

#[tokio::test]
async fn one_bad_row_does_not_spoil_its_page() {
    let registry = FakeRegistry::with_servers(8).await;
    for bad in [
        r#"{"server":{"description":"no name"}}"#,
        r#"{"server":17}"#,
        "null",
        r#"{"servre":{}}"#,
    ] {
        registry.add_raw_row(bad);
    }
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    assert_eq!(names(&server).await, registry.live_names());
    let status = server.cli(&["registry", "status"]).await;
    assert_eq!(status.code, 0, "{status:?}");
}

#[tokio::test]
async fn an_endless_or_repeated_cursor_is_an_outage_and_not_a_loop() {
    for fault in [Fault::RepeatedCursor, Fault::EndlessCursors] {
        let registry = FakeRegistry::with_servers(5).await;
        registry.break_with(Rule::always(fault.clone()).on(SERVERS));
        let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
        let answer = server.get("/registry/default/v0.1/servers").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "registry_unavailable"),
            "{fault:?}: {answer:?}"
        );
        assert!(
            registry.list_count() < 120,
            "{fault:?}: {} requests",
            registry.list_count()
        );
    }
}

#[tokio::test]
async fn a_page_that_fails_half_way_is_asked_again() {
    for fault in [
        Fault::Status(502),
        Fault::CutBody,
        Fault::BadJson,
        Fault::TooManyRequests { retry_after: 1 },
    ] {
        let registry = FakeRegistry::with_servers(350).await;
        registry.break_with(Rule::always(fault.clone()).on(SERVERS).after(2).times(1));
        let started = Instant::now();
        let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
        assert_eq!(names(&server).await, registry.live_names(), "{fault:?}");
        let pages = registry.requests_for(SERVERS);
        assert_eq!(
            pages[2].param("cursor"),
            pages[3].param("cursor"),
            "{fault:?}: from where it failed, not from the start"
        );
        if matches!(fault, Fault::TooManyRequests { .. }) {
            assert!(
                started.elapsed() >= Duration::from_secs(1),
                "Retry-After is honoured"
            );
        }
    }
}

#[tokio::test]
async fn skills_and_plugins_of_an_api_come_in_pages_too() {
    let registry = FakeRegistry::with_servers(3).await;
    registry.set_extensions(generate::skills(230, 1), generate::plugins(120, 1));
    let server = Server::in_new_home(THV, |home| home.use_api(&registry.url())).await;
    for (kind, count) in [("skills", 230), ("plugins", 120)] {
        let body = server
            .get(&format!(
                "/registry/default/v0.1/x/dev.toolhive/{kind}?limit=12"
            ))
            .await
            .json();
        assert_eq!(body["metadata"]["total"], count, "{kind}");
    }
}

#[tokio::test]
async fn a_base_url_may_have_a_path_and_a_trailing_slash() {
    let registry = FakeRegistry::with_servers(3).await;
    let server = built_in().await;
    let answer = server
        .put(
            DEFAULT,
            &json!({"api_url": format!("{}/", registry.url()), "allow_private_ip": true}),
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&server).await, registry.live_names());
    assert!(
        registry
            .requests()
            .iter()
            .all(|request| !request.path.contains("//")),
        "{:?}",
        registry.requests()
    );
}
