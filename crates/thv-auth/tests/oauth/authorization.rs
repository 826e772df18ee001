//! The authorization request.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use thv_auth::oauth::{BeginError, RedirectUri, begin};

use crate::provider::{Fake, query};

#[tokio::test]
async fn the_url_says_all_that_the_contract_wants_and_no_more() {
    let (fake, provider) = Fake::discovered().await;
    let binding = fake.binding();
    let redirect = RedirectUri::registered(8666);
    let attempt = begin(&provider, &binding, &redirect, &binding.scopes, None).expect("attempt");
    let url = &attempt.authorization_url;
    assert!(
        url.as_str()
            .starts_with(&format!("{}/authorize?", fake.base)),
        "{url}"
    );
    let query = query(url);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(attempt.verifier.expose_secret()));
    let nonce = attempt.nonce.as_ref().expect("nonce");
    let mut expected = [
        ("response_type", "code"),
        ("client_id", "thv & co"),
        ("redirect_uri", "http://localhost:8666/callback"),
        ("scope", "openid offline_access"),
        ("state", attempt.state.expose_secret()),
        ("nonce", nonce.expose_secret()),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("resource", "https://registry.example.com/mcp"),
        ("audience", "registry audience"),
        ("prompt", "consent"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut sent: Vec<_> = query.into_iter().collect();
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected);
    assert_eq!(attempt.state.expose_secret().len(), 22);
    assert_eq!(attempt.verifier.expose_secret().len(), 43);
    assert!(!url.as_str().contains(attempt.verifier.expose_secret()));
}

#[tokio::test]
async fn f17_and_w19_nothing_is_sent_that_is_not_configured() {
    let (fake, provider) = Fake::discovered().await;
    let redirect = RedirectUri::registered(1);
    let sent = |resource: Option<&str>, audience: Option<&str>, scopes: &[&str]| {
        let mut binding = fake.binding();
        binding.resource = resource.map(str::to_owned);
        binding.audience = audience.map(str::to_owned);
        let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        query(
            &begin(&provider, &binding, &redirect, &scopes, None)
                .expect("attempt")
                .authorization_url,
        )
    };
    let plain = sent(None, None, &["read"]);
    for absent in ["resource", "audience", "nonce", "prompt"] {
        assert!(!plain.contains_key(absent), "{absent}");
    }
    let resource = sent(Some("https://r.example"), None, &["read"]);
    assert_eq!(resource["resource"], "https://r.example");
    assert!(!resource.contains_key("audience"));
    let audience = sent(None, Some("api"), &["read"]);
    assert_eq!(audience["audience"], "api");
    assert!(!audience.contains_key("resource"));
}

#[tokio::test]
async fn f6_offline_access_is_added_to_a_copy() {
    let (fake, mut provider) = Fake::discovered().await;
    let binding = fake.binding();
    let redirect = RedirectUri::registered(1);
    let given = ["read".to_owned(), "read write".to_owned()];
    let attempt = begin(&provider, &binding, &redirect, &given, None).expect("attempt");
    assert_eq!(attempt.scopes, ["read", "write", "offline_access"]);
    assert_eq!(given, ["read".to_owned(), "read write".to_owned()]);

    provider.scopes_supported = Some(vec!["openid".into(), "read".into()]);
    let attempt = begin(&provider, &binding, &redirect, &given, None).expect("attempt");
    assert_eq!(attempt.scopes, ["read", "write"]);
    let asked = ["offline_access".to_owned()];
    let attempt = begin(&provider, &binding, &redirect, &asked, None).expect("attempt");
    assert_eq!(
        attempt.scopes,
        ["offline_access"],
        "what a person configured is asked for"
    );
}

#[tokio::test]
async fn no_two_attempts_share_a_secret() {
    let (fake, provider) = Fake::discovered().await;
    let binding = fake.binding();
    let redirect = RedirectUri::registered(1);
    let mut secrets = HashSet::new();
    for _ in 0..50 {
        let attempt =
            begin(&provider, &binding, &redirect, &binding.scopes, None).expect("attempt");
        for secret in [
            Some(&attempt.state),
            Some(&attempt.verifier),
            attempt.nonce.as_ref(),
        ] {
            assert!(secrets.insert(secret.expect("secret").expose_secret().to_owned()));
        }
        assert!(!format!("{attempt:?}").contains(attempt.verifier.expose_secret()));
    }
}

#[tokio::test]
async fn a_response_is_held_against_its_own_attempt() {
    let (fake, mut provider) = Fake::discovered().await;
    provider.iss_parameter_supported = true;
    let binding = fake.binding();
    let redirect = RedirectUri::registered(1);
    let attempt = begin(&provider, &binding, &redirect, &binding.scopes, None).expect("attempt");
    assert!(attempt.accepts_state(attempt.state.expose_secret()));
    for forged in ["", "x", &attempt.state.expose_secret()[1..]] {
        assert!(!attempt.accepts_state(forged), "{forged}");
    }
    assert!(attempt.check_issuer(Some(&fake.base)).is_ok());
    assert!(attempt.check_issuer(Some("https://evil.example")).is_err());
    assert!(attempt.check_issuer(None).is_err());
}

#[tokio::test]
async fn a_login_begins_only_at_the_issuer_it_is_for() {
    let (fake, provider) = Fake::discovered().await;
    let mut binding = fake.binding();
    let redirect = RedirectUri::registered(1);
    binding.issuer.push('/');
    assert!(begin(&provider, &binding, &redirect, &[], None).is_ok());
    binding.issuer = "https://other.example".into();
    assert!(matches!(
        begin(&provider, &binding, &redirect, &[], None),
        Err(BeginError::OtherIssuer { .. })
    ));
}
