//! ID tokens and the keys that sign them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use thv_auth::oauth::{Account, IdTokenError, KeyCache, Provider, verify_id_token};

use crate::provider::{Answer, Fake, http, now, secret};

const NONCE: &str = "nonce-of-this-login";

/// A signing key: its name, its private half, and the coordinates of its public half.
struct Key {
    kid: &'static str,
    pem: &'static [u8],
    x: &'static str,
    y: &'static str,
}

const OLD: Key = Key {
    kid: "old",
    pem: include_bytes!("../data/signing-old.pem"),
    x: "yrNcU7r9g-K3CBhQaGrLiUdOKZceWiWNgoNNj7vHqdQ",
    y: "UNzK0JSjgYXIaDqN9iRobj3GWJlL-NK_Q6_LqZ61BZY",
};

const NEW: Key = Key {
    kid: "new",
    pem: include_bytes!("../data/signing-new.pem"),
    x: "s8w5wVpvEnW0Qf0IwkiORi0XCbYXW4qzdsNBxbhsYys",
    y: "xzQyMk7UKSWYWnB7bOM9QMQh7-YCL8Hbk-ym8bpohHc",
};

impl Key {
    fn public(&self) -> Value {
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": self.x, "y": self.y})
    }

    fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.kid.to_owned());
        self.sign_as(&header, claims)
    }

    fn sign_as(&self, header: &Header, claims: &Value) -> String {
        let key = EncodingKey::from_ec_pem(self.pem).expect("key");
        encode(header, claims, &key).expect("token")
    }
}

fn keys(keys: &[&Key]) -> Answer {
    let keys: Vec<Value> = keys.iter().map(|key| key.public()).collect();
    Answer::json(200, &json!({ "keys": keys }))
}

fn claims(fake: &Fake) -> Value {
    json!({
        "iss": fake.base,
        "aud": "thv & co",
        "sub": "user-1",
        "nonce": NONCE,
        "iat": now().as_second(),
        "exp": now().as_second() + 300,
        "email": "ada@example.com",
        "name": "Ada\nL.",
    })
}

fn changed(fake: &Fake, member: &str, value: Value) -> Value {
    let mut claims = claims(fake);
    claims[member] = value;
    claims
}

async fn check_with(
    cache: &KeyCache,
    fake: &Fake,
    provider: &Provider,
    token: &str,
    at: Timestamp,
) -> Result<Account, IdTokenError> {
    verify_id_token(
        &http(),
        cache,
        provider,
        &fake.binding(),
        &secret(token),
        Some(&secret(NONCE)),
        at,
    )
    .await
}

async fn check(fake: &Fake, provider: &Provider, token: &str) -> Result<Account, IdTokenError> {
    check_with(&KeyCache::new(), fake, provider, token, now()).await
}

#[tokio::test]
async fn an_honest_token_tells_who_logged_in() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/jwks", keys(&[&OLD]));
    let account = check(&fake, &provider, &OLD.sign(&claims(&fake)))
        .await
        .expect("account");
    assert_eq!(account.issuer, fake.base);
    assert_eq!(account.sub, "user-1");
    assert_eq!(account.email.as_deref(), Some("ada@example.com"));
    assert_eq!(account.name.as_deref(), Some("AdaL."));
}

#[tokio::test]
async fn claims_of_others_are_refused() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/jwks", keys(&[&OLD]));
    let second = now().as_second();
    for (member, value) in [
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{}/", fake.base))),
        ("iss", Value::Null),
        ("aud", json!("someone else")),
        ("aud", json!([])),
        ("aud", json!(["someone else", "others"])),
        ("aud", json!(["thv & co", "others"])),
        ("aud", json!(7)),
        ("aud", Value::Null),
        ("azp", json!("someone else")),
        ("exp", json!(second - 61)),
        ("exp", json!("soon")),
        ("exp", Value::Null),
        ("nbf", json!(second + 61)),
        ("nonce", json!("another login's")),
        ("nonce", Value::Null),
        ("nonce", json!(["nonce-of-this-login"])),
        ("sub", Value::Null),
        ("sub", json!("")),
        ("sub", json!("a\nb")),
        ("sub", json!("x".repeat(256))),
        ("sub", json!(1)),
    ] {
        let token = OLD.sign(&changed(&fake, member, value.clone()));
        let result = check(&fake, &provider, &token).await;
        assert!(
            matches!(result, Err(IdTokenError::Refused { .. })),
            "{member} {value}: {result:?}"
        );
    }
    for (member, value) in [
        ("aud", json!(["thv & co"])),
        ("exp", json!(second - 59)),
        ("nbf", json!(second + 59)),
        ("azp", json!("thv & co")),
        ("email", json!(7)),
    ] {
        let token = OLD.sign(&changed(&fake, member, value.clone()));
        assert!(
            check(&fake, &provider, &token).await.is_ok(),
            "{member} {value}"
        );
    }
}

#[tokio::test]
async fn a_token_for_several_needs_us_as_its_party() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/jwks", keys(&[&OLD]));
    let mut shared = changed(&fake, "aud", json!(["thv & co", "others"]));
    shared["azp"] = json!("thv & co");
    assert!(check(&fake, &provider, &OLD.sign(&shared)).await.is_ok());
}

