//! The ways to a credential as they are configured: a JSON object per registry, read strictly.
//!
//! A member that is missing, unknown or impossible is a [`SettingsFault`], and then there is no credential: falling back to another
//! one would make somebody else of us. Nothing in these settings is secret. Carrying them out is the other files' part.

mod check;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub(crate) use self::check::{absolute, header_name};
use super::secret::SecretSource;

/// A configured way to a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CredentialSettings {
    /// A bearer token as it is (RFC 6750).
    Bearer(BearerSettings),
    /// A key in a header of its own.
    ApiKey(ApiKeySettings),
    /// The client itself asks for a token (RFC 6749 section 4.4).
    ClientCredentials(ClientSettings),
    /// A token of this workload is exchanged (RFC 8693).
    TokenExchange(WorkloadSettings),
    /// A token of this workload is the grant (RFC 7523 section 2.1).
    JwtBearer(WorkloadSettings),
    /// A program is asked.
    Command(CommandSettings),
}

/// The ways, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A bearer token as it is.
    Bearer,
    /// A key in a header of its own.
    ApiKey,
    /// The client itself asks.
    ClientCredentials,
    /// A token of this workload is exchanged.
    TokenExchange,
    /// A token of this workload is the grant.
    JwtBearer,
    /// A program is asked.
    Command,
}

/// A bearer token as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BearerSettings {
    /// Where the token is.
    pub token: SecretSource,
}

/// A key in a header of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeySettings {
    /// Where the key is.
    pub key: SecretSource,
    /// The header whose whole value the key is.
    pub header: String,
}

/// A client that asks for a token itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSettings {
    /// The authorization server.
    pub server: ServerSettings,
    /// Our client identifier there.
    pub client_id: String,
    /// How the client proves who it is.
    pub authentication: ClientAuthentication,
    /// What the token is to be for.
    #[serde(default, skip_serializing_if = "TargetSettings::is_empty")]
    pub target: TargetSettings,
}

/// A workload that has a token of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSettings {
    /// The authorization server.
    pub server: ServerSettings,
    /// Our client identifier there, where the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How the client proves who it is, where the server wants that beside the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<ClientAuthentication>,
    /// Where the workload's token comes from.
    pub subject: SubjectSource,
    /// The type of the workload's token (RFC 8693 section 3); a JWT without it. Not used by the JWT bearer grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_type: Option<String>,
    /// What the token is to be for.
    #[serde(default, skip_serializing_if = "TargetSettings::is_empty")]
    pub target: TargetSettings,
}

/// An authorization server: found by its issuer, or named outright. One of the two is needed; with both, nothing is discovered and the
/// issuer is the audience of assertions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The issuer identifier, whose metadata name the token endpoint (RFC 8414).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The token endpoint, for servers without metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint: Option<String>,
}

/// What a token is to be for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSettings {
    /// Sent as `resource` (RFC 8707); the registry's URL without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Whether no `resource` is sent at all: for servers that refuse requests with one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_resource: bool,
    /// Sent as `audience`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Sent as `scope`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// How a client proves who it is at the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientAuthentication {
    /// A secret by whichever of the two methods below the server's metadata list; `basic` when they list both or none.
    ClientSecret {
        /// Where the secret is.
        secret: SecretSource,
    },
    /// A secret by HTTP Basic (RFC 6749 section 2.3.1).
    ClientSecretBasic {
        /// Where the secret is.
        secret: SecretSource,
    },
    /// A secret in the form.
    ClientSecretPost {
        /// Where the secret is.
        secret: SecretSource,
    },
    /// A signed assertion (RFC 7523 section 2.2).
    PrivateKeyJwt {
        /// The private key, PEM: RSA for RS256, or P-256 for ES256. Read anew for each assertion.
        key_file: PathBuf,
        /// Named in the assertion's header as `kid`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_id: Option<String>,
    },
}

/// Where a workload's own token comes from. It is fetched anew for each exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SubjectSource {
    /// A file that whoever runs the workload replaces from time to time, as Kubernetes does.
    File(PathBuf),
    /// The token service of a GitHub Actions job.
    GithubActions {
        /// The audience to ask for; the server's issuer without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
    },
}

/// A program that gives tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSettings {
    /// The program, an absolute path.
    pub path: PathBuf,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Names of environment variables that it gets beside the few that every program needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment: Vec<String>,
}

/// Why settings describe no credential. `Display` is a clause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct SettingsFault {
    /// What is missing or wrong.
    pub cause: String,
}

