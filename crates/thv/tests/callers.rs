//! Who may call: names of this machine, no pages of other origins, no forms; and the desktop client as it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::sync::Arc;

use serde_json::json;
use thv_testkit::binary::{Server, Setup};
use thv_testkit::client::{Address, Call, Method};
use thv_testkit::fixture;
use thv_testkit::home::Home;
use thv_testkit::wait::PATIENCE;

const THV: &str = env!("CARGO_BIN_EXE_thv");
const DEFAULT: &str = "/api/v1beta/registry/default";
const REFRESH: &str = "/api/v1beta/registry/default/refresh";

async fn built_in() -> Server {
    Server::in_new_home(THV, |_| {}).await
}

#[tokio::test]
async fn w37_only_names_of_this_machine_are_served() {
    let server = built_in().await;
    let Address::Tcp(address) = server.address().clone() else {
        panic!("TCP")
    };
    let port = address.port();
    for path in [
        "/api/v1beta/registry",
        "/v0.1/servers",
        "/registry/default/v0.1/servers",
    ] {
        for host in [
            "evil.test",
            "evil.test:8080",
            &format!("127.0.0.1.evil.test:{port}"),
            &format!("localhost.evil.test:{port}"),
        ] {
            let answer = Call::get(path)
                .header("host", host)
                .to(server.address())
                .await;
            assert_eq!(answer.status, 403, "{path} for {host}: {answer:?}");
        }
        for host in [
            format!("127.0.0.1:{port}"),
            format!("localhost:{port}"),
            format!("LOCALHOST:{port}"),
            format!("[::1]:{port}"),
        ] {
            let answer = Call::get(path)
                .header("host", &host)
                .to(server.address())
                .await;
            assert_eq!(answer.status, 200, "{path} for {host}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn w37_pages_of_other_origins_can_change_nothing() {
    let server = built_in().await;
    let before = server.home().config();
    for (method, path, body) in [
        (Method::POST, REFRESH, ""),
        (Method::POST, "/api/v1beta/registry/auth/logout", ""),
        (Method::POST, "/api/v1beta/registry/auth/login", ""),
        (Method::PUT, DEFAULT, "{}"),
        (Method::DELETE, DEFAULT, ""),
    ] {
        for origin in ["https://evil", "null", "http://localhost.evil.test"] {
            let answer = Call::new(method.clone(), path)
                .header("origin", origin)
                .header("content-type", "application/json")
                .body(body)
                .to(server.address())
                .await;
            assert_eq!(
                answer.status, 403,
                "{method} {path} from {origin}: {answer:?}"
            );
        }
    }
    assert_eq!(server.home().config(), before);
}

#[tokio::test]
async fn w37_pages_of_other_origins_read_nothing() {
    let server = built_in().await;
    for path in [
        "/api/v1beta/registry",
        "/v0.1/servers",
        "/registry/default/v0.1/servers",
    ] {
        let answer = Call::get(path)
            .header("origin", "https://evil")
            .to(server.address())
            .await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            "",
            "{path}: {answer:?}"
        );
        assert!(
            answer.status == 403 || answer.header("cross-origin-resource-policy") == "same-origin",
            "{path}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn w37_a_form_cannot_change_anything() {
    let server = built_in().await;
    let file = server.home().write(
        "r.json",
        fixture::registry_document([fixture::npm("test.w37/form", "@example/f")]),
    );
    let body = json!({"local_path": file.display().to_string()}).to_string();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        let answer = Call::new(Method::POST, REFRESH)
            .header("content-type", kind)
            .body("x")
            .to(server.address())
            .await;
        assert!([403, 415].contains(&answer.status), "{kind}: {answer:?}");
        // No form can send a PUT, and a script would need a preflight first.
        let answer = Call::new(Method::PUT, DEFAULT)
            .header("content-type", kind)
            .header("origin", "https://evil.test")
            .body(body.clone())
            .to(server.address())
            .await;
        assert_eq!(answer.status, 403, "{kind}: {answer:?}");
        let answer = Call::new(Method::OPTIONS, DEFAULT)
            .header("origin", "https://evil.test")
            .header("access-control-request-method", "PUT")
            .to(server.address())
            .await;
        assert!(answer.header("access-control-allow-origin").is_empty());
    }
    let answer = Call::new(Method::PUT, DEFAULT)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.clone())
        .to(server.address())
        .await;
    assert_eq!(answer.status, 200, "as curl sends it: {answer:?}");
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
    ] {
        let answer = Call::new(Method::PUT, DEFAULT)
            .header("content-type", kind)
            .body(body.clone())
            .to(server.address())
            .await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
    }
}

#[tokio::test]
async fn w37_the_desktop_client_is_unaffected() {
    let home = Arc::new(Home::new());
    let socket = home.join("toolhive-4242.sock");
    let server = Setup::new(THV, &home)
        .listen_as_given()
        .arg("--openapi")
        .arg(&format!("--socket={}", socket.display()))
        .arg("--sentry-dsn=https://key@sentry.example.test/1")
        .arg("--sentry-environment=development")
        .arg("--sentry-traces-sample-rate=1.0")
        .env("TOOLHIVE_SKIP_DESKTOP_CHECK", "true")
        .start()
        .await;
    assert_eq!(server.address(), &Address::Unix(socket));
    let studio = |method: Method, path: &str| {
        Call::new(method, path)
            .header("host", "localhost")
            .header("connection", "keep-alive")
            .header("x-client-type", "toolhive-studio")
            .header("x-client-version", "0.20.0")
            .header("x-client-platform", "linux")
            .header("x-client-release-build", "false")
    };
    assert_eq!(
        studio(Method::GET, "/health")
            .to(server.address())
            .await
            .status,
        204
    );
    let list = studio(Method::GET, "/api/v1beta/registry")
        .to(server.address())
        .await;
    assert_eq!(
        (list.status, list.header("content-encoding")),
        (200, ""),
        "{list:?}"
    );

    // Its transport sends every body in chunks, without a length.
    let mut raw = server.address().connect().await.unwrap();
    raw.write(
        b"PUT /api/v1beta/registry/default HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
          transfer-encoding: chunked\r\nx-client-type: toolhive-studio\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    )
    .await
    .unwrap();
    let (answer, _) = raw.read_all(PATIENCE).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("{\"type\":\"default\"}\n"),
        "{answer}"
    );

    // Its login and logout have no body and no content type.
    let mut raw = server.address().connect().await.unwrap();
    raw.write(b"POST /api/v1beta/registry/default/refresh HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        .await
        .unwrap();
    let (answer, _) = raw.read_all(PATIENCE).await;
    assert!(
        String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200 OK\r\n"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(server.stdout(), "");
}

#[tokio::test]
async fn a_second_host_header_or_none_is_a_bad_request() {
    let server = built_in().await;
    for head in [
        "GET /health HTTP/1.1\r\nconnection: close\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: localhost\r\nhost: evil.test\r\nconnection: close\r\n\r\n",
    ] {
        let mut raw = server.address().connect().await.unwrap();
        raw.write(head.as_bytes()).await.unwrap();
        let (answer, _) = raw.read_all(PATIENCE).await;
        assert!(
            String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 400 "),
            "{head}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
}
