//! The rules for one request, as pure decisions over URLs.
//!
//! What may be contacted ([`Policy`], checked on every hop), and where a credential may travel ([`Bearer`]). Names are
//! judged here only as text; the addresses behind them are judged in `resolve`.

use std::fmt::Debug;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Origin, Url};

use crate::address;
use crate::error::HttpError;

/// The header of a proof (RFC 9449 section 4.1).
pub(crate) const DPOP: HeaderName = HeaderName::from_static("dpop");

/// What one request may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether addresses outside the public internet are contacted.
    ///
    /// With a proxy in use the proxy resolves names, so that this rule then only covers addresses written in the URL.
    pub allow_private_ip: bool,
    /// Which hosts may be reached without TLS.
    pub plain_http: PlainHttp,
    /// Which redirects are followed.
    pub redirects: Redirects,
}

/// Which hosts may be reached over `http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// None.
    Refuse,
    /// This machine only: 127.0.0.0/8, `[::1]`, `localhost` and names under it.
    Loopback,
    /// Any.
    Allow,
}

/// Which redirects are followed. None leads from https to http, and none repeats a POST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// None: the redirect is an error.
    Refuse,
    /// To the same host name, whatever the port.
    SameHost,
    /// To any host the rest of the policy allows.
    AnyHost,
}

impl Policy {
    /// The public internet over https, redirects followed anywhere within it.
    pub const PUBLIC: Self = Self {
        allow_private_ip: false,
        plain_http: PlainHttp::Refuse,
        redirects: Redirects::AnyHost,
    };

    /// Any address over http or https.
    pub const PRIVATE: Self = Self {
        allow_private_ip: true,
        plain_http: PlainHttp::Allow,
        redirects: Redirects::AnyHost,
    };

    /// The policy of a registry: [`Policy::PRIVATE`] when its settings allow private addresses, else [`Policy::PUBLIC`].
    pub fn for_registry(allow_private_ip: bool) -> Self {
        if allow_private_ip {
            Self::PRIVATE
        } else {
            Self::PUBLIC
        }
    }

    /// The same policy with another redirect rule.
    #[must_use]
    pub fn with_redirects(self, redirects: Redirects) -> Self {
        Self { redirects, ..self }
    }

    /// Checks what the URL alone tells: scheme, plain http, and an address in place of a name. Every hop of every request
    /// is checked so; settings that hold URLs can be checked the same way when they are read.
    pub fn check(self, url: &Url) -> Result<(), HttpError> {
        let host = checked_host(url)?;
        let plain_http_allowed = match self.plain_http {
            PlainHttp::Refuse => false,
            PlainHttp::Loopback => is_loopback(&host),
            PlainHttp::Allow => true,
        };
        if url.scheme() == "http" && !plain_http_allowed {
            return Err(HttpError::PlainHttp {
                host: host.to_string(),
            });
        }
        if self.allow_private_ip {
            return Ok(());
        }
        let literal = match host {
            Host::Domain(_) => return Ok(()),
            Host::Ipv4(v4) => v4.into(),
            Host::Ipv6(v6) => v6.into(),
        };
        match address::special_range(literal) {
            None => Ok(()),
            Some(range) => Err(HttpError::Blocked {
                host: host.to_string(),
                reason: format!("is a private IP address ({range})"),
            }),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::PUBLIC
    }
}

/// A bearer token together with the one origin that may see it (RFC 6750 section 5.3). Some registries want theirs in a header
/// of its own: an API key, which travels by the same rules. One that is bound to a key travels with a proof of it.
#[derive(Clone, Debug)]
pub struct Bearer {
    token: SecretString,
    origin: Origin,
    header: Option<HeaderName>,
    proof: Option<Arc<dyn Proof>>,
}

/// What shows, request by request, that whoever sends a token holds the key that the token is bound to (RFC 9449).
pub trait Proof: Debug + Send + Sync + 'static {
    /// The proof that goes with `token` in a request by `method` for `url` (the header `DPoP`, section 7.1); `None` for a host that is known
    /// to take the token as a bearer token only. The error is a clause for people.
    fn prove(
        &self,
        method: &Method,
        url: &Url,
        token: &SecretString,
    ) -> Result<Option<SecretString>, String>;

