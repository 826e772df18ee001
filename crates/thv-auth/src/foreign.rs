//! What strangers send during a login, read from bytes alone: the readers without the network, for fuzzing.
//!
//! Nothing is decided here: each function is the one that a login calls, given an answer that was made up. Header values need
//! no such help: see [`crate::oauth::challenge`].

use http::{HeaderMap, HeaderValue, StatusCode};
use secrecy::SecretString;
use thv_http::{Reply, secrecy};
use url::Url;

use crate::doctor::{Check, judge_provider, judge_resource};
use crate::login::callback::{Response, read};
use crate::oauth::answer::{check_success, judge_failure};
use crate::oauth::error::MetadataFault;
use crate::oauth::json::Members;
use crate::oauth::metadata::Sighting;
use crate::oauth::resource::{self, Resource, ResourceFault, ResourceMetadata};
use crate::oauth::{Attempt, DiscoveryPolicy, Provider, TokenError, TokenSet};
use crate::relaxation::Relaxations;

/// An issuer's document, and what an examination says of it.
pub fn provider_metadata(
    issuer: &str,
    is_openid: bool,
    body: &[u8],
) -> Option<(Result<Provider, MetadataFault>, Vec<Check>)> {
    let url = Url::parse(issuer).ok()?;
    let reply = json(StatusCode::OK, url.clone(), body);
    let sighting = Sighting::of(issuer, url, is_openid, Ok(reply), DiscoveryPolicy::DEFAULT);
    let provider = sighting.provider.clone();
    Some((provider, judge_provider(issuer, &[sighting])))
}

/// A registry's document, and what an examination says of it.
pub fn resource_metadata(
    registry: &str,
    relaxations: &Relaxations,
    body: &[u8],
) -> Option<(Result<ResourceMetadata, ResourceFault>, Vec<Check>)> {
    let url = Url::parse(registry).ok()?;
    let resource = Resource {
        url: &url,
        configured: registry,
        allow_private_ip: false,
    };
    let reply = json(StatusCode::OK, url.clone(), body);
    let found = resource::read(&reply, &resource, &url, relaxations);
    let checks = judge_resource(registry, found.clone());
    Some((found, checks))
}

/// An answer of the token endpoint, with this `Retry-After` header, to a request that held `secret`.
pub fn token_answer(
    status: StatusCode,
    retry_after: Option<HeaderValue>,
    body: &[u8],
    secret: &str,
) -> Result<TokenSet, TokenError> {
    let url = Url::parse("https://id.example/token").map_err(|_| TokenError::malformed(""))?;
    let mut reply = json(status, url, body);
    if let Some(value) = retry_after {
        reply.headers.insert(http::header::RETRY_AFTER, value);
    }
    if status != StatusCode::OK {
        return Err(judge_failure(&reply, &[secret]));
    }
    check_success(&reply)?;
    let members = Members::parse(&reply.body);
    let members = members.map_err(|fault| TokenError::malformed(fault.to_string()))?;
    TokenSet::read(&members).map_err(TokenError::malformed)
}

/// The query of a redirect to us: the code, or the error and its description; `None` when it is no answer to `attempt`.
pub fn authorization_response(
    attempt: &Attempt,
    query: &str,
) -> Option<Result<SecretString, (String, Option<String>)>> {
    match read(attempt, query) {
        Response::Granted(code) => Some(Ok(code)),
        Response::Refused(refusal) => Some(Err((refusal.code, refusal.description))),
        Response::Forged
        | Response::Malformed
        | Response::ForeignError
        | Response::ForeignCode { .. } => None,
    }
}

fn json(status: StatusCode, url: Url, body: &[u8]) -> Reply {
    let json = HeaderValue::from_static("application/json");
    Reply {
        status,
        headers: HeaderMap::from_iter([(http::header::CONTENT_TYPE, json)]),
        body: body.to_vec().into(),
        url,
    }
}
