//! Setting a source: what each key means, what is checked before anything is stored, and which addresses are refused.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thv_testkit::binary::Server;
use thv_testkit::client::{Answer, Call, Method};
use thv_testkit::fixture;
use thv_testkit::generate;
use thv_testkit::home::Home;
use thv_testkit::registry::{FakeRegistry, Fault, SERVERS};
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

async fn info(server: &Server) -> Value {
    // The collection waits for a catalog much less than other reads do.
    let _ = server.get(DEFAULT).await;
    server.get("/api/v1beta/registry").await.json()["registries"][0].clone()
}

#[track_caller]
fn assert_text(answer: &Answer, status: u16, start: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(
        answer.header("content-type"),
        "text/plain; charset=utf-8",
        "{answer:?}"
    );
    let text = answer.text();
    assert!(
        text.starts_with(start) && text.ends_with('\n'),
        "expected {start:?}…, got {answer:?}"
    );
}

#[tokio::test]
async fn each_kind_is_set_by_its_key_and_reset_by_none() {
    let registry = FakeRegistry::with_servers(4).await;
    registry.put_document(
        "/registry.json",
        fixture::registry_document([fixture::npm("test.by/url", "@example/u")]),
    );
    let server = built_in().await;
    let path = server.home().write(
        "mine.json",
        fixture::registry_document([fixture::npm("test.by/file", "@example/f")]),
    );
    let local = path.display().to_string();
    let document = registry.at("/registry.json");
    for (body, kind, source) in [
        (json!({"local_path": local}), "file", local.clone()),
        (
            json!({"url": document, "allow_private_ip": true}),
            "url",
            document.clone(),
        ),
        (
            json!({"api_url": registry.url(), "allow_private_ip": true}),
            "api",
            registry.url(),
        ),
        (json!({}), "default", String::new()),
    ] {
        let answer = server.put(DEFAULT, &body).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        assert_eq!(answer.text(), format!("{{\"type\":\"{kind}\"}}\n"));
        let shown = info(&server).await;
        assert_eq!(
            (shown["type"].as_str(), shown["source"].as_str()),
            (Some(kind), Some(source.as_str()))
        );
        match kind {
            "file" => assert_eq!(names(&server).await, ["test.by/file"]),
            "url" => assert_eq!(names(&server).await, ["test.by/url"]),
            "api" => assert_eq!(names(&server).await, registry.live_names()),
            _ => assert!(names(&server).await.len() >= 40),
        }
    }
}

#[tokio::test]
async fn f28_the_next_call_on_every_route_reflects_the_change() {
    let server = built_in().await;
    let one = server.home().write(
        "one.json",
        fixture::registry_document([fixture::container("test.f28/one", "r.example.test/one:1")]),
    );
    let two = server.home().write(
        "two.json",
        fixture::registry_document([fixture::container("test.f28/two", "r.example.test/two:1")]),
    );
    for round in 0..6 {
        let (path, name) = if round % 2 == 0 {
            (&one, "test.f28/one")
        } else {
            (&two, "test.f28/two")
        };
        let answer = server
            .put(DEFAULT, &json!({"local_path": path.display().to_string()}))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        for route in [
            "/api/v1beta/registry/default",
            "/api/v1beta/registry/default/servers",
            "/registry/default/v0.1/servers",
            "/v0.1/servers",
        ] {
            let text = server.get(route).await.text();
            assert!(text.contains(name), "round {round}, {route}: {text}");
        }
        assert_eq!(info(&server).await["source"], path.display().to_string());
    }
}

#[tokio::test]
async fn bad_requests_are_refused_before_any_work() {
    let server = built_in().await;
    let before = server.home().config();
    for body in ["", "{", "nonsense", "[]"] {
        let answer = Call::new(Method::PUT, DEFAULT)
            .header("content-type", "application/json")
            .body(body)
            .to(server.address())
            .await;
        assert_text(&answer, 400, "Invalid request body");
    }
    let answer = server
        .put(
            DEFAULT,
            &json!({"url": "https://a.example/r.json", "api_url": "https://b.example"}),
        )
        .await;
    assert_text(
        &answer,
        400,
        "cannot specify more than one registry type (url, api_url, or local_path)",
    );
    assert_eq!(server.home().config(), before);
}

#[tokio::test]
async fn w30_the_key_says_the_kind_and_nothing_else_is_asked() {
    let registry = FakeRegistry::with_servers(3).await;
    registry.put_document(
        "/registry.json",
        fixture::registry_document(fixture::every_kind()),
    );
    let server = built_in().await;
    let answer = server
        .put(
            DEFAULT,
            &json!({"local_path": registry.at("/registry.json")}),
        )
        .await;
    assert_text(&answer, 400, "failed to set local registry file");
    let answer = server
        .put(
            DEFAULT,
            &json!({"local_path": "https://registry.example.test/registry.json"}),
        )
        .await;
    assert_text(&answer, 400, "failed to set local registry file");
    assert!(registry.requests().is_empty(), "a path causes no request");

    let answer = server
        .put(
            DEFAULT,
            &json!({"url": registry.at("/registry.json"), "allow_private_ip": true}),
        )
        .await;
    assert_eq!(answer.json(), json!({"type": "url"}));
    assert!(
        registry.requests_for(SERVERS).is_empty(),
        "a document is not probed as an API"
    );

    let file = server.home().write(
        "mine.json",
        fixture::registry_document(fixture::every_kind()),
    );
    let answer = server
        .put(
            DEFAULT,
            &json!({"url": file.display().to_string(), "allow_private_ip": true}),
        )
        .await;
    assert_text(&answer, 400, "failed to set remote registry");
    assert_eq!(
        info(&server).await["type"],
        "url",
        "a refused change changes nothing"
    );
}