    /// Takes from an answer of `url` to a request that had a proof, or had none, what the next one needs. Whether the answer is for
    /// the lack of it, so that the same request is worth sending once more (section 9).
    fn answered(&self, url: &Url, proven: bool, status: StatusCode, headers: &HeaderMap) -> bool;
}

impl Bearer {
    /// Binds `token` to `origin`.
    pub fn new(token: SecretString, origin: Origin) -> Self {
        Self {
            token,
            origin,
            header: None,
            proof: None,
        }
    }

    /// The same token, bound to a key: it travels as `Authorization: DPoP`, and with each request goes a proof (RFC 9449 section 7.1).
    #[must_use]
    pub fn proven_by(mut self, proof: Arc<dyn Proof>) -> Self {
        self.proof = Some(proof);
        self
    }

    /// Whether the token is bound to a key, and nothing without it.
    pub fn is_bound(&self) -> bool {
        self.proof.is_some()
    }

    /// The same token as the whole value of the header `name`, in place of `Authorization: Bearer`.
    #[must_use]
    pub fn in_header(mut self, name: HeaderName) -> Self {
        self.header = Some(name);
        self
    }

    /// Binds `token` to the origin of `url`.
    pub fn for_url(token: SecretString, url: &Url) -> Self {
        Self::new(token, url.origin())
    }

    /// The token itself: for telling one bearer from another, not for sending it.
    pub fn token(&self) -> &SecretString {
        &self.token
    }

    /// The origin that may see the token.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The header that carries the token, when it is not `Authorization: Bearer`.
    pub fn header(&self) -> Option<&HeaderName> {
        self.header.as_ref()
    }
}

/// What is sent in the `Authorization` header, or in that of an API key, bound to one origin.
#[derive(Clone, Debug)]
pub(crate) enum Credential {
    Bearer(Bearer),
    Basic {
        user: String,
        password: SecretString,
        origin: Origin,
    },
}

impl Credential {
    /// The headers of a request by `method` to `url`: none for a foreign origin, an error when they would travel unencrypted.
    pub(crate) fn headers_for(
        &self,
        method: &Method,
        url: &Url,
    ) -> Result<Vec<(HeaderName, SecretString)>, HttpError> {
        let origin = match self {
            Self::Bearer(bearer) => &bearer.origin,
            Self::Basic { origin, .. } => origin,
        };
        if url.origin() != *origin {
            return Ok(Vec::new());
        }
        let host = checked_host(url)?;
        if url.scheme() != "https" && !is_loopback(&host) {
            return Err(HttpError::CredentialsInClear {
                host: host.to_string(),
            });
        }
        let authorization = |scheme: &str, value: &str| {
            let value = format!("{scheme} {value}");
            (AUTHORIZATION, SecretString::from(value))
        };
        match self {
            Self::Basic { user, password, .. } => {
                let pair = format!("{user}:{}", password.expose_secret());
                Ok(vec![authorization("Basic", &base64(pair.as_bytes()))])
            }
            Self::Bearer(bearer) => {
                let token = bearer.token.expose_secret();
                if let Some(name) = &bearer.header {
                    return Ok(vec![(name.clone(), bearer.token.clone())]);
                }
                let proof = bearer.proof.as_ref();
                let proof = proof.map(|proof| proof.prove(method, url, &bearer.token));
                match proof.transpose() {
                    Ok(Some(Some(proof))) => Ok(vec![authorization("DPoP", token), (DPOP, proof)]),
                    Ok(Some(None) | None) => Ok(vec![authorization("Bearer", token)]),
                    Err(cause) => Err(HttpError::Proof { cause }),
                }
            }
        }
    }

