//! Which endpoint a request is for, the two documents, and what a fault does to the answer.

use std::future::pending;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::faults::Fault;
use super::token::KNOWN_SCOPES;
use super::{Handle, Registration, Shared, authorize, device, direct, paths, register, token};
use crate::listening::{Answers, Body, Ending, Whole, complete, partly};
use crate::plain;

impl Answers for Shared {
    fn answer(
        self: Arc<Self>,
        parts: Parts,
        body: Bytes,
    ) -> BoxFuture<'static, io::Result<Response<Body>>> {
        respond(self, parts, body).boxed()
    }
}

async fn respond(shared: Arc<Shared>, parts: Parts, body: Bytes) -> io::Result<Response<Body>> {
    let pen = shared.journal.open(&parts, body.clone());
    let path = own_path(&shared, parts.uri.path()).to_owned();
    let fault = shared
        .rules
        .lock()
        .unwrap()
        .iter_mut()
        .find_map(|rule| rule.meet(&path));
    let work = || {
        let mut answer = honest(&shared, &path, &parts, &body);
        answer
            .headers_mut()
            .insert(header::DATE, crate::wait::http_date(shared.now()));
        answer
    };
    let answer = match fault {
        None => work(),
        Some(Fault::Hang) => pending().await,
        Some(Fault::Cut) => return Err(io::Error::other("cut by the fake")),
        Some(Fault::Lost) => {
            let _ = work();
            return Err(io::Error::other("lost by the fake"));
        }
        Some(Fault::CutBody) => return Ok(partly(work(), Ending::Cut, pen)),
        Some(Fault::HangInBody) => return Ok(partly(work(), Ending::Hang, pen)),
        Some(Fault::Slow(delay)) => {
            let answer = work();
            tokio::time::sleep(delay).await;
            answer
        }
        Some(Fault::HeldBefore(gate)) => {
            gate.pass().await;
            work()
        }
        Some(Fault::HeldAfter(gate)) => {
            let answer = work();
            gate.pass().await;
            answer
        }
        Some(other) => canned(&other),
    };
    Ok(complete(answer, pen))
}

/// The answer of a fault that needs nothing of the request.
fn canned(fault: &Fault) -> Whole {
    let status = |number: u16| StatusCode::from_u16(number).expect("a status of HTTP");
    let good = |body: Bytes| plain::typed(StatusCode::OK, "application/json", body);
    match fault {
        Fault::Status(number) => plain::typed(status(*number), "text/plain", "told to say this"),
        Fault::RetryLater {
            status: number,
            seconds,
        } => {
            let mut answer = plain::typed(status(*number), "text/plain", "come back later");
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            answer
        }
        Fault::Error {
            status: number,
            error,
        } => plain::json(
            status(*number),
            &json!({"error": error, "error_description": "told to say this"}),
        ),
        Fault::Html(number) => plain::page(status(*number), "Sign in to the network"),
        Fault::Garbage => good(Bytes::from_static(b"{\"access_token\": \"half")),
        Fault::Empty => good(Bytes::new()),
        Fault::Huge(size) => good(
            json!({"access_token": "x".repeat(*size)})
                .to_string()
                .into(),
        ),
        Fault::RedirectTo {
            status: number,
            url,
        } => plain::redirect_with(status(*number), url),
        Fault::Raw {
            status: number,
            media_type,
            body,
        } => plain::typed(status(*number), media_type, body.clone()),
        other => unreachable!("{other:?} needs the request"),
    }
}

/// The path without the issuer's own; RFC 8414 puts the issuer's path last instead of first.
fn own_path<'a>(shared: &Shared, path: &'a str) -> &'a str {
    if shared.path.is_empty() {
        return path;
    }
    match path.strip_prefix(&shared.path) {
        Some(rest) => rest,
        None => path
            .strip_suffix(&shared.path)
            .filter(|front| *front == paths::OAUTH || *front == paths::OPENID)
            .unwrap_or("/outside"),
    }
}

fn honest(shared: &Arc<Shared>, path: &str, parts: &Parts, body: &[u8]) -> Whole {
    let behaviour = shared.behaviour();
    match (&parts.method, path) {
        (&Method::GET, paths::OPENID) if behaviour.speaks_openid => metadata(shared),
        (&Method::GET, paths::OAUTH) if behaviour.speaks_oauth => metadata(shared),
        (&Method::GET, paths::KEYS) => {
            let keys = Handle(Arc::clone(shared)).public_keys();
            plain::json(StatusCode::OK, &json!({"keys": keys}))
        }
        (&Method::GET, paths::AUTHORIZE) => authorize::authorize(shared, parts),
        (&Method::GET, paths::END_SESSION) => plain::page(StatusCode::OK, "Signed out"),
        (&Method::GET, paths::DEVICE) if behaviour.offers_device => device::page(shared, parts),
        (_, paths::DEVICE_AUTHORIZATION) if behaviour.offers_device => {
            device::authorization(shared, parts, body)
        }
        (_, paths::REGISTER) if behaviour.registration != Registration::Off => {
            register::register(shared, parts, body)
        }
        (_, paths::TOKEN) => token::token(shared, parts, body),
        (_, paths::REVOKE) => token::revoke(shared, parts, body),
        _ => plain::page(StatusCode::NOT_FOUND, "No such page"),
    }
}

fn metadata(shared: &Shared) -> Whole {
    let at = |path: &str| format!("{}{path}", shared.issuer);
    let behaviour = shared.behaviour();
    let mut document = json!({
        "issuer": shared.issuer,
        "authorization_endpoint": at(paths::AUTHORIZE),
        "token_endpoint": at(paths::TOKEN),
        "jwks_uri": at(paths::KEYS),
        "revocation_endpoint": at(paths::REVOKE),
        "end_session_endpoint": at(paths::END_SESSION),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", direct::EXCHANGE, direct::ASSERTION],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": KNOWN_SCOPES,
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"],
        "device_authorization_endpoint": behaviour.offers_device.then(|| at(paths::DEVICE_AUTHORIZATION)),
        "claims_supported": ["sub", "email", "email_verified", "name"],
        "authorization_response_iss_parameter_supported": behaviour.advertises_issuer,
        "dpop_signing_alg_values_supported": behaviour.binds_tokens.then(|| vec!["ES256"]),
    });
    let members = document.as_object_mut().expect("an object");
    if behaviour.registration != Registration::Off {
        let endpoint = at(paths::REGISTER).into();
        members.insert("registration_endpoint".to_owned(), endpoint);
    }
    members.retain(|_, value| !value.is_null());
    for (name, value) in behaviour.metadata {
        match value {
            Value::Null => members.remove(&name),
            value => members.insert(name, value),
        };
    }
    plain::json(StatusCode::OK, &document)
}
