//! The token and revocation endpoints: who may ask, and what codes and refresh tokens are worth. The tokens that are
//! given for them are made in `issue`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::Shared;
use super::behaviour::{Authentication, Behaviour, Client, Rotation};
use super::book::{Ended, Family};
use super::device::by_device_code;
use super::direct;
use super::issue::Issue;
use crate::journal::query_of;
use crate::jwt;
use crate::listening::Whole;
use crate::plain;
use crate::proof::BadProof;

/// The scopes this provider grants. The first four say something about the login, the others about the registry.
pub(super) const KNOWN_SCOPES: [&str; 6] = [
    "openid",
    "offline_access",
    "email",
    "profile",
    "registry:read",
    "registry:write",
];
pub(super) const ABOUT_LOGIN: usize = 4;

/// What the client is told when it gets nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: &'static str,
    basic: bool,
    nonce: Option<String>,
}

pub(super) type Outcome<T> = Result<T, Refusal>;

pub(super) fn bad(error: &'static str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        error,
        basic: false,
        nonce: None,
    }
}

pub(super) fn unknown_client(basic: bool) -> Refusal {
    Refusal {
        status: StatusCode::UNAUTHORIZED,
        error: "invalid_client",
        basic,
        nonce: None,
    }
}

impl Refusal {
    pub(super) fn answer(&self) -> Whole {
        let mut answer = plain::json(
            self.status,
            &json!({"error": self.error, "error_description": "the fake says no"}),
        );
        if self.basic {
            answer.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"tokens\""),
            );
        }
        if let Some(nonce) = &self.nonce {
            let nonce = HeaderValue::from_str(nonce).expect("a nonce");
            answer.headers_mut().insert("dpop-nonce", nonce);
        }
        answer
    }
}

