//! Providers whose documents lie, or lead elsewhere (cases 1 to 11).

use serde_json::{Value, json};
use thv_testkit::browse::browse;
use thv_testkit::client::Answer;
use thv_testkit::provider::{Options, Provider, paths};
use thv_testkit::registry::{FakeRegistry, Guard};

use crate::auth_kit::{LOGIN, STANDARD, Stage, assert_needs_login, posted};

/// A login at a provider whose documents say this: refused before any browser opens.
async fn refused(changes: &[(&str, Value)]) -> Answer {
    let stage = Stage::new().await;
    stage.provider.behave(|behaviour| {
        for (name, value) in changes {
            behaviour.advertise(name, value.clone());
        }
    });
    let server = stage.server().await;
    let answer = tokio::time::timeout(
        std::time::Duration::from_mins(1),
        server.post(LOGIN, &json!({})),
    )
    .await
    .unwrap_or_else(|_| panic!("{changes:?} was taken: {:?}", stage.opener.urls()));
    assert!(
        (400..600).contains(&answer.status),
        "{changes:?}: {answer:?}"
    );
    assert!(
        stage.opener.urls().is_empty(),
        "{changes:?} opened a browser"
    );
    assert!(stage.provider.requests_for(paths::TOKEN).is_empty());
    assert!(stage.store_bytes().len() < 200, "something was stored");
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    answer
}

#[tokio::test]
async fn a01_a_document_that_names_another_issuer() {
    let answer = refused(&[("issuer", "https://honest.example".into())]).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(
        answer.text().contains("https://honest.example"),
        "{answer:?}"
    );
    assert!(answer.text().contains("http://127.0.0.1:"), "{answer:?}");
}

#[tokio::test]
async fn a02_issuers_that_almost_fit() {
    let provider = Provider::with(Options {
        path: "/tenant".to_owned(),
        ..Options::default()
    })
    .await;
    let issuer = provider.issuer();
    let almost = [
        format!("{issuer}/"),
        format!("{issuer}/."),
        issuer.replace("/tenant", "/Tenant"),
        issuer.replace("/tenant", "/ten%61nt"),
        issuer.replace("127.0.0.1", "localhost"),
        issuer.replace("127.0.0.1", "127.0.0.1."),
        issuer.replace("http://", "HTTP://"),
        format!("{issuer}?x"),
        format!("{issuer}#x"),
    ];
    for other in almost {
        refused(&[("issuer", other.into())]).await;
    }
}

#[tokio::test]
async fn a08_no_s256() {
    refused(&[("code_challenge_methods_supported", json!(["plain"]))]).await;
    refused(&[("code_challenge_methods_supported", json!([]))]).await;
}

#[tokio::test]
async fn a09_token_endpoints_elsewhere() {
    for url in [
        "http://token.example/token",
        "http://169.254.169.254/latest",
        "https://user:password@127.0.0.1/token",
        "https://127.0.0.1/token#fragment",
        "ftp://127.0.0.1/token",
        "/token",
        "",
    ] {
        refused(&[("token_endpoint", url.into())]).await;
    }
    refused(&[("token_endpoint", Value::Null)]).await;
}

#[tokio::test]
async fn a10_addresses_that_are_no_web_page() {
    for url in [
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ms-settings:network",
        "http://login.example/authorize",
        "data:text/html,x",
        "-Tevil",
        "https://user:password@login.example/authorize",
    ] {
        refused(&[("authorization_endpoint", url.into())]).await;
    }
}

#[tokio::test]
async fn a10_shell_words_in_an_address_stay_words() {
    let stage = Stage::new().await;
    let marker = stage.home.join("pwned");
    let path = format!(
        "/authorize?a=$(touch%20{0})&b=`touch {0}`&c=;touch%20{0}&calc",
        marker.display()
    );
    let url = format!("{}{path}", stage.provider.issuer());
    stage
        .provider
        .behave(|behaviour| behaviour.advertise("authorization_endpoint", url.as_str()));
    let server = stage.server().await;
    let login = posted(server.address(), LOGIN);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), login).await;
    assert!(!marker.exists(), "a shell has read the address");
    assert!(stage.opener.urls().len() <= 1);
}

#[tokio::test]
async fn a11_discovery_that_changes_during_a_login() {
    let stage = Stage::new().await;
    let stranger = FakeRegistry::start().await;
    let server = stage.server().await;
    let login = stage.start_login(&server).await;
    let elsewhere = stranger.at("/token");
    stage
        .provider
        .behave(|behaviour| behaviour.advertise("token_endpoint", elsewhere.as_str()));
    let _ = browse(&login.url).await;
    let answer = login.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(stranger.requests().is_empty(), "{:?}", stranger.requests());
    assert_eq!(stage.provider.token_count("authorization_code"), 1);
}

#[tokio::test]
async fn a11_a_token_endpoint_that_moves_later_gets_no_refresh_token() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    drop(server);
    let stranger = FakeRegistry::start().await;
    stranger.protect(Guard::of(&stage.provider, "nobody"));
    stage.provider.behave(|behaviour| {
        behaviour.advertise("token_endpoint", "http://token.example/token");
    });
    stage.until_expired(2).await;
    let server = stage.server().await;
    let answer = server.post(crate::auth_kit::REFRESH, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert_eq!(stage.refreshes(), 0);
}
