//! What a grant is for: the registry, the identity provider and the client it was given to.
//!
//! A [`Binding`] names a grant in the secret store and is sealed into it, so that a record copied or re-pointed to another
//! registry does not open. The grant itself, and where it is kept, live elsewhere.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use thv_config::{Config, RegistrySource};
use url::{Origin, Url};

/// The first bytes of everything that [`Binding::associated_data`] gives, so that another layout can follow one day.
const ASSOCIATED_DATA_LABEL: &[u8] = b"thv registry grant 1";

/// The identity of a grant. Two bindings that differ in any member have different grants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The registry's URL.
    pub registry_url: Url,
    /// The same URL, letter by letter as the configuration has it: the Go program names its secrets by this spelling. No
    /// part of the identity.
    pub configured_url: String,
    /// The identity provider's issuer identifier, spelled as the configuration has it.
    pub issuer: String,
    /// Our client identifier there (RFC 6749 section 2.2).
    pub client_id: String,
    /// Sent as `audience`, which some providers want. The Go program's setting of that name is not this one: see `resource`.
    pub audience: Option<String>,
    /// Sent as `resource` (RFC 8707). The Go program's `audience` setting has this meaning.
    pub resource: Option<String>,
    /// The scopes to ask for, in the configuration's order.
    pub scopes: Vec<String>,
    /// Whether the registry, and hosts that its provider names beside its own, may have private addresses.
    /// This is a rule for connections and no part of the identity.
    pub allow_private_ip: bool,
}

/// The names of grants in the secret store begin with this.
pub(crate) const GRANT_PREFIX: &str = "REGISTRY_GRANT_";

/// The scopes that are asked for when the configuration names none.
pub const DEFAULT_SCOPES: [&str; 2] = ["openid", "offline_access"];

/// Why a configuration gives no [`Binding`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBinding {
    /// No login is configured.
    #[error("no login is configured for the registry")]
    NotConfigured,
    /// The source is on this machine, so that there is nobody to show a token to.
    #[error("the registry is read from this machine and takes no login")]
    LocalSource,
    /// The registry's URL is none.
    #[error("the registry's URL cannot be used: {cause}")]
    BadUrl {
        /// What is wrong with it.
        cause: String,
    },
}

impl Binding {
    /// The binding of a registry at `configured_url`, with the scopes that are asked for by default.
    pub fn new(configured_url: &str, issuer: &str, client_id: &str) -> Result<Self, NoBinding> {
        let bad = |cause: String| NoBinding::BadUrl { cause };
        let registry_url = Url::parse(configured_url).map_err(|error| bad(error.to_string()))?;
        if !matches!(registry_url.scheme(), "http" | "https") || !registry_url.has_host() {
            return Err(bad("it is not an http or https URL".to_owned()));
        }
        Ok(Self {
            registry_url,
            configured_url: configured_url.to_owned(),
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            audience: None,
            resource: None,
            scopes: DEFAULT_SCOPES.map(str::to_owned).to_vec(),
            allow_private_ip: false,
        })
    }

    /// The binding of the configured registry. The configured `audience` becomes [`resource`](Self::resource).
    pub fn of(config: &Config) -> Result<Self, NoBinding> {
        let auth = config.auth.as_ref();
        let Some(oauth) = auth.and_then(|auth| auth.oauth.as_ref()) else {
            return Err(NoBinding::NotConfigured);
        };
        let configured = match &config.source {
            RegistrySource::Url(url) | RegistrySource::Api(url) => url,
            RegistrySource::BuiltIn | RegistrySource::File(_) => {
                return Err(NoBinding::LocalSource);
            }
        };
        let mut binding = Self::new(configured, &oauth.issuer, &oauth.client_id)?;
        binding.resource.clone_from(&oauth.audience);
        binding.allow_private_ip = config.allow_private_ip;
        if !oauth.scopes.is_empty() {
            binding.scopes.clone_from(&oauth.scopes);
        }
        Ok(binding)
    }

    /// The only origin that may see the access token.
    pub fn origin(&self) -> Origin {
        self.registry_url.origin()
    }

    /// The bytes that authenticate a sealed grant: registry, issuer, client, audience, resource and the set of scopes,
    /// each with its length, so that no two bindings give the same.
    pub fn associated_data(&self) -> Vec<u8> {
        let mut scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        scopes.sort_unstable();
        scopes.dedup();
        let mut data = ASSOCIATED_DATA_LABEL.to_vec();
        append(&mut data, Some(&self.origin().ascii_serialization()));
        append(&mut data, Some(self.registry_url.as_str()));
        append(&mut data, Some(&self.issuer));
        append(&mut data, Some(&self.client_id));
        append(&mut data, self.audience.as_deref());
        append(&mut data, self.resource.as_deref());
        for scope in scopes {
            append(&mut data, Some(scope));
        }
        data
    }

    /// The name of the grant's record in the secret store: `REGISTRY_GRANT_` and 64 hex digits of SHA-256 over
    /// [`associated_data`](Self::associated_data).
    pub fn key(&self) -> String {
        named(GRANT_PREFIX, &Sha256::digest(self.associated_data()))
    }