// === impl CredentialKind ===

impl CredentialKind {
    /// The word for it in settings and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::ApiKey => "api_key",
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "token_exchange",
            Self::JwtBearer => "jwt_bearer",
            Self::Command => "command",
        }
    }

    /// The word for it on routes that know two kinds: whether an authorization server is asked by us, or a token is taken as it comes.
    pub fn auth_type(self) -> &'static str {
        match self {
            Self::ClientCredentials | Self::TokenExchange | Self::JwtBearer => "oauth",
            Self::Bearer | Self::ApiKey | Self::Command => "bearer",
        }
    }
}

// === impl SettingsFault ===

impl SettingsFault {
    pub(crate) fn new(cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
        }
    }
}

// === impl TargetSettings ===

impl TargetSettings {
    /// The `resource` to send for the registry at `configured_url`, as the configuration spells it: the MCP authorization profile wants one in
    /// every request for a token, whether or not the server knows the parameter. A query or fragment is no part of a registry's identifier.
    pub(crate) fn resource_for(&self, configured_url: &str) -> Option<String> {
        if self.no_resource {
            return None;
        }
        let end = configured_url.find(['?', '#']);
        let identifier = configured_url.get(..end.unwrap_or(configured_url.len()));
        self.resource
            .clone()
            .or_else(|| identifier.map(str::to_owned))
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

// === impl ClientAuthentication ===

impl ClientAuthentication {
    /// Where the client secret is, when there is one.
    pub fn secret(&self) -> Option<&SecretSource> {
        match self {
            Self::ClientSecret { secret }
            | Self::ClientSecretBasic { secret }
            | Self::ClientSecretPost { secret } => Some(secret),
            Self::PrivateKeyJwt { .. } => None,
        }
    }
}

// === impl CredentialSettings ===

impl CredentialSettings {
    /// Reads what is configured, whole and possible, or says what is wrong with it.
    pub fn read(object: &Map<String, Value>) -> Result<Self, SettingsFault> {
        let settings = Self::deserialize(Value::Object(object.clone()))
            .map_err(|error| SettingsFault::new(without_values(&error.to_string())))?;
        settings.check()?;
        Ok(settings)
    }

    /// The same as they are written.
    pub fn write(&self) -> Result<Map<String, Value>, SettingsFault> {
        self.check()?;
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) => Err(SettingsFault::new("they are no object")),
            Err(error) => Err(SettingsFault::new(error.to_string())),
        }
    }

    /// Which way it is.
    pub fn kind(&self) -> CredentialKind {
        match self {
            Self::Bearer(_) => CredentialKind::Bearer,
            Self::ApiKey(_) => CredentialKind::ApiKey,
            Self::ClientCredentials(_) => CredentialKind::ClientCredentials,
            Self::TokenExchange(_) => CredentialKind::TokenExchange,
            Self::JwtBearer(_) => CredentialKind::JwtBearer,
            Self::Command(_) => CredentialKind::Command,
        }
    }

    /// The files that hold what is secret: a token, a client's secret or key, a workload's token.
    pub(crate) fn files(&self) -> Vec<&Path> {
        let (authentication, subject) = match self {
            Self::Bearer(bearer) => return bearer.token.file().into_iter().collect(),
            Self::ApiKey(key) => return key.key.file().into_iter().collect(),
            Self::Command(_) => return Vec::new(),
            Self::ClientCredentials(client) => (Some(&client.authentication), None),
            Self::TokenExchange(workload) | Self::JwtBearer(workload) => {
                (workload.authentication.as_ref(), Some(&workload.subject))
            }
        };
        let proof = authentication.and_then(|authentication| match authentication {
            ClientAuthentication::PrivateKeyJwt { key_file, .. } => Some(key_file.as_path()),
            by_secret => by_secret.secret()?.file(),
        });
        let subject = subject.and_then(|subject| match subject {
            SubjectSource::File(path) => Some(path.as_path()),
            SubjectSource::GithubActions { .. } => None,
        });
        proof.into_iter().chain(subject).collect()
    }

    /// Tells these settings from others: 64 hex digits.
    pub(crate) fn digest(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        crate::binding::hex(&Sha256::digest(text))
    }
}

/// The text of an error without the values that it quotes: a person may have written a secret where none belongs.
fn without_values(text: &str) -> String {
    let mut shown = String::new();
    for (index, part) in text.split('"').enumerate() {
        shown.push_str(if index % 2 == 0 { part } else { "\"…\"" });
    }
    shown
}

#[cfg(test)]
mod tests;