#[tokio::test]
async fn w30_an_api_that_is_down_is_never_stored_as_something_else() {
    let registry = FakeRegistry::with_servers(3).await;
    registry.break_all(Fault::Status(500));
    let home = Home::new();
    let ran = thv_testkit::binary::cli(
        THV,
        &home,
        &["config", "set-registry", &registry.url(), "-p"],
    )
    .await;
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(
        !home.config().contains(&registry.url()),
        "{}",
        home.config()
    );
}

#[tokio::test]
async fn sources_that_cannot_be_reached_are_504_with_the_reason() {
    let registry = FakeRegistry::start().await;
    registry.refuse().await;
    let server = built_in().await;
    let document = registry.at("/registry.json");
    let answer = server
        .put(DEFAULT, &json!({"url": document, "allow_private_ip": true}))
        .await;
    assert_text(
        &answer,
        504,
        &format!(
            "registry at {document} is unreachable: failed to set remote registry: registry error for url ({document}): registry is \
             unreachable: "
        ),
    );
    assert_eq!(info(&server).await["type"], "default");
}

#[tokio::test]
async fn sources_that_never_answer_are_504_after_the_time_for_a_probe() {
    let registry = FakeRegistry::start().await;
    registry.break_all(Fault::Hang);
    let server = built_in().await;
    let document = registry.at("/registry.json");
    let started = Instant::now();
    let answer = server
        .put(DEFAULT, &json!({"url": document, "allow_private_ip": true}))
        .await;
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(
        answer.text().contains("registry validation timed out"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn sources_that_are_no_registry_are_502_with_the_reason() {
    let registry = FakeRegistry::start().await;
    let server = built_in().await;
    for (body, cause) in [
        ("{\"version\":", ""),
        ("[1,2]", ""),
        (
            r#"{"version":"1.0.0","meta":{"last_updated":"2026-01-01T00:00:00Z"},"data":{"servers":[]}}"#,
            "contains no servers, skills, or plugins",
        ),
        (&fixture::legacy_document(), "legacy"),
    ] {
        registry.put_document("/registry.json", body.to_owned());
        let document = registry.at("/registry.json");
        let answer = server
            .put(DEFAULT, &json!({"url": document, "allow_private_ip": true}))
            .await;
        assert_text(
            &answer,
            502,
            &format!(
                "failed to set remote registry: registry error for url ({document}): registry validation failed: "
            ),
        );
        assert!(answer.text().contains(cause), "{cause}: {answer:?}");

        let file = server.home().write("mine.json", body);
        let local = file.display().to_string();
        let answer = server.put(DEFAULT, &json!({"local_path": local})).await;
        assert_text(
            &answer,
            502,
            &format!(
                "failed to set local registry file: registry error for file ({local}): registry validation failed: "
            ),
        );
        assert!(answer.text().contains(cause), "{cause}: {answer:?}");
    }
    assert_eq!(info(&server).await["type"], "default");
}

#[tokio::test]
async fn f29_every_refusal_names_the_kind_and_the_place() {
    let server = built_in().await;
    for (body, text) in [
        (
            json!({"local_path": "/nowhere/registry.json"}),
            "local registry file not found or not accessible: ",
        ),
        (
            json!({"url": "ftp://files.example.test/registry.json"}),
            "failed to set remote registry: ",
        ),
        (
            json!({"url": "http://files.example.test/registry.json"}),
            "URL must start with https://",
        ),
        (
            json!({"url": "ftp://files.example.test/r.json", "allow_private_ip": true}),
            "URL must start with http:// or https://",
        ),
        (
            json!({"api_url": "http://api.example.test"}),
            "registry API URL must start with https:// when not allowing private IPs",
        ),
    ] {
        let answer = server.put(DEFAULT, &body).await;
        assert_text(&answer, 400, "failed to set ");
        assert!(answer.text().contains(text), "{body}: {answer:?}");
    }
    let yaml = server.home().write("registry.yaml", "servers: []");
    let answer = server
        .put(DEFAULT, &json!({"local_path": yaml.display().to_string()}))
        .await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(
        answer.text().contains("file must be a JSON file (*.json)"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn errors_of_put_stay_text_for_the_desktop_client() {
    let server = built_in().await;
    let client = Call::new(Method::PUT, DEFAULT).header("x-client-type", "toolhive-studio");
    let answer = client
        .json(&json!({"local_path": "/nowhere/registry.json"}))
        .to(server.address())
        .await;
    assert_text(&answer, 400, "failed to set local registry file");
}

#[tokio::test]
async fn f24_what_a_schema_key_says_proves_nothing() {
    let server = built_in().await;
    let mut legacy: Value = serde_json::from_str(&fixture::legacy_document()).unwrap();
    legacy["$schema"] = "https://raw.githubusercontent.com/stacklok/toolhive-core/main/registry/types/data/upstream-registry.schema.json".into();
    let file = server.home().write("legacy.json", legacy.to_string());
    let answer = server
        .put(DEFAULT, &json!({"local_path": file.display().to_string()}))
        .await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.text().contains("legacy"), "{answer:?}");

    let mut upstream: Value = serde_json::from_str(&fixture::registry_document([fixture::npm(
        "test.f24/fine",
        "@example/f",
    )]))
    .unwrap();
    upstream.as_object_mut().unwrap().remove("$schema");
    let file = server.home().write("upstream.json", upstream.to_string());
    let answer = server
        .put(DEFAULT, &json!({"local_path": file.display().to_string()}))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&server).await, ["test.f24/fine"]);
}

#[tokio::test]
async fn w31_one_rule_decides_what_is_legacy() {
    let mut both: Value = serde_json::from_str(&fixture::registry_document([fixture::npm(
        "test.w31/both",
        "@example/b",
    )]))
    .unwrap();
    both["servers"] = json!({});
    both["groups"] = json!([]);
    let registry = FakeRegistry::start().await;
    registry.put_document("/registry.json", both.to_string());
    let server = built_in().await;
    let file = server.home().write("both.json", both.to_string());
    for body in [
        json!({"local_path": file.display().to_string()}),
        json!({"url": registry.at("/registry.json"), "allow_private_ip": true}),
    ] {
        let answer = server.put(DEFAULT, &body).await;
        assert_eq!(
            answer.status, 200,
            "a stray key beside `data` is harmless: {answer:?}"
        );
        assert_eq!(names(&server).await, ["test.w31/both"]);
    }
}

#[tokio::test]
async fn w31_a_saved_api_page_is_not_called_legacy() {
    let server = built_in().await;
    let page = json!({"servers": [{"server": fixture::npm("test.w31/page", "@example/p")}], "metadata": {"count": 1}});
    let file = server.home().write("page.json", page.to_string());
    let answer = server
        .put(DEFAULT, &json!({"local_path": file.display().to_string()}))
        .await;
    assert!(!answer.text().contains("legacy"), "{answer:?}");
}

#[tokio::test]
async fn f33_skills_alone_make_a_registry() {
    let server = built_in().await;
    let file = server.home().write(
        "skills.json",
        generate::document(&[], &generate::skills(1, 1), &[]).to_string(),
    );
    let answer = server
        .put(DEFAULT, &json!({"local_path": file.display().to_string()}))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn f51_private_addresses_are_refused_unless_allowed() {
    let registry = FakeRegistry::with_servers(2).await;
    registry.put_document(
        "/registry.json",
        fixture::registry_document(fixture::every_kind()),
    );
    let server = built_in().await;
    for host in [
        "127.0.0.1",
        "[::1]",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "0.0.0.0",
    ] {
        let answer = server
            .put(
                DEFAULT,
                &json!({"url": format!("https://{host}/registry.json")}),
            )
            .await;
        assert_eq!(answer.status, 504, "{host}: {answer:?}");
        assert!(
            answer.text().contains("private IP address"),
            "{host}: {answer:?}"
        );
    }
    assert!(registry.requests().is_empty());
}

#[tokio::test]
async fn w35_addresses_with_a_zone_are_refused() {
    let server = built_in().await;
    for key in ["url", "api_url"] {
        let answer = server
            .put(
                DEFAULT,
                &json!({key: "https://[fe80::1%25lo]/registry.json"}),
            )
            .await;
        assert!(
            [400, 502, 504].contains(&answer.status),
            "{key}: {answer:?}"
        );
    }
    assert_eq!(info(&server).await["type"], "default");
    server
        .home()
        .write_config("registry_url: https://[fe80::1%25lo]/registry.json\n");
    until("the zone to be refused at read time", PATIENCE, || async {
        let answer = server.get("/v0.1/servers").await;
        (answer.status != 200).then_some(())
    })
    .await;
    assert_eq!(server.get("/health").await.status, 204);
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused_where_private_addresses_are() {
    let registry = FakeRegistry::with_servers(2).await;
    let other = FakeRegistry::with_servers(2).await;
    registry.put_redirect("/registry.json", &other.at("/registry.json"));
    other.put_document(
        "/registry.json",
        fixture::registry_document(fixture::every_kind()),
    );
    let server = built_in().await;
    let answer = server
        .put(
            DEFAULT,
            &json!({"url": registry.at("/registry.json"), "allow_private_ip": true}),
        )
        .await;
    assert_eq!(answer.status, 200, "allowed to be followed: {answer:?}");
    let answer = server
        .put(DEFAULT, &json!({"url": registry.at("/registry.json")}))
        .await;
    assert_ne!(answer.status, 200, "{answer:?}");
}
