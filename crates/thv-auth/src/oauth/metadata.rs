//! An issuer's endpoints: OIDC Discovery and RFC 8414.
//!
//! [`discover`] fetches, [`Provider`] is what came out, and between them the rules are pure functions over the issuer's text and the
//! document. A [`Provider`] is a snapshot: one login or refresh uses one, from its first request to its last.

use std::time::Duration;

use jiff::Timestamp;
use thv_config::world::Clock;
use thv_http::{Http, Limits, PlainHttp, Policy, Redirects, Reply, Request};
use url::Url;

use crate::oauth::answer::server_date;
use crate::oauth::dpop::ALGORITHM;
use crate::oauth::error::{DiscoveryError, FailedAttempt, MetadataFault};
use crate::oauth::issuer::{
    both_loopback, is_same_issuer, parse_endpoint, parse_issuer, shown_issuer,
};
use crate::oauth::json::Members;

/// How a provider is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscoveryPolicy {
    /// The time for all documents together.
    pub total: Duration,
    /// What to do with a provider that says nothing about PKCE.
    pub pkce_unadvertised: PkceUnadvertised,
    /// Whether the issuer may have a private address: yes where the operator named it, and not where a stranger's document did.
    pub allow_private_ip: bool,
}

/// What to do with a provider whose metadata do not mention PKCE. One that lists methods without S256 is always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PkceUnadvertised {
    /// Use it, and say so in the status: S256 is sent all the same, and the Go program uses such providers.
    Accept,
    /// Refuse it, as the MCP authorization profile wants.
    Refuse,
}

/// What a provider's metadata say about PKCE with S256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PkceSupport {
    /// It is offered.
    Advertised,
    /// Nothing: a relaxation worth showing.
    Unadvertised,
}

/// A provider's endpoints, as its metadata name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The issuer in the document's own spelling, which every later comparison uses byte by byte.
    pub issuer: String,
    /// Where the browser is sent.
    pub authorization_endpoint: Url,
    /// Where codes and refresh tokens are redeemed.
    pub token_endpoint: Url,
    /// Where the keys of ID tokens are; always there in an OIDC document.
    pub jwks_uri: Option<Url>,
    /// Where a code is had that a person types in elsewhere (RFC 8628).
    pub device_authorization_endpoint: Option<Url>,
    /// Where tokens are given back (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// Where a browser ends the provider's own session.
    pub end_session_endpoint: Option<Url>,
    /// Whether every authorization response names its issuer (RFC 9207).
    pub iss_parameter_supported: bool,
    /// What is known about PKCE.
    pub pkce: PkceSupport,
    /// The scopes that the provider lists, if it does.
    pub scopes_supported: Option<Vec<String>>,
    /// Whether the metadata are an `OpenID` provider's, and not those of an OAuth server alone.
    pub is_openid: bool,
    /// Where clients register themselves (RFC 7591).
    pub registration_endpoint: Option<Url>,
    /// Whether the address of a document can be a client identifier.
    pub client_id_metadata_document_supported: bool,
    /// How clients may prove themselves at the token endpoint, if the provider lists that.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// The algorithms of keys that the provider binds tokens to, where its clients want that (RFC 9449 section 5.1); none where it
    /// does not.
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// The grant types that the provider lists, if it does.
    pub grant_types_supported: Option<Vec<String>>,
    /// The provider's clock when it answered, from the `Date` header.
    pub server_date: Option<Timestamp>,
}

/// Which of the two kinds of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Oidc,
    OAuth,
}

/// One well-known document as it was found, and what a login makes of it: for whoever wants to know why.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) url: Url,
    pub(crate) is_openid: bool,
    pub(crate) reply: Result<Reply, MetadataFault>,
    pub(crate) provider: Result<Provider, MetadataFault>,
    /// How long the answer took.
    pub(crate) took: Duration,
    /// Our clock when it came.
    pub(crate) at: Timestamp,
}