    /// The registry and its issuer, whatever client and scopes: 64 hex digits of SHA-256 over both.
    pub(crate) fn place(&self) -> String {
        let digest = Sha256::new()
            .chain_update(self.registry_url.as_str())
            .chain_update([0])
            .chain_update(&self.issuer)
            .finalize();
        hex(&digest)
    }

    /// The name under which the Go program keeps the refresh token of this registry; see [`Binding::go_key`].
    pub fn go_name(&self) -> String {
        Self::go_key(&self.configured_url, &self.issuer)
    }

    /// The name under which the Go program keeps the refresh token of `registry_url`, spelled as the configuration has it, at
    /// `issuer`, unless its configuration names another. The access token's name has `_AT` behind it.
    pub fn go_key(registry_url: &str, issuer: &str) -> String {
        let digest = Sha256::new()
            .chain_update(registry_url)
            .chain_update([0])
            .chain_update(issuer)
            .finalize();
        named("REGISTRY_OAUTH_", digest.get(..4).unwrap_or_default())
    }
}

fn named(prefix: &str, bytes: &[u8]) -> String {
    format!("{prefix}{}", hex(bytes))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a String does not fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Appends one member: absent and empty differ.
fn append(data: &mut Vec<u8>, member: Option<&str>) {
    match member {
        None => data.push(0),
        Some(text) => {
            data.push(1);
            data.extend_from_slice(&(text.len() as u64).to_be_bytes());
            data.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use thv_config::{OAuthSettings, RegistryAuth};

    use super::*;

    fn binding() -> Binding {
        Binding {
            registry_url: Url::parse("https://registry.example.com/v1").expect("url"),
            configured_url: "https://registry.example.com/v1".into(),
            issuer: "https://auth.example.com".into(),
            client_id: "thv".into(),
            audience: None,
            resource: None,
            scopes: vec!["openid".into(), "offline_access".into()],
            allow_private_ip: false,
        }
    }

    #[test]
    fn names_of_the_go_program_are_known() {
        for (url, issuer, key) in [
            (
                "https://registry.example.com",
                "https://auth.example.com",
                "REGISTRY_OAUTH_e037e405",
            ),
            (
                "https://registry.example.com/",
                "https://auth.example.com",
                "REGISTRY_OAUTH_d0667e63",
            ),
            ("ab", "c", "REGISTRY_OAUTH_6c032e63"),
            ("a", "bc", "REGISTRY_OAUTH_40bb547d"),
            ("", "", "REGISTRY_OAUTH_6e340b9c"),
        ] {
            assert_eq!(Binding::go_key(url, issuer), key, "{url} {issuer}");
        }
    }

    #[test]
    fn every_member_of_the_identity_changes_the_name() {
        let changes: [fn(&mut Binding); 7] = [
            |b| b.registry_url = Url::parse("https://registry.example.com/v2").expect("url"),
            |b| b.registry_url = Url::parse("https://registry.example.com:8443/v1").expect("url"),
            |b| b.issuer.push('/'),
            |b| b.client_id = "other".into(),
            |b| b.audience = Some(String::new()),
            |b| b.resource = Some(String::new()),
            |b| b.scopes.push("more".into()),
        ];
        let mut names: Vec<String> = changes
            .into_iter()
            .map(|change| {
                let mut other = binding();
                change(&mut other);
                other.key()
            })
            .collect();
        names.push(binding().key());
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 8);
        assert!(names.iter().all(|name| name.len() == 15 + 64), "{names:?}");
    }

    #[test]
    fn order_of_scopes_and_address_rules_are_no_part_of_the_identity() {
        let mut other = binding();
        other.scopes.reverse();
        other.scopes.push("openid".into());
        other.allow_private_ip = true;
        other.configured_url = "https://REGISTRY.example.com/v1".into();
        assert_eq!(other.key(), binding().key());
        assert_eq!(other.associated_data(), binding().associated_data());
    }

    #[test]
    fn a_configuration_without_scopes_asks_for_the_default_ones_and_its_audience_is_the_resource() {
        let oauth = OAuthSettings {
            issuer: "https://auth.example.com".into(),
            client_id: "thv".into(),
            audience: Some("https://registry.example.com".into()),
            ..OAuthSettings::default()
        };
        let mut config = Config {
            source: RegistrySource::Api("https://Registry.example.com".into()),
            auth: Some(RegistryAuth {
                kind: "oauth".into(),
                oauth: Some(oauth),
            }),
            ..Config::default()
        };
        let binding = Binding::of(&config).expect("binding");
        assert_eq!(binding.scopes, DEFAULT_SCOPES);
        assert_eq!(
            binding.resource.as_deref(),
            Some("https://registry.example.com")
        );
        assert_eq!(binding.audience, None);
        assert_eq!(
            binding.go_name(),
            Binding::go_key("https://Registry.example.com", "https://auth.example.com")
        );
        config.source = RegistrySource::File("/x.json".into());
        assert_eq!(Binding::of(&config), Err(NoBinding::LocalSource));
        config.auth = None;
        assert_eq!(Binding::of(&config), Err(NoBinding::NotConfigured));
    }

    #[test]
    fn members_do_not_run_into_each_other() {
        let mut one = binding();
        one.issuer = "ab".into();
        one.client_id = "c".into();
        let mut other = binding();
        other.issuer = "a".into();
        other.client_id = "bc".into();
        assert_ne!(one.associated_data(), other.associated_data());
    }
}
