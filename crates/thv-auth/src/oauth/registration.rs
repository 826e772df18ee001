//! Becoming a client of a provider without anybody's help: dynamic registration (RFC 7591).
//!
//! [`register`] asks, [`Registration`] is what came of it, and between them the answer is compared with what was asked: a
//! provider, or whoever sits in front of it, does not get to give us another redirect URI. Where registrations are kept and when a
//! new one is made is decided elsewhere. The management addresses of RFC 7592 in an answer are never contacted.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::json;
use thv_http::{Http, Limits, Reply, Request, is_loopback_url, secrecy};
use url::Url;

use crate::oauth::answer::shown;
use crate::oauth::authentication::ClientAuthentication;
use crate::oauth::device;
use crate::oauth::json::Members;
use crate::oauth::metadata::Provider;

/// How we name ourselves to the people who administer a provider.
const CLIENT_NAME: &str = "thv";

/// What one registration may cost. A person waits for it.
const REGISTRATION_LIMITS: Limits = Limits {
    total: Duration::from_secs(15),
    head: Duration::from_secs(15),
    idle: Duration::from_secs(5),
    max_bytes: 64 * 1024,
    max_redirects: 0,
};

/// Longest client identifier and longest client secret accepted, in bytes: both travel in headers.
const TEXT_MAX: usize = 2048;

/// A client that was registered by this program.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The issuer in its metadata's spelling.
    pub issuer: String,
    /// All redirect URIs of the client.
    pub redirect_uris: Vec<String>,
    /// Its identifier.
    pub client_id: String,
    /// How it proves itself.
    pub authentication: ClientAuthentication,
    /// When its secret ends; `None` for never.
    pub secret_expires_at: Option<Timestamp>,
    /// The host that may see the secret: that of the token endpoint at registration.
    pub token_host: String,
}

/// What a client is registered for.
#[derive(Clone, Debug)]
pub struct RegistrationRequest<'r> {
    /// Where the browser returns to: all of them.
    pub redirect_uris: &'r [String],
    /// The scopes that it will ask for.
    pub scopes: &'r [String],
    /// Whether the provider may have private addresses beside its issuer's.
    pub allow_private_ip: bool,
    /// Our clock.
    pub now: Timestamp,
}

/// Why there is no client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The provider registers nobody.
    #[error("the identity provider lets no program register itself")]
    NotOffered,
    /// The provider registers only those who bring a token for that (RFC 7591 section 3).
    #[error("the identity provider registers only programs that its administrators let in")]
    Closed,
    /// The provider refused, in so many words (RFC 7591 section 3.2.2).
    #[error("the identity provider refused to register this program: {error}{}", in_brackets(description.as_deref()))]
    Refused {
        /// The error code.
        error: String,
        /// What it adds for people.
        description: Option<String>,
    },
    /// The answer is not about the client that was asked for.
    #[error("the identity provider's answer to the registration cannot be used: {cause}")]
    Unusable {
        /// What is wrong with it.
        cause: String,
    },
    /// No answer of a registration endpoint came; trying again may help.
    #[error("this program could not be registered with the identity provider: {cause}")]
    Transient {
        /// What happened.
        cause: String,
    },
}

// === impl RegistrationError ===

impl RegistrationError {
    /// Whether another redirect URI may be welcome (RFC 7591 section 3.2.2).
    pub(crate) fn is_about_redirect_uri(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error == "invalid_redirect_uri")
    }
}

// === impl Registration ===

impl Registration {
    /// The port of this machine that the browser returns to, if it is this machine.
    pub(crate) fn port(&self) -> Option<u16> {
        let uri = Url::parse(self.redirect_uris.first()?).ok()?;
        is_loopback_url(&uri).then(|| uri.port_or_known_default())?
    }

    /// Whether a login can be made as this client at `now`, at a provider whose metadata are these: its secret has not ended,
    /// and goes where it may.
    pub fn is_usable(&self, provider: &Provider, now: Timestamp) -> bool {
        self.secret_expires_at.is_none_or(|end| now < end) && self.is_of(provider)
    }

    /// Whether the secret would go to the host that gave it.
    pub(crate) fn is_of(&self, provider: &Provider) -> bool {
        self.issuer == provider.issuer && self.token_host == token_host(provider)
    }
}

/// The host of the token endpoint, with its port.
pub(crate) fn token_host(provider: &Provider) -> String {
    host_of(&provider.token_endpoint)
}