/// A place where a document may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) url: Url,
    form: Form,
}

impl DiscoveryPolicy {
    /// Ten seconds, providers that do not mention PKCE are accepted, and so are private addresses: for an issuer that the
    /// operator has configured.
    pub const DEFAULT: Self = Self {
        total: Duration::from_secs(10),
        pkce_unadvertised: PkceUnadvertised::Accept,
        allow_private_ip: true,
    };
}

impl Default for DiscoveryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Provider {
    /// The rules for a request to one of the provider's endpoints: no redirect, plain http on this machine only. Private
    /// addresses are for the host that the operator named as issuer; for any other the operator has to allow them.
    pub(crate) fn policy_for(&self, endpoint: &Url, allow_private_ip: bool) -> Policy {
        endpoint_policy(&self.issuer, endpoint, allow_private_ip)
    }

    /// Whether it binds tokens to keys of any kind.
    pub(crate) fn offers_dpop(&self) -> bool {
        !self.dpop_signing_alg_values_supported.is_empty()
    }

    /// Whether it binds tokens to keys like ours.
    pub(crate) fn takes_our_keys(&self) -> bool {
        let offered = &self.dpop_signing_alg_values_supported;
        offered.iter().any(|name| name == ALGORITHM)
    }
}

/// What [`Provider::policy_for`] says, for an endpoint that the metadata of `issuer` name.
pub(super) fn endpoint_policy(issuer: &str, endpoint: &Url, allow_private_ip: bool) -> Policy {
    let operator_named = Url::parse(issuer)
        .is_ok_and(|issuer| issuer.host() == endpoint.host() || both_loopback(&issuer, endpoint));
    Policy {
        allow_private_ip: allow_private_ip || operator_named,
        plain_http: PlainHttp::Loopback,
        redirects: Redirects::Refuse,
    }
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Self::Oidc => "OIDC",
            Self::OAuth => "OAuth",
        }
    }
}

/// Fetches the provider's metadata: OIDC Discovery first, then RFC 8414, then, for an issuer with a path, the OIDC
/// document in the place that RFC 8414 section 5 gives it. A host that cannot be reached is asked once.
pub async fn discover(
    http: &Http,
    issuer: &str,
    policy: DiscoveryPolicy,
) -> Result<Provider, DiscoveryError> {
    look_for(http, issuer, policy, |reply, candidate| {
        read(reply, issuer, candidate, policy)
    })
    .await
}

/// Fetches the documents in the order of [`discover`], in the time and from the addresses that `policy` allows, until `read` makes something of one.
pub(super) async fn look_for<T>(
    http: &Http,
    issuer: &str,
    policy: DiscoveryPolicy,
    read: impl Fn(&Reply, &Candidate) -> Result<T, MetadataFault>,
) -> Result<T, DiscoveryError> {
    let url = parse_issuer(issuer).map_err(|cause| DiscoveryError::BadIssuer {
        issuer: shown_issuer(issuer),
        cause,
    })?;
    let candidates = candidates(&url);
    let share = u32::try_from(candidates.len()).unwrap_or(1).max(1);
    let limits = Limits::PROBE.with_total(policy.total / share);
    let mut attempts = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let fault = match fetch(http, &candidate, limits, policy).await {
            Ok(reply) => match read(&reply, &candidate) {
                Ok(found) => return Ok(found),
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        tracing::debug!(url = %candidate.url, %fault, "no metadata here");
        let out_of_reach = matches!(&fault, MetadataFault::Http(error) if error.is_unreachable());
        attempts.push(FailedAttempt {
            url: candidate.url.into(),
            form: candidate.form.as_str(),
            fault,
        });
        if out_of_reach {
            break;
        }
    }
    Err(DiscoveryError::NoDocument { attempts })
}

/// Looks at the places of [`discover`] in the same order, as far as it would, and keeps what was seen at each.
pub(crate) async fn sight(
    http: &Http,
    clock: &dyn Clock,
    issuer: &str,
    policy: DiscoveryPolicy,
) -> Vec<Sighting> {
    let Ok(url) = parse_issuer(issuer) else {
        return Vec::new();
    };
    let candidates = candidates(&url);
    let share = u32::try_from(candidates.len()).unwrap_or(1).max(1);
    let limits = Limits::PROBE.with_total(policy.total / share);
    let mut seen = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let asked = clock.monotonic();
        let reply = fetch(http, &candidate, limits, policy).await;
        let is_openid = candidate.form == Form::Oidc;
        let sighting = Sighting {
            took: clock.monotonic().saturating_sub(asked),
            at: clock.now(),
            ..Sighting::of(issuer, candidate.url, is_openid, reply, policy)
        };
        let is_the_last = sighting.provider.is_ok()
            || matches!(&sighting.reply, Err(MetadataFault::Http(error)) if error.is_unreachable());
        seen.push(sighting);
        if is_the_last {
            break;
        }
    }
    seen
}

