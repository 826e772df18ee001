//! From a registry's URL, and nothing else, to a login that can be configured.
//!
//! [`find_login`] asks the registry, reads what it says of itself, settles on one issuer and reads what that says of itself;
//! `client` makes us a client there, or finds the one that we are. Nothing is configured here, nobody is asked, and no
//! browser is opened: showing the issuer to a person before going on is for those who call.

mod client;

use http::StatusCode;
use thv_http::{Http, HttpError, Limits, Policy, Request, display_url};
use url::Url;

pub use client::{ClientChoice, ClientError, client_for};
pub(crate) use client::{WantedClient, living_client};

use crate::oauth::challenge::BearerChallenge;
use crate::oauth::issuer::{is_same_issuer, shown_issuer};
use crate::oauth::resource::{Resource, ResourceError, ResourceMetadata, discover_resource};
use crate::oauth::{
    DiscoveryError, DiscoveryPolicy, PkceSupport, PkceUnadvertised, Provider, discover,
    parse_issuer,
};
use crate::relaxation::{Relaxation, Relaxations};

/// Scopes that say who logs in and keep the login alive; added to those that a registry asks for, where the provider lists them.
const LOGIN_SCOPES: [&str; 1] = ["openid"];

/// What somebody knows who has a registry's URL.
#[derive(Clone, Debug)]
pub struct LoginSearch {
    /// The URL, as it was typed.
    pub registry_url: String,
    /// What a read of the registry asks first: this is what has to ask for a login.
    pub first_request: Url,
    /// Whether registry and provider may have private addresses.
    pub allow_private_ip: bool,
    /// The issuer that the person wants, if they named one.
    pub issuer: Option<String>,
    /// The rules that are not applied.
    pub relaxations: Relaxations,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct FoundLogin {
    /// What tokens are asked for (RFC 8707); absent where the registry publishes nothing about itself.
    pub resource: Option<String>,
    /// Where the registry's metadata are, when it has any.
    pub metadata_url: Option<Url>,
    /// The provider, as its metadata were read: the rest of a set-up uses this and does not look again.
    pub provider: Provider,
    /// The scopes to ask for; empty when neither registry nor provider said anything: then those of a login are, as far as the
    /// provider may know them.
    pub scopes: Vec<String>,
    /// The rules that had to be relaxed.
    pub relaxed: Relaxations,
    /// Whether the provider may have private addresses beside its issuer's.
    pub allow_private_ip: bool,
}

/// Why no login was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// The registry's URL is none.
    #[error("`{url}` is no registry's URL: {cause}")]
    BadUrl {
        /// The URL, without what could be a password.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The registry did not answer in a way that tells.
    #[error("the registry at {registry} cannot be asked: {cause}")]
    Registry {
        /// The registry.
        registry: String,
        /// What happened.
        cause: String,
        /// Whether trying again may help.
        transient: bool,
    },
    /// The registry lets everybody read.
    #[error("the registry at {registry} asks for no login")]
    NoLoginNeeded {
        /// The registry.
        registry: String,
    },
    /// The registry wants something else than a bearer token, or does not say where to get one.
    #[error("the registry at {registry} does not say where to log in: {cause}")]
    NoMetadata {
        /// The registry.
        registry: String,
        /// Where was looked, and what was there.
        cause: ResourceError,
    },
    /// The registry names no issuer.
    #[error("the registry at {registry} names no identity provider")]
    NoIssuer {
        /// The registry.
        registry: String,
    },
    /// The registry names several issuers, and nobody chose.
    #[error("the registry at {registry} takes logins of several identity providers: {}", issuers.join(", "))]
    SeveralIssuers {
        /// The registry.
        registry: String,
        /// Its issuers, fit to be shown.
        issuers: Vec<String>,
    },
    /// The issuer that was named is none of the registry's.
    #[error("the registry at {registry} takes logins of {} and not of {issuer}", listed.join(", "))]
    UnlistedIssuer {
        /// The registry.
        registry: String,
        /// The issuer that was named.
        issuer: String,
        /// Those of the registry, fit to be shown.
        listed: Vec<String>,
    },
    /// The provider's description of itself cannot be had or used.
    #[error("the identity provider {issuer} cannot be used: {cause}")]
    Provider {
        /// The issuer, fit to be shown.
        issuer: String,
        /// What is wrong.
        cause: DiscoveryError,
    },
}

impl SearchError {
    /// Whether trying again later may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry { transient, .. } => *transient,
            Self::NoMetadata { cause, .. } => cause.is_transient(),
            Self::Provider { cause, .. } => cause.is_transient(),
            _ => false,
        }
    }
}

