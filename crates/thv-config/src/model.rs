//! The configuration as the rest of the program sees it: plain values, no YAML.
//!
//! Only what registries and secrets need is modelled. Everything else in the file belongs to the Go
//! program and is kept by [`crate::ConfigStore`] without being understood.

use std::path::PathBuf;

/// Where the catalog comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum RegistrySource {
    /// The catalog compiled into this program.
    #[default]
    BuiltIn,
    /// A registry document on disk, as the user wrote its path.
    File(PathBuf),
    /// A registry document behind a URL.
    Url(String),
    /// The base URL of a server that speaks the MCP Registry API.
    Api(String),
}

/// How a registry that asks for a login is logged in to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    /// The kind as stored, `oauth` being the only one in use. Never empty.
    pub kind: String,
    /// The settings of the kind `oauth`.
    pub oauth: Option<OAuthSettings>,
}

/// The public OAuth client of a registry. No secret is kept here, only the name of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OAuthSettings {
    /// The issuer, exactly as its discovery document spells it.
    pub issuer: String,
    /// The client id.
    pub client_id: String,
    /// Sent as `resource` (RFC 8707 section 2).
    pub audience: Option<String>,
    /// The scopes to ask for; empty means unset.
    pub scopes: Vec<String>,
    /// The port of the loopback redirect; `None` means the default.
    pub callback_port: Option<u16>,
    /// The name under which the refresh token is stored among the secrets.
    pub cached_refresh_token_ref: Option<String>,
    /// When the last access token expires, RFC 3339, as stored.
    pub cached_token_expiry: Option<String>,
}

/// Which secrets provider the user set up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsSettings {
    /// Empty, `encrypted`, `1password` or `environment`; others are kept as they are.
    pub provider_type: String,
    /// Whether the set-up has been finished.
    pub setup_completed: bool,
}

/// The configuration. The default is what a missing file means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where the catalog comes from.
    pub source: RegistrySource,
    /// Whether the source's host may have a private address. Always `false` for
    /// [`RegistrySource::BuiltIn`], which has no host.
    pub allow_private_ip: bool,
    /// How to log in to the source, when it asks for that.
    pub auth: Option<RegistryAuth>,
    /// The secrets provider.
    pub secrets: SecretsSettings,
    /// A file of additional certificate authorities (PEM).
    pub ca_certificate_path: Option<PathBuf>,
}

impl Config {
    /// The same configuration with what does not apply set to its neutral value.
    #[must_use]
    pub(crate) fn normalised(mut self) -> Self {
        if self.source == RegistrySource::BuiltIn {
            self.allow_private_ip = false;
        }
        self.auth = self.auth.filter(|auth| !auth.kind.is_empty());
        self
    }
}
