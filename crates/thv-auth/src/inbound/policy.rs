//! Whose tokens callers may present: the `--oidc-*` options, checked once.

use std::fmt;

use secrecy::SecretString;
use thv_config::world::Env;
use thv_http::{Limits, PlainHttp, Policy, Redirects, parse_url};
use url::Url;

/// The options as given. At least one of the issuer, the JWKS URL and the introspection URL turns the check on.
#[derive(Clone, Debug, Default)]
pub struct CallerPolicy {
    /// The issuer: compared with `iss`, and the base of discovery.
    pub issuer: Option<String>,
    /// What `aud` must contain; any audience when not set.
    pub audience: Option<String>,
    /// Where the signing keys are, instead of what discovery says.
    pub jwks_url: Option<String>,
    /// Where tokens that are no JWT are looked up (RFC 7662), instead of what discovery says.
    pub introspection_url: Option<String>,
    /// Who we are to the introspection endpoint.
    pub client_id: Option<String>,
    /// Our secret there.
    pub client_secret: Option<SecretString>,
    /// Never ask the issuer's discovery document; needs `jwks_url`.
    pub skip_discovery: bool,
    /// Whether the issuer's URLs may lead to private addresses, and to this machine over plain http.
    pub allow_private_ip: bool,
}

/// Why the options cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Nothing tells where signing keys are.
    #[error("either issuer or JWKS URL must be provided")]
    NoKeySource,
    /// Discovery is switched off and nothing takes its place.
    #[error("TOOLHIVE_SKIP_OIDC_DISCOVERY=true needs an explicit JWKS URL")]
    NoKeysWithoutDiscovery,
    /// One of the URLs cannot be used.
    #[error("the OIDC {which} cannot be used: {cause}")]
    BadUrl {
        /// Which one.
        which: UrlKind,
        /// What is wrong with it.
        cause: String,
    },
}

/// The URLs that the options hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlKind {
    /// The issuer.
    Issuer,
    /// The URL of the keys.
    Jwks,
    /// The introspection endpoint.
    Introspection,
}

/// The options as the verifier uses them.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) discovery_url: Option<Url>,
    pub(super) jwks_url: Option<Url>,
    pub(super) introspection_url: Option<Url>,
    pub(super) client: Option<(String, SecretString)>,
    pub(super) reach: Policy,
}

impl fmt::Display for UrlKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Issuer => "issuer",
            Self::Jwks => "JWKS URL",
            Self::Introspection => "introspection URL",
        })
    }
}

impl CallerPolicy {
    /// Whether callers are checked at all.
    pub fn is_enabled(&self) -> bool {
        [&self.issuer, &self.jwks_url, &self.introspection_url]
            .into_iter()
            .any(|setting| setting.as_ref().is_some_and(|value| !value.is_empty()))
    }

