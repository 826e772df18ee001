//! What every secret store can do, whatever is behind it.
//!
//! Three stores exist: the encrypted file, 1Password and the environment. Which one is meant is decided
//! in [`crate::select`]; who may use which name in [`crate::scope`].

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::error::SecretsError;
use crate::scope::SecretName;
use crate::seal::Sealer;

/// Which kind of store this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreKind {
    /// The encrypted file, shared with the Go program.
    Encrypted,
    /// The vaults of a 1Password service account, read-only.
    OnePassword,
    /// The variables `TOOLHIVE_SECRET_…` of this process, read-only.
    Environment,
}

impl StoreKind {
    /// The kind as the configuration spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::OnePassword => "1password",
            Self::Environment => "environment",
        }
    }

    /// The kind that the configuration spells so.
    pub fn parse(name: &str) -> Result<Self, SecretsError> {
        [Self::Encrypted, Self::OnePassword, Self::Environment]
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| SecretsError::UnknownProvider {
                provider: name.to_owned(),
            })
    }

    /// What a store of this kind can do.
    pub fn capabilities(self) -> Capabilities {
        let (writes, lists) = match self {
            Self::Encrypted => (true, true),
            Self::OnePassword => (false, true),
            Self::Environment => (false, false),
        };
        Capabilities {
            read: true,
            write: writes,
            delete: writes,
            list: lists,
            cleanup: writes,
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a store can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five independent answers that are reported one by one"
)]
pub struct Capabilities {
    /// Secrets can be read.
    pub read: bool,
    /// Secrets can be created and changed.
    pub write: bool,
    /// Secrets can be deleted.
    pub delete: bool,
    /// The names can be listed.
    pub list: bool,
    /// All secrets can be removed at once.
    pub cleanup: bool,
}

/// A place where secrets are kept. Every call blocks on the disk, and may block for as long as the
/// lock between processes is waited for: never call one on an async thread.
pub trait SecretStore: fmt::Debug + Send + Sync + 'static {
    /// Which kind of store this is.
    fn kind(&self) -> StoreKind;

    /// What it can do.
    fn capabilities(&self) -> Capabilities {
        self.kind().capabilities()
    }

    /// Everything it holds, by name, whosever it is. What the environment stands in for is not listed.
    fn list(&self) -> Result<Vec<Listed>, SecretsError>;

    /// The secret's value as of now, whoever wrote it. The environment stands in for what the store
    /// does not have, and the bare name of a system secret for its full one.
    fn get(&self, name: &SecretName) -> Result<Option<SecretString>, SecretsError>;

    /// One read-modify-write that no other writer can interleave with. `change` sees what the store
    /// itself holds under all names, and edits it; it runs at most once, under a lock between
    /// processes, so it must not wait for anything. When it fails or changes nothing, nothing is
    /// written.
    fn update(
        &self,
        change: &mut dyn FnMut(&mut SecretMap) -> Result<(), SecretsError>,
    ) -> Result<(), SecretsError>;

    /// Proves that the store can be written, read back and deleted from, with a name of its own. No
    /// other secret is touched.
    fn probe(&self) -> Result<(), SecretsError>;

    /// A sealer whose key belongs to this store and to `purpose`. What it seals opens only as long
    /// as the store's password stays the same.
    fn sealer(&self, purpose: &str) -> Result<Sealer, SecretsError>;
}

/// A secret as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: SecretName,
    /// What the store says about it, for people.
    pub description: Option<String>,
}

/// The secrets of a store during one [`SecretStore::update`].
#[derive(Clone, Default)]
pub struct SecretMap {
    secrets: BTreeMap<String, SecretString>,
}

impl SecretMap {
    /// The value stored under exactly this name.
    pub fn get(&self, name: &SecretName) -> Option<&SecretString> {
        self.secrets.get(name.as_str())
    }

    /// The value stored under this name or, failing that, under the bare name of before there were
    /// scopes.
    pub fn get_or_bare(&self, name: &SecretName) -> Option<&SecretString> {
        self.get(name)
            .or_else(|| name.bare().and_then(|bare| self.get(&bare)))
    }

    /// Stores a value, over an earlier one if there is one.
    pub fn set(&mut self, name: &SecretName, value: SecretString) {
        self.secrets.insert(name.as_str().to_owned(), value);
    }

    /// Removes a value; whether there was one.
    pub fn remove(&mut self, name: &SecretName) -> bool {
        self.secrets.remove(name.as_str()).is_some()
    }

    /// Keeps only the names that `keep` says yes to, and returns how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> usize {
        let before = self.secrets.len();
        self.secrets.retain(|name, _| keep(name));
        before - self.secrets.len()
    }

    /// All names as they are stored, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.secrets.keys().map(String::as_str)
    }

    /// How many secrets there are.
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &SecretString)> {
        self.secrets
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn holds_the_same_as(&self, other: &Self) -> bool {
        self.secrets.len() == other.secrets.len()
            && self.entries().zip(other.entries()).all(
                |((name, value), (other_name, other_value))| {
                    name == other_name && value.expose_secret() == other_value.expose_secret()
                },
            )
    }
}

impl FromIterator<(String, SecretString)> for SecretMap {
    fn from_iter<T: IntoIterator<Item = (String, SecretString)>>(secrets: T) -> Self {
        Self {
            secrets: secrets.into_iter().collect(),
        }
    }
}

impl fmt::Debug for SecretMap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_prints_names_and_no_values() {
        let mut map = SecretMap::default();
        map.set(&SecretName::user("name").unwrap(), "canary".into());
        assert_eq!(format!("{map:?}"), r#"{"name"}"#);
    }

    #[test]
    fn a_scoped_name_is_looked_for_before_its_bare_one() {
        let name = SecretName::registry("R");
        let mut map = SecretMap::default();
        assert!(map.get_or_bare(&name).is_none());
        map.set(&name.bare().unwrap(), "old".into());
        assert_eq!(map.get_or_bare(&name).unwrap().expose_secret(), "old");
        map.set(&name, "new".into());
        assert_eq!(map.get_or_bare(&name).unwrap().expose_secret(), "new");
        assert_eq!(map.retain(|stored| stored != "R"), 1);
        assert_eq!(map.names().collect::<Vec<_>>(), [name.as_str()]);
    }
}
