//! Giving tokens back.

use thv_auth::oauth::{ClientAuthentication, RevocationOutcome, TokenHint, revoke};

use crate::provider::{Answer, Fake, http, secret};

#[tokio::test]
async fn a_token_is_given_back_with_its_kind_and_our_name() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/revoke", Answer::text(200, "text/plain", ""));
    let outcome = revoke(
        &http(),
        &provider,
        &fake.binding(),
        &ClientAuthentication::None,
        &secret("s3cret-token"),
        TokenHint::RefreshToken,
    )
    .await;
    assert_eq!(outcome, RevocationOutcome::Revoked);
    let sent = fake.only();
    assert_eq!(sent.field("token"), Some("s3cret-token"));
    assert_eq!(sent.field("token_type_hint"), Some("refresh_token"));
    assert_eq!(sent.field("client_id"), Some("thv & co"));
    assert_eq!(sent.headers.get("authorization"), None);
}

#[tokio::test]
async fn only_a_success_is_called_a_revocation() {
    let (fake, provider) = Fake::discovered().await;
    let code =
        |code: &str| serde_json::json!({"error": code, "error_description": "of s3cret-token"});
    for (answer, outcome) in [
        (
            Answer::json(400, &code("unsupported_token_type")),
            "unsupported",
        ),
        (Answer::json(401, &code("invalid_client")), "failed"),
        (Answer::text(503, "text/html", "<html>"), "failed"),
        (Answer::text(404, "text/html", "<html>"), "failed"),
        (
            Answer::redirect(307, format!("{}/other", fake.base)),
            "failed",
        ),
    ] {
        fake.set("/revoke", answer.clone());
        let got = revoke(
            &http(),
            &provider,
            &fake.binding(),
            &ClientAuthentication::None,
            &secret("s3cret-token"),
            TokenHint::AccessToken,
        )
        .await;
        assert_eq!(got.as_str(), outcome, "{answer:?}");
        assert!(!format!("{got:?}").contains("s3cret"), "{got:?}");
    }
    assert!(!fake.paths().contains(&"/other".to_owned()));
}

#[tokio::test]
async fn a_provider_without_the_endpoint_is_not_asked() {
    let (fake, mut provider) = Fake::discovered().await;
    provider.revocation_endpoint = None;
    let outcome = revoke(
        &http(),
        &provider,
        &fake.binding(),
        &ClientAuthentication::None,
        &secret("x"),
        TokenHint::AccessToken,
    )
    .await;
    assert_eq!(outcome, RevocationOutcome::Unsupported);
    assert!(fake.seen().is_empty());
}
