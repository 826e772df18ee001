//! The configuration's text form: reading our keys out of it, and producing the text in which they
//! say something else.
//!
//! This is the only file that knows the YAML library. It understands the keys of [`Config`] and
//! keeps all others; how lines are changed is the business of [`crate::edit`], and every result of
//! it is parsed again here and compared before anybody may write it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use yaml_serde::{Mapping, Value};

use crate::edit::{self, Change, Scalar};
use crate::model::{Config, OAuthSettings, RegistryAuth, RegistrySource, SecretsSettings};

/// What a missing file is created with: the keys the Go program always writes, at their defaults.
const DEFAULT_TEXT: &str = "\
secrets:
    provider_type: \"\"
    setup_completed: false
clients:
    registered_clients: []
registry_url: \"\"
registry_api_url: \"\"
local_registry_path: \"\"
allow_private_registry_ip: false
";

/// One parsed state of the file.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    text: String,
    root: Mapping,
    wire: Wire,
    config: Config,
}

/// Our keys as they stand in the file. An empty string or `false` means the same as no key at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Wire {
    registry_url: Option<String>,
    registry_api_url: Option<String>,
    local_registry_path: Option<String>,
    #[serde(deserialize_with = "flag")]
    allow_private_registry_ip: bool,
    registry_auth: Option<WireAuth>,
    secrets: Option<WireSecrets>,
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

// === Document

impl Document {
    /// The document a missing file stands for.
    pub(crate) fn missing() -> Self {
        Self::parse(DEFAULT_TEXT.to_owned()).unwrap_or_else(|_| Self {
            text: String::new(),
            root: Mapping::new(),
            wire: Wire::default(),
            config: Config::default(),
        })
    }

    /// Reads the text, or says in one clause why it is no configuration.
    pub(crate) fn parse(text: String) -> Result<Self, String> {
        let wire = yaml_serde::from_str::<Option<Wire>>(&text)
            .map_err(|error| error.to_string())?
            .unwrap_or_default();
        let root = match yaml_serde::from_str::<Value>(&text).map_err(|error| error.to_string())? {
            Value::Mapping(root) => root,
            Value::Null => Mapping::new(),
            _ => return Err("it is not a mapping of keys to values".to_owned()),
        };
        let config = wire.to_config();
        Ok(Self {
            text,
            root,
            wire,
            config,
        })
    }

    /// The configuration in it, older spellings already translated.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the secrets settings are spelled the old way and should be written anew.
    pub(crate) fn wants_migration(&self) -> bool {
        let current = self.wire.secrets.clone().unwrap_or_default();
        let translated = WireSecrets::from(&self.config.secrets);
        current.provider_type.unwrap_or_default() != translated.provider_type.unwrap_or_default()
            || current.setup_completed != translated.setup_completed
    }

    /// The text that says `wanted` and is otherwise the same, or why there is none. What comes back
    /// has been parsed again: our keys mean `wanted` and all others mean what they meant before.
    pub(crate) fn text_for(&self, wanted: &Config) -> Result<String, String> {
        let changes = self.changes(wanted);
        if let Some(text) = edit::apply(&self.text, &changes)
            && self.verify(&text, wanted).is_ok()
        {
            return Ok(text);
        }
        let mut root = self.root.clone();
        for change in &changes {
            change_value(&mut root, change.path, change.value.as_ref());
        }
        let text = yaml_serde::to_string(&root).map_err(|error| error.to_string())?;
        self.verify(&text, wanted)?;
        Ok(text)
    }

    fn verify(&self, text: &str, wanted: &Config) -> Result<(), String> {
        let after = Self::parse(text.to_owned())?;
        if after.config != *wanted {
            return Err("the change does not read back as it was meant".to_owned());
        }
        let keep_auth = wanted.auth.as_ref();
        if rest(&self.root, keep_auth) != rest(&after.root, keep_auth) {
            return Err("the change would alter other keys".to_owned());
        }
        Ok(())
    }