/// The answer to `POST /token`.
pub(super) fn token(shared: &Shared, parts: &Parts, body: &[u8]) -> Whole {
    let mut answer = match exchange(shared, parts, body) {
        Ok(tokens) => plain::json(StatusCode::OK, &tokens),
        Err(refusal) => refusal.answer(),
    };
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// The answer to `POST /revoke` (RFC 7009): 200 for every token, known or not.
pub(super) fn revoke(shared: &Shared, parts: &Parts, body: &[u8]) -> Whole {
    let outcome = read_form(parts, body).and_then(|form| {
        let client = authenticate(shared, parts, &form)?;
        let token = form.get("token").ok_or_else(|| bad("invalid_request"))?;
        let mut book = shared.book();
        let family = book
            .refresh
            .get(token)
            .map(|refresh| refresh.family)
            .or_else(|| book.access.get(token).copied());
        if let Some(family) = family {
            if book.families[family].client != client.id {
                return Err(bad("invalid_client"));
            }
            book.end(family, Ended::Revoked);
        }
        Ok(())
    });
    match outcome {
        Ok(()) => plain::typed(StatusCode::OK, "text/plain", ""),
        Err(refusal) => refusal.answer(),
    }
}

fn exchange(shared: &Shared, parts: &Parts, body: &[u8]) -> Outcome<Value> {
    let form = read_form(parts, body)?;
    {
        let mut book = shared.book();
        for name in [
            "code",
            "code_verifier",
            "device_code",
            "refresh_token",
            "client_secret",
            "client_assertion",
            "subject_token",
            "assertion",
        ] {
            if let Some(secret) = form.get(name) {
                book.remember(secret);
            }
        }
    }
    let behaviour = shared.behaviour();
    if let Some(outcome) = direct::of_workload(shared, parts, &behaviour, &form) {
        return outcome;
    }
    let client = authenticate(shared, parts, &form)?;
    let key = shown_key(shared, parts, &behaviour)?;
    match form.get("grant_type") {
        Some("client_credentials") => direct::by_client(shared, &behaviour, &client, &form),
        Some("authorization_code") => by_code(shared, &behaviour, &client, &form, key),
        Some("urn:ietf:params:oauth:grant-type:device_code") if behaviour.offers_device => {
            by_device_code(shared, &behaviour, &client, &form, key)
        }
        Some("refresh_token") => by_refresh(shared, &behaviour, &client, &form, key.as_ref()),
        Some(_) => Err(bad("unsupported_grant_type")),
        None => Err(bad("invalid_request")),
    }
}

/// The key of the proof that comes along, where tokens are bound at all.
fn shown_key(shared: &Shared, parts: &Parts, behaviour: &Behaviour) -> Outcome<Option<String>> {
    if !behaviour.binds_tokens {
        return Ok(None);
    }
    let url = format!("{}{}", shared.issuer, super::paths::TOKEN);
    let now = shared.now();
    let checked = shared.book().proofs.check(parts, &url, None, now);
    checked.map_err(|fault| Refusal {
        nonce: match &fault {
            BadProof::Nonce(nonce) => Some(nonce.clone()),
            BadProof::Invalid(_) => None,
        },
        ..bad(fault.error())
    })
}

pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// An empty parameter is treated as one left out (RFC 6749 section 3.2).
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

pub(super) fn read_form(parts: &Parts, body: &[u8]) -> Outcome<Form> {
    let form_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    if parts.method != Method::POST || !form_type || parts.uri.query().is_some() {
        return Err(bad("invalid_request"));
    }
    let pairs = query_of(&String::from_utf8_lossy(body));
    for (index, (key, _)) in pairs.iter().enumerate() {
        if pairs[..index].iter().any(|(other, _)| other == key) {
            return Err(bad("invalid_request"));
        }
    }
    Ok(Form(pairs))
}

/// The client, proven in exactly the way it is registered with.
pub(super) fn authenticate(shared: &Shared, parts: &Parts, form: &Form) -> Outcome<Client> {
    let basic = parts.headers.get(header::AUTHORIZATION).map(|value| {
        let decode = |half: &str| {
            percent_decode_str(&half.replace('+', " "))
                .decode_utf8_lossy()
                .into_owned()
        };
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let text = text.strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((decode(id), decode(secret)))
    });
    let came_basic = basic.is_some();
    let basic = basic.flatten();
    let id = match (&basic, form.get("client_id")) {
        (Some((id, _)), Some(other)) if id != other => return Err(unknown_client(true)),
        (Some((id, _)), _) => id.clone(),
        (None, Some(id)) => id.to_owned(),
        (None, None) => return Err(unknown_client(came_basic)),
    };
    let client = shared
        .client(&id)
        .ok_or_else(|| unknown_client(came_basic))?;
    let posted = form.get("client_secret");
    let proven = match &client.authentication {
        Authentication::None => !came_basic && posted.is_none(),
        Authentication::Basic(secret) => {
            posted.is_none() && basic.is_some_and(|(_, given)| given == *secret)
        }
        Authentication::Post(secret) => !came_basic && posted == Some(secret.as_str()),
        Authentication::Key(jwk) => {
            !came_basic && posted.is_none() && direct::asserts(shared, &id, jwk, form)
        }
    };
    proven
        .then_some(client)
        .ok_or_else(|| unknown_client(came_basic))
}

fn by_code(
    shared: &Shared,
    behaviour: &Behaviour,
    client: &Client,
    form: &Form,
    key: Option<String>,
) -> Outcome<Value> {
    let mut book = shared.book();
    let text = form.get("code").ok_or_else(|| bad("invalid_request"))?;
    let code = book
        .codes
        .get(text)
        .cloned()
        .ok_or_else(|| bad("invalid_grant"))?;
    if let Some(family) = code.used {
        book.end(family, Ended::CodeReplayed);
        return Err(bad("invalid_grant"));
    }
    let verifier = form.get("code_verifier").unwrap_or_default();
    let well_formed = (43..=128).contains(&verifier.len())
        && verifier
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    let fits = well_formed
        && jwt::encode(&jwt::sha256(verifier.as_bytes())) == code.challenge
        && code.family.client == client.id
        && form.get("redirect_uri") == Some(code.redirect_uri.as_str())
        && code
            .key
            .as_ref()
            .is_none_or(|named| Some(named) == key.as_ref())
        && shared.now() < code.expires;
    if !fits {
        return Err(bad("invalid_grant"));
    }
    let audience = audience(behaviour, &code.family, form)?;
    book.families.push(Family {
        key,
        ..code.family.clone()
    });
    let family = book.families.len() - 1;
    if let Some(code) = book.codes.get_mut(text) {
        code.used = Some(family);
    }
    let refresh = code.refreshable.then(|| {
        let expires = behaviour.refresh_ttl.map(|ttl| shared.now() + seconds(ttl));
        book.refresh_token(family, expires)
    });
    let scopes = code.family.scopes.clone();
    Ok(Issue {
        shared,
        behaviour,
        family,
        scopes: &scopes,
        audience,
        nonce: code.family.nonce.as_deref(),
    }
    .answer(&mut book, refresh))
}

fn by_refresh(
    shared: &Shared,
    behaviour: &Behaviour,
    client: &Client,
    form: &Form,
    key: Option<&String>,
) -> Outcome<Value> {
    let mut book = shared.book();
    let text = form
        .get("refresh_token")
        .ok_or_else(|| bad("invalid_request"))?;
    let known = book
        .refresh
        .get(text)
        .cloned()
        .ok_or_else(|| bad("invalid_grant"))?;
    let family = book.families[known.family].clone();
    if family.client != client.id || family.ended.is_some() || family.key.as_ref() != key {
        return Err(bad("invalid_grant"));
    }
    if known.used {
        book.end(known.family, Ended::Reused);
        return Err(bad("invalid_grant"));
    }
    if known.expires.is_some_and(|end| shared.now() >= end) {
        return Err(bad("invalid_grant"));
    }
    let scopes: Vec<String> = match form.get("scope") {
        Some(scope) => scope.split_whitespace().map(str::to_owned).collect(),
        None => family.scopes.clone(),
    };
    if scopes.iter().any(|scope| !family.scopes.contains(scope)) {
        return Err(bad("invalid_scope"));
    }
    let audience = audience(behaviour, &family, form)?;
    book.families[known.family].refreshes += 1;
    let refresh = match behaviour.rotation {
        Rotation::Keeps => None,
        Rotation::Repeats => Some(text.to_owned()),
        Rotation::Rotates => {
            if let Some(old) = book.refresh.get_mut(text) {
                old.used = true;
            }
            let expires = behaviour.refresh_ttl.map(|ttl| shared.now() + seconds(ttl));
            Some(book.refresh_token(known.family, expires))
        }
    };
    Ok(Issue {
        shared,
        behaviour,
        family: known.family,
        scopes: &scopes,
        audience,
        nonce: None,
    }
    .answer(&mut book, refresh))
}

/// For whom the access token is: what is asked now has to be among what was granted.
pub(super) fn audience(
    behaviour: &Behaviour,
    family: &Family,
    form: &Form,
) -> Outcome<Option<String>> {
    let asked = form.get("resource").or_else(|| {
        form.get("audience")
            .filter(|_| behaviour.understands_audience)
    });
    match asked {
        Some(asked) if family.resources.iter().any(|granted| granted == asked) => {
            Ok(Some(asked.to_owned()))
        }
        Some(_) => Err(bad("invalid_target")),
        None if !behaviour.resource_must_repeat && !family.resources.is_empty() => {
            Ok(family.resources.first().cloned())
        }
        None => Ok(behaviour.default_audience.clone()),
    }
}

pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).expect("a life within reason")
}
