//! The configuration's text form: reading our keys out of it, and producing the text in which they
//! say something else.
//!
//! This is the only file that knows the YAML library. What our keys mean is decided in
//! [`crate::wire`], how lines are changed in [`crate::edit`]; every result of an edit is parsed
//! again here and compared before anybody may write it.

use yaml_serde::{Mapping, Value};

use crate::edit;
use crate::model::{Config, RegistryAuth};
use crate::scalar::Scalar;
use crate::wire::{Wire, managed_paths};

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
        self.wire.wants_migration(&self.config.secrets)
    }

    /// The text that says `wanted` and is otherwise the same, or why there is none. What comes back
    /// has been parsed again: our keys mean `wanted` and all others mean what they meant before.
    pub(crate) fn text_for(&self, wanted: &Config) -> Result<String, String> {
        let changes = self.wire.changes(&self.config, wanted);
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
}

// === Values

/// Everything in the file that is not ours to change.
fn rest(root: &Mapping, auth: Option<&RegistryAuth>) -> Mapping {
    let mut root = root.clone();
    for path in managed_paths(auth) {
        remove(&mut root, path);
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

#[cfg(test)]
mod tests;
