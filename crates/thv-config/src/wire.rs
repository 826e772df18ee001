//! Our keys as they stand in the file: what they mean as a [`Config`], and which of them have to
//! change for the file to mean another one. Pure values; the text is [`crate::yaml`]'s business.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use crate::edit::Change;
use crate::model::{Config, OAuthSettings, RegistryAuth, RegistrySource, SecretsSettings};
use crate::scalar::Scalar;

const AUTH: &[&str] = &["registry_auth"];
const OAUTH: &[&str] = &["registry_auth", "oauth"];

/// Our keys as they stand in the file. An empty string or `false` means the same as no key at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Wire {
    registry_url: Option<String>,
    registry_api_url: Option<String>,
    local_registry_path: Option<String>,
    #[serde(deserialize_with = "flag")]
    allow_private_registry_ip: bool,
    registry_auth: Option<WireAuth>,
    secrets: Option<WireSecrets>,
    #[serde(deserialize_with = "flag")]
    secret_scope_migration: bool,
    ca_certificate_path: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct WireAuth {
    r#type: Option<String>,
    oauth: Option<WireOAuth>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct WireOAuth {
    issuer: Option<String>,
    client_id: Option<String>,
    scopes: Option<Vec<String>>,
    audience: Option<String>,
    callback_port: Option<u16>,
    cached_refresh_token_ref: Option<String>,
    cached_token_expiry: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct WireSecrets {
    provider_type: Option<String>,
    #[serde(deserialize_with = "flag")]
    setup_completed: bool,
}

// === Wire

impl Wire {
    /// What the keys mean.
    pub(crate) fn to_config(&self) -> Config {
        let text = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let source = if let Some(url) = text(&self.registry_api_url) {
            RegistrySource::Api(url)
        } else if let Some(url) = text(&self.registry_url) {
            RegistrySource::Url(url)
        } else if let Some(path) = text(&self.local_registry_path) {
            RegistrySource::File(PathBuf::from(path))
        } else {
            RegistrySource::BuiltIn
        };
        let auth = self.registry_auth.as_ref().map(|auth| RegistryAuth {
            kind: auth.r#type.clone().unwrap_or_default(),
            oauth: auth.oauth.as_ref().map(|oauth| OAuthSettings {
                issuer: oauth.issuer.clone().unwrap_or_default(),
                client_id: oauth.client_id.clone().unwrap_or_default(),
                audience: oauth.audience.clone(),
                scopes: oauth.scopes.clone().unwrap_or_default(),
                callback_port: oauth.callback_port,
                cached_refresh_token_ref: oauth.cached_refresh_token_ref.clone(),
                cached_token_expiry: oauth.cached_token_expiry.clone(),
            }),
        });
        Config {
            source,
            allow_private_ip: self.allow_private_registry_ip,
            auth,
            secrets: self
                .secrets
                .as_ref()
                .map(|secrets| SecretsSettings {
                    provider_type: secrets.provider_type.clone().unwrap_or_default(),
                    setup_completed: secrets.setup_completed,
                })
                .unwrap_or_default(),
            secret_scope_migration: self.secret_scope_migration,
            ca_certificate_path: text(&self.ca_certificate_path).map(PathBuf::from),
        }
        .normalised()
    }

    /// Whether the secrets settings are spelled the old way and should be written anew.
    pub(crate) fn wants_migration(&self, secrets: &SecretsSettings) -> bool {
        let current = secrets_leaves(self.secrets.as_ref());
        let wanted = secrets_leaves(Some(&WireSecrets::from(secrets)));
        current.iter().ne(wanted.iter())
    }

    /// The leaves that have to change. Only groups that differ are touched, so that a key somebody
    /// left out (or shadowed by another) stays as it is under an unrelated change.
    pub(crate) fn changes(&self, from: &Config, wanted: &Config) -> Vec<Change> {
        let wire = Self::from(wanted);
        let mut changes = Vec::new();
        if from.secrets != wanted.secrets || self.wants_migration(&from.secrets) {
            diff(
                &mut changes,
                secrets_leaves(self.secrets.as_ref()),
                secrets_leaves(wire.secrets.as_ref()),
            );
        }
        if from.secret_scope_migration != wanted.secret_scope_migration {
            diff(&mut changes, self.scope_leaves(), wire.scope_leaves());
        }
        if from.source != wanted.source || from.allow_private_ip != wanted.allow_private_ip {
            diff(&mut changes, self.source_leaves(), wire.source_leaves());
        }
        if from.ca_certificate_path != wanted.ca_certificate_path {
            diff(&mut changes, self.trust_leaves(), wire.trust_leaves());
        }
        if from.auth != wanted.auth {
            match &wire.registry_auth {
                None => changes.push(Change::remove(AUTH)),
                Some(auth) => {
                    let current = self.registry_auth.clone().unwrap_or_default();
                    diff(&mut changes, auth_leaves(&current), auth_leaves(auth));
                    if auth.oauth.is_none() && current.oauth.is_some() {
                        changes.push(Change::remove(OAUTH));
                    }
                }
            }
        }
        changes
    }

    fn source_leaves(&self) -> Vec<Leaf> {
        vec![
            Leaf::always(&["registry_url"], text(self.registry_url.as_deref())),
            Leaf::always(
                &["registry_api_url"],
                text(self.registry_api_url.as_deref()),
            ),
            Leaf::always(
                &["local_registry_path"],
                text(self.local_registry_path.as_deref()),
            ),
            Leaf::always(
                &["allow_private_registry_ip"],
                Scalar::Flag(self.allow_private_registry_ip),
            ),
        ]
    }

    fn scope_leaves(&self) -> Vec<Leaf> {
        vec![Leaf::optional(
            &["secret_scope_migration"],
            Scalar::Flag(self.secret_scope_migration),
        )]
    }

    fn trust_leaves(&self) -> Vec<Leaf> {
        vec![Leaf::optional(
            &["ca_certificate_path"],
            text(self.ca_certificate_path.as_deref()),
        )]
    }
}

impl From<&SecretsSettings> for WireSecrets {
    fn from(settings: &SecretsSettings) -> Self {
        Self {
            provider_type: Some(settings.provider_type.clone()),
            setup_completed: settings.setup_completed,
        }
    }
}

impl From<&Config> for Wire {
    fn from(config: &Config) -> Self {
        let mut wire = Self {
            allow_private_registry_ip: config.allow_private_ip,
            secrets: Some(WireSecrets::from(&config.secrets)),
            secret_scope_migration: config.secret_scope_migration,
            ca_certificate_path: config.ca_certificate_path.as_deref().map(path_text),
            registry_auth: config.auth.as_ref().map(|auth| WireAuth {
                r#type: Some(auth.kind.clone()),
                oauth: auth.oauth.as_ref().map(WireOAuth::from),
            }),
            ..Self::default()
        };
        match &config.source {
            RegistrySource::BuiltIn => {}
            RegistrySource::File(path) => wire.local_registry_path = Some(path_text(path)),
            RegistrySource::Url(url) => wire.registry_url = Some(url.clone()),
            RegistrySource::Api(url) => wire.registry_api_url = Some(url.clone()),
        }
        wire
    }
}

impl From<&OAuthSettings> for WireOAuth {
    fn from(settings: &OAuthSettings) -> Self {
        Self {
            issuer: Some(settings.issuer.clone()),
            client_id: Some(settings.client_id.clone()),
            scopes: Some(settings.scopes.clone()),
            audience: settings.audience.clone(),
            callback_port: settings.callback_port,
            cached_refresh_token_ref: settings.cached_refresh_token_ref.clone(),
            cached_token_expiry: settings.cached_token_expiry.clone(),
        }
    }
}

/// A path that is no Unicode cannot stand in YAML; the replacement makes the check after the edit
/// fail, so that nothing is written.
fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Booleans as the Go program takes them in a typed field: YAML 1.1 words count too.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Flag(bool),
        Text(String),
    }
    match Option::<Word>::deserialize(deserializer)? {
        None => Ok(false),
        Some(Word::Flag(flag)) => Ok(flag),
        Some(Word::Text(word)) => match word.to_ascii_lowercase().as_str() {
            "y" | "yes" | "on" | "true" => Ok(true),
            "n" | "no" | "off" | "false" | "" => Ok(false),
            _ => Err(serde::de::Error::custom(
                "expected true or false for a switch",
            )),
        },
    }
}

