//! The registration endpoint (RFC 7591): a client with the metadata that it asked for, and those said back to it.

use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::Shared;
use super::behaviour::{Client, Registration};
use crate::jwt;
use crate::listening::Whole;
use crate::plain;

/// The answer to `POST /register`.
pub(super) fn register(shared: &Shared, parts: &Parts, body: &[u8]) -> Whole {
    match registered(shared, parts, body) {
        Ok(answer) => plain::json(StatusCode::CREATED, &answer),
        Err(error) => plain::json(
            StatusCode::BAD_REQUEST,
            &json!({"error": error, "error_description": "the fake says no"}),
        ),
    }
}

fn registered(shared: &Shared, parts: &Parts, body: &[u8]) -> Result<Value, &'static str> {
    let asked: Value = serde_json::from_slice(body).map_err(|_| "invalid_client_metadata")?;
    if parts.method != Method::POST || !asked.is_object() {
        return Err("invalid_client_metadata");
    }
    let uris: Vec<&str> = asked["redirect_uris"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if uris.is_empty() || !uris.iter().all(|uri| may_return_to(uri)) {
        return Err("invalid_redirect_uri");
    }
    let behaviour = shared.behaviour();
    let refuses = behaviour.registration_refuses.as_deref();
    if refuses.is_some_and(|prefix| uris.iter().any(|uri| uri.starts_with(prefix))) {
        return Err("invalid_redirect_uri");
    }
    let id = format!("registered-{}", jwt::random(9));
    let mut client = Client::public(&id, &uris);
    let mut answer = asked.clone();
    answer["client_id"] = id.as_str().into();
    answer["client_id_issued_at"] = shared.now().into();
    let method = match behaviour.registration {
        Registration::Secret => "client_secret_basic",
        _ => asked["token_endpoint_auth_method"]
            .as_str()
            .unwrap_or("client_secret_basic"),
    };
    answer["token_endpoint_auth_method"] = method.into();
    if method != "none" {
        let secret = shared.book().secret();
        answer["client_secret"] = secret.as_str().into();
        answer["client_secret_expires_at"] = 0.into();
        client = match method {
            "client_secret_basic" => client.basic(&secret),
            "client_secret_post" => client.post(&secret),
            _ => return Err("invalid_client_metadata"),
        };
    }
    shared.clients.lock().unwrap().push(client);
    let members = answer.as_object_mut().expect("an object");
    for (name, value) in behaviour.registration_answer {
        match value {
            Some(value) => members.insert(name, value),
            None => members.remove(&name),
        };
    }
    Ok(answer)
}

/// Native programs come back to loopback, with a port of their own; others to https.
fn may_return_to(uri: &str) -> bool {
    let Ok(url) = url::Url::parse(uri) else {
        return false;
    };
    let is_loopback = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
    url.fragment().is_none() && (url.scheme() == "https" || is_loopback)
}
