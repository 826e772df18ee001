//! Redeeming codes and refreshing.

use std::time::Duration;

use secrecy::ExposeSecret;
use thv_auth::oauth::{
    Attempt, ClientAuthentication, Provider, RedirectUri, TokenError, TokenSet, begin, exchange,
    refresh,
};

use crate::provider::{Answer, Fake, Seen, http, http_at, manual_clock, secret};

pub(crate) const CODE: &str = "s3cret-code/1+a";
pub(crate) const REFRESH: &str = "s3cret-refresh-token";
const PUBLIC: ClientAuthentication = ClientAuthentication::None;

fn tokens() -> serde_json::Value {
    serde_json::json!({
        "access_token": "s3cret-access-token",
        "token_type": "bearer",
        "refresh_token": "s3cret-next",
        "expires_in": "3600",
        "scope": "registry:read",
        "id_token": "s3cret.id.token",
    })
}

fn attempt(fake: &Fake, provider: &Provider) -> Attempt {
    let binding = fake.binding();
    begin(
        provider,
        &binding,
        &RedirectUri::registered(8666),
        &binding.scopes,
        None,
    )
    .expect("attempt")
}

pub(crate) async fn redeem(fake: &Fake, provider: &Provider) -> Result<TokenSet, TokenError> {
    let attempt = attempt(fake, provider);
    exchange(
        &http(),
        provider,
        &fake.binding(),
        &PUBLIC,
        &attempt,
        secret(CODE),
        None,
    )
    .await
}

pub(crate) async fn refreshed(fake: &Fake, provider: &Provider) -> Result<TokenSet, TokenError> {
    refresh(
        &http(),
        provider,
        &fake.binding(),
        &PUBLIC,
        &secret(REFRESH),
        None,
        None,
    )
    .await
}

fn sorted(seen: &Seen) -> Vec<(String, String)> {
    let mut form = seen.form.clone();
    form.sort();
    form
}

#[tokio::test]
async fn f5_a_code_is_redeemed_with_one_request_and_no_basic() {
    let (fake, provider) = Fake::discovered().await;
    fake.set(
        "/token",
        Answer::json(200, &tokens()).with_header("date", "Mon, 23 Nov 2026 12:00:30 GMT"),
    );
    let attempt = attempt(&fake, &provider);
    let set = exchange(
        &http(),
        &provider,
        &fake.binding(),
        &PUBLIC,
        &attempt,
        secret(CODE),
        None,
    )
    .await
    .expect("tokens");
    let arrived = fake.only();
    assert_eq!(arrived.method, "POST");
    assert_eq!(arrived.headers.get("authorization"), None);
    assert_eq!(arrived.headers["accept"], "application/json");
    let mut expected = [
        ("grant_type", "authorization_code"),
        ("code", CODE),
        ("redirect_uri", "http://localhost:8666/callback"),
        ("code_verifier", attempt.verifier.expose_secret()),
        ("client_id", "thv & co"),
        ("resource", "https://registry.example.com/mcp"),
        ("audience", "registry audience"),
        ("scope", "openid offline_access"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    expected.sort();
    assert_eq!(sorted(&arrived), expected);

    assert_eq!(set.access_token.expose_secret(), "s3cret-access-token");
    assert_eq!(
        set.refresh_token.as_ref().map(ExposeSecret::expose_secret),
        Some("s3cret-next")
    );
    assert_eq!(set.expires_in, Some(Duration::from_hours(1)));
    assert_eq!(set.scopes, Some(vec!["registry:read".to_owned()]));
    assert_eq!(
        set.server_date,
        Some("2026-11-23T12:00:30Z".parse().expect("timestamp"))
    );
    assert!(!format!("{set:?}").contains("s3cret"), "{set:?}");
}

#[tokio::test]
async fn f2_f3_f4_a_refresh_is_asked_for_what_the_login_was() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/token", Answer::json(200, &tokens()));
    redeem(&fake, &provider).await.expect("tokens");
    refreshed(&fake, &provider).await.expect("tokens");
    let seen = fake.seen();
    let [login, refresh] = &seen[..] else {
        panic!("{seen:?}")
    };
    for same in ["client_id", "resource", "audience", "scope"] {
        assert!(login.field(same).is_some(), "{same}");
        assert_eq!(login.field(same), refresh.field(same), "{same}");
    }
    assert_eq!(refresh.field("grant_type"), Some("refresh_token"));
    assert_eq!(refresh.field("refresh_token"), Some(REFRESH));
    assert_eq!(refresh.form.len(), 6, "{refresh:?}");
}

#[tokio::test]
async fn f16_the_token_endpoint_sees_our_user_agent() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/token", Answer::json(200, &tokens()));
    refreshed(&fake, &provider).await.expect("tokens");
    assert_eq!(fake.only().headers["user-agent"], "ToolHive/1.0 thv-test");
}

#[tokio::test]
async fn f17_and_w19_only_configured_targets_are_sent() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/token", Answer::json(200, &tokens()));
    let mut binding = fake.binding();
    binding.resource = None;
    binding.audience = None;
    refresh(
        &http(),
        &provider,
        &binding,
        &PUBLIC,
        &secret(REFRESH),
        None,
        None,
    )
    .await
    .expect("tokens");
    let sent = fake.only();
    assert_eq!(
        (sent.field("resource"), sent.field("audience")),
        (None, None)
    );
}