    /// Fills in what the environment says: `TOOLHIVE_OIDC_CLIENT_SECRET` where no secret was given,
    /// `TOOLHIVE_SKIP_OIDC_DISCOVERY`, `INSECURE_DISABLE_URL_VALIDATION`.
    #[must_use]
    pub fn with_environment(mut self, env: &dyn Env) -> Self {
        let is_true = |name| {
            env.var(name)
                .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        if self.client_secret.is_none() {
            self.client_secret = env
                .var("TOOLHIVE_OIDC_CLIENT_SECRET")
                .filter(|secret| !secret.is_empty())
                .map(SecretString::from);
        }
        self.skip_discovery |= is_true("TOOLHIVE_SKIP_OIDC_DISCOVERY");
        self.allow_private_ip |= is_true("INSECURE_DISABLE_URL_VALIDATION");
        self
    }

    pub(super) fn check(self) -> Result<Checked, PolicyError> {
        let given = |setting: Option<String>| {
            setting
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let (issuer, jwks_url) = (given(self.issuer), given(self.jwks_url));
        if issuer.is_none() && jwks_url.is_none() {
            return Err(PolicyError::NoKeySource);
        }
        if self.skip_discovery && jwks_url.is_none() {
            return Err(PolicyError::NoKeysWithoutDiscovery);
        }
        let reach = reach(self.allow_private_ip);
        let parsed = |which, text: Option<&String>| match text {
            None => Ok(None),
            Some(text) => usable_url(which, text, reach).map(Some),
        };
        let issuer_url = parsed(UrlKind::Issuer, issuer.as_ref())?;
        Ok(Checked {
            audience: given(self.audience),
            discovery_url: issuer_url
                .filter(|_| !self.skip_discovery)
                .map(|issuer| discovery_url(&issuer)),
            jwks_url: parsed(UrlKind::Jwks, jwks_url.as_ref())?,
            introspection_url: parsed(
                UrlKind::Introspection,
                given(self.introspection_url).as_ref(),
            )?,
            client: given(self.client_id).map(|id| (id, self.client_secret.unwrap_or_default())),
            issuer,
            reach,
        })
    }
}

/// The rules for requests to the issuer: its host is a matter of trust, so that no redirect leaves it.
fn reach(allow_private_ip: bool) -> Policy {
    let plain_http = if allow_private_ip {
        PlainHttp::Loopback
    } else {
        PlainHttp::Refuse
    };
    Policy {
        allow_private_ip,
        plain_http,
        redirects: Redirects::SameHost,
    }
}

/// Bounds of one request to the issuer: 5 s, 1 MiB.
pub(super) const ISSUER_LIMITS: Limits = Limits::PROBE;

fn usable_url(which: UrlKind, text: &str, reach: Policy) -> Result<Url, PolicyError> {
    parse_url(text)
        .and_then(|url| reach.check(&url).map(|()| url))
        .map_err(|cause| PolicyError::BadUrl {
            which,
            cause: cause.to_string(),
        })
}

/// `OpenID` Connect Discovery 1.0 section 4.1: the well-known path goes behind the issuer's own, a slash between them once.
fn discovery_url(issuer: &Url) -> Url {
    let mut url = issuer.clone();
    let path = format!(
        "{}/.well-known/openid-configuration",
        issuer.path().trim_end_matches('/')
    );
    url.set_path(&path);
    url
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use thv_config::world::MapEnv;

    use super::*;

    #[test]
    fn an_introspection_url_alone_is_not_enough() {
        let policy = CallerPolicy {
            introspection_url: Some("https://idp.example/introspect".to_owned()),
            ..CallerPolicy::default()
        };
        assert!(policy.is_enabled());
        let refusal = policy.check().expect_err("no key source");
        assert_eq!(
            refusal.to_string(),
            "either issuer or JWKS URL must be provided"
        );
    }

    #[test]
    fn without_discovery_the_keys_must_be_named() {
        let env = MapEnv::from([("TOOLHIVE_SKIP_OIDC_DISCOVERY", "true")]);
        let policy = CallerPolicy {
            issuer: Some("https://idp.example".to_owned()),
            ..CallerPolicy::default()
        };
        let refusal = policy
            .clone()
            .with_environment(&env)
            .check()
            .expect_err("no keys");
        assert_eq!(refusal, PolicyError::NoKeysWithoutDiscovery);
        let named = CallerPolicy {
            jwks_url: Some("https://idp.example/keys".to_owned()),
            ..policy
        };
        let checked = named.with_environment(&env).check().expect("keys named");
        assert_eq!(checked.discovery_url, None);
    }

    #[test]
    fn nothing_set_means_nobody_is_checked() {
        assert!(!CallerPolicy::default().is_enabled());
        assert!(
            !CallerPolicy {
                issuer: Some(String::new()),
                audience: Some("a".to_owned()),
                ..CallerPolicy::default()
            }
            .is_enabled()
        );
    }

    #[test]
    fn the_secret_of_the_environment_fills_in() {
        let env = MapEnv::from([("TOOLHIVE_OIDC_CLIENT_SECRET", "from-env")]);
        let filled = CallerPolicy::default().with_environment(&env);
        assert_eq!(
            filled.client_secret.expect("secret").expose_secret(),
            "from-env"
        );
        let given = CallerPolicy {
            client_secret: Some("from-flag".into()),
            ..CallerPolicy::default()
        };
        assert_eq!(
            given
                .with_environment(&env)
                .client_secret
                .expect("secret")
                .expose_secret(),
            "from-flag"
        );
    }

    #[test]
    fn f21_issuers_on_private_addresses_need_leave() {
        for issuer in [
            "http://idp.example",
            "https://127.0.0.1:9000",
            "https://10.1.2.3",
            "https://[fe80::1%25lo]",
            "idp",
        ] {
            let policy = CallerPolicy {
                issuer: Some(issuer.to_owned()),
                ..CallerPolicy::default()
            };
            assert!(
                matches!(
                    policy.check(),
                    Err(PolicyError::BadUrl {
                        which: UrlKind::Issuer,
                        ..
                    })
                ),
                "{issuer}"
            );
        }
        let with_leave = |issuer: &str| {
            CallerPolicy {
                issuer: Some(issuer.to_owned()),
                allow_private_ip: true,
                ..CallerPolicy::default()
            }
            .check()
        };
        assert!(with_leave("http://127.0.0.1:9000").is_ok());
        assert!(with_leave("http://localhost:9000").is_ok());
        assert!(with_leave("https://10.1.2.3").is_ok());
        assert!(with_leave("http://idp.example").is_err());
    }

    #[test]
    fn the_discovery_document_is_behind_the_issuers_path() {
        for (issuer, expected) in [
            (
                "https://idp.example",
                "https://idp.example/.well-known/openid-configuration",
            ),
            (
                "https://idp.example/",
                "https://idp.example/.well-known/openid-configuration",
            ),
            (
                "https://idp.example/realms/a",
                "https://idp.example/realms/a/.well-known/openid-configuration",
            ),
            (
                "https://idp.example/realms/a/",
                "https://idp.example/realms/a/.well-known/openid-configuration",
            ),
        ] {
            assert_eq!(
                discovery_url(&Url::parse(issuer).expect("url")).as_str(),
                expected
            );
        }
    }
}