/// The host of an endpoint, with its port.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Registers a public client, or one with a secret where the provider takes no other.
pub async fn register(
    http: &Http,
    provider: &Provider,
    request: &RegistrationRequest<'_>,
) -> Result<Registration, RegistrationError> {
    let Some(endpoint) = &provider.registration_endpoint else {
        return Err(RegistrationError::NotOffered);
    };
    let body = metadata(provider, request).to_string();
    let request_to_send = Request::new(Method::POST, endpoint.clone())
        .body(HeaderValue::from_static("application/json"), body)
        .header(
            http::header::ACCEPT,
            HeaderValue::from_static("application/json"),
        )
        .policy(provider.policy_for(endpoint, request.allow_private_ip))
        .limits(REGISTRATION_LIMITS);
    let reply = http
        .send(request_to_send)
        .await
        .map_err(|error| RegistrationError::Transient {
            cause: error.to_string(),
        })?;
    if !matches!(reply.status, StatusCode::CREATED | StatusCode::OK) {
        return Err(refusal(&reply));
    }
    let unusable = |cause: String| RegistrationError::Unusable { cause };
    if !reply.is_json() {
        return Err(unusable("it is not JSON".to_owned()));
    }
    let members = Members::parse(&reply.body).map_err(|fault| unusable(fault.to_string()))?;
    read(&members, provider, request).map_err(unusable)
}

/// MCP authorization wants `native`, of clients whose browsers come back to their own machine. Providers let them do so for native clients only, and to a server for `web` ones (`OpenID` Connect Dynamic
/// Client Registration 1.0 section 2).
fn application_type(redirect_uris: &[String]) -> &'static str {
    if redirect_uris.iter().all(|uri| uri.starts_with("https:")) {
        "web"
    } else {
        "native"
    }
}

/// What we say of ourselves (RFC 7591 section 2).
fn metadata(provider: &Provider, request: &RegistrationRequest<'_>) -> serde_json::Value {
    let lists = |list: &Option<Vec<String>>, word: &str| {
        list.as_ref()
            .is_none_or(|list| list.iter().any(|listed| listed == word))
    };
    let methods = &provider.token_endpoint_auth_methods_supported;
    let method = ["none", "client_secret_basic", "client_secret_post"]
        .into_iter()
        .find(|method| lists(methods, method))
        .unwrap_or("none");
    let mut grant_types = vec!["authorization_code"];
    if lists(&provider.grant_types_supported, "refresh_token") {
        grant_types.push("refresh_token");
    }
    // Some providers give codes only to clients that were registered for them (RFC 8628 section 3.4).
    let offers_codes = provider.device_authorization_endpoint.is_some();
    if offers_codes && lists(&provider.grant_types_supported, device::GRANT_TYPE) {
        grant_types.push(device::GRANT_TYPE);
    }
    let mut metadata = json!({
        "client_name": CLIENT_NAME,
        "application_type": application_type(request.redirect_uris),
        "redirect_uris": request.redirect_uris,
        "grant_types": grant_types,
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
    });
    // Providers refuse a client whole for one scope that they do not list, such as one of a resource; without any they allow
    // what they would allow everybody.
    let are_listed = provider
        .scopes_supported
        .as_ref()
        .is_some_and(|listed| request.scopes.iter().all(|scope| listed.contains(scope)));
    if !request.scopes.is_empty()
        && are_listed
        && let Some(members) = metadata.as_object_mut()
    {
        members.insert("scope".to_owned(), request.scopes.join(" ").into());
    }
    metadata
}

