//! Asking the issuer about a token that means nothing to us (RFC 7662).

use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use thv_http::{Http, Policy, Request};
use url::Url;

use super::policy::ISSUER_LIMITS;
use super::token::TokenFault;

/// Returns what the endpoint says about `token` if it calls it active.
pub(super) async fn introspect(
    http: &Http,
    endpoint: &Url,
    client: Option<&(String, SecretString)>,
    reach: Policy,
    token: &str,
) -> Result<Map<String, Value>, TokenFault> {
    let fields = [("token", token), ("token_type_hint", "access_token")];
    let mut request = Request::post_form(endpoint.clone(), fields)
        .policy(reach)
        .limits(ISSUER_LIMITS);
    if let Some((id, secret)) = client {
        request = request.basic(
            form_encoded(id),
            form_encoded(secret.expose_secret()).into(),
        );
    }
    let unavailable = |cause: String| TokenFault::Unavailable { cause };
    let reply = http
        .send(request)
        .await
        .map_err(|cause| unavailable(cause.to_string()))?;
    if reply.status != StatusCode::OK {
        return Err(unavailable(format!(
            "the introspection endpoint answered {}",
            reply.status
        )));
    }
    let answer: Map<String, Value> = serde_json::from_slice(&reply.body).map_err(|_| {
        unavailable("the introspection endpoint's answer is no JSON object".to_owned())
    })?;
    if answer.get("active") == Some(&Value::Bool(true)) {
        Ok(answer)
    } else {
        Err(TokenFault::Inactive)
    }
}

/// RFC 6749 section 2.3.1: client id and secret are form-encoded before they become Basic credentials.
fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
