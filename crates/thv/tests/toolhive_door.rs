//! `/registry/{name}/v0.1/**`: the door in `ToolHive`'s own shape, with pages, a text filter, and the documents as they came.

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

fn names(list: &Value) -> Vec<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn w23_pages_are_stable_and_complete() {
    let rows = generate::servers(430, 5);
    let document = generate::document(&rows, &[], &[]).to_string();
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&document);
    })
    .await;
    let mut expected: Vec<String> = rows
        .iter()
        .filter(|row| row.is_latest && row.status != "deleted")
        .map(|row| row.name.clone())
        .collect();
    expected.sort();
    let mut walks = Vec::new();
    for _ in 0..2 {
        let mut walk = Vec::new();
        for page in 1.. {
            let body = server
                .get(&format!(
                    "/registry/default/v0.1/servers?page={page}&limit=70"
                ))
                .await
                .json();
            assert_eq!(
                body["metadata"],
                json!({"total": expected.len(), "page": page, "limit": 70})
            );
            let found = names(&body["servers"]);
            if found.is_empty() {
                break;
            }
            walk.extend(found);
        }
        walks.push(walk);
    }
    assert_eq!(walks[0], expected, "every name once, in order");
    assert_eq!(walks[0], walks[1]);

    let first = server.get("/api/v1beta/registry/default/servers").await;
    let second = server.get("/api/v1beta/registry/default/servers").await;
    assert_eq!(first.body, second.body);
    for list in ["servers", "remote_servers"] {
        let found = names(&first.json()[list]);
        assert!(found.is_sorted(), "{list}: {found:?}");
    }
}

#[tokio::test]
async fn f30_pages_past_the_end_are_empty_and_odd_numbers_are_clamped() {
    let server = built_in().await;
    let metadata = |answer: &Answer| answer.json()["metadata"].clone();
    let answer = server
        .get("/registry/default/v0.1/servers?page=9223372036854775807&limit=1")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["servers"], json!([]));
    for (query, page, limit) in [
        ("", 1, 50),
        ("page=0&limit=0", 1, 50),
        ("page=-3&limit=-1", 1, 50),
        ("page=x&limit=y", 1, 50),
        ("page=2&limit=999", 2, 200),
        ("page=99999999999999999999&limit=200", 1, 200),
    ] {
        let answer = server
            .get(&format!("/registry/default/v0.1/servers?{query}"))
            .await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(metadata(&answer)["limit"], limit, "{query}");
        if page == 2 || !query.contains("999999") {
            assert_eq!(metadata(&answer)["page"], page, "{query}");
        }
        assert!(answer.json()["servers"].is_array(), "{query}");
    }
    for list in ["skills", "plugins"] {
        let answer = server
            .get(&format!(
                "/registry/default/v0.1/x/dev.toolhive/{list}?q=no-such-thing-at-all"
            ))
            .await;
        assert_eq!(
            answer.json(),
            json!({list: [], "metadata": {"total": 0, "page": 1, "limit": 50}})
        );
    }
}

#[tokio::test]
async fn the_text_filter_looks_into_names_and_descriptions_in_any_case() {
    let server = serving(fixture::every_kind()).await;
    for (q, expected) in [
        ("LEDGER", vec!["test.rich/ledger"]),
        ("somewhere%20ELSE", vec!["test.kind/remote"]),
        (
            "test.kind%2Fn",
            vec!["test.kind/nothing-to-run", "test.kind/npm"],
        ),
        ("absent", vec![]),
    ] {
        let body = server
            .get(&format!("/registry/default/v0.1/servers?q={q}"))
            .await
            .json();
        assert_eq!(names(&body["servers"]), expected, "{q}");
        assert_eq!(body["metadata"]["total"], expected.len(), "{q}");
    }
}

