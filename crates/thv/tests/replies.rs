//! What all doors have in common: headers, methods, compression, tags, errors for programs, and patience with odd input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use serde_json::json;
use thv_testkit::binary::Server;
use thv_testkit::client::{Call, Method};
use thv_testkit::fixture;

const THV: &str = env!("CARGO_BIN_EXE_thv");

async fn built_in() -> Server {
    Server::in_new_home(THV, |_| {}).await
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
