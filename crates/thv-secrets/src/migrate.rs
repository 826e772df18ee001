//! Moving the secrets of before there were scopes to their scoped names, as the Go program does at its start.
//!
//! Which names are moved, and what happens when both are there, is a pure function over the secrets; the change is one
//! write of the file, so that a crash leaves all of it or none.

use secrecy::SecretString;

use crate::error::SecretsError;
use crate::keyring::Patience;
use crate::scope::{Scope, SecretName};
use crate::secrets::Secrets;
use crate::store::{SecretMap, StoreKind};

/// What the names of system secrets began with before there were scopes, and whose they are.
const BARE: [(&str, Scope); 7] = [
    ("BEARER_TOKEN_", Scope::Workloads),
    ("OAUTH_CLIENT_SECRET_", Scope::Workloads),
    ("OAUTH_REFRESH_TOKEN_", Scope::Workloads),
    ("registry-user-", Scope::Workloads),
    ("registry-default-", Scope::Workloads),
    ("BUILD_AUTH_FILE_", Scope::Workloads),
    ("REGISTRY_OAUTH_", Scope::Registry),
];

impl Secrets {
    /// Moves the secrets that have names of before there were scopes, unless the configuration says that this was done,
    /// and returns how many moved. A store that is not set up, or that takes no writes, has nothing to move.
    pub fn migrate_scopes(&self, patience: Patience) -> Result<usize, SecretsError> {
        let Ok(chosen) = self.chosen() else {
            return Ok(0);
        };
        if chosen.config.load()?.secret_scope_migration {
            return Ok(0);
        }
        let store = match self.open(patience) {
            Ok(store) if store.kind() == StoreKind::Encrypted => store,
            Ok(_) | Err(SecretsError::NotSetUp { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut moved = 0;
        store.update(&mut |secrets| {
            moved = move_bare_names(secrets);
            Ok(())
        })?;
        chosen.config.update(|config| {
            config.secret_scope_migration = true;
            Ok::<_, SecretsError>(())
        })?;
        if moved > 0 {
            tracing::info!(
                moved,
                "secrets of an older version have their scoped names now"
            );
        }
        Ok(moved)
    }
}

/// Gives every secret with a bare system name its scoped one. A secret that is there under the scoped name is newer and
/// stays.
fn move_bare_names(secrets: &mut SecretMap) -> usize {
    let moves: Vec<(SecretName, SecretName, SecretString)> = secrets
        .names()
        .filter_map(|name| {
            let (_, scope) = BARE.iter().find(|(prefix, _)| name.starts_with(prefix))?;
            let bare = SecretName::stored(name).ok()?;
            let value = secrets.get(&bare)?.clone();
            Some((SecretName::system(*scope, name), bare, value))
        })
        .collect();
    for (scoped, bare, value) in &moves {
        if secrets.get(scoped).is_none() {
            secrets.set(scoped, value.clone());
        }
        secrets.remove(bare);
    }
    moves.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn map<const N: usize>(secrets: [(&str, &str); N]) -> SecretMap {
        secrets
            .into_iter()
            .map(|(name, value)| (name.to_owned(), SecretString::from(value)))
            .collect()
    }

    #[test]
    fn f44_every_bare_system_name_gets_its_scope_and_no_other_name_is_touched() {
        let mut secrets = map([
            ("BEARER_TOKEN_a", "1"),
            ("OAUTH_CLIENT_SECRET_a", "2"),
            ("OAUTH_REFRESH_TOKEN_a", "3"),
            ("registry-user-a", "4"),
            ("registry-default-a", "5"),
            ("BUILD_AUTH_FILE_a", "6"),
            ("REGISTRY_OAUTH_e037e405_AT", "7"),
            ("GITHUB_TOKEN", "mine"),
            ("bearer_token_a", "mine"),
            ("registry-users", "mine"),
        ]);
        assert_eq!(move_bare_names(&mut secrets), 7);
        assert_eq!(
            secrets.names().collect::<Vec<_>>(),
            [
                "GITHUB_TOKEN",
                "__thv_registry_REGISTRY_OAUTH_e037e405_AT",
                "__thv_workloads_BEARER_TOKEN_a",
                "__thv_workloads_BUILD_AUTH_FILE_a",
                "__thv_workloads_OAUTH_CLIENT_SECRET_a",
                "__thv_workloads_OAUTH_REFRESH_TOKEN_a",
                "__thv_workloads_registry-default-a",
                "__thv_workloads_registry-user-a",
                "bearer_token_a",
                "registry-users",
            ]
        );
        assert_eq!(
            move_bare_names(&mut secrets),
            0,
            "moving again moves nothing"
        );
    }

    #[test]
    fn f44_a_value_under_the_new_name_wins() {
        let mut secrets = map([
            ("BEARER_TOKEN_a", "old"),
            ("__thv_workloads_BEARER_TOKEN_a", "new"),
        ]);
        assert_eq!(move_bare_names(&mut secrets), 1);
        let name = SecretName::system(Scope::Workloads, "BEARER_TOKEN_a");
        assert_eq!(secrets.get(&name).unwrap().expose_secret(), "new");
        assert_eq!(secrets.len(), 1);
    }
}
