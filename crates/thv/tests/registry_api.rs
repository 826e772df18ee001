//! The doors that clients of the Go program use: `/health`, `/api/v1beta/**` and `/registry/{name}/v0.1/**`, over
//! sources that work. What happens when a source does not is in `faults.rs`.

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
use thv_testkit::client::{Answer, Call, Method};
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

fn names(list: &Value) -> Vec<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
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
async fn every_answer_carries_the_security_headers() {
    let server = built_in().await;
    for path in [
        "/health",
        "/nowhere",
        "/api/v1beta/version",
        "/api/v1beta/registry/nope",
        "/registry/default/v0.1/servers",
        "/v0.1/servers",
    ] {
        let answer = server.get(path).await;
        assert_eq!(
            answer.header("x-content-type-options"),
            "nosniff",
            "{path}: {answer:?}"
        );
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            "same-origin",
            "{path}: {answer:?}"
        );
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
async fn unknown_paths_and_wrong_methods_answer_as_the_go_program_does() {
    let server = built_in().await;
    let answer = server.get("/nowhere").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (404, "404 page not found\n")
    );
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    for path in [
        "/api/v1beta/registry",
        "/api/v1beta/version",
        "/registry/default/v0.1/servers",
    ] {
        for method in [Method::HEAD, Method::OPTIONS, Method::PATCH] {
            let answer = Call::new(method.clone(), path).to(server.address()).await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            assert!(answer.body.is_empty(), "{method} {path}: {answer:?}");
            let allow: Vec<&str> = answer
                .headers
                .get_all("allow")
                .iter()
                .map(|value| value.to_str().unwrap())
                .collect();
            assert!(allow.contains(&"GET"), "{method} {path}: {allow:?}");
        }
    }
    let answer = server.get("/api/v1beta/registry/default/").await;
    assert_eq!(
        answer.status, 404,
        "a slash after the name is no route: {answer:?}"
    );
    for path in [
        "/api/v1beta/registry/",
        "/api/v1beta/registry/default/servers/",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
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

#[tokio::test]
async fn bodies_are_compressed_only_for_clients_that_ask() {
    let server = built_in().await;
    for path in [
        "/api/v1beta/registry/default/servers",
        "/registry/default/v0.1/servers",
        "/v0.1/servers",
    ] {
        let plain = server.get(path).await;
        assert_eq!(plain.header("content-encoding"), "", "{path}");
        let packed = Call::get(path)
            .header("accept-encoding", "gzip")
            .to(server.address())
            .await;
        assert_eq!(packed.header("content-encoding"), "gzip", "{path}");
        assert!(packed.body.len() < plain.body.len() / 2, "{path}");
        assert!(
            packed
                .header("vary")
                .to_lowercase()
                .contains("accept-encoding"),
            "{path}: {packed:?}"
        );
        let refused = Call::get(path)
            .header("accept-encoding", "gzip;q=0")
            .to(server.address())
            .await;
        assert_eq!(refused.header("content-encoding"), "", "{path}");
    }
}

#[tokio::test]
async fn catalog_reads_are_revalidated_with_etags() {
    let server = built_in().await;
    for path in [
        "/api/v1beta/registry",
        "/api/v1beta/registry/default",
        "/api/v1beta/registry/default/servers",
        "/api/v1beta/registry/default/servers/osv",
        "/registry/default/v0.1/servers?page=1&limit=5",
        "/registry/default/v0.1/x/dev.toolhive/skills",
        "/v0.1/servers?limit=3",
        "/v0.1/servers/io.github.stacklok%2Fosv/versions/latest",
    ] {
        let first = server.get(path).await;
        let tag = first.header("etag").to_owned();
        assert!(tag.ends_with('"') && tag.len() > 4, "{path}: {first:?}");
        let again = Call::get(path)
            .header("if-none-match", &tag)
            .to(server.address())
            .await;
        assert_eq!(
            (again.status, again.body.len()),
            (304, 0),
            "{path}: {again:?}"
        );
        assert_eq!(again.header("etag"), tag, "{path}");
        let other = Call::get(path)
            .header("if-none-match", "\"something-else\"")
            .to(server.address())
            .await;
        assert_eq!((other.status, other.body), (200, first.body), "{path}");
    }
}

#[tokio::test]
async fn a_tag_changes_with_the_catalog_and_with_the_encoding() {
    let document =
        |name: &str| fixture::registry_document([fixture::container(name, "r.example.test/x:1")]);
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&document("test.tag/before"));
    })
    .await;
    for path in [
        "/api/v1beta/registry/default/servers",
        "/registry/default/v0.1/servers",
        "/v0.1/servers",
    ] {
        server
            .home()
            .write("registry.json", document("test.tag/before"));
        server
            .post("/api/v1beta/registry/default/refresh", &json!({}))
            .await;
        let first = server.get(path).await;
        let tag = first.header("etag").to_owned();
        let packed = Call::get(path)
            .header("accept-encoding", "gzip")
            .to(server.address())
            .await;
        if packed.header("content-encoding") == "gzip" && !tag.starts_with("W/") {
            assert_ne!(
                packed.header("etag"),
                tag,
                "{path}: a strong tag is about bytes"
            );
        }
        server
            .home()
            .write("registry.json", document("test.tag/after"));
        server
            .post("/api/v1beta/registry/default/refresh", &json!({}))
            .await;
        let changed = Call::get(path)
            .header("if-none-match", &tag)
            .to(server.address())
            .await;
        assert_eq!(changed.status, 200, "{path}: {changed:?}");
        assert!(
            changed.text().contains("test.tag/after"),
            "{path}: {changed:?}"
        );
    }
}

