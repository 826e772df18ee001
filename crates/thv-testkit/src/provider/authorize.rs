//! The authorization endpoint: who may ask, what is granted, and where the browser goes next.

use http::StatusCode;
use http::request::Parts;
use url::Url;

use super::Shared;
use super::behaviour::{Behaviour, Client, RefreshTokens, User};
use super::book::{Code, Family};
use super::token::{KNOWN_SCOPES, seconds};
use crate::journal::query_of;
use crate::listening::Whole;
use crate::plain;

/// A request that passed: the client and the redirect URI are ours to answer to.
struct Asked {
    pairs: Vec<(String, String)>,
    redirect_uri: String,
}

impl Asked {
    fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.pairs
            .iter()
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
            .collect()
    }
}

/// The answer to `GET /authorize`: a redirect to the client, or a page when there is no client to redirect to.
pub(super) fn authorize(shared: &Shared, parts: &Parts) -> Whole {
    let pairs = query_of(parts.uri.query().unwrap_or_default());
    let behaviour = shared.behaviour();
    let user = shared.book().users.pop_front().unwrap_or(User::Approves);
    let asked = match recognise(shared, pairs) {
        Ok(asked) => asked,
        Err(text) => return plain::page(StatusCode::BAD_REQUEST, &text),
    };
    if user == User::Leaves {
        return plain::page(StatusCode::OK, "Come back later");
    }
    let outcome = match &user {
        User::Denies => Err("access_denied".to_owned()),
        User::Fails(error) => Err(error.clone()),
        User::ApprovesAs(name) => grant(shared, &behaviour, &asked, name),
        _ => grant(shared, &behaviour, &asked, "alice"),
    };
    let mut answer = match outcome {
        Ok(code) => vec![("code".to_owned(), code)],
        Err(error) => vec![
            ("error".to_owned(), error),
            (
                "error_description".to_owned(),
                "the fake says no".to_owned(),
            ),
        ],
    };
    if let Some(state) = asked.get("state") {
        answer.push(("state".to_owned(), state.to_owned()));
    }
    if behaviour.sends_issuer {
        answer.push(("iss".to_owned(), shared.issuer.clone()));
    }
    match user {
        User::Changed(name, value) => {
            answer.retain(|(key, _)| *key != name);
            answer.extend(value.map(|value| (name, value)));
        }
        User::Added(name, value) => answer.push((name, value)),
        _ => {}
    }
    let mut target = Url::parse(&asked.redirect_uri).expect("a URI that was recognised");
    target.query_pairs_mut().extend_pairs(answer);
    plain::redirect(target.as_str())
}

/// Refuses what must not be answered with a redirect: duplicates, unknown clients, unknown redirect URIs.
fn recognise(shared: &Shared, pairs: Vec<(String, String)>) -> Result<Asked, String> {
    for (index, (key, _)) in pairs.iter().enumerate() {
        let again = pairs[..index].iter().any(|(other, _)| other == key);
        if again && key != "resource" {
            return Err(format!("invalid_request: {key} came twice"));
        }
    }
    let asked = Asked {
        pairs,
        redirect_uri: String::new(),
    };
    let client = shared
        .client(asked.get("client_id").unwrap_or_default())
        .ok_or("invalid_client")?;
    let uri = asked
        .get("redirect_uri")
        .ok_or("invalid_request: no redirect_uri")?;
    if !fits(&client, uri) {
        return Err("invalid_redirect_uri".to_owned());
    }
    let redirect_uri = uri.to_owned();
    Ok(Asked {
        redirect_uri,
        ..asked
    })
}

/// Exactly one of the registered URIs, or one of the loopback ones with another port.
fn fits(client: &Client, asked: &str) -> bool {
    client.redirect_uris.iter().any(|registered| {
        registered == asked
            || matches!(
                (without_port(registered), without_port(asked)),
                (Some(registered), Some(asked)) if registered == asked
            )
    })
}

/// Host and rest of an `http` URI on loopback. It is taken apart as text: a parser would forgive too much.
fn without_port(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find('/')?);
    let host = ["127.0.0.1", "[::1]", "localhost"]
        .into_iter()
        .find(|host| authority.starts_with(host))?;
    let port = &authority[host.len()..];
    let plain = port.is_empty() || port.strip_prefix(':')?.parse::<u16>().is_ok();
    (plain && !path.contains('#')).then_some((host, path))
}

/// A code, or the error that the client is told.
fn grant(
    shared: &Shared,
    behaviour: &Behaviour,
    asked: &Asked,
    subject: &str,
) -> Result<String, String> {
    if asked.get("response_type") != Some("code") {
        return Err("unsupported_response_type".to_owned());
    }
    let challenge = asked.get("code_challenge").unwrap_or_default();
    if asked.get("code_challenge_method") != Some("S256")
        || challenge.len() != 43
        || crate::jwt::decode(challenge).is_none()
    {
        return Err("invalid_request".to_owned());
    }
    if asked.get("prompt") == Some("none") {
        return Err("login_required".to_owned());
    }
    let mut resources = asked.all("resource");
    if behaviour.understands_audience {
        resources.extend(asked.all("audience"));
    }
    if resources.iter().any(|resource| !shared.knows(resource)) {
        return Err("invalid_target".to_owned());
    }
    let consent = asked
        .get("prompt")
        .is_some_and(|prompt| prompt.split(' ').any(|word| word == "consent"));
    let mut scopes: Vec<String> = asked
        .get("scope")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    if behaviour.refuses_unknown_scopes
        && scopes
            .iter()
            .any(|scope| !KNOWN_SCOPES.contains(&scope.as_str()))
    {
        return Err("invalid_scope".to_owned());
    }
    scopes.retain(|scope| KNOWN_SCOPES.contains(&scope.as_str()));
    if behaviour.refresh_tokens == RefreshTokens::WithConsent && !consent {
        scopes.retain(|scope| scope != "offline_access");
    }
    let offline = scopes.iter().any(|scope| scope == "offline_access");
    let refreshable = match behaviour.refresh_tokens {
        RefreshTokens::WithConsent | RefreshTokens::WithScope => offline,
        RefreshTokens::Always => true,
        RefreshTokens::Never => false,
    };
    let expires = shared.now() + seconds(behaviour.code_ttl);
    let mut book = shared.book();
    let code = book.secret();
    book.codes.insert(
        code.clone(),
        Code {
            family: Family {
                client: asked.get("client_id").unwrap_or_default().to_owned(),
                subject: subject.to_owned(),
                scopes,
                resources,
                refreshes: 0,
                key: None,
                ended: None,
                nonce: asked.get("nonce").map(str::to_owned),
            },
            redirect_uri: asked.redirect_uri.clone(),
            challenge: challenge.to_owned(),
            key: asked
                .get("dpop_jkt")
                .filter(|_| behaviour.binds_tokens)
                .map(str::to_owned),
            refreshable,
            expires,
            used: None,
        },
    );
    Ok(code)
}