    /// Whether an answer of `url` asks for the same request with another proof.
    pub(crate) fn wants_another_proof(
        &self,
        url: &Url,
        proven: bool,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> bool {
        match self {
            // A host that was shown no proof says nothing about one.
            Self::Bearer(Bearer {
                proof: Some(proof),
                origin,
                ..
            }) if url.origin() == *origin => proof.answered(url, proven, status, headers),
            Self::Bearer(_) | Self::Basic { .. } => false,
        }
    }
}

/// Whether the host is this machine: a loopback address, `localhost` or a name under it (RFC 6761 section 6.3).
pub fn is_loopback_url(url: &Url) -> bool {
    url.host().is_some_and(|host| is_loopback(&host.to_owned()))
}

pub(crate) fn is_localhost_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_loopback(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => is_localhost_name(name),
        Host::Ipv4(v4) => v4.is_loopback(),
        Host::Ipv6(v6) => v6.is_loopback(),
    }
}

fn checked_host(url: &Url) -> Result<Host<String>, HttpError> {
    let bad = |cause: &str| HttpError::BadUrl {
        shown: display_url(url),
        cause: cause.to_owned(),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("only http and https are supported"));
    }
    match url.host() {
        Some(host) if !matches!(host, Host::Domain("")) => Ok(host.to_owned()),
        _ => Err(bad("it has no host")),
    }
}

/// Reads an `http` or `https` URL with a host. IPv6 zone ids are refused, as the URL standard has no place for them.
pub fn parse_url(text: &str) -> Result<Url, HttpError> {
    let url = Url::parse(text).map_err(|cause| HttpError::BadUrl {
        shown: shown_without_parsing(text),
        cause: cause.to_string(),
    })?;
    checked_host(&url)?;
    Ok(url)
}