    /// The leaves that have to change. Only groups that differ are touched, so that a key somebody
    /// left out (or shadowed by another) stays as it is under an unrelated change.
    fn changes(&self, wanted: &Config) -> Vec<Change> {
        let from = &self.config;
        let wire = Wire::from(wanted);
        let mut changes = Vec::new();
        if from.secrets != wanted.secrets || self.wants_migration() {
            diff(
                &mut changes,
                secrets_leaves(self.wire.secrets.as_ref()),
                secrets_leaves(wire.secrets.as_ref()),
            );
        }
        if from.source != wanted.source || from.allow_private_ip != wanted.allow_private_ip {
            diff(
                &mut changes,
                self.wire.source_leaves(),
                wire.source_leaves(),
            );
        }
        if from.ca_certificate_path != wanted.ca_certificate_path {
            diff(&mut changes, self.wire.trust_leaves(), wire.trust_leaves());
        }
        if from.auth != wanted.auth {
            match &wire.registry_auth {
                None => changes.push(Change::remove(&["registry_auth"])),
                Some(auth) => {
                    let current = self.wire.registry_auth.clone().unwrap_or_default();
                    diff(&mut changes, auth_leaves(&current), auth_leaves(auth));
                    if auth.oauth.is_none() && current.oauth.is_some() {
                        changes.push(Change::remove(&["registry_auth", "oauth"]));
                    }
                }
            }
        }
        changes
    }
}

// === Wire and model

impl Wire {
    fn to_config(&self) -> Config {
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
                audience: text(&oauth.audience),
                scopes: oauth.scopes.clone().unwrap_or_default(),
                callback_port: oauth.callback_port.filter(|port| *port != 0),
                cached_refresh_token_ref: text(&oauth.cached_refresh_token_ref),
                cached_token_expiry: text(&oauth.cached_token_expiry),
            }),
        });
        Config {
            source,
            allow_private_ip: self.allow_private_registry_ip,
            auth,
            secrets: self.secrets.clone().unwrap_or_default().into_settings(),
            ca_certificate_path: text(&self.ca_certificate_path).map(PathBuf::from),
        }
        .normalised()
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

    fn trust_leaves(&self) -> Vec<Leaf> {
        vec![Leaf::optional(
            &["ca_certificate_path"],
            text(self.ca_certificate_path.as_deref()),
        )]
    }
}

impl WireSecrets {
    /// Translates the old name of the encrypted provider; a provider that is named has been set up.
    fn into_settings(self) -> SecretsSettings {
        let provider_type = match self.provider_type.unwrap_or_default() {
            old if old == "basic" => "encrypted".to_owned(),
            current => current,
        };
        SecretsSettings {
            setup_completed: self.setup_completed || !provider_type.is_empty(),
            provider_type,
        }
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

// === Values

/// Everything in the file that is not ours to change.
fn rest(root: &Mapping, auth: Option<&RegistryAuth>) -> Mapping {
    let mut root = root.clone();
    let mut leaves = Wire::default().source_leaves();
    leaves.extend(Wire::default().trust_leaves());
    leaves.extend(secrets_leaves(None));
    match auth {
        None => remove(&mut root, &["registry_auth"]),
        Some(auth) => {
            leaves.extend(auth_leaves(&WireAuth::default()));
            if auth.oauth.is_none() {
                remove(&mut root, &["registry_auth", "oauth"]);
            }
        }
    }
    for leaf in leaves {
        remove(&mut root, leaf.path);
    }
    root
}

/// Removes the key at `path`, and the mappings above it that hold nothing then.
fn remove(mapping: &mut Mapping, path: &[&str]) {
    let Some((key, below)) = path.split_first() else {
        return;
    };
    if below.is_empty() {
        mapping.shift_remove(*key);
        return;
    }
    let hollow = match mapping.get_mut(*key) {
        Some(Value::Mapping(inner)) => {
            remove(inner, below);
            inner.is_empty()
        }
        Some(Value::Null) => true,
        _ => false,
    };
    if hollow {
        mapping.shift_remove(*key);
    }
}

fn change_value(mapping: &mut Mapping, path: &[&str], value: Option<&Scalar>) {
    let Some((key, below)) = path.split_first() else {
        return;
    };
    match (value, below.is_empty()) {
        (None, true) => {
            mapping.shift_remove(*key);
        }
        (Some(value), true) => {
            mapping.insert(Value::from(*key), Value::from(value));
        }
        (_, false) => {
            if !matches!(mapping.get(*key), Some(Value::Mapping(_))) {
                mapping.insert(Value::from(*key), Value::Mapping(Mapping::new()));
            }
            if let Some(Value::Mapping(inner)) = mapping.get_mut(*key) {
                change_value(inner, below, value);
            }
        }
    }
}

impl From<&Scalar> for Value {
    fn from(scalar: &Scalar) -> Self {
        match scalar {
            Scalar::Text(text) => Self::from(text.as_str()),
            Scalar::Flag(flag) => Self::from(*flag),
            Scalar::Number(number) => Self::from(*number),
            Scalar::List(items) => {
                Self::Sequence(items.iter().map(|item| Self::from(item.as_str())).collect())
            }
        }
    }
}
