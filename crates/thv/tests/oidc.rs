//! `thv serve` behind `OpenID` Connect, with a real provider issuing the tokens.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::sync::Arc;

use thv_testkit::binary::{Server, Setup};
use thv_testkit::client::{Answer, Call};
use thv_testkit::home::Home;
use thv_testkit::identity::IdentityProvider;

const THV: &str = env!("CARGO_BIN_EXE_thv");
const OURS: &str = "http://127.0.0.1:9000/thv";
const OTHER: &str = "http://127.0.0.1:9000/other";
const ROUTE: &str = "/api/v1beta/registry";

async fn protected_by(provider: &IdentityProvider, extra: &[&str]) -> Server {
    let home = Arc::new(Home::new());
    let mut setup = Setup::new(THV, &home)
        .arg(&format!("--oidc-issuer={}", provider.issuer))
        .arg(&format!("--oidc-audience={OURS}"))
        // The provider is on loopback and speaks plain http; outside of tests both are refused.
        .env("INSECURE_DISABLE_URL_VALIDATION", "true");
    for argument in extra {
        setup = setup.arg(argument);
    }
    setup.start().await
}

async fn with_authorization(server: &Server, value: &str) -> Answer {
    Call::get(ROUTE)
        .header("authorization", value)
        .to(server.address())
        .await
}

#[track_caller]
fn assert_refused(answer: &Answer, issuer: &str, code: &str, description: &str) {
    assert_eq!(answer.status, 401, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["error"], code, "{answer:?}");
    assert!(
        body["error_description"]
            .as_str()
            .unwrap()
            .starts_with(description),
        "{answer:?}"
    );
    let challenge = answer.header("www-authenticate");
    assert!(
        challenge.starts_with(&format!("Bearer realm=\"{issuer}\"")),
        "{challenge}"
    );
    assert!(
        challenge.contains(&format!("error=\"{code}\"")),
        "{challenge}"
    );
}

#[tokio::test]
async fn callers_need_a_token_of_the_issuer_for_this_audience() {
    let provider = IdentityProvider::start(&[OURS, OTHER]).await;
    let server = protected_by(&provider, &[]).await;

    assert_refused(
        &server.get(ROUTE).await,
        &provider.issuer,
        "invalid_request",
        "authorization header required",
    );
    assert_refused(
        &with_authorization(&server, "Basic dTpw").await,
        &provider.issuer,
        "invalid_request",
        "invalid authorization header format",
    );
    assert_refused(
        &with_authorization(&server, "Bearer not.a.token").await,
        &provider.issuer,
        "invalid_token",
        "Invalid token: ",
    );

    let good = provider.token_for(OURS).await;
    let answer = with_authorization(&server, &format!("Bearer {good}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let wrong = provider.token_for(OTHER).await;
    assert_refused(
        &with_authorization(&server, &format!("Bearer {wrong}")).await,
        &provider.issuer,
        "invalid_token",
        "",
    );

    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped: String = signature.chars().rev().collect();
    let forged = format!("Bearer {head}.{flipped}");
    assert_refused(
        &with_authorization(&server, &forged).await,
        &provider.issuer,
        "invalid_token",
        "",
    );

    let unsigned = format!("Bearer {}.", unsigned_like(&good));
    assert_refused(
        &with_authorization(&server, &unsigned).await,
        &provider.issuer,
        "invalid_token",
        "",
    );

    for secret in [good.as_str(), wrong.as_str()] {
        assert!(!server.stderr().contains(secret), "no token in the log");
    }
}

/// The same claims under `alg: none`.
fn unsigned_like(token: &str) -> String {
    let claims = token.split('.').nth(1).unwrap();
    // {"alg":"none"} in base64url
    format!("eyJhbGciOiJub25lIn0.{claims}")
}

#[tokio::test]
async fn w38_health_stays_open_so_that_discovery_works_behind_oidc() {
    let provider = IdentityProvider::start(&[OURS]).await;
    let server = protected_by(&provider, &[]).await;
    let health = server.get("/health").await;
    assert_eq!(health.status, 204, "{health:?}");
    assert_eq!(health.header("x-toolhive-nonce").len(), 32);
    for route in [
        "/v0.1/servers",
        "/registry/default/v0.1/servers",
        "/api/v1beta/version",
    ] {
        assert_eq!(server.get(route).await.status, 401, "{route}");
    }

    let mut second = Setup::new(THV, server.home()).spawn();
    let status = second.ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(
        second
            .stderr()
            .contains("another ToolHive server is already running"),
        "{}",
        second.stderr()
    );
    assert_eq!(server.get("/health").await.status, 204);
}

#[tokio::test]
async fn opaque_tokens_are_introspected() {
    let provider = IdentityProvider::start(&[OURS]).await;
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home)
        .arg(&format!("--oidc-issuer={}", provider.issuer))
        .arg(&format!(
            "--oidc-introspection-url={}/token/introspection",
            provider.issuer
        ))
        .arg("--oidc-client-id=service")
        .env("TOOLHIVE_OIDC_CLIENT_SECRET", "service-secret")
        .env("INSECURE_DISABLE_URL_VALIDATION", "true")
        .start()
        .await;
    let token = provider.opaque_token().await;
    assert!(!token.contains('.'), "an opaque token");
    let answer = with_authorization(&server, &format!("Bearer {token}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = with_authorization(&server, "Bearer made-up-by-the-caller").await;
    assert_refused(&answer, &provider.issuer, "invalid_token", "");
}

#[tokio::test]
async fn a_provider_that_is_away_at_the_start_is_asked_again() {
    let gone = {
        let provider = IdentityProvider::start(&[OURS]).await;
        provider.issuer.clone()
    };
    let home = Arc::new(Home::new());
    let server = Setup::new(THV, &home)
        .arg(&format!("--oidc-issuer={gone}"))
        .env("INSECURE_DISABLE_URL_VALIDATION", "true")
        .start()
        .await;
    assert_eq!(server.get("/health").await.status, 204);
    let answer = with_authorization(
        &server,
        "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.e30.AAAA",
    )
    .await;
    assert!(
        [401, 503].contains(&answer.status),
        "never let in: {answer:?}"
    );
}

#[tokio::test]
async fn an_introspection_url_alone_is_not_enough() {
    let home = Arc::new(Home::new());
    let mut server = Setup::new(THV, &home)
        .arg("--oidc-introspection-url=https://idp.example.test/introspect")
        .spawn();
    assert_ne!(server.ended().await.code(), Some(0));
    assert!(
        server
            .stderr()
            .contains("either issuer or JWKS URL must be provided"),
        "{}",
        server.stderr()
    );
}