/// Reads the answer and compares it with what was asked (RFC 7591 section 3.2.1).
fn read(
    members: &Members,
    provider: &Provider,
    request: &RegistrationRequest<'_>,
) -> Result<Registration, String> {
    let text = |member| members.text(member).map_err(|fault| fault.to_string());
    let client_id = text("client_id")?
        .filter(|id| is_visible(id))
        .ok_or("it names no usable `client_id`")?;
    let echoed = members
        .texts("redirect_uris")
        .map_err(|fault| fault.to_string())?;
    if let Some(mut echoed) = echoed {
        let mut asked = request.redirect_uris.to_vec();
        asked.sort();
        echoed.sort();
        if asked != echoed {
            return Err("its `redirect_uris` are not those that were asked for".to_owned());
        }
    }
    let secret = text("client_secret")?.filter(|secret| !secret.is_empty());
    if secret.as_deref().is_some_and(|secret| !is_visible(secret)) {
        return Err("its `client_secret` holds characters that no secret has".to_owned());
    }
    let secret = secret.map(SecretString::from);
    // RFC 7591 section 2: without a method, that of a client with a secret is `client_secret_basic`.
    let method = text("token_endpoint_auth_method")?;
    let authentication = match (method.as_deref(), secret) {
        (Some("none"), _) | (None, None) => ClientAuthentication::None,
        (Some("client_secret_basic") | None, Some(secret)) => {
            ClientAuthentication::SecretBasic(secret)
        }
        (Some("client_secret_post"), Some(secret)) => ClientAuthentication::SecretPost(secret),
        (Some("client_secret_basic" | "client_secret_post"), None) => {
            return Err("it wants a client secret and gives none".to_owned());
        }
        (Some(_), _) => {
            return Err(
                "its `token_endpoint_auth_method` is none that this program knows".to_owned(),
            );
        }
    };
    let secret_expires_at = match authentication.secret() {
        None => None,
        Some(_) => secret_end(members)?,
    };
    if secret_expires_at.is_some_and(|end| end <= request.now) {
        return Err("its `client_secret` has expired already".to_owned());
    }
    Ok(Registration {
        issuer: provider.issuer.clone(),
        redirect_uris: request.redirect_uris.to_vec(),
        client_id,
        authentication,
        secret_expires_at,
        token_host: token_host(provider),
    })
}

/// `client_secret_expires_at`: seconds since 1970, 0 for never (RFC 7591 section 3.2.1). Providers that leave it out mean never.
fn secret_end(members: &Members) -> Result<Option<Timestamp>, String> {
    let Some(raw) = members.raw("client_secret_expires_at") else {
        return Ok(None);
    };
    let bad = || "its `client_secret_expires_at` is no time".to_owned();
    let seconds: i64 = serde_json::from_str(raw).map_err(|_| bad())?;
    if seconds == 0 {
        return Ok(None);
    }
    Timestamp::from_second(seconds).map(Some).map_err(|_| bad())
}

/// Whether `text` is `VSCHAR`s (RFC 6749 appendix A) of a length that a header carries.
fn is_visible(text: &str) -> bool {
    (1..=TEXT_MAX).contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn refusal(reply: &Reply) -> RegistrationError {
    let status = reply.status;
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        return RegistrationError::Transient {
            cause: format!("its registration endpoint answered {status}"),
        };
    }
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return RegistrationError::Closed;
    }
    let members = Members::parse(&reply.body).ok();
    let text = |member, max| {
        let text = members.as_ref()?.text(member).ok().flatten()?;
        shown(&text, max)
    };
    RegistrationError::Refused {
        error: text("error", 128).unwrap_or_else(|| format!("it answered {status}")),
        description: text("error_description", 300),
    }
}

