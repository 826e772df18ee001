//! Setting a store up: who becomes the provider, and where the key of the encrypted store comes to lie.
//!
//! A key that exists is never replaced: whatever was written with it would be lost. A new one goes into a
//! keyring that outlives a restart, or into a key file where there is none; a key that only the kernel holds
//! is copied to such a place. What the configuration says changes last.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use secrecy::{ExposeSecret as _, SecretString};
use thv_config::ConfigError;
use thv_config::disk::FileLock;
use zeroize::Zeroizing;

use crate::error::SecretsError;
use crate::key::FileKey;
use crate::key_file;
use crate::keyring::{Cleared, Lookup, Patience};
use crate::secrets::{Chosen, Secrets};
use crate::select::{KeySource, key_source};
use crate::store::{SecretStore as _, StoreKind};

/// Random bytes in a password that we make up.
const PASSWORD_BYTES: usize = 32;

/// A store that was set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetUp {
    /// The provider from now on.
    pub provider: StoreKind,
    /// Whether one was set up before.
    pub was_completed: bool,
    /// Where the key of the encrypted store is; `None` for other providers.
    pub key: Option<KeyPlace>,
}

/// Where the key of the encrypted store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// Where it is looked for.
    pub source: KeySource,
    /// The place as people call it.
    pub described: String,
}

/// The lock between those who set the store of the secrets file at `file` up.
pub fn setup_lock(file: &Path) -> PathBuf {
    file.with_file_name("secrets_setup.lock")
}

impl Secrets {
    /// Makes `provider` the provider, and proves that it can be used. Doing it again changes nothing. A password is taken
    /// for an encrypted store that has none yet; without one, it is made up. Blocks, on a keyring for up to ten seconds.
    pub fn set_up(
        &self,
        provider: StoreKind,
        password: Option<SecretString>,
    ) -> Result<SetUp, SecretsError> {
        let chosen = self.chosen()?;
        let is_new = !chosen.file.has_content();
        let key = match provider {
            StoreKind::Encrypted => {
                let facts = chosen.facts()?;
                let (source, key) = chosen.lasting_key(key_source(&facts), password)?;
                // A store that was in use already is not written to each time that a client makes sure of it.
                let is_in_use = facts.setup_completed && facts.provider_type == provider.as_str();
                if is_new || !is_in_use {
                    chosen.encrypted(source.clone(), Arc::clone(&key)).probe()?;
                }
                tracing::info!(key = key.origin, "the encrypted store is set up");
                Some(KeyPlace {
                    described: key.origin.clone(),
                    source,
                })
            }
            StoreKind::OnePassword => {
                chosen.one_password().probe()?;
                None
            }
            StoreKind::Environment => None,
        };
        let was_completed = chosen.config.update(|config| {
            let secrets = &mut config.secrets;
            let was_completed = secrets.setup_completed;
            provider.as_str().clone_into(&mut secrets.provider_type);
            secrets.setup_completed = true;
            if is_new && provider == StoreKind::Encrypted {
                // It holds no name of before there were scopes, and never will.
                config.secret_scope_migration = true;
            }
            Ok::<_, SecretsError>(was_completed)
        })?;
        Ok(SetUp {
            provider,
            was_completed,
            key,
        })
    }

    /// Where the key of the encrypted store is, found out by asking for it. Blocks as [`Secrets::open`] does.
    pub fn key_place(&self, patience: Patience) -> Result<KeyPlace, SecretsError> {
        let chosen = self.chosen()?;
        let source = key_source(&chosen.facts()?);
        let key = chosen.keys.get(&source, patience)?;
        Ok(KeyPlace {
            described: key.place(),
            source,
        })
    }

    /// Takes the password out of every keyring. Unless `forced`, not while there are secrets that open with nothing else.
    pub fn reset_keyring(&self, forced: bool) -> Result<Vec<Cleared>, SecretsError> {
        let chosen = self.chosen()?;
        if !forced && chosen.file.has_content() && !chosen.opens_without_keyring()? {
            return Err(SecretsError::Abandoned {
                reason: format!(
                    "the secrets in {} open only with the password in the keyring",
                    chosen.file.path().display()
                ),
            });
        }
        chosen.keys.clear_keyrings()
    }
}

impl Chosen {
    /// Whether something else than a keyring has the key that really opens the secrets.
    fn opens_without_keyring(&self) -> Result<bool, SecretsError> {
        let source = key_source(&self.facts()?);
        if source == KeySource::Keyring {
            return Ok(false);
        }
        let key = self.keys.get(&source, Patience::Request);
        Ok(key.is_ok_and(|key| self.file.opens_with(&key).is_ok()))
    }