#[tokio::test]
async fn text_errors_become_json_for_clients_that_ask_for_json() {
    let server = built_in().await;
    let call = |accept: &'static str| {
        let call = Call::get("/api/v1beta/registry/other").header("accept", accept);
        async { call.to(server.address()).await }
    };
    let text = call("*/*").await;
    assert_eq!(text.text(), "Registry not found\n");
    let structured = call("application/json").await;
    assert_eq!(structured.status, 404);
    let body = structured.json();
    assert_eq!(body["message"], "Registry not found");
    assert!(body["code"].is_string(), "{body}");
}

#[tokio::test]
async fn the_openapi_document_is_served_behind_its_flag() {
    let without = built_in().await;
    assert_eq!(without.get("/api/openapi.json").await.status, 404);
    assert_eq!(without.get("/api/doc").await.status, 404);
    drop(without);
    let home = std::sync::Arc::new(thv_testkit::home::Home::new());
    let server = thv_testkit::binary::Setup::new(THV, &home)
        .arg("--openapi")
        .start()
        .await;
    let document = server.get("/api/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "ToolHive API");
    for path in [
        "/health",
        "/api/v1beta/registry/{name}/servers",
        "/v0.1/servers",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let page = server.get("/api/doc").await;
    assert!(
        page.header("content-type").starts_with("text/html"),
        "{page:?}"
    );
    assert!(
        !page.text().contains("https://cdn."),
        "all assets are ours: {}",
        page.text()
    );
}

#[tokio::test]
async fn input_is_read_as_the_go_program_reads_it() {
    let server = built_in().await;
    let path = server.home().write(
        "r.json",
        fixture::registry_document([fixture::npm("test.in/put", "@example/i")]),
    );
    let path = path.display();
    for body in [
        format!(r#"{{"LOCAL_PATH":"{path}"}}"#),
        format!(r#"{{"local_path":"/nowhere","local_path":"{path}","more":{{"unknown":[1]}}}}"#),
        format!(
            r#"{{"local_path":"{path}","url":null,"api_url":null,"auth":null,"allow_private_ip":null}}"#
        ),
        format!(r#"{{"local_path":"{path}"}} trailing words"#),
    ] {
        let answer = Call::new(Method::PUT, "/api/v1beta/registry/default")
            .header("content-type", "application/json")
            .body(body.clone())
            .to(server.address())
            .await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "{\"type\":\"file\"}\n"),
            "{body}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn no_path_is_too_odd_for_an_answer() {
    let server = built_in().await;
    let long = "a".repeat(6000);
    for path in [
        "//".to_owned(),
        "/api/v1beta/registry/%2e%2e%2f%2e%2e%2fetc%2fpasswd".to_owned(),
        "/api/v1beta/registry/default/servers/%00".to_owned(),
        "/api/v1beta/registry/default/servers/%ff%fe".to_owned(),
        "/registry/%ff/v0.1/servers".to_owned(),
        format!("/v0.1/servers?search={long}"),
        format!("/v0.1/servers/{long}/versions/latest"),
        "/v0.1/servers?cursor=%ff%fe&limit=&search=%zz&&=&version=".to_owned(),
        "/registry/default/v0.1/servers?q=%&page=%31&limit=5;6".to_owned(),
    ] {
        let answer = server.get(&path).await;
        assert!((200..500).contains(&answer.status), "{path}: {answer:?}");
    }
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}