#[tokio::test]
async fn w28_nothing_of_an_entry_is_lost() {
    let kinds = fixture::every_kind();
    let server = serving(kinds.clone()).await;
    let body = server.get("/registry/default/v0.1/servers").await.json();
    assert_eq!(body["metadata"]["total"], kinds.len());
    for original in &kinds {
        let name = original["name"].as_str().unwrap();
        let listed = body["servers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item["name"] == name)
            .unwrap();
        assert_eq!(
            listed, original,
            "the list gives the document of {name} as it came"
        );
        let path = format!(
            "/registry/default/v0.1/servers/{}/versions/latest",
            name.replace('/', "%2F")
        );
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(&answer.json(), original, "{path}");
    }
    let view = server
        .get("/api/v1beta/registry/default/servers")
        .await
        .json();
    assert_eq!(
        names(&view["servers"]),
        ["test.kind/container", "test.rich/ledger"]
    );
    assert_eq!(names(&view["remote_servers"]), ["test.kind/remote"]);
    let status = server
        .cli(&["registry", "status", "--format", "json"])
        .await;
    assert_eq!(status.code, 0, "{status:?}");
    for name in [
        "test.kind/npm",
        "test.kind/two-images",
        "test.kind/templated-port",
        "test.kind/nothing-to-run",
    ] {
        assert!(
            status.stdout.contains(name),
            "the status says that {name} has no view: {}",
            status.stdout
        );
    }
}

#[tokio::test]
async fn w32_an_ambiguous_short_name_is_answered_with_the_candidates() {
    let server = serving([
        fixture::container("org.one/clock", "registry.example.test/one:1"),
        fixture::container("io.github.stacklok/clock", "registry.example.test/two:1"),
    ])
    .await;
    for path in [
        "/api/v1beta/registry/default/servers/clock",
        "/registry/default/v0.1/servers/clock/versions/latest",
    ] {
        let answer = server.get(path).await;
        assert!(
            [400, 404, 409].contains(&answer.status),
            "{path}: {answer:?}"
        );
        for candidate in ["org.one/clock", "io.github.stacklok/clock"] {
            assert!(
                answer.text().contains(candidate),
                "{path} names {candidate}: {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn bad_escapes_in_a_name_are_a_bad_request() {
    let server = built_in().await;
    let answer = server
        .get("/registry/default/v0.1/servers/%zz/versions/latest")
        .await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(
        answer.json(),
        json!({"code": "bad_request", "message": "Invalid server name encoding"})
    );
    let answer = server
        .get("/registry/default/v0.1/servers/no%2Fbody/versions/latest")
        .await;
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(
        answer.json(),
        json!({"code": "not_found", "message": "Server not found"})
    );
}

#[tokio::test]
async fn skills_and_plugins_are_listed_filtered_and_shown() {
    let skills = generate::skills(7, 1);
    let plugins = generate::plugins(3, 1);
    let document = generate::document(&[], &skills, &plugins).to_string();
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&document);
    })
    .await;
    for (kind, items, missing) in [
        ("skills", &skills, "Skill not found"),
        ("plugins", &plugins, "Plugin not found"),
    ] {
        let base = format!("/registry/default/v0.1/x/dev.toolhive/{kind}");
        let body = server.get(&format!("{base}?page=1&limit=24")).await.json();
        assert_eq!(
            body["metadata"],
            json!({"total": items.len(), "page": 1, "limit": 24})
        );
        assert_eq!(body[kind].as_array().unwrap().len(), items.len());
        let one = &items[0];
        let (namespace, name) = (
            one["namespace"].as_str().unwrap(),
            one["name"].as_str().unwrap(),
        );
        assert_eq!(
            &server
                .get(&format!("{base}/{namespace}/{name}"))
                .await
                .json(),
            one
        );
        let filtered = server
            .get(&format!("{base}?q={}", name.to_uppercase()))
            .await
            .json();
        assert_eq!(names(&filtered[kind]), [name]);
        let answer = server.get(&format!("{base}/{namespace}/nobody")).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert_eq!(
            answer.json(),
            json!({"code": "not_found", "message": missing})
        );
    }
}
