//! Registries that send the token elsewhere, and addresses that lead to where nobody may be sent (cases 36 to 55, 86).

use serde_json::json;
use thv_testkit::registry::{FakeRegistry, Fault, Rule, SERVERS};

use crate::auth_kit::{DEFAULT, REFRESH, STANDARD, Stage, free_port, names};

#[tokio::test]
async fn c36_redirects_carry_no_token() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let stranger = FakeRegistry::with_servers(3).await;
    let port = stranger.url().rsplit_once(':').unwrap().1.to_owned();
    for target in [
        stranger.at(SERVERS),
        format!("http://localhost:{port}{SERVERS}"),
        format!("http://user:password@127.0.0.1:{port}{SERVERS}"),
        format!("//127.0.0.1:{port}{SERVERS}"),
    ] {
        stage
            .registry
            .break_with(Rule::always(Fault::RedirectTo(target.clone())));
        let _ = server.post(REFRESH, &json!({})).await;
        stage.registry.heal();
    }
    for request in stranger.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn c41_a_cursor_is_no_address() {
    let stage = Stage::new().await;
    let stranger = FakeRegistry::with_servers(3).await;
    let page = json!({
        "servers": [{"server": {
            "name": "a.b/c", "description": "d", "version": "1.0.0",
            "websiteUrl": stranger.at("/website"),
            "icons": [{"src": stranger.at("/icon.png")}],
            "remotes": [{"type": "streamable-http", "url": stranger.at("/mcp")}],
        }}],
        "metadata": {"nextCursor": stranger.at("/v0.1/servers"), "count": 1},
    });
    stage.registry.put_document(SERVERS, page.to_string());
    let server = stage.server().await;
    let _ = stage.log_in(&server).await;
    let _ = server.get(STANDARD).await;
    let _ = server.post(REFRESH, &json!({})).await;
    assert!(stranger.requests().is_empty(), "{:?}", stranger.requests());
}

/// Saving a protected registry at this address is refused in one of the ways of the contract, and nothing is written.
async fn refused(addresses: &[&str]) {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let before = stage.home.config();
    for address in addresses {
        for key in ["api_url", "url"] {
            let body = json!({
                key: address,
                "auth": {"issuer": stage.provider.issuer(), "client_id": "thv-cli"},
            });
            let answer = server.put(DEFAULT, &body).await;
            assert!(
                [400, 504].contains(&answer.status),
                "{key} {address}: {answer:?}"
            );
            assert_eq!(stage.home.config(), before, "{address}");
        }
    }
    assert!(stage.registry.requests().is_empty());
}

#[tokio::test]
async fn d49_private_addresses() {
    refused(&[
        "https://127.0.0.1/",
        "https://0.0.0.0/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://100.64.0.1/",
        "https://169.254.169.254/",
        "https://198.18.0.1/",
        "https://224.0.0.1/",
        "https://240.0.0.1/",
        "https://localhost/",
    ])
    .await;
}

#[tokio::test]
async fn d50_addresses_in_disguise() {
    refused(&[
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
        "https://127.0.0.1./",
        "https://LOCALHOST./",
    ])
    .await;
}

#[tokio::test]
async fn d51_ipv6_addresses() {
    refused(&[
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1%25eth0]/",
        "https://[fd00::1]/",
        "https://[::]/",
    ])
    .await;
}

#[tokio::test]
async fn d55_other_schemes() {
    refused(&[
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "unix:///run/x.sock",
        "gopher://127.0.0.1/",
        "data:application/json,{}",
        "\\\\host\\share",
        "http:\\\\127.0.0.1",
        "http://registry.example/",
        "",
    ])
    .await;
    let stage = Stage::new().await;
    let server = stage.server().await;
    let before = stage.home.config();
    for issuer in [
        "file:///etc/passwd",
        "unix:///run/x.sock",
        "http://issuer.example/",
        "https://user:password@127.0.0.1/",
        "https://127.0.0.1/?a=b",
        "https://127.0.0.1/#a",
        "//127.0.0.1/",
    ] {
        let body = json!({
            "api_url": stage.registry.url(), "allow_private_ip": true,
            "auth": {"issuer": issuer, "client_id": "thv-cli"},
        });
        let answer = server.put(DEFAULT, &body).await;
        assert_eq!(answer.status, 400, "{issuer}: {answer:?}");
        assert_eq!(stage.home.config(), before, "{issuer}");
    }
    assert_ne!(free_port(), 0);
}

#[tokio::test]
async fn f86_a_poisoned_environment() {
    let stage = Stage::new().await;
    let stranger = FakeRegistry::with_servers(3).await;
    let server = stage
        .setup()
        .env("INSECURE_DISABLE_URL_VALIDATION", "true")
        .env("TOOLHIVE_DEV", "true")
        .env("NODE_TLS_REJECT_UNAUTHORIZED", "0")
        .env("http_proxy", &stranger.url())
        .env("HTTP_PROXY", &stranger.url())
        .env("ALL_PROXY", &stranger.url())
        .start()
        .await;
    let before = stage.home.config();
    let body = json!({
        "api_url": stage.registry.url(), "allow_private_ip": true,
        "auth": {"issuer": "http://issuer.example", "client_id": "thv-cli"},
    });
    let answer = server.put(DEFAULT, &body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(stage.home.config(), before);
    assert_eq!(stage.log_in(&server).await.status, 200);
    assert_eq!(names(&server).await.len(), 6);
    assert!(
        stranger.requests().is_empty(),
        "a proxy saw {:?}",
        stranger.requests()
    );
}