#[tokio::test]
async fn scopes_that_were_not_granted_are_not_asked_again() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/token", Answer::json(200, &tokens()));
    let mut binding = fake.binding();
    binding.scopes = ["openid", "registry:read", "registry:write"]
        .map(str::to_owned)
        .to_vec();
    let granted = ["registry:read".to_owned(), "extra".to_owned()];
    refresh(
        &http(),
        &provider,
        &binding,
        &PUBLIC,
        &secret(REFRESH),
        Some(&granted),
        None,
    )
    .await
    .expect("tokens");
    assert_eq!(
        fake.only().field("scope"),
        Some("openid registry:read offline_access")
    );
}

#[tokio::test]
async fn a_refresh_without_a_new_refresh_token_says_so() {
    let (fake, provider) = Fake::discovered().await;
    let bare = serde_json::json!({"access_token": "a", "token_type": "Bearer", "expires_in": -5});
    fake.set("/token", Answer::json(200, &bare));
    let set = refreshed(&fake, &provider).await.expect("tokens");
    assert!(set.refresh_token.is_none());
    assert_eq!((set.expires_in, set.scopes), (None, None));
}

#[tokio::test]
async fn unusual_lifetimes_leave_the_expiry_unknown() {
    let (fake, provider) = Fake::discovered().await;
    for lifetime in [
        "-1",
        "0",
        "1e308",
        "1e999",
        "null",
        "\"never\"",
        "[]",
        "true",
    ] {
        let body = format!(
            "{{\"access_token\":\"a\",\"token_type\":\"Bearer\",\"expires_in\":{lifetime}}}"
        );
        fake.set("/token", Answer::text(200, "application/json", body));
        let set = refreshed(&fake, &provider).await.expect(lifetime);
        assert_eq!(set.expires_in, None, "{lifetime}");
    }
}

#[tokio::test]
async fn a_provider_that_asks_for_patience_is_heard() {
    let (fake, provider) = Fake::discovered().await;
    fake.set(
        "/token",
        Answer::text(429, "text/plain", "").with_header("retry-after", "17"),
    );
    let Err(TokenError::Transient { retry_after, .. }) = refreshed(&fake, &provider).await else {
        panic!("429 is no verdict");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn w8_a_provider_out_of_reach_spent_nothing() {
    let (fake, mut provider) = Fake::discovered().await;
    provider.token_endpoint = "http://127.0.0.1:1/token".parse().expect("url");
    let error = refreshed(&fake, &provider).await.expect_err("nobody there");
    assert!(
        matches!(error, TokenError::Transient { unsent: true, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn f21_a_private_address_beside_the_issuer_needs_the_operators_leave() {
    let (fake, mut provider) = Fake::discovered().await;
    fake.set("/token", Answer::json(200, &tokens()));
    // Never contacted: the issuer's name only has to differ from the endpoint's.
    provider.issuer = "https://issuer.example".into();
    provider.token_endpoint = provider
        .token_endpoint
        .as_str()
        .replace("http:", "https:")
        .parse()
        .expect("url");
    let error = refreshed(&fake, &provider)
        .await
        .expect_err("private address");
    assert!(
        matches!(&error, TokenError::Transient { unsent: true, cause, .. } if cause.contains("private")),
        "{error:?}"
    );
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_silent_provider_is_given_up_and_the_outcome_is_open() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/token", Answer::Never);
    let clock = manual_clock();
    let http = http_at(clock.clone());
    let binding = fake.binding();
    let waiting = tokio::spawn(async move {
        refresh(
            &http,
            &provider,
            &binding,
            &PUBLIC,
            &secret(REFRESH),
            None,
            None,
        )
        .await
    });
    fake.asked().await;
    clock.advance(Duration::from_secs(31));
    let error = waiting.await.expect("task").expect_err("silence");
    assert!(
        matches!(error, TokenError::Transient { unsent: false, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_code_goes_to_the_issuer_that_gave_it() {
    let (fake, provider) = Fake::discovered().await;
    let attempt = attempt(&fake, &provider);
    let (other, other_provider) = Fake::discovered().await;
    let result = exchange(
        &http(),
        &other_provider,
        &other.binding(),
        &PUBLIC,
        &attempt,
        secret(CODE),
        None,
    )
    .await;
    assert!(matches!(result, Err(TokenError::Malformed { .. })));
    assert!(other.seen().is_empty() && fake.seen().is_empty());
}

#[tokio::test]
async fn a_registered_secret_is_used_in_the_registered_way() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/token", Answer::json(200, &tokens()));
    let request_by = async |authentication: &ClientAuthentication| {
        refresh(
            &http(),
            &provider,
            &fake.binding(),
            authentication,
            &secret(REFRESH),
            None,
            None,
        )
        .await
        .expect("tokens");
        fake.seen().pop().expect("a request")
    };
    let sent = request_by(&ClientAuthentication::SecretBasic(secret("a b:c"))).await;
    // `thv & co` and `a b:c`, form-encoded each (RFC 6749 section 2.3.1).
    assert_eq!(
        sent.headers.get("authorization").expect("a header"),
        "Basic dGh2KyUyNitjbzphK2IlM0Fj"
    );
    assert_eq!(sent.field("client_id"), None);
    assert_eq!(sent.field("client_secret"), None);
    let sent = request_by(&ClientAuthentication::SecretPost(secret("a b:c"))).await;
    assert_eq!(sent.headers.get("authorization"), None);
    assert_eq!(sent.field("client_id"), Some("thv & co"));
    assert_eq!(sent.field("client_secret"), Some("a b:c"));
    let sent = request_by(&PUBLIC).await;
    assert_eq!(sent.field("client_id"), Some("thv & co"));
    assert_eq!(sent.field("client_secret"), None);
}
