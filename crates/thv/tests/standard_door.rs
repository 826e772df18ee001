//! The standard MCP Registry API at the root: what any client that speaks v0.1 sees, whatever the source is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::sync::Arc;

use serde_json::Value;
use thv_testkit::binary::{Server, Setup};
use thv_testkit::client::{Call, Method};
use thv_testkit::fixture;
use thv_testkit::generate::{self, OFFICIAL, Row};
use thv_testkit::home::Home;
use thv_testkit::registry::FakeRegistry;

const THV: &str = env!("CARGO_BIN_EXE_thv");

async fn over_file(rows: &[Row]) -> Server {
    let document = generate::document(rows, &[], &[]).to_string();
    Server::in_new_home(THV, |home| {
        home.use_document(&document);
    })
    .await
}

async fn over_api(registry: &FakeRegistry) -> Server {
    Server::in_new_home(THV, |home| home.use_api(&registry.url())).await
}

fn names(page: &Value) -> Vec<String> {
    page["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["server"]["name"].as_str().unwrap().to_owned())
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('/', "%2F")
        .replace(':', "%3A")
        .replace('+', "%2B")
        .replace('=', "%3D")
        .replace('&', "%26")
}

/// All names, by following the cursors.
async fn walk(server: &Server, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    for _ in 0..200 {
        let page = server.get(&format!("/v0.1/servers?{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        assert_eq!(
            page["metadata"]["count"],
            page["servers"].as_array().unwrap().len()
        );
        found.extend(names(&page));
        match page["metadata"]["nextCursor"].as_str() {
            Some(next) if !next.is_empty() => cursor = format!("&cursor={}", escaped(next)),
            _ => return found,
        }
    }
    panic!("the cursors never end: {} names", found.len());
}

#[tokio::test]
async fn w29_the_list_has_the_standard_envelope() {
    let server = over_file(&fixture::rows(fixture::every_kind())).await;
    let page = server.get("/v0.1/servers").await;
    assert!(
        page.header("content-type").starts_with("application/json"),
        "{page:?}"
    );
    let page = page.json();
    for (row, original) in page["servers"].as_array().unwrap().iter().zip({
        let mut kinds = fixture::every_kind();
        kinds.sort_by_key(|kind| kind["name"].as_str().unwrap().to_owned());
        kinds
    }) {
        assert_eq!(row["server"], original);
        assert_eq!(row["_meta"][OFFICIAL]["isLatest"], true);
        assert_eq!(row["_meta"][OFFICIAL]["status"], "active");
    }
    assert_eq!(page["metadata"]["count"], 7);
    assert!(
        page["metadata"]
            .get("nextCursor")
            .is_none_or(|next| next.is_null() || next == "")
    );
}

#[tokio::test]
async fn w23_cursors_lead_through_every_server_once() {
    let rows = generate::servers(333, 9);
    let server = over_file(&rows).await;
    let mut expected: Vec<String> = rows
        .iter()
        .filter(|row| row.is_latest && row.status != "deleted")
        .map(|row| row.name.clone())
        .collect();
    expected.sort();
    assert_eq!(walk(&server, "limit=50").await, expected);
    assert_eq!(walk(&server, "limit=100&version=latest").await, expected);
    assert_eq!(walk(&server, "").await, expected, "the default limit");
}

#[tokio::test]
async fn limits_outside_of_1_to_100_are_refused_or_clamped_never_an_error_of_ours() {
    let server = over_file(&generate::servers(150, 2)).await;
    for (limit, most) in [
        ("1", 1),
        ("100", 100),
        ("0", 100),
        ("101", 100),
        ("-1", 100),
        ("x", 100),
        ("99999999999999999999", 100),
    ] {
        let page = server.get(&format!("/v0.1/servers?limit={limit}")).await;
        match page.status {
            200 => assert!(
                page.json()["servers"].as_array().unwrap().len() <= most,
                "limit={limit}"
            ),
            400 | 422 => assert!(!["1", "100"].contains(&limit), "limit={limit}: {page:?}"),
            _ => panic!("limit={limit}: {page:?}"),
        }
    }
    let page = server.get("/v0.1/servers?cursor=%00%FFnonsense").await;
    assert!([200, 400, 422].contains(&page.status), "{page:?}");
}

#[tokio::test]
async fn search_combines_with_cursors() {
    let server = over_file(&generate::servers(300, 4)).await;
    let all = walk(&server, "").await;
    let expected: Vec<String> = all
        .iter()
        .filter(|name| name.contains("weather"))
        .cloned()
        .collect();
    assert!(expected.len() > 3);
    let found = walk(&server, "search=WEATHER&limit=2").await;
    let by_name: Vec<String> = found
        .iter()
        .filter(|name| name.contains("weather"))
        .cloned()
        .collect();
    assert_eq!(by_name, expected);
}

#[tokio::test]
async fn the_history_of_a_server_is_asked_of_the_api_upstream_on_demand() {
    let registry = FakeRegistry::start().await;
    for (version, latest) in [("1.0.0", false), ("1.1.0", false), ("2.0.0+build.7", true)] {
        let mut server = fixture::container("test.many/versions", "registry.example.test/many:1");
        server["version"] = version.into();
        let mut row = Row::of(server, &generate::moment(version.len()));
        row.is_latest = latest;
        registry.upsert(row);
    }
    let server = over_api(&registry).await;
    assert_eq!(walk(&server, "").await, ["test.many/versions"]);
    registry.clear_journal();
    let history = server
        .get("/v0.1/servers/test.many%2Fversions/versions")
        .await;
    assert_eq!(history.status, 200, "{history:?}");
    let versions: Vec<Value> = history.json()["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["server"]["version"].clone())
        .collect();
    assert_eq!(
        versions,
        ["2.0.0+build.7", "1.1.0", "1.0.0"],
        "newest first"
    );
    assert_eq!(
        registry
            .requests_for("/v0.1/servers/test.many%2Fversions/versions")
            .len(),
        1
    );

    for (asked, given) in [
        ("latest", "2.0.0+build.7"),
        ("1.1.0", "1.1.0"),
        ("2.0.0%2Bbuild.7", "2.0.0+build.7"),
    ] {
        let answer = server
            .get(&format!(
                "/v0.1/servers/test.many%2Fversions/versions/{asked}"
            ))
            .await;
        assert_eq!(answer.status, 200, "{asked}: {answer:?}");
        assert_eq!(answer.json()["server"]["version"], given, "{asked}");
        assert_eq!(
            answer.json()["_meta"][OFFICIAL]["isLatest"],
            given.starts_with('2'),
            "{asked}"
        );
    }
    for path in ["versions/9.9.9", "versions/9.9.9/"] {
        assert_eq!(
            server
                .get(&format!("/v0.1/servers/test.many%2Fversions/{path}"))
                .await
                .status,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn unknown_servers_are_404_on_every_path() {
    let server = over_file(&generate::servers(5, 1)).await;
    for path in ["versions", "versions/latest", "versions/1.0.0"] {
        let answer = server
            .get(&format!("/v0.1/servers/test.nobody%2Fhome/{path}"))
            .await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(
            answer.header("content-type").contains("json"),
            "{path}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_file_source_has_a_history_of_one() {
    let server = over_file(&fixture::rows([fixture::rich_container()])).await;
    let history = server
        .get("/v0.1/servers/test.rich%2Fledger/versions")
        .await
        .json();
    assert_eq!(names(&history), ["test.rich/ledger"]);
    let exact = server
        .get("/v0.1/servers/test.rich%2Fledger/versions/3.1.4")
        .await
        .json();
    assert_eq!(exact["server"], fixture::rich_container());
}

#[tokio::test]
async fn changes_since_a_time_include_the_deleted() {
    let registry = FakeRegistry::start().await;
    for (name, step) in [("test.t/a", 0), ("test.t/b", 100), ("test.t/c", 200)] {
        registry.upsert(Row::of(
            fixture::remote(name, "https://x.example.test/mcp"),
            &generate::moment(step),
        ));
    }
    let server = over_api(&registry).await;
    assert_eq!(
        walk(&server, "").await,
        ["test.t/a", "test.t/b", "test.t/c"]
    );
    assert_eq!(
        walk(
            &server,
            &format!("updated_since={}", escaped(&generate::moment(100)))
        )
        .await,
        ["test.t/b", "test.t/c"]
    );
    assert_eq!(
        walk(
            &server,
            &format!("updated_since={}", escaped(&generate::moment(201)))
        )
        .await,
        Vec::<String>::new()
    );
    let bad = server.get("/v0.1/servers?updated_since=yesterday").await;
    assert!([400, 422].contains(&bad.status), "{bad:?}");
}

#[tokio::test]
async fn deprecated_servers_say_so_and_deleted_ones_are_gone() {
    let registry = FakeRegistry::start().await;
    for name in ["test.s/fine", "test.s/old", "test.s/gone"] {
        registry.upsert(Row::of(
            fixture::remote(name, "https://x.example.test/mcp"),
            &generate::moment(0),
        ));
    }
    registry.set_status("test.s/old", "deprecated", &generate::moment(1));
    registry.set_status("test.s/gone", "deleted", &generate::moment(1));
    let server = over_api(&registry).await;
    assert_eq!(walk(&server, "").await, ["test.s/fine", "test.s/old"]);
    let old = server
        .get("/v0.1/servers/test.s%2Fold/versions/latest")
        .await
        .json();
    assert_eq!(old["_meta"][OFFICIAL]["status"], "deprecated");
    let view = server
        .get("/api/v1beta/registry/default/servers/old")
        .await
        .json();
    assert_eq!(view["remote_server"]["status"], "Deprecated");
    assert_eq!(
        server
            .get("/v0.1/servers/test.s%2Fgone/versions/latest")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn pages_of_named_origins_may_read_the_standard_door_and_nothing_else() {
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home)
        .arg("--cors-origin=https://app.example")
        .start()
        .await;
    let from = |origin: &str, path: &str| {
        let call = Call::get(path).header("origin", origin);
        let address = server.address().clone();
        async move { call.to(&address).await }
    };
    let allowed = from("https://app.example", "/v0.1/servers?limit=1").await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        "https://app.example"
    );
    let stranger = from("https://other.example", "/v0.1/servers?limit=1").await;
    assert_eq!(
        stranger.header("access-control-allow-origin"),
        "",
        "{stranger:?}"
    );
    let elsewhere = from("https://app.example", "/api/v1beta/registry").await;
    assert_eq!(
        elsewhere.header("access-control-allow-origin"),
        "",
        "{elsewhere:?}"
    );

    let preflight = Call::new(Method::OPTIONS, "/v0.1/servers")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET")
        .to(server.address())
        .await;
    assert!([200, 204].contains(&preflight.status), "{preflight:?}");
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        "https://app.example"
    );
    assert!(
        preflight
            .header("access-control-allow-methods")
            .contains("GET"),
        "{preflight:?}"
    );
}
