//! What holds for every route: methods, hosts, origins, bodies, conditional and compressed
//! answers, the documents about the interface itself.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::io::Read;

use axum::body::Body;
use common::{CATALOG, house, house_with, options, request};
use http::{Method, Request};

#[tokio::test]
async fn a_known_path_refuses_other_methods_with_one_allow_header_each() {
    let house = house().await;
    let table: [(Method, &str, &[&str]); 6] = [
        (Method::HEAD, "/health", &["GET"]),
        (Method::OPTIONS, "/health", &["GET"]),
        (Method::POST, "/health", &["GET"]),
        (
            Method::PATCH,
            "/api/v1beta/registry/default",
            &["GET", "PUT", "DELETE"],
        ),
        (Method::HEAD, "/api/v1beta/registry", &["GET", "POST"]),
        (
            Method::GET,
            "/api/v1beta/registry/default/refresh",
            &["POST"],
        ),
    ];
    for (method, path, allow) in table {
        let answer = house.call(method.clone(), path, "").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        let given: Vec<_> = answer.headers.get_all("allow").iter().collect();
        assert_eq!(given, allow, "{method} {path}");
        assert!(answer.body.is_empty());
        assert_ne!(answer.header("content-length"), Some("5"));
    }
}

#[tokio::test]
async fn unknown_paths_are_404_whatever_the_method() {
    let house = house().await;
    for (method, path) in [
        (Method::GET, "/"),
        (Method::HEAD, "/nowhere"),
        (Method::OPTIONS, "/nowhere"),
        (Method::GET, "/api/v1beta/registry/default/"),
        (Method::GET, "/api/openapi.json"),
        (Method::GET, "/api/doc"),
        (Method::GET, "/api/doc/start.js"),
        (Method::GET, "/metrics"),
    ] {
        let answer = house.call(method.clone(), path, "").await;
        assert_eq!(answer.status, 404, "{method} {path}");
        assert_eq!(answer.text(), "404 page not found\n", "{method} {path}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
}

#[tokio::test]
async fn w37_rebound_names_and_foreign_pages_are_refused() {
    let house = house().await;
    let rebound = Request::get("/health")
        .header("host", "evil.test")
        .body(Body::empty())
        .unwrap();
    assert_eq!(house.send(rebound).await.status, 403);
    let refresh = |header: &'static str, value: &'static str| {
        request(Method::POST, "/api/v1beta/registry/default/refresh")
            .header(header, value)
            .body(Body::empty())
            .unwrap()
    };
    assert_eq!(
        house
            .send(refresh("origin", "https://evil.test"))
            .await
            .status,
        403
    );
    assert_eq!(
        house
            .send(refresh("sec-fetch-site", "cross-site"))
            .await
            .status,
        403
    );
    assert_eq!(
        house
            .send(refresh("origin", "http://localhost:8080"))
            .await
            .status,
        200
    );
    assert_eq!(house.send(refresh("user-agent", "curl")).await.status, 200);
    let refused = house
        .get_with(
            "/health",
            &[("origin", "null"), ("accept", "application/json")],
        )
        .await;
    assert_eq!(refused.json()["code"], "forbidden");
}

#[tokio::test]
async fn named_origins_read_the_standard_door_only() {
    let mut options = options();
    options.cors_origins = vec!["https://ide.test".to_owned()];
    let house = house_with(CATALOG, options).await;
    let from = |origin: &'static str| [("origin", origin), ("sec-fetch-site", "cross-site")];
    let read = house
        .get_with("/v0.1/servers", &from("https://ide.test"))
        .await;
    assert_eq!(read.status, 200);
    assert_eq!(
        read.header("access-control-allow-origin"),
        Some("https://ide.test")
    );
    let vary: Vec<_> = read.headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Accept-Encoding", "Origin"]);
    let missing = house
        .get_with("/v0.1/servers/x/versions", &from("https://ide.test"))
        .await;
    assert_eq!(missing.status, 404);
    assert_eq!(
        missing.header("access-control-allow-origin"),
        Some("https://ide.test")
    );
    assert_eq!(
        house
            .get_with("/v0.1/servers", &from("https://evil.test"))
            .await
            .status,
        403
    );
    assert_eq!(
        house
            .get_with("/api/v1beta/registry", &from("https://ide.test"))
            .await
            .status,
        403
    );
    let preflight = |path: &str| {
        request(Method::OPTIONS, path)
            .header("origin", "https://ide.test")
            .header("access-control-request-method", "GET")
            .body(Body::empty())
            .unwrap()
    };
    let granted = house.send(preflight("/v0.1/servers")).await;
    assert_eq!(granted.status, 204);
    assert_eq!(
        granted.header("access-control-allow-methods"),
        Some("GET, OPTIONS")
    );
    assert_eq!(
        house.send(preflight("/api/v1beta/registry")).await.status,
        403
    );
    assert_eq!(
        house
            .get("/v0.1/servers")
            .await
            .header("access-control-allow-origin"),
        None
    );
}

#[tokio::test]
async fn f50_a_body_that_is_too_large_is_413() {
    let house = house().await;
    let body = "x".repeat(thv_api::limits::MAX_BODY_BYTES + 1);
    let answer = house
        .call(Method::PUT, "/api/v1beta/registry/default", &body)
        .await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.text(), "Request Entity Too Large\n");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[tokio::test]
async fn every_catalog_read_is_revalidated_by_its_tag() {
    let house = house().await;
    for path in [
        "/api/v1beta/registry",
        "/api/v1beta/registry/default",
        "/api/v1beta/registry/default/servers",
        "/api/v1beta/registry/default/servers/weather",
        "/registry/default/v0.1/servers",
        "/registry/default/v0.1/servers/weather/versions/latest",
        "/registry/default/v0.1/x/dev.toolhive/skills",
        "/registry/default/v0.1/x/dev.toolhive/plugins/io.github.acme/bundle",
        "/v0.1/servers",
        "/v0.1/servers/org.other%2Fnotes/versions",
        "/v0.1/servers/org.other%2Fnotes/versions/latest",
        "/v0.1/x/dev.toolhive/skills/io.github.acme/plan",
    ] {
        let first = house.get(path).await;
        let tag = first
            .header("etag")
            .unwrap_or_else(|| panic!("{path} has no tag"));
        assert_eq!(first.header("vary"), Some("Accept-Encoding"), "{path}");
        assert_eq!(first.header("content-encoding"), None, "{path}");
        let again = house
            .get_with(path, &[("if-none-match", &format!("\"x\", W/{tag}"))])
            .await;
        assert_eq!(again.status, 304, "{path}");
        assert!(again.body.is_empty(), "{path}");
        assert_eq!(again.header("etag"), Some(tag), "{path}");
        assert_eq!(
            house
                .get_with(path, &[("if-none-match", "\"x\"")])
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn a_tag_changes_with_the_catalog() {
    let house = house().await;
    let path = "/api/v1beta/registry/default/servers";
    let before = house.get(path).await.header("etag").unwrap().to_owned();
    house.file("registry.json", &CATALOG.replace("Weather", "Climate"));
    let refreshed = house
        .call(Method::POST, "/api/v1beta/registry/default/refresh", "")
        .await;
    assert_eq!(refreshed.status, 200);
    assert_ne!(house.get(path).await.header("etag"), Some(before.as_str()));
}

#[tokio::test]
async fn gzip_is_sent_only_to_those_who_ask() {
    let long = CATALOG.replace("Runs scripts", &"Runs scripts ".repeat(200));
    let long = long.replace("Other notes", &"Other notes ".repeat(200));
    let house = house_with(&long, options()).await;
    for path in [
        "/api/v1beta/registry/default",
        "/registry/default/v0.1/servers",
        "/v0.1/servers",
    ] {
        let plain = house.get(path).await;
        for _ in 0..2 {
            let zipped = house.get_with(path, &[("accept-encoding", "gzip")]).await;
            assert_eq!(zipped.header("content-encoding"), Some("gzip"), "{path}");
            assert_ne!(zipped.header("etag"), plain.header("etag"), "{path}");
            let mut inflated = Vec::new();
            flate2::read::GzDecoder::new(&zipped.body[..])
                .read_to_end(&mut inflated)
                .unwrap();
            assert_eq!(inflated, plain.body, "{path}");
        }
        let refused = house
            .get_with(path, &[("accept-encoding", "gzip;q=0")])
            .await;
        assert_eq!(refused.header("content-encoding"), None, "{path}");
    }
    let small = house
        .get_with(
            "/api/v1beta/registry/default/servers/weather",
            &[("accept-encoding", "gzip")],
        )
        .await;
    assert_eq!(small.header("content-encoding"), None);
}

#[tokio::test]
async fn w45_the_document_and_its_page_are_served_by_us_when_asked_for() {
    let mut options = options();
    options.openapi = true;
    let house = house_with(CATALOG, options).await;
    let document = house.get("/api/openapi.json").await;
    assert_eq!(document.json()["openapi"], "3.1.0");
    for path in ["/api/doc", "/api/doc/"] {
        let page = house.get(path).await;
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(
            page.header("content-security-policy")
                .unwrap()
                .contains("default-src 'none'")
        );
        for source in page.text().split('"').filter(|part| part.starts_with('/')) {
            let file = house.get(source).await;
            assert_eq!(file.status, 200, "{source}");
            assert_eq!(file.header("content-encoding"), None, "{source}");
        }
        assert!(!page.text().contains("://"));
    }
    let zipped = house
        .get_with(
            "/api/doc/swagger-ui-bundle.js",
            &[("accept-encoding", "gzip")],
        )
        .await;
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(house.get("/api/doc/index.html").await.status, 404);
}

#[tokio::test]
async fn metrics_are_served_when_asked_for() {
    let mut options = options();
    options.metrics = true;
    let house = house_with(CATALOG, options).await;
    assert_eq!(house.get("/api/v1beta/registry").await.status, 200);
    let metrics = house.get("/metrics").await;
    assert!(
        metrics
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = metrics.text();
    assert!(
        text.contains("thv_http_requests_total{door=\"api\",method=\"GET\",status=\"200\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("thv_catalog_servers{registry=\"default\"} 4"),
        "{text}"
    );
}

/// Answers one request after the other with `answers`, then refuses connections.
async fn upstream(answers: Vec<&'static str>) -> (String, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        for body in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, serving)
}

#[tokio::test]
async fn a_catalog_that_may_be_out_of_date_says_since_when() {
    let (url, serving) = upstream(vec![CATALOG]).await;
    let directory = tempfile::tempdir().unwrap();
    let config = format!("registry_url: {url}/list.json\nallow_private_registry_ip: true\n");
    let house = common::house_of(directory, &config, options()).await;
    let path = "/api/v1beta/registry/default/servers";
    let fresh = house.get(path).await;
    assert_eq!(fresh.status, 200, "{}", fresh.text());
    assert_eq!(fresh.header("x-toolhive-stale-since"), None);
    serving.await.unwrap();
    let refreshed = house
        .call(Method::POST, "/api/v1beta/registry/default/refresh", "")
        .await;
    assert_eq!(refreshed.status, 503);
    assert_eq!(refreshed.json()["code"], "registry_unavailable");
    let stale = house.get(path).await;
    assert_eq!(stale.status, 200);
    assert_eq!(stale.body, fresh.body);
    let since = stale.header("x-toolhive-stale-since").unwrap();
    assert!(since.parse::<jiff::Timestamp>().is_ok(), "{since}");
}
