//! Tokens for clients and workloads without a person: client credentials, token exchange (RFC 8693), assertions as grants and as proofs
//! of a client (RFC 7523).

use http::request::Parts;
use serde_json::{Value, json};

use super::Shared;
use super::behaviour::{Authentication, Behaviour, Client};
use super::book::Family;
use super::issue::Issue;
use super::token::{ABOUT_LOGIN, Form, KNOWN_SCOPES, Outcome, authenticate, bad};
use crate::jwt;

pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Longest life of an assertion that is taken, in seconds.
const LONGEST: i64 = 300;

/// Client credentials. A client that proves nothing gets nothing.
pub(super) fn by_client(
    shared: &Shared,
    behaviour: &Behaviour,
    client: &Client,
    form: &Form,
) -> Outcome<Value> {
    if matches!(client.authentication, Authentication::None) {
        return Err(bad("unauthorized_client"));
    }
    issue(shared, behaviour, &client.id, &client.id, form)
}

/// What a request with a workload's token gets; `None` for other requests. A client is not needed, but one that is named has to prove
/// itself.
pub(super) fn of_workload(
    shared: &Shared,
    parts: &Parts,
    behaviour: &Behaviour,
    form: &Form,
) -> Option<Outcome<Value>> {
    let (token, exchanged) = match form.get("grant_type")? {
        EXCHANGE => (form.get("subject_token"), true),
        ASSERTION => (form.get("assertion"), false),
        _ => return None,
    };
    let work = || {
        let client = match form.get("client_id") {
            None if !parts.headers.contains_key(http::header::AUTHORIZATION) => {
                "workload".to_owned()
            }
            _ => authenticate(shared, parts, form)?.id,
        };
        if exchanged && form.get("subject_token_type") != Some(JWT) {
            return Err(bad("invalid_request"));
        }
        let token = token.ok_or_else(|| bad("invalid_request"))?;
        let subject = subject(shared, behaviour, token).ok_or_else(|| bad("invalid_grant"))?;
        let mut answer = issue(shared, behaviour, &client, &subject, form)?;
        if exchanged {
            answer["issued_token_type"] = ACCESS_TOKEN.into();
        }
        Ok(answer)
    };
    Some(work())
}

/// Whether the form has an assertion of the client `id`, signed with the key of `jwk`, for us, fresh and never used before.
pub(super) fn asserts(shared: &Shared, id: &str, jwk: &Value, form: &Form) -> bool {
    if form.get("client_assertion_type") != Some(CLIENT_ASSERTION) {
        return false;
    }
    let claims = form
        .get("client_assertion")
        .and_then(|assertion| jwt::verify(assertion, std::slice::from_ref(jwk)).ok())
        .map(|(_, claims)| claims);
    let Some(claims) = claims else { return false };
    let now = shared.now();
    let is_fresh = claims["exp"]
        .as_i64()
        .is_some_and(|end| (now + 1..=now + LONGEST).contains(&end));
    let is_ours = claims["iss"] == id && claims["sub"] == id && claims["aud"] == shared.issuer;
    let Some(unique) = claims["jti"].as_str() else {
        return false;
    };
    is_fresh && is_ours && shared.book().assertions.insert(unique.to_owned())
}

/// Whose token it is, if its platform is trusted and it is for us.
fn subject(shared: &Shared, behaviour: &Behaviour, token: &str) -> Option<String> {
    let mut platforms = behaviour.workloads.iter();
    let claims = platforms.find_map(|platform| {
        let (_, claims) = jwt::verify(token, &platform.keys).ok()?;
        let fits = claims["iss"] == platform.issuer.as_str()
            && claims["aud"] == platform.audience.as_str();
        fits.then_some(claims)
    })?;
    let is_valid = claims["exp"].as_i64().is_some_and(|end| end > shared.now());
    is_valid
        .then(|| claims["sub"].as_str().map(str::to_owned))
        .flatten()
}

fn issue(
    shared: &Shared,
    behaviour: &Behaviour,
    client: &str,
    subject: &str,
    form: &Form,
) -> Outcome<Value> {
    let scopes: Vec<String> = form
        .get("scope")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    let grantable = &KNOWN_SCOPES[ABOUT_LOGIN..];
    if scopes
        .iter()
        .any(|scope| !grantable.contains(&scope.as_str()))
    {
        return Err(bad("invalid_scope"));
    }
    if behaviour.refuses_resource && form.get("resource").is_some() {
        return Err(bad("invalid_request"));
    }
    let asked = form.get("resource").or_else(|| {
        form.get("audience")
            .filter(|_| behaviour.understands_audience)
    });
    let audience = match asked {
        Some(resource) if shared.knows(resource) => Some(resource.to_owned()),
        Some(_) => return Err(bad("invalid_target")),
        None => behaviour.default_audience.clone(),
    };
    let family = Family {
        client: client.to_owned(),
        subject: subject.to_owned(),
        scopes: scopes.clone(),
        resources: audience.iter().cloned().collect(),
        refreshes: 0,
        key: None,
        ended: None,
        nonce: None,
    };
    let mut book = shared.book();
    book.families.push(family);
    let family = book.families.len() - 1;
    let answer = Issue {
        shared,
        behaviour,
        family,
        scopes: &scopes,
        audience,
        nonce: None,
    }
    .answer(&mut book, None);
    Ok(json!(answer))
}