fn in_brackets(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::oauth::metadata::PkceSupport;

    fn provider() -> Provider {
        let at = |path: &str| Url::parse(&format!("https://id.example/{path}")).expect("url");
        Provider {
            issuer: "https://id.example".into(),
            device_authorization_endpoint: None,
            authorization_endpoint: at("authorize"),
            token_endpoint: at("token"),
            jwks_uri: None,
            revocation_endpoint: None,
            end_session_endpoint: None,
            iss_parameter_supported: true,
            pkce: PkceSupport::Advertised,
            scopes_supported: None,
            is_openid: false,
            registration_endpoint: Some(at("register")),
            client_id_metadata_document_supported: false,
            token_endpoint_auth_methods_supported: None,
            grant_types_supported: None,
            dpop_signing_alg_values_supported: Vec::new(),
            server_date: None,
        }
    }

    const REDIRECT: &str = "http://127.0.0.1:8666/callback/x";

    fn read_text(body: &str) -> Result<Registration, String> {
        let members = Members::parse(body.as_bytes()).map_err(|fault| fault.to_string())?;
        let request = RegistrationRequest {
            redirect_uris: &[REDIRECT.to_owned()],
            scopes: &[],
            allow_private_ip: false,
            now: Timestamp::from_second(1_000).expect("time"),
        };
        read(&members, &provider(), &request)
    }

    #[test]
    fn answers_are_read_as_the_provider_means_them() {
        for (body, method, end) in [
            (r#"{"client_id":"c"}"#, "none", None),
            (
                r#"{"client_id":"c","redirect_uris":["http://127.0.0.1:8666/callback/x"],"token_endpoint_auth_method":"none","client_secret":"unused"}"#,
                "none",
                None,
            ),
            (
                r#"{"client_id":"c","client_secret":"s","client_secret_expires_at":0}"#,
                "client_secret_basic",
                None,
            ),
            (
                r#"{"client_id":"c","client_secret":"s","client_secret_expires_at":2000,"token_endpoint_auth_method":"client_secret_post","registration_client_uri":"http://169.254.169.254/"}"#,
                "client_secret_post",
                Some(2000),
            ),
        ] {
            let registration = read_text(body).expect(body);
            assert_eq!(registration.authentication.as_str(), method, "{body}");
            let seconds = registration.secret_expires_at.map(Timestamp::as_second);
            assert_eq!(seconds, end, "{body}");
            assert_eq!(registration.token_host, "id.example:443");
        }
    }

    #[test]
    fn case_13_answers_about_another_client_are_refused() {
        for body in [
            "{}",
            r#"{"client_id":""}"#,
            r#"{"client_id":"a\nb"}"#,
            r#"{"client_id":7}"#,
            r#"{"client_id":"c","client_id":"d"}"#,
            r#"{"client_id":"c","redirect_uris":["https://evil.example/"]}"#,
            r#"{"client_id":"c","redirect_uris":[]}"#,
            r#"{"client_id":"c","redirect_uris":["http://127.0.0.1:8666/callback/x","https://evil.example/"]}"#,
            r#"{"client_id":"c","redirect_uris":"http://127.0.0.1:8666/callback/x"}"#,
            r#"{"client_id":"c","client_secret":"s","client_secret_expires_at":1000}"#,
            r#"{"client_id":"c","client_secret":"s","client_secret_expires_at":-1}"#,
            r#"{"client_id":"c","client_secret":"s","client_secret_expires_at":"soon"}"#,
            r#"{"client_id":"c","client_secret":"s\r\nX: y"}"#,
            r#"{"client_id":"c","token_endpoint_auth_method":"client_secret_basic"}"#,
            r#"{"client_id":"c","token_endpoint_auth_method":"private_key_jwt"}"#,
        ] {
            assert!(read_text(body).is_err(), "{body}");
        }
    }

    #[test]
    fn a_provider_gets_the_metadata_that_it_can_take() {
        let request = RegistrationRequest {
            redirect_uris: &[REDIRECT.to_owned()],
            scopes: &["a".to_owned(), "b".to_owned()],
            allow_private_ip: false,
            now: Timestamp::UNIX_EPOCH,
        };
        let open = metadata(&provider(), &request);
        assert_eq!(open["token_endpoint_auth_method"], "none");
        assert_eq!(open["application_type"], "native");
        let public = RegistrationRequest {
            redirect_uris: &["https://tools.example/oauth/callback".to_owned()],
            ..request.clone()
        };
        assert_eq!(metadata(&provider(), &public)["application_type"], "web");
        assert_eq!(open["scope"], serde_json::Value::Null);
        assert_eq!(open["grant_types"][1], "refresh_token");
        let picky = Provider {
            scopes_supported: Some(vec!["b".into(), "a".into(), "c".into()]),
            token_endpoint_auth_methods_supported: Some(vec!["client_secret_post".into()]),
            grant_types_supported: Some(vec!["authorization_code".into()]),
            ..provider()
        };
        let asked = metadata(&picky, &request);
        assert_eq!(asked["scope"], "a b");
        assert_eq!(asked["token_endpoint_auth_method"], "client_secret_post");
        assert_eq!(asked["grant_types"], json!(["authorization_code"]));
    }

    #[test]
    fn a_secret_is_used_in_time_and_where_it_was_given() {
        let now = |seconds| Timestamp::from_second(seconds).expect("time");
        let registration = read_text(
            r#"{"client_id":"c","client_secret":"s3cret","client_secret_expires_at":2000}"#,
        )
        .expect("registration");
        assert!(!format!("{registration:?}").contains("s3cret"));
        let secret = registration.authentication.secret().expect("a secret");
        assert_eq!(secret.expose_secret(), "s3cret");
        assert!(registration.is_usable(&provider(), now(1999)));
        assert!(!registration.is_usable(&provider(), now(2000)));
        let mut moved = provider();
        moved.token_endpoint = Url::parse("https://evil.example/token").expect("url");
        assert!(!registration.is_usable(&moved, now(1999)));
        let other = Provider {
            issuer: "https://id.example/".into(),
            ..provider()
        };
        assert!(!registration.is_usable(&other, now(1999)));
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in ".{0,200}", end in any::<f64>()) {
            let _ = read_text(&body);
            let _ = read_text(&format!(r#"{{"client_id":"c","client_secret":"s","client_secret_expires_at":{end}}}"#));
        }
    }
}
