//! Finding a provider's endpoints.

use std::time::Duration;

use thv_auth::oauth::error::{DiscoveryError, MetadataFault};
use thv_auth::oauth::{DiscoveryPolicy, PkceSupport, Provider, discover};
use thv_http::HttpError;

use crate::provider::{Answer, Fake, http, http_at, manual_clock};

const OIDC: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

async fn look(issuer: &str) -> Result<Provider, DiscoveryError> {
    discover(&http(), issuer, DiscoveryPolicy::DEFAULT).await
}

fn faults(error: DiscoveryError) -> Vec<MetadataFault> {
    match error {
        DiscoveryError::NoDocument { attempts } => {
            attempts.into_iter().map(|attempt| attempt.fault).collect()
        }
        other @ DiscoveryError::BadIssuer { .. } => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_openid_document_is_enough() {
    let fake = Fake::start().await;
    let mut document = fake.metadata(&fake.base);
    document["authorization_response_iss_parameter_supported"] = true.into();
    document["scopes_supported"] = serde_json::json!(["openid", "offline_access"]);
    fake.set(
        OIDC,
        Answer::json(200, &document).with_header("date", "Mon, 23 Nov 2026 12:00:30 GMT"),
    );
    let provider = look(&fake.base).await.expect("provider");
    assert_eq!(fake.paths(), [OIDC]);
    assert_eq!(provider.issuer, fake.base);
    assert_eq!(provider.token_endpoint.path(), "/token");
    assert!(provider.iss_parameter_supported);
    assert_eq!(provider.pkce, PkceSupport::Advertised);
    assert_eq!(
        provider.server_date,
        Some("2026-11-23T12:00:30Z".parse().expect("timestamp"))
    );
}

#[tokio::test]
async fn an_issuer_with_a_path_is_looked_for_in_three_places() {
    let fake = Fake::start().await;
    let issuer = format!("{}/tenant/one", fake.base);
    fake.set(
        "/.well-known/openid-configuration/tenant/one",
        Answer::json(200, &fake.metadata(&issuer)),
    );
    assert!(look(&issuer).await.is_ok());
    assert_eq!(
        fake.paths(),
        [
            "/tenant/one/.well-known/openid-configuration",
            "/.well-known/oauth-authorization-server/tenant/one",
            "/.well-known/openid-configuration/tenant/one",
        ]
    );
}

#[tokio::test]
async fn a_provider_of_plain_oauth_needs_no_keys() {
    let fake = Fake::start().await;
    let mut document = fake.metadata(&fake.base);
    document["jwks_uri"] = serde_json::Value::Null;
    fake.set(OIDC, Answer::json(200, &document));
    fake.set(OAUTH, Answer::json(200, &document));
    let provider = look(&fake.base).await.expect("provider");
    assert_eq!(provider.jwks_uri, None);
    assert_eq!(fake.paths(), [OIDC, OAUTH]);
}

#[tokio::test]
async fn a_failure_names_both_places_and_both_causes() {
    let fake = Fake::start().await;
    fake.set(OIDC, Answer::text(200, "text/html", "<html>"));
    let error = look(&fake.base).await.expect_err("no metadata");
    assert_eq!(
        error.to_string(),
        format!(
            "unable to discover OIDC endpoints at \"{0}{OIDC}\" or \"{0}{OAUTH}\": \
             OIDC error: the document cannot be used: its content type is not application/json, \
             OAuth error: the answer has status 404",
            fake.base
        )
    );
    assert!(!error.is_transient());
}

#[tokio::test]
async fn another_issuers_document_is_not_used() {
    let fake = Fake::start().await;
    let honest = "https://honest.example";
    fake.set(OIDC, Answer::json(200, &fake.metadata(honest)));
    fake.set(OAUTH, Answer::json(200, &fake.metadata(honest)));
    let error = look(&fake.base).await.expect_err("mismatch");
    assert!(error.to_string().contains(honest), "{error}");
    assert!(error.to_string().contains(&fake.base), "{error}");
    assert!(!error.is_transient());
}

#[tokio::test]
async fn the_documents_own_spelling_is_kept() {
    let fake = Fake::start().await;
    let issuer = format!("{}/", fake.base);
    fake.set(OIDC, Answer::json(200, &fake.metadata(&issuer)));
    assert_eq!(look(&fake.base).await.expect("provider").issuer, issuer);
}

#[tokio::test]
async fn w8_a_provider_that_is_down_is_told_from_one_that_is_wrong() {
    let fake = Fake::start().await;
    fake.set(OIDC, Answer::text(503, "text/plain", "later"));
    assert!(look(&fake.base).await.expect_err("down").is_transient());

    // Port 1 of this machine has no server.
    let error = look("http://127.0.0.1:1").await.expect_err("nobody there");
    assert!(error.is_transient());
    assert_eq!(faults(error).len(), 1, "a host out of reach is asked once");
}

#[tokio::test]
async fn a_provider_that_never_answers_is_given_up() {
    let fake = Fake::start().await;
    fake.set(OIDC, Answer::Never);
    let clock = manual_clock();
    let http = http_at(clock.clone());
    let issuer = fake.base.clone();
    let look =
        tokio::spawn(async move { discover(&http, &issuer, DiscoveryPolicy::DEFAULT).await });
    fake.asked().await;
    clock.advance(Duration::from_secs(10));
    let error = look.await.expect("task").expect_err("silence");
    assert!(error.is_transient(), "{error}");
    assert_eq!(fake.paths(), [OIDC]);
}

#[tokio::test]
async fn f21_redirects_stay_on_the_host() {
    let fake = Fake::start().await;
    let elsewhere = Fake::start().await;
    let port = elsewhere.base.rsplit(':').next().expect("port");
    fake.set(
        OIDC,
        Answer::redirect(302, format!("http://localhost:{port}/doc")),
    );
    fake.set(OAUTH, Answer::redirect(302, format!("{}/doc", fake.base)));
    fake.set("/doc", Answer::json(200, &fake.metadata(&fake.base)));
    elsewhere.set("/doc", Answer::json(200, &fake.metadata(&fake.base)));
    assert!(look(&fake.base).await.is_ok());
    assert_eq!(fake.paths(), [OIDC, OAUTH, "/doc"]);
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn hostile_documents_are_refused() {
    let fake = Fake::start().await;
    let honest = fake.metadata(&fake.base).to_string();
    let huge = format!("{{\"x\":\"{}\",{}", "x".repeat(2 << 20), &honest[1..]);
    for body in [
        String::new(),
        "[]".into(),
        "<html>".into(),
        honest.replace('{', "{\"issuer\":\"https://evil.example\","),
        format!("{honest}{honest}"),
        honest.replace("/token\"", "/token#x\""),
        honest.replace("\"S256\"", "\"plain\""),
        honest.replace("http://127.0.0.1", "javascript://127.0.0.1"),
        huge,
    ] {
        fake.set(OIDC, Answer::text(200, "application/json", body.clone()));
        let error = look(&fake.base)
            .await
            .expect_err(&body[..body.len().min(200)]);
        assert!(!error.is_transient(), "{error}");
        assert!(error.to_string().len() < 1500, "{error}");
    }
}

#[tokio::test]
async fn f6_an_issuer_over_plain_http_is_refused_unasked() {
    let error = look("http://issuer.example").await.expect_err("plain http");
    assert!(matches!(error, DiscoveryError::BadIssuer { .. }), "{error}");
    assert!(error.to_string().contains("https"), "{error}");
    let hidden = look("https://me:hunter2@issuer.example")
        .await
        .expect_err("user name");
    assert!(!hidden.to_string().contains("hunter2"), "{hidden}");
    let down = look("http://127.0.0.1:1").await.expect_err("nobody there");
    assert!(matches!(
        faults(down)[..],
        [MetadataFault::Http(HttpError::Connect { .. })]
    ));
}