/// Finds out where to log in to a registry: its challenge, its metadata, its issuer's metadata. At most a handful of requests, each
/// of a few seconds.
pub async fn find_login(http: &Http, search: &LoginSearch) -> Result<FoundLogin, SearchError> {
    let url = registry_url(&search.registry_url)?;
    let registry = display_url(&url);
    let challenge = ask(http, search, &url, &registry).await?;
    let resource = Resource {
        url: &url,
        configured: &search.registry_url,
        allow_private_ip: search.allow_private_ip,
    };
    let found = discover_resource(
        http,
        &resource,
        &challenge.resource_metadata,
        &search.relaxations,
    )
    .await;
    let metadata = match found {
        Ok(metadata) => Some(metadata),
        // A person who knows the issuer needs no document that names it.
        Err(error) if search.issuer.is_some() && error.is_absent() => None,
        Err(cause) => return Err(SearchError::NoMetadata { registry, cause }),
    };
    let mut relaxed = Relaxations::new();
    let issuer = match &metadata {
        Some(metadata) => {
            relaxed.extend(&metadata.relaxed);
            let chosen = choose(
                &metadata.authorization_servers,
                search.issuer.as_deref(),
                &search.relaxations,
                &registry,
            )?;
            relaxed.extend(chosen.1);
            chosen.0
        }
        None => search.issuer.clone().unwrap_or_default(),
    };
    let provider = provider(http, search, &issuer).await?;
    if provider.issuer != issuer {
        relaxed.insert(Relaxation::IssuerRootSlash);
    }
    if provider.pkce == PkceSupport::Unadvertised {
        relaxed.insert(Relaxation::MissingPkceMetadata);
    }
    let scopes = scopes(challenge.scope, metadata.as_ref(), &provider);
    Ok(FoundLogin {
        metadata_url: metadata.as_ref().map(|metadata| metadata.url.clone()),
        resource: metadata.map(|metadata| metadata.resource),
        provider,
        scopes,
        relaxed,
        allow_private_ip: search.allow_private_ip,
    })
}

fn registry_url(text: &str) -> Result<Url, SearchError> {
    let bad = |cause: &str| SearchError::BadUrl {
        url: shown_issuer(text),
        cause: cause.to_owned(),
    };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(bad("it is not an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it holds a user name"));
    }
    Ok(url)
}

/// Asks the registry as somebody who is not logged in.
async fn ask(
    http: &Http,
    search: &LoginSearch,
    url: &Url,
    registry: &str,
) -> Result<BearerChallenge, SearchError> {
    let request = Request::get(search.first_request.clone())
        .header(
            http::header::ACCEPT,
            http::HeaderValue::from_static("application/json"),
        )
        .policy(Policy::for_registry(search.allow_private_ip))
        .limits(Limits::PROBE);
    let failed = |cause: String, transient| SearchError::Registry {
        registry: registry.to_owned(),
        cause,
        transient,
    };
    let reply = match http.send(request).await {
        Ok(reply) => reply,
        // The body is of no interest; the status and the challenge came before it.
        Err(error @ HttpError::TooLarge { .. }) => return Err(failed(error.to_string(), false)),
        Err(error) => return Err(failed(error.to_string(), error.is_unreachable())),
    };
    match reply.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {}
        status if status.is_success() => {
            return Err(SearchError::NoLoginNeeded {
                registry: registry.to_owned(),
            });
        }
        status => {
            return Err(failed(
                format!("it answered {status}"),
                status.is_server_error(),
            ));
        }
    }
    Ok(BearerChallenge::of_registry(&reply, url))
}

/// The issuer to log in at: the one that the person named, where it is among the registry's, else the registry's only one. The
/// first of several is nobody's choice.
fn choose(
    listed: &[String],
    named: Option<&str>,
    relaxations: &Relaxations,
    registry: &str,
) -> Result<(String, Option<Relaxation>), SearchError> {
    let registry = registry.to_owned();
    let shown = || listed.iter().map(|issuer| shown_issuer(issuer)).collect();
    if let Some(named) = named {
        if let Some(same) = listed.iter().find(|issuer| is_same_issuer(named, issuer)) {
            return Ok((same.clone(), None));
        }
        if listed.is_empty() {
            return Ok((named.to_owned(), None));
        }
        if relaxations.contains(&Relaxation::UnlistedIssuer) {
            return Ok((named.to_owned(), Some(Relaxation::UnlistedIssuer)));
        }
        return Err(SearchError::UnlistedIssuer {
            registry,
            issuer: shown_issuer(named),
            listed: shown(),
        });
    }
    match listed {
        [] => Err(SearchError::NoIssuer { registry }),
        [only] => Ok((only.clone(), None)),
        [first, others @ ..] if others.iter().all(|other| other == first) => {
            Ok((first.clone(), None))
        }
        _ => Err(SearchError::SeveralIssuers {
            registry,
            issuers: shown(),
        }),
    }
}

/// The issuer's metadata under the strict rules. A registry that is allowed no private address cannot make us visit one in the
/// shape of an issuer.
async fn provider(
    http: &Http,
    search: &LoginSearch,
    issuer: &str,
) -> Result<Provider, SearchError> {
    let failed = |cause| SearchError::Provider {
        issuer: shown_issuer(issuer),
        cause,
    };
    parse_issuer(issuer).map_err(|cause| {
        failed(DiscoveryError::BadIssuer {
            issuer: shown_issuer(issuer),
            cause,
        })
    })?;
    let is_named = search
        .issuer
        .as_deref()
        .is_some_and(|named| is_same_issuer(named, issuer));
    let policy = DiscoveryPolicy {
        pkce_unadvertised: if search
            .relaxations
            .contains(&Relaxation::MissingPkceMetadata)
        {
            PkceUnadvertised::Accept
        } else {
            PkceUnadvertised::Refuse
        },
        allow_private_ip: search.allow_private_ip || is_named,
        ..DiscoveryPolicy::DEFAULT
    };
    discover(http, issuer, policy).await.map_err(failed)
}