    /// The key from `source`, and where it is looked for from now on: a key that will be there after a restart. Where
    /// there is none, `password` or one that is made up becomes it, unless there are secrets that another was made for.
    pub(crate) fn lasting_key(
        &self,
        source: KeySource,
        password: Option<SecretString>,
    ) -> Result<(KeySource, Arc<FileKey>), SecretsError> {
        if let Ok(key) = self.keys.look_for(&source, Patience::Login)?
            && key.is_durable
        {
            return self.agreed(source, key, password.as_ref());
        }
        // Two at once would make up two passwords: the second waits, and finds the first one's. The lock is shared with
        // nobody else, so that it may be held while the keyring is asked.
        let _lock = FileLock::acquire(
            &setup_lock(self.file.path()),
            self.world.clock.as_ref(),
            Patience::Login.limit(),
        )?;
        let source = key_source(&self.facts()?);
        if source != KeySource::Keyring {
            let key = self.keys.get(&source, Patience::Login)?;
            return self.agreed(source, key, password.as_ref());
        }
        let lookup = self.keys.look_in_keyrings(Patience::Login)?;
        if let Some(found) = &lookup.found {
            let key = FileKey::from_password(
                found.password.expose_secret(),
                found.keyring.to_owned(),
                found.is_durable,
            );
            let (source, key) = self.agreed(source, Arc::new(key), password.as_ref())?;
            if found.is_durable {
                return Ok((source, key));
            }
            return self.keep(&found.password);
        }
        if let Some(password) = password {
            let given = FileKey::from_password(
                password.expose_secret(),
                "what was given".to_owned(),
                false,
            );
            self.file.opens_with(&given)?;
            return self.keep(&password);
        }
        if self.file.has_content() {
            return Err(self.keys.explain(&lookup));
        }
        if lookup.is_locked() {
            return Err(self.locked(&lookup));
        }
        self.keep(&random_password()?)
    }

    /// Checks that the key opens the file and is not contradicted by a password that was given.
    fn agreed(
        &self,
        source: KeySource,
        key: Arc<FileKey>,
        password: Option<&SecretString>,
    ) -> Result<(KeySource, Arc<FileKey>), SecretsError> {
        self.file.opens_with(&key)?;
        if let Some(password) = password {
            let given = FileKey::from_password(password.expose_secret(), String::new(), false);
            if !given.is_the_same_as(&key) {
                return Err(SecretsError::OtherPassword {
                    origin: key.origin.clone(),
                });
            }
        }
        Ok((source, key))
    }

    /// A keyring that is there is not gone around: it could have been the place.
    fn locked(&self, lookup: &Lookup) -> SecretsError {
        SecretsError::Locked {
            cause: lookup.cause(),
            hint: format!("unlock the keyring, or {}", self.hints.give_a_password()),
        }
    }

    /// Keeps a password where a restart does not reach it: in a keyring, or in the key file where there is none.
    fn keep(&self, password: &SecretString) -> Result<(KeySource, Arc<FileKey>), SecretsError> {
        let lookup = match self.keys.hand_over(password)? {
            Ok(key) => return Ok((KeySource::Keyring, key)),
            Err(lookup) => lookup,
        };
        if lookup.is_locked() {
            return Err(self.locked(&lookup));
        }
        let path: &PathBuf = &self.default_key_file;
        key_file::create(path, password)?;
        tracing::warn!(
            path = %path.display(),
            cause = lookup.cause(),
            "no keyring keeps the key of the secret store; it is in a key file now"
        );
        let source = KeySource::KeyFile(path.clone());
        let key = self.keys.get(&source, Patience::Login)?;
        Ok((source, key))
    }

    /// Writes into the configuration that the encrypted store is set up, for a login that found nothing set up; a store that
    /// `is_new` has no old names to move. False when somebody else has set up something in the meantime.
    pub(crate) fn record_first_set_up(&self, is_new: bool) -> Result<bool, SecretsError> {
        self.config.update(|config| {
            let secrets = &mut config.secrets;
            if secrets.setup_completed {
                return Ok(secrets.provider_type == StoreKind::Encrypted.as_str());
            }
            StoreKind::Encrypted
                .as_str()
                .clone_into(&mut secrets.provider_type);
            secrets.setup_completed = true;
            if is_new {
                config.secret_scope_migration = true;
            }
            Ok(true)
        })
        .map_err(|error| match error {
            // Where the configuration is not ours to write, whoever provides it can say the same.
            ConfigError::Unwritable { path, cause } => ConfigError::Unwritable {
                path,
                cause: format!(
                    "{cause} (it has to say that the store is set up: `secrets: {{provider_type: encrypted, setup_completed: true}}`)"
                ),
            }
            .into(),
            other => SecretsError::from(other),
        })
    }
}

/// 44 characters that a person could type, should it come to that.
fn random_password() -> Result<SecretString, SecretsError> {
    let mut bytes = Zeroizing::new([0; PASSWORD_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| SecretsError::NoRandomness {
        cause: error.to_string(),
    })?;
    Ok(URL_SAFE.encode(bytes.as_slice()).into())
}