impl Sighting {
    pub(crate) fn of(
        issuer: &str,
        url: Url,
        is_openid: bool,
        reply: Result<Reply, MetadataFault>,
        policy: DiscoveryPolicy,
    ) -> Self {
        let form = if is_openid { Form::Oidc } else { Form::OAuth };
        let candidate = Candidate { url, form };
        let provider = match &reply {
            Ok(reply) => read(reply, issuer, &candidate, policy),
            Err(fault) => Err(fault.clone()),
        };
        Self {
            url: candidate.url,
            is_openid,
            reply,
            provider,
            took: Duration::ZERO,
            at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Which kind of document it is.
    pub(crate) fn form(&self) -> &'static str {
        let form = if self.is_openid {
            Form::Oidc
        } else {
            Form::OAuth
        };
        form.as_str()
    }

    /// The same as a failed attempt of a discovery, if it is one.
    pub(crate) fn attempt(&self) -> Option<FailedAttempt> {
        let fault = self.provider.as_ref().err()?;
        Some(FailedAttempt {
            url: self.url.clone().into(),
            form: self.form(),
            fault: fault.clone(),
        })
    }
}

async fn fetch(
    http: &Http,
    candidate: &Candidate,
    limits: Limits,
    policy: DiscoveryPolicy,
) -> Result<Reply, MetadataFault> {
    let policy = Policy {
        allow_private_ip: policy.allow_private_ip,
        plain_http: PlainHttp::Loopback,
        redirects: Redirects::SameHost,
    };
    let request = Request::get(candidate.url.clone())
        .header(
            http::header::ACCEPT,
            http::HeaderValue::from_static("application/json"),
        )
        .policy(policy)
        .limits(limits);
    Ok(http.send(request).await?)
}

fn candidates(issuer: &Url) -> Vec<Candidate> {
    const OIDC: &str = "/.well-known/openid-configuration";
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    let tenant = issuer.path().trim_end_matches('/').to_owned();
    let at = |path: String, form| {
        let mut url = issuer.clone();
        url.set_path(&path);
        Candidate { url, form }
    };
    let mut candidates = vec![
        at(format!("{tenant}{OIDC}"), Form::Oidc),
        at(format!("{OAUTH}{tenant}"), Form::OAuth),
    ];
    if !tenant.is_empty() {
        candidates.push(at(format!("{OIDC}{tenant}"), Form::Oidc));
    }
    candidates
}

/// The members of an issuer's document, and the issuer in its spelling, which is the one that is `configured` (RFC 8414
/// section 3.3).
pub(crate) fn document_of(
    reply: &Reply,
    configured: &str,
) -> Result<(Members, String), MetadataFault> {
    if reply.status != http::StatusCode::OK {
        return Err(MetadataFault::Status(reply.status.as_u16()));
    }
    let document = |cause: String| MetadataFault::Document { cause };
    let members = Members::of(reply).map_err(document)?;
    let issuer = members
        .text("issuer")
        .map_err(|fault| document(fault.to_string()))?
        .ok_or(MetadataFault::Missing { member: "issuer" })?;
    if !is_same_issuer(configured, &issuer) {
        return Err(MetadataFault::IssuerMismatch {
            expected: shown_issuer(configured),
            found: shown_issuer(&issuer),
        });
    }
    Ok((members, issuer))
}

fn read(
    reply: &Reply,
    configured: &str,
    candidate: &Candidate,
    policy: DiscoveryPolicy,
) -> Result<Provider, MetadataFault> {
    let (members, issuer) = document_of(reply, configured)?;
    let document = |cause: String| MetadataFault::Document { cause };
    let text = |member| {
        members
            .text(member)
            .map_err(|fault| document(fault.to_string()))
    };
    let endpoint = |member| -> Result<Option<Url>, MetadataFault> {
        let Some(text) = text(member)? else {
            return Ok(None);
        };
        parse_endpoint(&text, &candidate.url)
            .map(Some)
            .map_err(|cause| MetadataFault::Endpoint { member, cause })
    };
    let needed = |member| endpoint(member)?.ok_or(MetadataFault::Missing { member });
    let texts = |member| {
        members
            .texts(member)
            .map_err(|fault| document(fault.to_string()))
    };
    let provider = Provider {
        authorization_endpoint: needed("authorization_endpoint")?,
        token_endpoint: needed("token_endpoint")?,
        jwks_uri: match candidate.form {
            Form::Oidc => Some(needed("jwks_uri")?),
            Form::OAuth => endpoint("jwks_uri")?,
        },
        // Logins work without the optional members, so that a bad one counts as none.
        device_authorization_endpoint: endpoint("device_authorization_endpoint").ok().flatten(),
        revocation_endpoint: endpoint("revocation_endpoint").ok().flatten(),
        end_session_endpoint: endpoint("end_session_endpoint").ok().flatten(),
        iss_parameter_supported: members
            .boolean("authorization_response_iss_parameter_supported")
            .map_err(|fault| document(fault.to_string()))?
            .unwrap_or(false),
        pkce: pkce(
            texts("code_challenge_methods_supported")?.as_deref(),
            policy,
        )?,
        scopes_supported: texts("scopes_supported").ok().flatten(),
        is_openid: candidate.form == Form::Oidc,
        registration_endpoint: endpoint("registration_endpoint").ok().flatten(),
        client_id_metadata_document_supported: members
            .boolean("client_id_metadata_document_supported")
            .ok()
            .flatten()
            .unwrap_or(false),
        token_endpoint_auth_methods_supported: texts("token_endpoint_auth_methods_supported")
            .ok()
            .flatten(),
        dpop_signing_alg_values_supported: texts("dpop_signing_alg_values_supported")
            .ok()
            .flatten()
            .unwrap_or_default(),
        grant_types_supported: texts("grant_types_supported").ok().flatten(),
        server_date: server_date(reply),
        issuer,
    };
    Ok(provider)
}

fn pkce(methods: Option<&[String]>, policy: DiscoveryPolicy) -> Result<PkceSupport, MetadataFault> {
    match methods {
        Some(methods) if methods.iter().any(|method| method == "S256") => {
            Ok(PkceSupport::Advertised)
        }
        Some(_) => Err(MetadataFault::PkceWithoutS256),
        None => match policy.pkce_unadvertised {
            PkceUnadvertised::Accept => Ok(PkceSupport::Unadvertised),
            PkceUnadvertised::Refuse => Err(MetadataFault::PkceUnadvertised),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://login.example.com";

    fn document() -> serde_json::Value {
        serde_json::json!({
            "issuer": ISSUER,
            "authorization_endpoint": "https://login.example.com/authorize",
            "token_endpoint": "https://api.example.net/token",
            "jwks_uri": "https://login.example.com/jwks",
            "code_challenge_methods_supported": ["plain", "S256"],
        })
    }

    fn read_as(
        document: &serde_json::Value,
        form: Form,
        policy: DiscoveryPolicy,
    ) -> Result<Provider, MetadataFault> {
        read_text(&document.to_string(), form, policy)
    }

    fn read_text(
        document: &str,
        form: Form,
        policy: DiscoveryPolicy,
    ) -> Result<Provider, MetadataFault> {
        let url = Url::parse(ISSUER).expect("url");
        let mut headers = http::HeaderMap::new();
        headers.insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        let reply = Reply {
            status: http::StatusCode::OK,
            headers,
            body: document.to_owned().into_bytes().into(),
            url: url.clone(),
        };
        read(&reply, ISSUER, &Candidate { url, form }, policy)
    }

    fn changed(member: &str, value: serde_json::Value) -> Result<Provider, MetadataFault> {
        let mut changed = document();
        changed[member] = value;
        read_as(&changed, Form::Oidc, DiscoveryPolicy::DEFAULT)
    }

    #[test]
    fn an_honest_document_is_read() {
        let provider = changed("x", serde_json::json!(1)).expect("provider");
        assert_eq!(provider.issuer, ISSUER);
        assert_eq!(provider.pkce, PkceSupport::Advertised);
        assert!(!provider.iss_parameter_supported);
        assert_eq!(provider.token_endpoint.host_str(), Some("api.example.net"));
    }

    #[test]
    fn documents_of_other_issuers_are_refused() {
        for other in [
            "https://LOGIN.example.com",
            "https://login.example.com:443",
            "https://login.example.com.",
            "https://login.example.com/tenant",
            "https://login.example.com//",
            "https://login.example.com/?",
            "https://l%6Fgin.example.com",
            "https://login.exаmple.com",
            "http://login.example.com",
            "https://honest.example",
            "",
        ] {
            let fault = changed("issuer", serde_json::json!(other)).expect_err(other);
            assert!(
                matches!(&fault, MetadataFault::IssuerMismatch { .. }),
                "{other}: {fault}"
            );
            assert!(fault.to_string().contains(ISSUER), "{fault}");
            assert!(fault.to_string().contains(other), "{fault}");
        }
    }

    #[test]
    fn the_root_slash_alone_is_forgiven_and_the_documents_spelling_counts() {
        let provider =
            changed("issuer", serde_json::json!("https://login.example.com/")).expect("provider");
        assert_eq!(provider.issuer, "https://login.example.com/");
    }

    #[test]
    fn endpoints_that_no_secret_or_browser_should_meet_are_refused() {
        for bad in [
            "http://login.example.com/token",
            "http://127.0.0.1/token",
            "https://user:pw@login.example.com/token",
            "https://@login.example.com/token",
            "https://login.example.com/token#x",
            "javascript:alert(1)",
            "javascript://x/%0aalert(1)",
            "file:///etc/passwd",
            "ms-calculator://x",
            "data:text/html,x",
            "-https://login.example.com",
            "https://login.example.com/\nX",
            "https://login.example.com/\"&calc",
            "https://login.example.com/`id`",
            "https://login.example.com\\@evil.example/",
            "https:///token",
            "/token",
            "",
        ] {
            for member in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
                let fault = changed(member, serde_json::json!(bad)).expect_err(bad);
                assert!(
                    matches!(&fault, MetadataFault::Endpoint { .. }),
                    "{member} {bad}: {fault}"
                );
            }
            let provider = changed("revocation_endpoint", serde_json::json!(bad)).expect(bad);
            assert_eq!(provider.revocation_endpoint, None, "{bad}");
        }
        let long = format!("https://login.example.com/{}", "a".repeat(2048));
        assert!(changed("token_endpoint", serde_json::json!(long)).is_err());
    }

    #[test]
    fn needed_members_are_needed() {
        for member in [
            "authorization_endpoint",
            "token_endpoint",
            "jwks_uri",
            "issuer",
        ] {
            assert_eq!(
                changed(member, serde_json::Value::Null),
                Err(MetadataFault::Missing { member })
            );
        }
        let mut plain = document();
        plain["jwks_uri"] = serde_json::Value::Null;
        assert!(read_as(&plain, Form::OAuth, DiscoveryPolicy::DEFAULT).is_ok());
    }

    #[test]
    fn documents_that_say_two_things_are_refused() {
        let text = document().to_string();
        let twice = text.replacen('{', "{\"token_endpoint\":\"https://evil.example/\",", 1);
        assert!(matches!(
            read_text(&twice, Form::Oidc, DiscoveryPolicy::DEFAULT),
            Err(MetadataFault::Document { .. })
        ));
    }

    #[test]
    fn pkce_without_s256_is_refused_and_silence_is_a_named_relaxation() {
        let key = "code_challenge_methods_supported";
        for methods in [
            serde_json::json!(["plain"]),
            serde_json::json!([]),
            serde_json::json!(["s256"]),
        ] {
            assert_eq!(
                changed(key, methods.clone()),
                Err(MetadataFault::PkceWithoutS256),
                "{methods}"
            );
        }
        let mut silent = document();
        silent[key] = serde_json::Value::Null;
        let accepted = read_as(&silent, Form::Oidc, DiscoveryPolicy::DEFAULT).expect("provider");
        assert_eq!(accepted.pkce, PkceSupport::Unadvertised);
        let strict = DiscoveryPolicy {
            pkce_unadvertised: PkceUnadvertised::Refuse,
            ..DiscoveryPolicy::DEFAULT
        };
        assert_eq!(
            read_as(&silent, Form::Oidc, strict),
            Err(MetadataFault::PkceUnadvertised)
        );
    }

    #[test]
    fn documents_are_looked_for_in_order() {
        let places = |issuer: &str| -> Vec<String> {
            candidates(&parse_issuer(issuer).expect(issuer))
                .into_iter()
                .map(|candidate| format!("{} {}", candidate.form.as_str(), candidate.url))
                .collect()
        };
        assert_eq!(
            places("https://id.example/"),
            [
                "OIDC https://id.example/.well-known/openid-configuration",
                "OAuth https://id.example/.well-known/oauth-authorization-server",
            ]
        );
        assert_eq!(
            places("https://id.example/a/b/"),
            [
                "OIDC https://id.example/a/b/.well-known/openid-configuration",
                "OAuth https://id.example/.well-known/oauth-authorization-server/a/b",
                "OIDC https://id.example/.well-known/openid-configuration/a/b",
            ]
        );
    }

    #[test]
    fn f21_private_addresses_are_for_hosts_the_operator_named() {
        let mut provider = changed("x", serde_json::json!(1)).expect("provider");
        let url = |text: &str| Url::parse(text).expect(text);
        assert!(
            provider
                .policy_for(&url("https://login.example.com/x"), false)
                .allow_private_ip
        );
        assert!(
            !provider
                .policy_for(&url("https://other.example/x"), false)
                .allow_private_ip
        );
        assert!(
            provider
                .policy_for(&url("https://other.example/x"), true)
                .allow_private_ip
        );
        assert!(
            !provider
                .policy_for(&url("https://127.0.0.1/x"), false)
                .allow_private_ip
        );
        provider.issuer = "http://localhost:1".into();
        assert!(
            provider
                .policy_for(&url("http://127.0.0.1:2/x"), false)
                .allow_private_ip
        );
        assert!(
            !provider
                .policy_for(&url("https://10.0.0.1/x"), false)
                .allow_private_ip
        );
        assert_eq!(
            provider
                .policy_for(&url("http://127.0.0.1:2/x"), false)
                .redirects,
            Redirects::Refuse
        );
    }
}
