//! Opening the store that is meant: facts are gathered, [`crate::select`] decides, the key is
//! fetched. How a store is set up is in [`crate::setup`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thv_config::{ConfigStore, Paths, World};

use crate::encrypted::{EncryptedStore, Rewritten, SecretsFile};
use crate::environment::{EnvironmentStore, Variables};
use crate::error::SecretsError;
use crate::format::Form;
use crate::hint::Hints;
use crate::key::{FileKey, Keys};
use crate::keyring::{self, Agent, Keyring, Patience};
use crate::one_password::OnePasswordStore;
use crate::select::{
    CREDENTIAL, CREDENTIALS_VARIABLE, Choice, Decision, Facts, KEY_FILE_VARIABLE, KeySource,
    PASSWORD_VARIABLE, PROVIDER_VARIABLE, Why, choose,
};
use crate::store::{SecretStore, StoreKind};

/// How often a login looks again because the configuration was changed under it.
const SETUP_ATTEMPTS: usize = 3;

/// The way to the secrets. Clones share what they remember.
#[derive(Clone)]
pub struct Secrets {
    inner: Inner,
}

#[derive(Clone)]
pub(crate) enum Inner {
    Chosen(Arc<Chosen>),
    Fixed(Arc<dyn SecretStore>),
}

/// What is needed to choose a store and to open it.
pub(crate) struct Chosen {
    pub(crate) world: World,
    pub(crate) config: ConfigStore,
    pub(crate) file: Arc<SecretsFile>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) hints: Hints,
    pub(crate) default_key_file: PathBuf,
}

/// Which store is in use, for people. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreReport {
    /// Which kind of store.
    pub kind: StoreKind,
    /// What decided on it; `None` for a store that was brought along.
    pub why: Option<Why>,
    /// The file the secrets are in, if they are in one; beside 1Password, those of the system.
    pub file: Option<PathBuf>,
    /// Where the key of that file comes from.
    pub key: Option<KeySource>,
    /// The size of the file in bytes and its form; `None` where it holds nothing, or is no secrets file.
    pub content: Option<(u64, Form)>,
}

impl Secrets {
    /// The secrets of the user whose environment and configuration these are.
    pub fn new(world: World, paths: &Paths, config: ConfigStore) -> Self {
        let keyrings = keyring::of_this_system(&world);
        Self::with_keyrings(world, paths, config, keyrings)
    }

    /// The same with other keyrings than those of the operating system.
    pub fn with_keyrings(
        world: World,
        paths: &Paths,
        config: ConfigStore,
        keyrings: Vec<Arc<dyn Keyring>>,
    ) -> Self {
        let file = paths.secrets_file();
        let default_key_file = file.with_file_name("secrets_key");
        let hints = Hints::new(&default_key_file);
        let agent = Agent::new(keyrings, Arc::clone(&world.clock));
        let file = Arc::new(SecretsFile::new(file, Arc::clone(&world.clock)));
        let keys = Keys::new(
            Arc::clone(&world.env),
            Arc::clone(&file),
            agent,
            hints.clone(),
        );
        Self {
            inner: Inner::Chosen(Arc::new(Chosen {
                file,
                keys: Arc::new(keys),
                hints,
                default_key_file,
                world,
                config,
            })),
        }
    }

    /// Always this store, whatever is configured: for callers that bring one of their own.
    pub fn fixed(store: Arc<dyn SecretStore>) -> Self {
        Self {
            inner: Inner::Fixed(store),
        }
    }

    /// The store that is meant right now for what belongs to the system. Blocks on the disk, and on a keyring for as long
    /// as `patience` says when the key is not known yet.
    pub fn open(&self, patience: Patience) -> Result<Arc<dyn SecretStore>, SecretsError> {
        let chosen = match &self.inner {
            Inner::Chosen(chosen) => chosen,
            Inner::Fixed(store) => return Ok(Arc::clone(store)),
        };
        match chosen.decide(false)?.choice {
            Choice::Environment => Ok(chosen.environment()),
            Choice::Encrypted { key: source, .. } => chosen.open_encrypted(source, patience),
            Choice::OnePassword { key: source } => {
                match chosen.open_encrypted(source, patience) {
                    // Nothing was ever kept there: what the environment gives counts all the same.
                    Err(error) if error.is_missing_key() && !chosen.file.has_content() => {
                        Ok(chosen.environment())
                    }
                    settled => settled,
                }
            }
        }
    }

    /// The store that is meant right now for what belongs to the user. Blocks as [`Secrets::open`] does.
    pub fn open_for_user(&self, patience: Patience) -> Result<Arc<dyn SecretStore>, SecretsError> {
        if let Inner::Chosen(chosen) = &self.inner
            && let Choice::OnePassword { .. } = chosen.decide(false)?.choice
        {
            return Ok(Arc::new(chosen.one_password()));
        }
        self.open(patience)
    }

