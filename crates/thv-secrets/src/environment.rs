//! Secrets in environment variables: read-only, and the stand-in for what the encrypted store does
//! not have.

use std::fmt;
use std::sync::Arc;

use secrecy::SecretString;
use thv_config::Env;

use crate::error::{Action, SecretsError};
use crate::hint::Hints;
use crate::scope::SecretName;
use crate::seal::Sealer;
use crate::select::{DISABLE_FALLBACK_VARIABLE, SECRET_VARIABLE_PREFIX};
use crate::store::{Listed, SecretMap, SecretStore, StoreKind};

/// The variables `TOOLHIVE_SECRET_<name>`.
#[derive(Clone)]
pub(crate) struct Variables {
    env: Arc<dyn Env>,
}

impl Variables {
    pub(crate) fn new(env: Arc<dyn Env>) -> Self {
        Self { env }
    }

    /// The variables, if they may stand in for what another store does not have.
    pub(crate) fn as_fallback(&self) -> Option<&Self> {
        let disabled = self.env.var(DISABLE_FALLBACK_VARIABLE);
        (disabled.as_deref() != Some("true")).then_some(self)
    }

    /// The variable of exactly this name. An empty one counts as missing.
    pub(crate) fn get(&self, name: &SecretName) -> Option<SecretString> {
        self.env
            .var(&format!("{SECRET_VARIABLE_PREFIX}{name}"))
            .filter(|value| !value.is_empty())
            .map(SecretString::from)
    }
}

/// The store of the provider `environment`.
pub(crate) struct EnvironmentStore {
    variables: Variables,
    hints: Hints,
}

impl EnvironmentStore {
    pub(crate) fn new(variables: Variables, hints: Hints) -> Self {
        Self { variables, hints }
    }
}

impl fmt::Debug for EnvironmentStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("EnvironmentStore")
    }
}

impl SecretStore for EnvironmentStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Environment
    }

    fn list(&self) -> Result<Vec<Listed>, SecretsError> {
        Err(SecretsError::Unsupported {
            kind: StoreKind::Environment,
            action: Action::List,
        })
    }

    fn get(&self, name: &SecretName) -> Result<Option<SecretString>, SecretsError> {
        let bare = || name.bare().and_then(|bare| self.variables.get(&bare));
        Ok(self.variables.get(name).or_else(bare))
    }

    fn update(
        &self,
        _change: &mut dyn FnMut(&mut SecretMap) -> Result<(), SecretsError>,
    ) -> Result<(), SecretsError> {
        Err(self.hints.read_only(StoreKind::Environment))
    }

    fn probe(&self) -> Result<(), SecretsError> {
        Err(self.hints.read_only(StoreKind::Environment))
    }

    fn sealer(&self, _purpose: &str) -> Result<Sealer, SecretsError> {
        Err(self.hints.read_only(StoreKind::Environment))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::path::Path;
    use thv_config::MapEnv;

    fn store<const N: usize>(variables: [(&str, &str); N]) -> EnvironmentStore {
        let env = MapEnv::from(variables);
        EnvironmentStore::new(
            Variables::new(Arc::new(env)),
            Hints::new(Path::new("/data/secrets_key")),
        )
    }

    fn read(store: &EnvironmentStore, name: &SecretName) -> Option<String> {
        store
            .get(name)
            .unwrap()
            .map(|value| value.expose_secret().to_owned())
    }

    #[test]
    fn a_variable_is_read_verbatim_and_an_empty_one_is_missing() {
        let store = store([
            ("TOOLHIVE_SECRET_a-B", " x "),
            ("TOOLHIVE_SECRET_empty", ""),
        ]);
        let user = |name| SecretName::user(name).unwrap();
        assert_eq!(read(&store, &user("a-B")).as_deref(), Some(" x "));
        assert_eq!(read(&store, &user("empty")), None);
        assert_eq!(read(&store, &user("a-b")), None);
    }

    #[test]
    fn f13_a_system_secret_is_found_under_its_full_name_and_then_under_its_bare_one() {
        let name = SecretName::registry("REGISTRY_OAUTH_e037e405");
        let bare = ("TOOLHIVE_SECRET_REGISTRY_OAUTH_e037e405", "bare");
        let full = (
            "TOOLHIVE_SECRET___thv_registry_REGISTRY_OAUTH_e037e405",
            "full",
        );
        assert_eq!(read(&store([bare]), &name).as_deref(), Some("bare"));
        assert_eq!(read(&store([bare, full]), &name).as_deref(), Some("full"));
    }

    #[test]
    fn w5_writing_is_refused_with_a_way_out() {
        let store = store([]);
        let refused = [
            store.update(&mut |_| Ok(())).unwrap_err(),
            store.probe().unwrap_err(),
            store.sealer("grants").unwrap_err(),
        ];
        for error in refused {
            assert!(
                error
                    .to_string()
                    .starts_with("the environment secrets provider is read-only; "),
                "{error}"
            );
        }
    }
}
