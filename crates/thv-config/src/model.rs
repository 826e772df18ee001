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
    /// Whether the secrets of before there were scopes have their scoped names by now.
    pub secret_scope_migration: bool,
    /// A file of additional certificate authorities (PEM).
    pub ca_certificate_path: Option<PathBuf>,
}

// === What values mean

impl Config {
    /// The same configuration in the one spelling in which it is stored and compared: nothing that
    /// is empty where it could be absent, and no permission that applies to nothing.
    #[must_use]
    pub(crate) fn normalised(self) -> Self {
        let source = self.source.normalised();
        Self {
            allow_private_ip: self.allow_private_ip && source != RegistrySource::BuiltIn,
            source,
            auth: self.auth.and_then(RegistryAuth::normalised),
            secrets: self.secrets.normalised(),
            secret_scope_migration: self.secret_scope_migration,
            ca_certificate_path: self
                .ca_certificate_path
                .filter(|path| !path.as_os_str().is_empty()),
        }
    }
}

impl RegistrySource {
    fn normalised(self) -> Self {
        let empty = match &self {
            Self::BuiltIn => true,
            Self::File(path) => path.as_os_str().is_empty(),
            Self::Url(url) | Self::Api(url) => url.is_empty(),
        };
        if empty { Self::BuiltIn } else { self }
    }
}

impl RegistryAuth {
    fn normalised(self) -> Option<Self> {
        let oauth = self
            .oauth
            .map(OAuthSettings::normalised)
            .filter(|oauth| *oauth != OAuthSettings::default());
        (!self.kind.is_empty()).then_some(Self { oauth, ..self })
    }
}

impl OAuthSettings {
    fn normalised(self) -> Self {
        let present = |value: &String| !value.is_empty();
        Self {
            audience: self.audience.filter(present),
            callback_port: self.callback_port.filter(|port| *port != 0),
            cached_refresh_token_ref: self.cached_refresh_token_ref.filter(present),
            cached_token_expiry: self.cached_token_expiry.filter(present),
            ..self
        }
    }
}

impl SecretsSettings {
    /// `basic` is the old name of the encrypted provider; a provider that is named has been set up.
    fn normalised(self) -> Self {
        let provider_type = match self.provider_type.as_str() {
            "basic" => "encrypted".to_owned(),
            _ => self.provider_type,
        };
        Self {
            setup_completed: self.setup_completed || !provider_type.is_empty(),
            provider_type,
        }
    }
}
