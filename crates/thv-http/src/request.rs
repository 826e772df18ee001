//! One question and its answer, as values.
//!
//! [`Request`] says what to ask, of whom and under which rules; [`Reply`] is whatever came back. Nothing here touches the network.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use secrecy::SecretString;
use thv_config::world::Clock;
use url::{Url, form_urlencoded};

use crate::error::HttpError;
use crate::limits::Limits;
use crate::policy::{Bearer, Credential, DPOP, Policy};
use crate::retry_after::retry_after;
use crate::transport::secret_header;

/// One request: built step by step, consumed by [`Http::send`](crate::Http::send).
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Payload>,
    pub(crate) credential: Option<Credential>,
    pub(crate) policy: Policy,
    pub(crate) limits: Limits,
    pub(crate) socket: Option<PathBuf>,
}

/// A request body. Forms carry codes, tokens and client secrets, so that neither kind is ever printed.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Form(SecretString),
    Raw(Bytes),
}

impl Request {
    /// A request without body, under [`Policy::PUBLIC`] and [`Limits::DEFAULT`].
    ///
    /// A user name and password in the URL become Basic credentials for the URL's origin and leave the URL.
    pub fn new(method: Method, mut url: Url) -> Self {
        let credential = take_userinfo(&mut url);
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            credential,
            policy: Policy::PUBLIC,
            limits: Limits::DEFAULT,
            socket: None,
        }
    }

    /// A GET.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A HEAD.
    pub fn head(url: Url) -> Self {
        Self::new(Method::HEAD, url)
    }

    /// A POST of a form, `application/x-www-form-urlencoded`. The fields are never printed.
    pub fn post_form<'a>(url: Url, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut request = Self::new(Method::POST, url);
        request.body = Some(Payload::Form(form.into()));
        request.header(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        )
    }

    /// Sets the body and its media type.
    #[must_use]
    pub fn body(mut self, content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        self.body = Some(Payload::Raw(body.into()));
        self.header(CONTENT_TYPE, content_type)
    }

    /// Sets a header. Credentials belong in [`bearer`](Self::bearer) or [`basic`](Self::basic), which know where they may travel.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sends `bearer` to its own origin, and nowhere else.
    #[must_use]
    pub fn bearer(mut self, bearer: Bearer) -> Self {
        self.credential = Some(Credential::Bearer(bearer));
        self
    }

    /// Sends HTTP Basic credentials (RFC 7617) to the origin of this request's URL, and nowhere else.
    #[must_use]
    pub fn basic(mut self, user: impl Into<String>, password: SecretString) -> Self {
        let origin = self.url.origin();
        self.credential = Some(Credential::Basic {
            user: user.into(),
            password,
            origin,
        });
        self
    }

    /// Sends a proof of a key that goes with no token (RFC 9449 section 5): to the token endpoint, whose URL is in it. It is for one
    /// request, so that none that follows redirects should have one.
    pub fn proof(self, proof: &SecretString) -> Result<Self, HttpError> {
        Ok(self.header(DPOP, secret_header(proof)?))
    }

    /// Sets what may be contacted.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets what the exchange may cost.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Connects to a Unix socket (on Windows: a named pipe) instead of the URL's host: for our own server on this
    /// machine. Address rules, proxies and redirects do not apply; the URL should be `http://localhost/…`.
    #[must_use]
    pub fn over_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// The URL that will be asked, without user name and password.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those that described the compression.
    pub headers: HeaderMap,
    /// The body, decompressed and otherwise as sent: text is not decoded.
    pub body: Bytes,
    /// The URL that answered, after redirects.
    pub url: Url,
}

impl Reply {
    /// Whether the body says it is JSON: `application/json` or a type that ends in `+json`.
    pub fn is_json(&self) -> bool {
        let Some(content_type) = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
        else {
            return false;
        };
        let essence = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        essence == "application/json" || essence.ends_with("+json")
    }

    /// How long the server asks us to wait (`Retry-After`), at most one hour.
    pub fn retry_after(&self, clock: &dyn Clock) -> Option<Duration> {
        retry_after(&self.headers, clock.now())
    }
}

fn take_userinfo(url: &mut Url) -> Option<Credential> {
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let credential = Credential::Basic {
        user: decoded(url.username()),
        password: decoded(url.password().unwrap_or_default()).into(),
        origin: url.origin(),
    };
    // Both fail only for URLs without a host, which are refused before anything is sent.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(credential)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn reply(content_type: &str) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("header"));
        let url = Url::parse("https://example.com/").expect("url");
        Reply {
            status: StatusCode::OK,
            headers,
            body: Bytes::new(),
            url,
        }
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        for (content_type, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/problem+json", true),
            ("text/html; charset=utf-8", false),
            ("application/jsonl", false),
            ("text/plain; x=application/json", false),
        ] {
            assert_eq!(reply(content_type).is_json(), json, "{content_type}");
        }
    }

    #[test]
    fn forms_are_encoded_and_never_printed() {
        let url = Url::parse("https://issuer.example/token").expect("url");
        let request = Request::post_form(
            url,
            [
                ("grant_type", "refresh_token"),
                ("refresh_token", "a b&c=ü"),
            ],
        );
        assert!(!format!("{request:?}").contains("a+b"), "{request:?}");
        let Some(Payload::Form(form)) = request.body else {
            panic!("no form")
        };
        assert_eq!(
            form.expose_secret(),
            "grant_type=refresh_token&refresh_token=a+b%26c%3D%C3%BC"
        );
    }

    #[test]
    fn a_password_in_the_url_becomes_a_credential_of_its_origin() {
        let url = Url::parse("https://me:p%40ss@registry.example/x").expect("url");
        let request = Request::get(url);
        assert_eq!(request.url().as_str(), "https://registry.example/x");
        assert!(!format!("{request:?}").contains("p@ss"));
        let headers = request
            .credential
            .expect("credential")
            .headers_for(&request.method, &request.url)
            .expect("https");
        let (_, header) = headers.first().expect("own origin");
        assert_eq!(header.expose_secret(), "Basic bWU6cEBzcw==");
    }
}
