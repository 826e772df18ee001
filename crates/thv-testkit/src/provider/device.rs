//! Device authorization (RFC 8628): the endpoint that gives out codes, the page on which a person types one in, and what a
//! code is worth at the token endpoint. Polls that come too early are told to slow down, and the pause grows for good.

use http::StatusCode;
use http::request::Parts;
use serde_json::{Value, json};

use super::behaviour::{Behaviour, Client, RefreshTokens, User};
use super::book::{Decision, Device, Family};
use super::issue::Issue;
use super::token::{Form, KNOWN_SCOPES, Outcome, audience, authenticate, bad, read_form, seconds};
use super::{Shared, paths};
use crate::journal::query_of;
use crate::jwt;
use crate::listening::Whole;
use crate::plain;

/// What `slow_down` adds to the pause, in seconds.
const SLOWER: i64 = 5;

/// The answer to `POST /device/authorization`.
pub(super) fn authorization(shared: &Shared, parts: &Parts, body: &[u8]) -> Whole {
    match give_code(shared, parts, body) {
        Ok(answer) => plain::json(StatusCode::OK, &answer),
        Err(refusal) => refusal.answer(),
    }
}

fn give_code(shared: &Shared, parts: &Parts, body: &[u8]) -> Outcome<Value> {
    let form = read_form(parts, body)?;
    let client = authenticate(shared, parts, &form)?;
    let behaviour = shared.behaviour();
    let mut scopes: Vec<String> = form
        .get("scope")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    scopes.retain(|scope| KNOWN_SCOPES.contains(&scope.as_str()));
    let resources: Vec<String> = form
        .get("resource")
        .map(str::to_owned)
        .into_iter()
        .collect();
    if resources.iter().any(|resource| !shared.knows(resource)) {
        return Err(bad("invalid_target"));
    }
    let offline = scopes.iter().any(|scope| scope == "offline_access");
    let refreshable = match behaviour.refresh_tokens {
        RefreshTokens::WithConsent | RefreshTokens::WithScope => offline,
        RefreshTokens::Always => true,
        RefreshTokens::Never => false,
    };
    let mut book = shared.book();
    let device_code = book.secret();
    let user_code = format!("{}-{}", jwt::random(3), jwt::random(3));
    book.devices.insert(
        device_code.clone(),
        Device {
            user_code: user_code.clone(),
            family: Family {
                client: client.id,
                subject: String::new(),
                scopes,
                resources,
                refreshes: 0,
                key: None,
                ended: None,
                nonce: None,
            },
            refreshable,
            expires: shared.now() + seconds(behaviour.device_ttl),
            interval: behaviour.device_interval,
            polled: None,
            decision: Decision::Open,
            used: false,
        },
    );
    let page = format!("{}{}", shared.issuer, paths::DEVICE);
    let mut answer = json!({
        "device_code": device_code, "user_code": user_code, "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={user_code}"),
        "expires_in": seconds(behaviour.device_ttl), "interval": behaviour.device_interval,
    });
    let members = answer.as_object_mut().expect("an object");
    for (name, value) in &behaviour.device_answer {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    Ok(answer)
}

/// The answer to `GET /device`: with a code, the next user decides about it.
pub(super) fn page(shared: &Shared, parts: &Parts) -> Whole {
    let pairs = query_of(parts.uri.query().unwrap_or_default());
    let Some((_, code)) = pairs.iter().find(|(name, _)| name == "user_code") else {
        return plain::page(StatusCode::OK, "Type in your code");
    };
    let mut book = shared.book();
    let user = book.users.pop_front().unwrap_or(User::Approves);
    let now = shared.now();
    let device = book
        .devices
        .values_mut()
        .find(|device| device.user_code == *code && now < device.expires);
    let Some(device) = device else {
        return plain::page(StatusCode::BAD_REQUEST, "No such code");
    };
    device.decision = match user {
        User::Leaves => Decision::Open,
        User::Denies | User::Fails(_) => Decision::Refused,
        User::ApprovesAs(name) => Decision::Agreed(name),
        _ => Decision::Agreed("alice".to_owned()),
    };
    plain::page(StatusCode::OK, "You can go back to your device")
}

/// What a device code is worth now.
pub(super) fn by_device_code(
    shared: &Shared,
    behaviour: &Behaviour,
    client: &Client,
    form: &Form,
    key: Option<String>,
) -> Outcome<Value> {
    let now = shared.now();
    let mut book = shared.book();
    let code = form
        .get("device_code")
        .ok_or_else(|| bad("invalid_request"))?;
    let device = book
        .devices
        .get_mut(code)
        .filter(|device| device.family.client == client.id && !device.used)
        .ok_or_else(|| bad("invalid_grant"))?;
    let too_early = device
        .polled
        .is_some_and(|polled| now < polled + device.interval);
    device.polled = Some(now);
    if now >= device.expires {
        return Err(bad("expired_token"));
    }
    if too_early {
        device.interval += SLOWER;
        return Err(bad("slow_down"));
    }
    let subject = match &device.decision {
        Decision::Open => return Err(bad("authorization_pending")),
        Decision::Refused => return Err(bad("access_denied")),
        Decision::Agreed(subject) => subject.clone(),
    };
    device.used = true;
    let family = Family {
        subject,
        key,
        ..device.family.clone()
    };
    let refreshable = device.refreshable;
    let audience = audience(behaviour, &family, form)?;
    let scopes = family.scopes.clone();
    book.families.push(family);
    let family = book.families.len() - 1;
    let refresh = refreshable.then(|| {
        let expires = behaviour.refresh_ttl.map(|ttl| now + seconds(ttl));
        book.refresh_token(family, expires)
    });
    Ok(Issue {
        shared,
        behaviour,
        family,
        scopes: &scopes,
        audience,
        nonce: None,
    }
    .answer(&mut book, refresh))
}
