//! What the configuration says of a registry, made usable: parsed URLs, the credential that
//! goes with the source, and the identity under which its catalog is cached.

use std::path::PathBuf;
use std::sync::Arc;

use thv_auth::binding::Binding;
use thv_auth::machine::RegistryAt;
use thv_auth::{Anonymous, AuthStatus, CredentialSource, Credentials};
use thv_config::{Config, OAuthSettings, RegistrySource};
use url::Url;

use crate::source::{Remote, Source, SourceKind};

/// A registry's part of the configuration. Two equal values mean the same registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) source: RegistrySource,
    pub(crate) allow_private_ip: bool,
    pub(crate) auth_kind: Option<String>,
    pub(crate) oauth: Option<OAuthSettings>,
    pub(crate) binding: Option<Binding>,
    pub(crate) extra_ca: Option<PathBuf>,
    /// Why the configuration could not be read at all.
    pub(crate) unreadable: Option<String>,
}

/// What a registry's answers say of its login settings; nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Issuer identifier of the authorization server (RFC 8414, section 2).
    pub issuer: String,
    /// Client identifier (RFC 6749, section 2.2).
    pub client_id: String,
    /// Audience that tokens are asked for.
    pub audience: Option<String>,
    /// Scopes that are asked for.
    pub scopes: Vec<String>,
}

/// What a registry is, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryInfo {
    /// Name, `default` today.
    pub name: String,
    /// Kind of source.
    pub kind: SourceKind,
    /// URL or absolute path; empty for the built-in catalog.
    pub source: String,
    /// Where its login stands.
    pub auth_status: AuthStatus,
    /// Kind of credential: `oauth`, `bearer` or empty.
    pub auth_type: String,
    /// Login settings, when there are any.
    pub auth_config: Option<AuthConfig>,
}

// === impl Settings ===

impl Settings {
    pub(crate) fn of(config: &Config) -> Self {
        let auth = config.auth.as_ref();
        Self {
            source: config.source.clone(),
            allow_private_ip: config.allow_private_ip,
            auth_kind: auth.map(|auth| auth.kind.clone()),
            oauth: auth.and_then(|auth| auth.oauth.clone()).map(without_grant),
            binding: Binding::of(config).ok(),
            extra_ca: config.ca_certificate_path.clone(),
            unreadable: None,
        }
    }

    /// The settings of a configuration that cannot be read. They stand for no registry at all:
    /// falling back to the built-in one would show a catalog that nobody chose.
    pub(crate) fn unreadable(cause: String) -> Self {
        Self {
            source: RegistrySource::BuiltIn,
            allow_private_ip: false,
            auth_kind: None,
            oauth: None,
            binding: None,
            extra_ca: None,
            unreadable: Some(cause),
        }
    }

    /// The source, or what makes the configured one unusable.
    pub(crate) fn source(&self) -> Result<Source, String> {
        if let Some(cause) = &self.unreadable {
            return Err(cause.clone());
        }
        match &self.source {
            RegistrySource::BuiltIn => Ok(Source::BuiltIn),
            RegistrySource::File(path) => Ok(Source::File(path.clone())),
            RegistrySource::Url(url) => Remote::new(url, self.allow_private_ip).map(Source::Url),
            RegistrySource::Api(url) => Remote::new(url, self.allow_private_ip).map(Source::Api),
        }
    }

    /// The credential with which the source is read. Documents on this machine need none,
    /// whatever the configuration says.
    pub(crate) fn credentials(
        &self,
        name: &str,
        logins: &dyn CredentialSource,
    ) -> Arc<dyn Credentials> {
        let registry = match &self.source {
            RegistrySource::Url(url) | RegistrySource::Api(url) => {
                RegistryAt::new(name, url, self.allow_private_ip, self.binding.clone())
            }
            RegistrySource::BuiltIn | RegistrySource::File(_) => None,
        };
        match registry {
            Some(registry) => logins.for_registry(&registry),
            None => Arc::new(Anonymous),
        }
    }

    pub(crate) fn info(&self, name: &str, credentials: &dyn Credentials) -> RegistryInfo {
        let (kind, source) = match self.source() {
            Ok(source) => (source.kind(), source.shown()),
            Err(_) => self.as_written(),
        };
        let auth_type = match credentials.auth_type() {
            Some(auth_type) => auth_type.to_owned(),
            None => self.auth_kind.clone().unwrap_or_default(),
        };
        RegistryInfo {
            name: name.to_owned(),
            kind,
            source,
            auth_status: match credentials.status() {
                // Configured for a source that has no use for it.
                AuthStatus::None if !auth_type.is_empty() => AuthStatus::Configured,
                status => status,
            },
            auth_type,
            auth_config: self.oauth.as_ref().map(|oauth| AuthConfig {
                issuer: oauth.issuer.clone(),
                client_id: oauth.client_id.clone(),
                audience: oauth.audience.clone(),
                scopes: oauth.scopes.clone(),
            }),
        }
    }

    fn as_written(&self) -> (SourceKind, String) {
        match &self.source {
            RegistrySource::BuiltIn => (SourceKind::Default, String::new()),
            RegistrySource::File(path) => (SourceKind::File, path.display().to_string()),
            RegistrySource::Url(url) => (SourceKind::Url, url.clone()),
            RegistrySource::Api(url) => (SourceKind::Api, url.clone()),
        }
    }

    /// Names what is read and how. With the reader's identity it names a cache file.
    pub(crate) fn cache_key(&self, source: &Source) -> String {
        format!(
            "{}\n{}\n{}",
            source.kind().as_str(),
            source.shown(),
            self.allow_private_ip,
        )
    }
}

/// Login settings without what a login leaves there: a renewed grant is no other registry.
fn without_grant(oauth: OAuthSettings) -> OAuthSettings {
    OAuthSettings {
        cached_refresh_token_ref: None,
        cached_token_expiry: None,
        ..oauth
    }
}

// === impl Remote ===

impl Remote {
    /// A registry at `configured`, an absolute http or https URL.
    pub(crate) fn new(configured: &str, allow_private_ip: bool) -> Result<Self, String> {
        let url = Url::parse(configured)
            .map_err(|error| format!("{configured:?} is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(format!("{configured:?} is not an http or https URL"));
        }
        let has_credentials = !url.username().is_empty() || url.password().is_some();
        Ok(Self {
            configured: if has_credentials {
                thv_http::display_url(&url)
            } else {
                configured.to_owned()
            },
            url,
            allow_private_ip,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        let remote = Remote::new("https://me:s3cret@r.example/list", false).unwrap();
        assert_eq!(remote.configured, "https://r.example/list");
        assert!(Remote::new("/etc/passwd", false).is_err());
        assert!(Remote::new("file:///etc/passwd", false).is_err());
    }
}
