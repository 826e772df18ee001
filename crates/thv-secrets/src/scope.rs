//! Names of secrets: what belongs to the user, and what belongs to a part of the program.
//!
//! A system secret is stored under `__thv_<scope>_<name>`. Before scopes existed the same secrets had
//! bare names, and a read still falls back to those. What a name's value means is the business of
//! the part that owns the scope.

use std::fmt;

use crate::error::SecretsError;

/// What the names of all system secrets begin with.
pub const SYSTEM_PREFIX: &str = "__thv_";

/// The part of the program that a system secret belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Logins to registries.
    Registry,
    /// Workloads of the Go program.
    Workloads,
    /// The store's own needs.
    Auth,
    /// Keys of language models, of the Go program.
    Llm,
}

impl Scope {
    /// The scope as it is spelled in names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Workloads => "workloads",
            Self::Auth => "auth",
            Self::Llm => "llm",
        }
    }
}

/// The name under which a secret is stored. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretName(String);

impl SecretName {
    /// The user's secret of that name. Names of system secrets are refused.
    pub fn user(name: &str) -> Result<Self, SecretsError> {
        match name {
            "" => Err(SecretsError::EmptyName),
            _ if name.starts_with(SYSTEM_PREFIX) => Err(SecretsError::ReservedName {
                name: name.to_owned(),
                verb: "use",
            }),
            _ => Ok(Self(name.to_owned())),
        }
    }

    /// The secret `name` of the given part of the program.
    pub fn system(scope: Scope, name: &str) -> Self {
        Self(format!("{SYSTEM_PREFIX}{}_{name}", scope.as_str()))
    }

    /// The secret `name` of the registry logins.
    pub fn registry(name: &str) -> Self {
        Self::system(Scope::Registry, name)
    }

    /// The name exactly as it is in a store, whosever it is.
    pub fn stored(name: impl Into<String>) -> Result<Self, SecretsError> {
        let name = name.into();
        if name.is_empty() {
            return Err(SecretsError::EmptyName);
        }
        Ok(Self(name))
    }

    /// The name as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the secret belongs to the system.
    pub fn is_system(&self) -> bool {
        self.0.starts_with(SYSTEM_PREFIX)
    }

    /// Scope and name of a system secret. The scope ends at the first underscore, so that a name may
    /// contain some.
    pub fn split(&self) -> Option<(&str, &str)> {
        self.0.strip_prefix(SYSTEM_PREFIX)?.split_once('_')
    }

    /// The name that this system secret had before there were scopes.
    pub fn bare(&self) -> Option<Self> {
        let (_, name) = self.split()?;
        (!name.is_empty()).then(|| Self(name.to_owned()))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_name_is_prefixed_with_its_scope_and_splits_back() {
        let name = SecretName::registry("REGISTRY_OAUTH_e037e405_AT");
        assert_eq!(name.as_str(), "__thv_registry_REGISTRY_OAUTH_e037e405_AT");
        assert_eq!(
            name.split(),
            Some(("registry", "REGISTRY_OAUTH_e037e405_AT"))
        );
        assert_eq!(name.bare().unwrap().as_str(), "REGISTRY_OAUTH_e037e405_AT");
    }

    #[test]
    fn f42_a_user_cannot_name_a_system_secret() {
        assert_eq!(
            SecretName::user("__thv_registry_x"),
            Err(SecretsError::ReservedName {
                name: "__thv_registry_x".to_owned(),
                verb: "use"
            })
        );
        assert_eq!(SecretName::user(""), Err(SecretsError::EmptyName));
        let name = SecretName::user("_thv_x").unwrap();
        assert!(!name.is_system());
        assert_eq!(name.bare(), None);
    }

    #[test]
    fn a_malformed_system_name_has_no_bare_name() {
        for stored in ["__thv_", "__thv_registry", "__thv_registry_"] {
            assert_eq!(SecretName::stored(stored).unwrap().bare(), None, "{stored}");
        }
    }
}