// === Leaves

/// One key of ours and what it says; `None` where nothing is said.
#[derive(Debug, PartialEq, Eq)]
struct Leaf {
    path: &'static [&'static str],
    value: Option<Scalar>,
    /// Whether the neutral value is written out, as the Go program does, rather than left out.
    always_written: bool,
}

impl Leaf {
    fn always(path: &'static [&'static str], value: Scalar) -> Self {
        Self {
            path,
            value: Some(value),
            always_written: true,
        }
    }

    fn optional(path: &'static [&'static str], value: Scalar) -> Self {
        Self {
            path,
            value: (!value.is_neutral()).then_some(value),
            always_written: false,
        }
    }
}

fn text(value: Option<&str>) -> Scalar {
    Scalar::Text(value.unwrap_or_default().to_owned())
}

fn secrets_leaves(secrets: Option<&WireSecrets>) -> Vec<Leaf> {
    let secrets = secrets.cloned().unwrap_or_default();
    vec![
        Leaf::always(
            &["secrets", "provider_type"],
            text(secrets.provider_type.as_deref()),
        ),
        Leaf::always(
            &["secrets", "setup_completed"],
            Scalar::Flag(secrets.setup_completed),
        ),
    ]
}

fn auth_leaves(auth: &WireAuth) -> Vec<Leaf> {
    let oauth = auth.oauth.clone().unwrap_or_default();
    vec![
        Leaf::optional(&["registry_auth", "type"], text(auth.r#type.as_deref())),
        Leaf::optional(
            &["registry_auth", "oauth", "issuer"],
            text(oauth.issuer.as_deref()),
        ),
        Leaf::optional(
            &["registry_auth", "oauth", "client_id"],
            text(oauth.client_id.as_deref()),
        ),
        Leaf::optional(
            &["registry_auth", "oauth", "scopes"],
            Scalar::List(oauth.scopes.unwrap_or_default()),
        ),
        Leaf::optional(
            &["registry_auth", "oauth", "audience"],
            text(oauth.audience.as_deref()),
        ),
        Leaf::optional(
            &["registry_auth", "oauth", "callback_port"],
            Scalar::Number(oauth.callback_port.unwrap_or_default()),
        ),
        Leaf::optional(
            &["registry_auth", "oauth", "cached_refresh_token_ref"],
            text(oauth.cached_refresh_token_ref.as_deref()),
        ),
        Leaf::optional(
            &["registry_auth", "oauth", "cached_token_expiry"],
            text(oauth.cached_token_expiry.as_deref()),
        ),
    ]
}

/// Adds what has to change for `wanted` to stand where `current` stands. Both list the same keys.
fn diff(changes: &mut Vec<Change>, current: Vec<Leaf>, wanted: Vec<Leaf>) {
    for (current, wanted) in current.into_iter().zip(wanted) {
        if current.value == wanted.value {
            continue;
        }
        let value = wanted
            .value
            .filter(|value| wanted.always_written || !value.is_neutral());
        changes.push(Change {
            path: wanted.path,
            value,
        });
    }
}

/// The paths of all leaves we may change while `auth` is wanted.
pub(crate) fn managed_paths(auth: Option<&RegistryAuth>) -> Vec<&'static [&'static str]> {
    let neutral = Wire::default();
    let mut leaves = neutral.source_leaves();
    leaves.extend(neutral.trust_leaves());
    leaves.extend(secrets_leaves(None));
    leaves.extend(neutral.scope_leaves());
    leaves.extend(auth_leaves(&WireAuth::default()));
    let mut paths: Vec<_> = leaves.iter().map(|leaf| leaf.path).collect();
    match auth {
        None => paths.push(AUTH),
        Some(auth) if auth.oauth.is_none() => paths.push(OAUTH),
        Some(_) => {}
    }
    paths
}