/// The URL without user name, password, query and fragment: for logs, errors and answers.
pub fn display_url(url: &Url) -> String {
    let mut shown = url.clone();
    // Fails only for URLs that cannot have a user name, which then have none to hide.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}

/// As much of a malformed URL as can hold no secret: what stands before the query, without what stands before an `@`.
fn shown_without_parsing(text: &str) -> String {
    let head = text.split(['?', '#']).next().unwrap_or_default();
    match head.rsplit_once('@') {
        Some((_, tail)) => format!("…@{tail}"),
        None => head.to_owned(),
    }
}

/// Base64 with padding (RFC 4648 section 4), for the Basic scheme.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0_u32, |group, at| {
            (group << 8) | u32::from(chunk.get(at).copied().unwrap_or(0))
        });
        for place in 0..4 {
            let sextet = (group >> (18 - 6 * place)) & 0x3f;
            let symbol = ALPHABET.get(sextet as usize).copied().unwrap_or(b'=');
            text.push(char::from(if place <= chunk.len() { symbol } else { b'=' }));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect(text)
    }

    fn check(policy: Policy, text: &str) -> Result<(), HttpError> {
        policy.check(&url(text))
    }

    #[test]
    fn literals_in_odd_forms_are_the_addresses_they_are() {
        for text in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://127.1/",
            "https://0177.0.0.1/",
            "https://127.0.0.1./",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://①②⑦.0.0.1/",
        ] {
            let refusal = check(Policy::PUBLIC, text).expect_err(text);
            assert!(
                matches!(refusal, HttpError::Blocked { .. }),
                "{text}: {refusal}"
            );
            assert!(
                refusal.to_string().contains("private IP address"),
                "{refusal}"
            );
            assert!(
                refusal.to_string().contains("`allow_private_ip`"),
                "{refusal}"
            );
            assert!(
                refusal.to_string().contains("`--allow-private-ip`"),
                "{refusal}"
            );
            assert_eq!(check(Policy::PRIVATE, text), Ok(()), "{text}");
        }
        assert_eq!(check(Policy::PUBLIC, "https://8.8.8.8/"), Ok(()));
        assert_eq!(check(Policy::PUBLIC, "https://example.com/"), Ok(()));
    }

    #[test]
    fn w35_zone_ids_are_refused() {
        for text in [
            "https://[fe80::1%25lo]/",
            "https://[fe80::1%lo]/",
            "http://[::1%25lo0]:8080/v0.1",
        ] {
            let refusal = parse_url(text).expect_err(text);
            assert!(
                matches!(refusal, HttpError::BadUrl { .. }),
                "{text}: {refusal}"
            );
        }
    }

    #[test]
    fn only_http_urls_with_a_host_are_urls_here() {
        for text in [
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://",
            "example.com",
            "data:text/plain,x",
            "",
        ] {
            assert!(
                matches!(parse_url(text), Err(HttpError::BadUrl { .. })),
                "{text}"
            );
        }
        assert!(parse_url("https://example.com").is_ok());
    }

    #[test]
    fn plain_http_goes_where_the_policy_says() {
        let with = |plain_http| Policy {
            plain_http,
            ..Policy::PRIVATE
        };
        for (rule, text, allowed) in [
            (PlainHttp::Refuse, "http://127.0.0.1/", false),
            (PlainHttp::Refuse, "https://127.0.0.1/", true),
            (PlainHttp::Loopback, "http://127.0.0.1:8080/", true),
            (PlainHttp::Loopback, "http://[::1]/", true),
            (PlainHttp::Loopback, "http://localhost/", true),
            (PlainHttp::Loopback, "http://app.LOCALHOST./", true),
            (PlainHttp::Loopback, "http://localhost.example.com/", false),
            (PlainHttp::Loopback, "http://10.0.0.1/", false),
            (PlainHttp::Loopback, "https://10.0.0.1/", true),
            (PlainHttp::Allow, "http://example.com/", true),
        ] {
            assert_eq!(check(with(rule), text).is_ok(), allowed, "{rule:?} {text}");
        }
    }

    #[test]
    fn w12_a_bearer_knows_its_origin() {
        let home = url("https://registry.example.com/v0.1/servers");
        let credential = Credential::Bearer(Bearer::for_url("s3cret".to_owned().into(), &home));
        let header = |text: &str| {
            credential
                .headers_for(&Method::GET, &url(text))
                .map(|headers| !headers.is_empty())
        };
        assert_eq!(header("https://registry.example.com/other"), Ok(true));
        assert_eq!(header("https://registry.example.com:443/other"), Ok(true));
        assert_eq!(header("https://registry.example.com:8443/"), Ok(false));
        assert_eq!(header("https://example.com/"), Ok(false));
        assert_eq!(header("http://registry.example.com/"), Ok(false));
        assert!(!format!("{credential:?}").contains("s3cret"));
    }

    #[test]
    fn w12_credentials_travel_in_clear_on_this_machine_only() {
        let bearer = |text: &str| {
            let home = url(text);
            Credential::Bearer(Bearer::for_url("s3cret".to_owned().into(), &home))
                .headers_for(&Method::GET, &home)
        };
        assert!(matches!(
            bearer("http://10.0.0.1/"),
            Err(HttpError::CredentialsInClear { .. })
        ));
        assert!(matches!(
            bearer("http://registry.corp/"),
            Err(HttpError::CredentialsInClear { .. })
        ));
        assert_eq!(bearer("http://127.0.0.1:9000/").expect("loopback").len(), 1);
        assert_eq!(bearer("http://localhost:9000/").expect("loopback").len(), 1);
    }

    #[test]
    fn basic_credentials_are_encoded_as_rfc_7617_shows() {
        let home = url("https://example.com/");
        let credential = Credential::Basic {
            user: "Aladdin".into(),
            password: "open sesame".to_owned().into(),
            origin: home.origin(),
        };
        let headers = credential
            .headers_for(&Method::GET, &home)
            .expect("allowed");
        let (_, header) = headers.first().expect("own origin");
        assert_eq!(header.expose_secret(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foo"), "Zm9v");
    }

    #[test]
    fn shown_urls_hold_no_secrets() {
        let shown = display_url(&url(
            "https://user:hunter2@example.com/a/b?token=s3cret#hunter2",
        ));
        assert_eq!(shown, "https://example.com/a/b");
        let refusal =
            parse_url("https://user:hunter2@exa mple/?token=s3cret").expect_err("space in host");
        assert!(!refusal.to_string().contains("hunter2"), "{refusal}");
        assert!(!refusal.to_string().contains("s3cret"), "{refusal}");
    }
}
