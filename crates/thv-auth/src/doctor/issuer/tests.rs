//! Each rule broken once: the check that names it, and no other.

use serde_json::{Value, json};

use super::super::check::Outcome;
use super::super::host::tests::reply;
use super::*;
use crate::oauth::DiscoveryPolicy;

const ISSUER: &str = "https://id.example";

fn honest() -> Value {
    json!({
        "issuer": ISSUER,
        "authorization_endpoint": "https://id.example/authorize",
        "token_endpoint": "https://id.example/token",
        "jwks_uri": "https://id.example/jwks",
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "scopes_supported": ["openid", "offline_access"],
        "device_authorization_endpoint": "https://id.example/device",
        "revocation_endpoint": "https://id.example/revoke",
        "end_session_endpoint": "https://id.example/logout",
    })
}

fn seen(document: &Value) -> Vec<Sighting> {
    let reply = reply(
        200,
        &[("content-type", "application/json")],
        &document.to_string(),
    );
    vec![Sighting::of(
        ISSUER,
        Url::parse("https://id.example/.well-known/openid-configuration").expect("a url"),
        true,
        Ok(reply),
        DiscoveryPolicy::DEFAULT,
    )]
}

fn scopes() -> Vec<String> {
    ["openid", "offline_access"].map(str::to_owned).to_vec()
}

fn judged(document: &Value) -> Vec<Check> {
    judge(ISSUER, &scopes(), &seen(document))
}

#[test]
fn an_honest_provider_is_ok_throughout() {
    let checks = judged(&honest());
    assert!(
        checks.iter().all(|check| check.outcome == Outcome::Ok),
        "{checks:#?}"
    );
    let ids: Vec<_> = checks.iter().map(|check| check.id).collect();
    assert_eq!(ids[0], METADATA);
    assert_eq!(ids[1..], OF_DOCUMENT);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row per rule")]
fn each_rule_is_named_by_its_own_check() {
    let table = [
        (
            "issuer",
            json!("https://ID.example"),
            IDENTITY,
            Outcome::Failed,
        ),
        (
            "issuer",
            json!("https://evil.example"),
            IDENTITY,
            Outcome::Failed,
        ),
        (
            "issuer",
            json!("https://id.example:443"),
            IDENTITY,
            Outcome::Failed,
        ),
        (
            "issuer",
            json!("https://id.example/"),
            IDENTITY,
            Outcome::Warning,
        ),
        ("issuer", json!(7), IDENTITY, Outcome::Failed),
        ("issuer", Value::Null, IDENTITY, Outcome::Failed),
        (
            "token_endpoint",
            json!("http://id.example/t"),
            ENDPOINTS,
            Outcome::Failed,
        ),
        ("token_endpoint", Value::Null, ENDPOINTS, Outcome::Failed),
        (
            "authorization_endpoint",
            json!("javascript:alert(1)"),
            ENDPOINTS,
            Outcome::Failed,
        ),
        (
            "authorization_endpoint",
            json!("https://u@id.example/"),
            ENDPOINTS,
            Outcome::Failed,
        ),
        (
            "jwks_uri",
            json!("file:///etc/passwd"),
            ENDPOINTS,
            Outcome::Failed,
        ),
        ("jwks_uri", Value::Null, ENDPOINTS, Outcome::Failed),
        (
            "code_challenge_methods_supported",
            json!(["plain"]),
            PKCE,
            Outcome::Failed,
        ),
        (
            "code_challenge_methods_supported",
            json!([]),
            PKCE,
            Outcome::Failed,
        ),
        (
            "code_challenge_methods_supported",
            json!("S256"),
            PKCE,
            Outcome::Failed,
        ),
        (
            "code_challenge_methods_supported",
            Value::Null,
            PKCE,
            Outcome::Warning,
        ),
        (
            "authorization_response_iss_parameter_supported",
            json!(false),
            RESPONSE_ISSUER,
            Outcome::Warning,
        ),
        (
            "authorization_response_iss_parameter_supported",
            json!("yes"),
            RESPONSE_ISSUER,
            Outcome::Failed,
        ),
        (
            "scopes_supported",
            json!(["openid"]),
            SCOPES,
            Outcome::Warning,
        ),
        ("scopes_supported", json!(7), SCOPES, Outcome::Warning),
        ("scopes_supported", Value::Null, SCOPES, Outcome::Skipped),
        (
            "device_authorization_endpoint",
            Value::Null,
            DEVICE,
            Outcome::Warning,
        ),
        (
            "device_authorization_endpoint",
            json!("http://id.example/d"),
            DEVICE,
            Outcome::Warning,
        ),
        (
            "revocation_endpoint",
            Value::Null,
            REVOCATION,
            Outcome::Warning,
        ),
        (
            "registration_endpoint",
            json!("https://id.example/register"),
            REGISTRATION,
            Outcome::Ok,
        ),
        (
            "end_session_endpoint",
            Value::Null,
            END_SESSION,
            Outcome::Ok,
        ),
        (
            "dpop_signing_alg_values_supported",
            json!(["ES256"]),
            DPOP,
            Outcome::Ok,
        ),
    ];
    for (member, value, id, outcome) in table {
        let mut document = honest();
        document[member] = value.clone();
        let checks = judged(&document);
        for check in &checks {
            let expected = if check.id == id {
                outcome
            } else if check.id == METADATA && outcome == Outcome::Failed {
                Outcome::Failed
            } else {
                Outcome::Ok
            };
            assert_eq!(check.outcome, expected, "{member} = {value}: {check:?}");
        }
        // What a login refuses, a check refuses, and the other way round.
        let refused = seen(&document)[0].provider.is_err();
        let failed = checks.iter().any(|check| check.outcome == Outcome::Failed);
        assert_eq!(refused, failed, "{member} = {value}: {checks:#?}");
    }
}

#[test]
fn case_01_both_issuers_are_shown() {
    let mut document = honest();
    document["issuer"] = json!("https://honest.example");
    let check = &judged(&document)[1];
    assert!(check.evidence.contains(ISSUER), "{check:?}");
    assert!(
        check.evidence.contains("https://honest.example"),
        "{check:?}"
    );
}

#[test]
fn without_a_document_every_place_is_named_and_nothing_else_is_judged() {
    let url = |text| Url::parse(text).expect("a url");
    let seen = [
        (
            "https://id.example/.well-known/openid-configuration",
            true,
            404,
        ),
        (
            "https://id.example/.well-known/oauth-authorization-server",
            false,
            404,
        ),
    ]
    .map(|(place, is_openid, status)| {
        Sighting::of(
            ISSUER,
            url(place),
            is_openid,
            Ok(reply(status, &[], "")),
            DiscoveryPolicy::DEFAULT,
        )
    });
    let checks = judge(ISSUER, &scopes(), &seen);
    assert_eq!(checks[0].outcome, Outcome::Failed);
    for place in ["openid-configuration", "oauth-authorization-server"] {
        assert!(checks[0].evidence.contains(place), "{checks:?}");
    }
    assert!(
        checks[1..]
            .iter()
            .all(|check| check.outcome == Outcome::Skipped)
    );
}

#[test]
fn an_issuer_that_is_none_is_said_so_without_its_password() {
    assert_eq!(url(ISSUER, BY_HAND).outcome, Outcome::Ok);
    let check = url("https://me:hunter2@id.example", BY_HAND);
    assert_eq!(check.outcome, Outcome::Failed);
    assert!(!check.evidence.contains("hunter2"), "{check:?}");
}