    /// The store for a login: as [`Secrets::open`] with the patience of a login, but one that has
    /// just proved that it keeps what it is given. When no store is set up, the encrypted one is, with a key that will
    /// still be there after a restart of the machine; the configuration says so afterwards.
    pub fn open_for_login(&self) -> Result<Arc<dyn SecretStore>, SecretsError> {
        let chosen = match &self.inner {
            Inner::Chosen(chosen) => chosen,
            Inner::Fixed(store) => {
                store.probe()?;
                return Ok(Arc::clone(store));
            }
        };
        for _ in 0..SETUP_ATTEMPTS {
            let (source, set_up) = match chosen.decide(true)?.choice {
                Choice::Environment => {
                    return Err(chosen.hints.read_only(StoreKind::Environment));
                }
                Choice::Encrypted { key, set_up } => (key, set_up),
                Choice::OnePassword { key } => (key, false),
            };
            let is_new = !chosen.file.has_content();
            let (source, key) = chosen.lasting_key(source, None)?;
            let store = chosen.encrypted(source, key);
            store.probe()?;
            if !set_up || chosen.record_first_set_up(is_new)? {
                return Ok(store);
            }
        }
        Err(chosen.hints.not_set_up())
    }

    /// Which store would be opened for the user, found out without opening it and without asking a keyring.
    pub fn describe(&self) -> Result<StoreReport, SecretsError> {
        let chosen = match &self.inner {
            Inner::Chosen(chosen) => chosen,
            Inner::Fixed(store) => {
                return Ok(StoreReport {
                    kind: store.kind(),
                    why: None,
                    file: None,
                    key: None,
                    content: None,
                });
            }
        };
        let Decision { choice, why } = chosen.decide(false)?;
        let (kind, key) = match choice {
            Choice::Environment => (StoreKind::Environment, None),
            Choice::Encrypted { key, .. } => (StoreKind::Encrypted, Some(key)),
            Choice::OnePassword { key } => (StoreKind::OnePassword, Some(key)),
        };
        Ok(StoreReport {
            kind,
            why: Some(why),
            file: key.is_some().then(|| chosen.file.path().to_owned()),
            content: match key {
                Some(_) => chosen.file.look().unwrap_or_default(),
                None => None,
            },
            key,
        })
    }

    /// Writes the secrets file anew in our own form, or back in the one that the Go program reads. The file as it was is
    /// kept beside it.
    pub fn rewrite(&self, wanted: Form) -> Result<Rewritten, SecretsError> {
        let chosen = self.chosen()?;
        match chosen.decide(false)?.choice {
            Choice::Environment => Err(chosen.hints.read_only(StoreKind::Environment)),
            Choice::Encrypted { key: source, .. } | Choice::OnePassword { key: source } => {
                let key = chosen.keys.get(&source, Patience::Login)?;
                chosen.encrypted_file(source, key).rewrite(wanted)
            }
        }
    }

    /// What a fixed store has none of: a configuration and a file.
    pub(crate) fn chosen(&self) -> Result<&Arc<Chosen>, SecretsError> {
        match &self.inner {
            Inner::Chosen(chosen) => Ok(chosen),
            Inner::Fixed(_) => Err(SecretsError::Abandoned {
                reason: "this store cannot be set up".to_owned(),
            }),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Inner::Chosen(chosen) => formatter
                .debug_tuple("Secrets")
                .field(&chosen.file.path())
                .finish(),
            Inner::Fixed(store) => formatter.debug_tuple("Secrets").field(store).finish(),
        }
    }
}

impl Chosen {
    pub(crate) fn facts(&self) -> Result<Facts, SecretsError> {
        let settings = self.config.load()?.secrets;
        let variable = |name| self.world.env.var(name).filter(|value| !value.is_empty());
        Ok(Facts {
            provider_variable: variable(PROVIDER_VARIABLE),
            provider_type: settings.provider_type,
            setup_completed: settings.setup_completed,
            has_password_variable: variable(PASSWORD_VARIABLE).is_some(),
            key_file_variable: variable(KEY_FILE_VARIABLE).map(PathBuf::from),
            credential: variable(CREDENTIALS_VARIABLE)
                .and_then(|directory| exists(&Path::new(&directory).join(CREDENTIAL))),
            default_key_file: exists(&self.default_key_file),
            may_set_up: false,
        })
    }

    pub(crate) fn decide(&self, may_set_up: bool) -> Result<Decision, SecretsError> {
        let facts = Facts {
            may_set_up,
            ..self.facts()?
        };
        choose(&facts, &self.hints)
    }

    fn environment(&self) -> Arc<dyn SecretStore> {
        let variables = Variables::new(Arc::clone(&self.world.env));
        Arc::new(EnvironmentStore::new(variables, self.hints.clone()))
    }

    pub(crate) fn one_password(&self) -> OnePasswordStore {
        OnePasswordStore::new(
            self.world.clone(),
            Variables::new(Arc::clone(&self.world.env)),
            self.hints.clone(),
        )
    }

    fn open_encrypted(
        &self,
        source: KeySource,
        patience: Patience,
    ) -> Result<Arc<dyn SecretStore>, SecretsError> {
        let key = self.keys.get(&source, patience)?;
        Ok(self.encrypted(source, key))
    }

    pub(crate) fn encrypted(&self, source: KeySource, key: Arc<FileKey>) -> Arc<dyn SecretStore> {
        Arc::new(self.encrypted_file(source, key))
    }

    fn encrypted_file(&self, source: KeySource, key: Arc<FileKey>) -> EncryptedStore {
        EncryptedStore::new(
            Arc::clone(&self.file),
            Arc::clone(&self.keys),
            source,
            key,
            Variables::new(Arc::clone(&self.world.env)),
        )
    }
}

fn exists(path: &Path) -> Option<PathBuf> {
    path.try_exists()
        .is_ok_and(|exists| exists)
        .then(|| path.to_owned())
}

#[cfg(test)]
mod tests;