#[tokio::test]
async fn tokens_that_nobody_signed_are_refused() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/jwks", keys(&[&OLD]));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let honest = OLD.sign(&claims(&fake));
    let body = part(&claims(&fake));
    let (message, signature) = honest.rsplit_once('.').expect("three parts");
    let (head, _) = message.split_once('.').expect("three parts");
    let other = part(&changed(&fake, "sub", json!("someone-else")));
    let with_secret = encode(
        &Header::new(Algorithm::HS256),
        &claims(&fake),
        &EncodingKey::from_secret(OLD.x.as_bytes()),
    )
    .expect("token");
    let mut twice = claims(&fake).to_string();
    twice.insert_str(1, "\"sub\":\"someone-else\",");
    for (what, token) in [
        (
            "alg none",
            format!("{}.{body}.", part(&json!({"alg": "none"}))),
        ),
        (
            "alg None",
            format!("{}.{body}.", part(&json!({"alg": "None", "kid": "old"}))),
        ),
        (
            "alg none with a signature",
            format!("{}.{body}.{signature}", part(&json!({"alg": "none"}))),
        ),
        ("a shared secret", with_secret),
        (
            "another kind of key",
            format!(
                "{}.{body}.{signature}",
                part(&json!({"alg": "RS256", "kid": "old"}))
            ),
        ),
        ("no signature", format!("{message}.")),
        ("a changed body", format!("{head}.{other}.{signature}")),
        (
            "a repeated claim",
            format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(twice)),
        ),
        ("another's key", NEW.sign_as(&named("old"), &claims(&fake))),
        ("no token", "x".to_owned()),
        ("nothing", String::new()),
        ("dots", "...".to_owned()),
    ] {
        let result = check(&fake, &provider, &token).await;
        assert!(
            matches!(result, Err(IdTokenError::Refused { .. })),
            "{what}: {result:?}"
        );
    }
}

fn named(kid: &str) -> Header {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(kid.to_owned());
    header
}

#[tokio::test]
async fn a_signed_token_that_says_two_things_is_refused() {
    // The library writes claims in order and without a filter, so that text can repeat a member.
    let (fake, provider) = Fake::discovered().await;
    fake.set("/jwks", keys(&[&OLD]));
    let mut text = claims(&fake).to_string();
    text.insert_str(1, "\"sub\":\"someone-else\",");
    let claims = serde_json::value::RawValue::from_string(text).expect("json");
    let key = EncodingKey::from_ec_pem(OLD.pem).expect("key");
    let token = encode(&named("old"), &claims, &key).expect("token");
    assert!(check(&fake, &provider, &token).await.is_err());
}

#[tokio::test]
async fn rotated_keys_are_fetched_once_and_kept() {
    let (fake, provider) = Fake::discovered().await;
    let cache = KeyCache::new();
    fake.set("/jwks", keys(&[&OLD]));
    for _ in 0..3 {
        let token = OLD.sign(&claims(&fake));
        check_with(&cache, &fake, &provider, &token, now())
            .await
            .expect("account");
    }
    assert_eq!(fake.seen().len(), 1);

    fake.set("/jwks", keys(&[&NEW]));
    let token = NEW.sign(&claims(&fake));
    check_with(&cache, &fake, &provider, &token, now())
        .await
        .expect("account");
    assert_eq!(fake.seen().len(), 2);

    let withdrawn = OLD.sign(&claims(&fake));
    let result = check_with(&cache, &fake, &provider, &withdrawn, now()).await;
    assert!(
        matches!(result, Err(IdTokenError::Refused { .. })),
        "{result:?}"
    );
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn kept_keys_grow_old() {
    let (fake, provider) = Fake::discovered().await;
    let cache = KeyCache::new();
    fake.set("/jwks", keys(&[&OLD]));
    let later = now() + SignedDuration::from_hours(1);
    let token = OLD.sign(&changed(&fake, "exp", json!(later.as_second() + 60)));
    for at in [now(), later] {
        check_with(&cache, &fake, &provider, &token, at)
            .await
            .expect("account");
    }
    assert_eq!(fake.seen().len(), 2);
}

#[tokio::test]
async fn a_token_without_a_key_name_is_tried_with_the_keys_there_are() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/jwks", keys(&[&NEW, &OLD]));
    let token = OLD.sign_as(&Header::new(Algorithm::ES256), &claims(&fake));
    assert!(check(&fake, &provider, &token).await.is_ok());
}

#[tokio::test]
async fn keys_out_of_reach_are_no_verdict_on_the_token() {
    let (fake, provider) = Fake::discovered().await;
    let token = OLD.sign(&claims(&fake));
    for answer in [
        Answer::text(500, "text/plain", ""),
        Answer::text(200, "application/json", "<html>"),
        Answer::text(200, "application/json", "{}"),
    ] {
        fake.set("/jwks", answer);
        let result = check(&fake, &provider, &token).await;
        assert!(
            matches!(result, Err(IdTokenError::Keys { .. })),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_refresh_has_no_nonce_to_check() {
    let (fake, provider) = Fake::discovered().await;
    fake.set("/jwks", keys(&[&OLD]));
    let token = secret(&OLD.sign(&changed(&fake, "nonce", Value::Null)));
    let account = verify_id_token(
        &http(),
        &KeyCache::new(),
        &provider,
        &fake.binding(),
        &token,
        None,
        now(),
    )
    .await;
    assert!(account.is_ok());
}
