//! The user's own secrets: what the API and the command line may do with them.
//!
//! Secrets that belong to the system are invisible and out of reach here, except for the two calls that say so by their
//! names. What exists is what the store itself holds: a variable that stands in for a missing secret can be read, and
//! is neither listed nor in the way of a new one.

use std::sync::Arc;

use secrecy::SecretString;

use crate::error::{Action, SecretsError};
use crate::keyring::Patience;
use crate::scope::SecretName;
use crate::secrets::Secrets;
use crate::store::{Capabilities, Listed, SecretMap, SecretStore, StoreKind};

/// The user's secrets. Clones are the same. Every call blocks: on the disk, on the lock between processes for up to five
/// seconds, and on a keyring for as long as the patience that it was made with says.
#[derive(Clone, Debug)]
pub struct UserSecrets {
    secrets: Secrets,
    patience: Patience,
}

/// The provider in use, and what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Which one.
    pub kind: StoreKind,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// A secret that belongs to the system, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemSecret {
    /// Its full name.
    pub name: SecretName,
    /// The part of the program that it belongs to.
    pub scope: String,
}

impl UserSecrets {
    /// The user's secrets in the store that is meant. A set-up, which a person asks for, has a patience of its own.
    pub fn new(secrets: Secrets, patience: Patience) -> Self {
        Self { secrets, patience }
    }

    /// The way to all secrets.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The provider in use. Nothing is opened for this, and no keyring is asked.
    pub fn provider(&self) -> Result<Provider, SecretsError> {
        let kind = self.secrets.describe()?.kind;
        Ok(Provider {
            kind,
            capabilities: kind.capabilities(),
        })
    }

    /// All of the user's secrets, in name order.
    pub fn list(&self) -> Result<Vec<Listed>, SecretsError> {
        let store = self.able(Action::List)?;
        let mut listed = store.list()?;
        listed.retain(|secret| !secret.name.is_system());
        Ok(listed)
    }

    /// The value of a secret, or of the variable that stands in for it.
    pub fn get(&self, name: &str) -> Result<SecretString, SecretsError> {
        let name = user_name(name, "get")?;
        self.open()?
            .get(&name)?
            .ok_or_else(|| SecretsError::NotFound {
                name: name.to_string(),
            })
    }

    /// Stores a secret under a name that is free.
    pub fn create(&self, name: &str, value: &SecretString) -> Result<(), SecretsError> {
        let name = user_name(name, "set")?;
        self.change(Action::Create, &mut |secrets| {
            if secrets.get(&name).is_some() {
                return Err(SecretsError::AlreadyExists {
                    name: name.to_string(),
                });
            }
            secrets.set(&name, value.clone());
            Ok(())
        })
    }

    /// Stores another value for a secret that is there.
    pub fn update(&self, name: &str, value: &SecretString) -> Result<(), SecretsError> {
        let name = user_name(name, "set")?;
        self.change(Action::Update, &mut |secrets| {
            if secrets.get(&name).is_none() {
                return Err(SecretsError::NotFound {
                    name: name.to_string(),
                });
            }
            secrets.set(&name, value.clone());
            Ok(())
        })
    }

    /// Whether a secret of that name could be set, found out before anybody is asked for its value.
    pub fn ready_to_set(&self, name: &str) -> Result<(), SecretsError> {
        user_name(name, "set")?;
        check(self.provider()?.kind, Action::Create)
    }

    /// Stores a secret, whether it is there or not.
    pub fn set(&self, name: &str, value: &SecretString) -> Result<(), SecretsError> {
        let name = user_name(name, "set")?;
        self.change(Action::Create, &mut |secrets| {
            secrets.set(&name, value.clone());
            Ok(())
        })
    }

    /// Removes a secret.
    pub fn delete(&self, name: &str) -> Result<(), SecretsError> {
        let name = user_name(name, "delete")?;
        self.remove(&name)
    }

    /// The secrets that belong to the system, in name order.
    pub fn list_system(&self) -> Result<Vec<SystemSecret>, SecretsError> {
        self.secrets.migrate_scopes(self.patience)?;
        let listed = match self.secrets.open(self.patience)?.list() {
            // Beside 1Password there may be no file yet.
            Err(SecretsError::Unsupported { .. })
                if self.provider()?.kind == StoreKind::OnePassword =>
            {
                Vec::new()
            }
            listed => listed?,
        };
        Ok(listed
            .into_iter()
            .filter(|secret| secret.name.is_system())
            .map(|secret| SystemSecret {
                scope: secret
                    .name
                    .split()
                    .map(|(scope, _)| scope.to_owned())
                    .unwrap_or_default(),
                name: secret.name,
            })
            .collect())
    }

    /// Removes a secret that belongs to the system, by its full name: for the ones that got stuck.
    pub fn delete_system(&self, name: &SecretName) -> Result<(), SecretsError> {
        if !name.is_system() {
            return Err(SecretsError::NotFound {
                name: name.to_string(),
            });
        }
        let store = self.secrets.open(self.patience)?;
        check(store.kind(), Action::Delete)?;
        remove(store.as_ref(), name)
    }

    fn remove(&self, name: &SecretName) -> Result<(), SecretsError> {
        remove(self.able(Action::Delete)?.as_ref(), name)
    }

    fn change(
        &self,
        action: Action,
        change: &mut dyn FnMut(&mut SecretMap) -> Result<(), SecretsError>,
    ) -> Result<(), SecretsError> {
        self.able(action)?.update(change)
    }

    /// The store, if it can do what is wanted; one that cannot is not opened. Names of before there were scopes have moved
    /// by then: a name that the user gives a secret afterwards is the user's, whatever it looks like.
    fn able(&self, action: Action) -> Result<Arc<dyn SecretStore>, SecretsError> {
        check(self.provider()?.kind, action)?;
        self.secrets.migrate_scopes(self.patience)?;
        self.open()
    }

    fn open(&self) -> Result<Arc<dyn SecretStore>, SecretsError> {
        self.secrets.open_for_user(self.patience)
    }
}

fn remove(store: &dyn SecretStore, name: &SecretName) -> Result<(), SecretsError> {
    store.update(&mut |secrets| {
        if secrets.remove(name) {
            return Ok(());
        }
        Err(SecretsError::NotFound {
            name: name.to_string(),
        })
    })
}

fn check(kind: StoreKind, action: Action) -> Result<(), SecretsError> {
    let capabilities = kind.capabilities();
    let can = match action {
        Action::List => capabilities.list,
        Action::Create | Action::Update => capabilities.write,
        Action::Delete => capabilities.delete,
    };
    if can {
        return Ok(());
    }
    Err(SecretsError::Unsupported { kind, action })
}

fn user_name(name: &str, verb: &'static str) -> Result<SecretName, SecretsError> {
    SecretName::user(name).map_err(|error| match error {
        SecretsError::ReservedName { name, .. } => SecretsError::ReservedName { name, verb },
        other => other,
    })
}

#[cfg(test)]
mod tests;
