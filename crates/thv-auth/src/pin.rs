//! What a login was made with and has to stay as it was: the host that tokens come from, and the registry's word for the issuer.
//!
//! A [`Pin`] is kept in the grant. It is made at a login, which is a person's confirmation, and compared before the grant's tokens
//! are used. A document that cannot be had now says nothing; one that names somebody else ends the use of the tokens until a person
//! logs in again (MCP authorization, RFC 9728 section 7).

use std::str::FromStr as _;

use serde::{Deserialize, Serialize};
use thv_http::Http;
use url::Url;

use crate::binding::Binding;
use crate::oauth::registration::{host_of, token_host};
use crate::oauth::resource::{Resource, ResourceFault, ResourceMetadata, discover_resource, fetch};
use crate::oauth::{DpopUse, PkceSupport, Provider};
use crate::relaxation::{Relaxation, Relaxations};
use crate::rules::LoginRules;

/// What must not change without a person knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Host and port of the token endpoint.
    pub token_host: String,
    /// Host and port of the revocation endpoint, where it is not on the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_host: Option<String>,
    /// Where the registry's metadata are that named the issuer; absent where they did not, or where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_metadata: Option<String>,
    /// The rules that were not applied, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relaxed: Vec<String>,
    /// Whether a token that is not bound to the login's key is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dpop_required: bool,
}

impl Pin {
    /// The pin of a login at `provider`, to a registry that says this of itself.
    pub(crate) fn of(
        binding: &Binding,
        provider: &Provider,
        metadata: Option<&ResourceMetadata>,
        dpop: DpopUse,
    ) -> Self {
        let mut relaxed = Relaxations::new();
        if provider.pkce == PkceSupport::Unadvertised {
            relaxed.insert(Relaxation::MissingPkceMetadata);
        }
        if provider.offers_dpop() && (dpop == DpopUse::Off || !provider.takes_our_keys()) {
            relaxed.insert(Relaxation::BearerDespiteDpop);
        }
        if !provider.iss_parameter_supported {
            relaxed.insert(Relaxation::MissingIssParameter);
        }
        let is_spelled_so = metadata.is_none_or(|metadata| {
            !metadata.names(&binding.issuer)
                || metadata.authorization_servers.contains(&binding.issuer)
        });
        if provider.issuer != binding.issuer || !is_spelled_so {
            relaxed.insert(Relaxation::IssuerRootSlash);
        }
        let names_it = metadata.is_some_and(|metadata| metadata.names(&binding.issuer));
        if let Some(metadata) = metadata {
            relaxed.extend(&metadata.relaxed);
            if !names_it && !metadata.authorization_servers.is_empty() {
                relaxed.insert(Relaxation::UnlistedIssuer);
            }
        }
        Self {
            token_host: token_host(provider),
            revocation_host: revocation_host(provider).filter(|host| *host != token_host(provider)),
            resource_metadata: metadata
                .filter(|_| names_it)
                .map(|metadata| metadata.url.as_str().to_owned()),
            relaxed: relaxed.iter().map(ToString::to_string).collect(),
            dpop_required: dpop == DpopUse::Required,
        }
    }

    /// The rules that were not applied. Names of other versions are none.
    pub(crate) fn relaxations(&self) -> Relaxations {
        self.relaxed
            .iter()
            .filter_map(|name| Relaxation::from_str(name).ok())
            .collect()
    }

    /// Adds a rule that is not applied.
    pub(crate) fn relax(&mut self, rule: Relaxation) {
        let name = rule.to_string();
        if !self.relaxed.contains(&name) {
            self.relaxed.push(name);
        }
    }

    /// Whether tokens would go to the host that they came from.
    pub(crate) fn is_token_host_of(&self, provider: &Provider) -> bool {
        self.token_host == token_host(provider)
    }

    /// Whether tokens that are given back would go to that host, or to the one that was named for this at the login.
    pub(crate) fn is_revocation_host_of(&self, provider: &Provider) -> bool {
        let host = revocation_host(provider);
        host.is_none_or(|host| {
            host == self.token_host || Some(&host) == self.revocation_host.as_ref()
        })
    }
}

fn revocation_host(provider: &Provider) -> Option<String> {
    provider.revocation_endpoint.as_ref().map(host_of)
}

/// What the registry says of itself at a login. `known` is where that was found before. Takes a few seconds at most. A registry that says
/// nothing now is no obstacle: the person has named or confirmed the issuer. One that breaks a rule which holds is; the error says which.
pub(crate) async fn metadata_at_login(
    http: &Http,
    binding: &Binding,
    known: Option<&Url>,
    rules: &LoginRules,
) -> Result<Option<ResourceMetadata>, String> {
    let pointers: Vec<String> = known
        .map(|url| url.as_str().to_owned())
        .into_iter()
        .collect();
    let found = discover_resource(http, &resource(binding), &pointers, &all_relaxed()).await;
    match found {
        Ok(metadata) => match metadata.relaxed.iter().find(|rule| !rules.relaxes(**rule)) {
            None => Ok(Some(metadata)),
            Some(rule) => Err(format!(
                "the registry's metadata at {} are about `{}`; if you trust that: `thv registry login --relax {rule}`",
                metadata.url, metadata.resource
            )),
        },
        Err(error) if rules.strict && error.breaks_a_rule() => Err(format!(
            "the registry's metadata cannot be used any more: {error}"
        )),
        Err(_) => Ok(None),
    }
}

/// Whether the registry names another issuer by now: its metadata are where they were, are about it, and leave out the issuer.
pub(crate) async fn names_another_issuer(http: &Http, binding: &Binding, pin: &Pin) -> bool {
    let Some(place) = pin.resource_metadata.as_deref() else {
        return false;
    };
    let Ok(place) = Url::parse(place) else {
        return false;
    };
    match fetch(http, &resource(binding), &place, &all_relaxed()).await {
        Ok(metadata) => {
            !metadata.authorization_servers.is_empty() && !metadata.names(&binding.issuer)
        }
        Err(fault) => {
            if !matches!(fault, ResourceFault::Http(_)) {
                tracing::debug!(%fault, "the registry's metadata say nothing now");
            }
            false
        }
    }
}

fn resource(binding: &Binding) -> Resource<'_> {
    Resource {
        url: &binding.registry_url,
        configured: &binding.configured_url,
        allow_private_ip: binding.allow_private_ip,
    }
}

/// What was good enough for the login is good enough to compare with it.
fn all_relaxed() -> Relaxations {
    Relaxations::from([Relaxation::ResourceParentPath])
}