/// The challenge's scopes, else the metadata's, else none; and those of a login that the provider lists. Where that makes none, an
/// `OpenID` provider that lists its scopes is asked for `openid`, which every one of them knows (`OpenID` Connect Core 1.0 section
/// 3.1.2.1), and one that lists none for the scopes of a login.
fn scopes(
    challenge: Option<Vec<String>>,
    metadata: Option<&ResourceMetadata>,
    provider: &Provider,
) -> Vec<String> {
    let mut scopes = challenge
        .or_else(|| metadata.and_then(|metadata| metadata.scopes_supported.clone()))
        .unwrap_or_default();
    for scope in LOGIN_SCOPES {
        let is_listed = provider
            .scopes_supported
            .as_ref()
            .is_some_and(|listed| listed.iter().any(|listed| listed == scope));
        if is_listed && !scopes.iter().any(|known| known == scope) {
            scopes.insert(0, scope.to_owned());
        }
    }
    if scopes.is_empty() && provider.is_openid && provider.scopes_supported.is_some() {
        scopes.extend(LOGIN_SCOPES.map(str::to_owned));
    }
    scopes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(listed: &[&str], named: Option<&str>, relaxed: bool) -> Result<String, SearchError> {
        let listed: Vec<String> = listed.iter().map(|&issuer| issuer.to_owned()).collect();
        let relaxations = relaxed
            .then_some(Relaxation::UnlistedIssuer)
            .into_iter()
            .collect();
        choose(&listed, named, &relaxations, "https://r.example").map(|(issuer, _)| issuer)
    }

    #[test]
    fn case_06_the_first_of_several_issuers_is_nobodys_choice() {
        let (a, b) = ("https://a.example", "https://b.example");
        assert_eq!(chosen(&[a], None, false), Ok(a.to_owned()));
        assert_eq!(chosen(&[a, a], None, false), Ok(a.to_owned()));
        assert_eq!(chosen(&[a, b], Some(b), false), Ok(b.to_owned()));
        assert_eq!(
            chosen(&["https://a.example/", b], Some(a), false),
            Ok("https://a.example/".to_owned())
        );
        assert_eq!(chosen(&[], Some(a), false), Ok(a.to_owned()));
        assert_eq!(chosen(&[b], Some(a), true), Ok(a.to_owned()));
        for (listed, named) in [
            (&[a, b][..], None),
            (&[][..], None),
            (&[b][..], Some(a)),
            (&["https://A.example"][..], Some(a)),
            (&["https://a.example/t"][..], Some(a)),
        ] {
            let error = chosen(listed, named, false).expect_err("no choice");
            for issuer in listed {
                assert!(error.to_string().contains(issuer), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn an_issuer_that_a_registry_names_is_no_way_into_the_network() {
        let provider = thv_testkit::provider::Provider::start().await;
        let options = thv_http::HttpOptions {
            user_agent: "thv-test".to_owned(),
            extra_ca: None,
            insecure_urls: false,
        };
        let clock = thv_config::world::SystemClock::new();
        let world = thv_config::world::World::new(clock, thv_config::world::MapEnv::new());
        let http = Http::new(options, &world).expect("a client");
        let search = |allow_private_ip, issuer: Option<String>| LoginSearch {
            registry_url: "https://r.example".to_owned(),
            first_request: Url::parse("https://r.example/v0.1/servers").expect("url"),
            allow_private_ip,
            issuer,
            relaxations: Relaxations::new(),
        };
        let asked = async |search: LoginSearch, issuer: &str| {
            super::provider(&http, &search, issuer).await.is_ok()
        };
        let issuer = provider.issuer();
        assert!(!asked(search(false, None), &issuer).await);
        let other = Some("https://id.example".to_owned());
        assert!(!asked(search(false, other), &issuer).await);
        for issuer in [
            "http://169.254.169.254",
            "https://10.0.0.1",
            "https://[::1]:1",
        ] {
            assert!(!asked(search(false, None), issuer).await, "{issuer}");
        }
        assert!(provider.requests().is_empty(), "it was asked");
        // Where the person names it, or allows the registry to be one of a private network.
        assert!(asked(search(false, Some(issuer.clone())), &issuer).await);
        assert!(asked(search(true, None), &issuer).await);
    }

    #[test]
    fn urls_that_are_none_are_shown_without_their_password() {
        let error = registry_url("https://me:pw@r.example").expect_err("a password");
        assert!(!error.to_string().contains("pw"), "{error}");
        for bad in ["ftp://r.example", "r.example", "", "https://"] {
            assert!(registry_url(bad).is_err(), "{bad}");
        }
    }
}
