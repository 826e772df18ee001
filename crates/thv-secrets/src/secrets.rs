//! Opening the store that is meant: facts are gathered, [`crate::select`] decides, the key is
//! fetched. A login may set the encrypted store up on the way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use secrecy::SecretString;
use thv_config::disk::FileLock;
use thv_config::{ConfigStore, Paths, World};
use zeroize::Zeroizing;

use crate::encrypted::{EncryptedStore, SecretsFile};
use crate::environment::{EnvironmentStore, Variables};
use crate::error::SecretsError;
use crate::hint::Hints;
use crate::key::{FileKey, Keys};
use crate::keyring::{self, Agent, Keyring, Patience};
use crate::select::{
    Choice, Facts, KEY_FILE_VARIABLE, KeySource, PASSWORD_VARIABLE, PROVIDER_VARIABLE, choose,
};
use crate::store::{SecretStore, StoreKind};

/// Random bytes in a password that we make up.
const PASSWORD_BYTES: usize = 32;
/// How often a login looks again because the configuration was changed under it.
const SETUP_ATTEMPTS: usize = 3;

/// The way to the secrets. Clones share what they remember.
#[derive(Clone)]
pub struct Secrets {
    inner: Inner,
}

#[derive(Clone)]
enum Inner {
    Chosen(Arc<Chosen>),
    Fixed(Arc<dyn SecretStore>),
}

/// What is needed to choose a store and to open it.
struct Chosen {
    world: World,
    config: ConfigStore,
    file: Arc<SecretsFile>,
    keys: Arc<Keys>,
    hints: Hints,
    default_key_file: PathBuf,
}

/// Which store is in use, for people. Nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreReport {
    /// Which kind of store.
    pub kind: StoreKind,
    /// The file the secrets are in, if they are in one.
    pub file: Option<PathBuf>,
    /// Where the key of that file comes from.
    pub key: Option<KeySource>,
}

impl Secrets {
    /// The secrets of the user whose environment and configuration these are.
    pub fn new(world: World, paths: &Paths, config: ConfigStore) -> Self {
        Self::with_keyrings(world, paths, config, keyring::of_this_system())
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
        let keys = Keys::new(Arc::clone(&world.env), agent, hints.clone());
        Self {
            inner: Inner::Chosen(Arc::new(Chosen {
                file: Arc::new(SecretsFile::new(file, Arc::clone(&world.clock))),
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

    /// The store that is meant right now. Blocks on the disk, and on a keyring for as long as
    /// `patience` says when the key is not known yet.
    pub fn open(&self, patience: Patience) -> Result<Arc<dyn SecretStore>, SecretsError> {
        let chosen = match &self.inner {
            Inner::Chosen(chosen) => chosen,
            Inner::Fixed(store) => return Ok(Arc::clone(store)),
        };
        match chosen.choose(false)? {
            Choice::Environment => Ok(chosen.environment()),
            Choice::Encrypted { key: source, .. } => {
                let key = chosen.keys.get(&source, patience)?;
                Ok(chosen.encrypted(source, key))
            }
        }
    }

    /// The store for a login: as [`Secrets::open`] with the patience of a login, but one that has
    /// just proved that it keeps what it is given. When no store is set up, the encrypted one is,
    /// provided that its key will still be there after a restart of the machine; the configuration
    /// says so afterwards.
    pub fn open_for_login(&self) -> Result<Arc<dyn SecretStore>, SecretsError> {
        let chosen = match &self.inner {
            Inner::Chosen(chosen) => chosen,
            Inner::Fixed(store) => {
                store.probe()?;
                return Ok(Arc::clone(store));
            }
        };
        for _ in 0..SETUP_ATTEMPTS {
            let (source, set_up) = match chosen.choose(true)? {
                Choice::Environment => return Err(chosen.hints.read_only()),
                Choice::Encrypted { key, set_up } => (key, set_up),
            };
            let key = chosen.key_for_login(&source, set_up)?;
            let store = chosen.encrypted(source, key);
            store.probe()?;
            if !set_up || chosen.record_set_up()? {
                return Ok(store);
            }
        }
        Err(chosen.hints.not_set_up(false))
    }

    /// Which store would be opened, found out without opening it and without asking a keyring.
    pub fn describe(&self) -> Result<StoreReport, SecretsError> {
        let chosen = match &self.inner {
            Inner::Chosen(chosen) => chosen,
            Inner::Fixed(store) => {
                return Ok(StoreReport {
                    kind: store.kind(),
                    file: None,
                    key: None,
                });
            }
        };
        Ok(match chosen.choose(false)? {
            Choice::Environment => StoreReport {
                kind: StoreKind::Environment,
                file: None,
                key: None,
            },
            Choice::Encrypted { key, .. } => StoreReport {
                kind: StoreKind::Encrypted,
                file: Some(chosen.file.path().to_owned()),
                key: Some(key),
            },
        })
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
    fn choose(&self, may_set_up: bool) -> Result<Choice, SecretsError> {
        let settings = self.config.load()?.secrets;
        let variable = |name| self.world.env.var(name).filter(|value| !value.is_empty());
        let facts = Facts {
            provider_variable: variable(PROVIDER_VARIABLE),
            provider_type: settings.provider_type,
            setup_completed: settings.setup_completed,
            has_password_variable: variable(PASSWORD_VARIABLE).is_some(),
            key_file_variable: variable(KEY_FILE_VARIABLE).map(PathBuf::from),
            default_key_file: exists(&self.default_key_file),
            may_set_up,
        };
        choose(&facts, &self.hints)
    }

    fn environment(&self) -> Arc<dyn SecretStore> {
        let variables = Variables::new(Arc::clone(&self.world.env));
        Arc::new(EnvironmentStore::new(variables, self.hints.clone()))
    }

    fn encrypted(&self, source: KeySource, key: Arc<FileKey>) -> Arc<dyn SecretStore> {
        Arc::new(EncryptedStore::new(
            Arc::clone(&self.file),
            Arc::clone(&self.keys),
            source,
            key,
            Variables::new(Arc::clone(&self.world.env)),
        ))
    }

    /// The key for a login. A keyring that has none is given one, unless there are secrets that
    /// another one was made for.
    fn key_for_login(
        &self,
        source: &KeySource,
        set_up: bool,
    ) -> Result<Arc<FileKey>, SecretsError> {
        let lookup = match self.keys.look_for(source, Patience::Login)? {
            // Only what exists already may depend on a key that a restart takes away.
            Ok(key) if key.is_durable || !set_up || self.file.has_content() => return Ok(key),
            Ok(_) => return self.make_password(),
            Err(lookup) => lookup,
        };
        if self.file.has_content() {
            return Err(self.keys.explain(&lookup));
        }
        if lookup.is_locked() {
            return Err(self.hints.not_set_up(true));
        }
        self.make_password()
    }

    /// Makes up a password and gives it to a keyring. A lock of its own keeps two logins from giving
    /// two: the second finds the first one's. It is shared with nobody else, so that it may be held
    /// while the keyring is asked.
    fn make_password(&self) -> Result<Arc<FileKey>, SecretsError> {
        let _lock = FileLock::acquire(
            &self.file.path().with_file_name("secrets_setup.lock"),
            self.world.clock.as_ref(),
            Patience::Login.limit(),
        )?;
        if let Ok(key) = self.keys.ask_keyrings(Patience::Login)?
            && key.is_durable
        {
            return Ok(key);
        }
        self.keys.hand_over(&random_password()?)
    }

    /// Writes into the configuration that the encrypted store is set up. False when somebody else
    /// has set up something in the meantime.
    fn record_set_up(&self) -> Result<bool, SecretsError> {
        self.config.update(|config| {
            let secrets = &mut config.secrets;
            if secrets.setup_completed {
                return Ok(secrets.provider_type == StoreKind::Encrypted.as_str());
            }
            StoreKind::Encrypted
                .as_str()
                .clone_into(&mut secrets.provider_type);
            secrets.setup_completed = true;
            Ok(true)
        })
    }
}

fn exists(path: &Path) -> Option<PathBuf> {
    path.try_exists()
        .is_ok_and(|exists| exists)
        .then(|| path.to_owned())
}

/// 44 characters that a person could type, should it come to that.
fn random_password() -> Result<SecretString, SecretsError> {
    let mut bytes = Zeroizing::new([0; PASSWORD_BYTES]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| SecretsError::NoRandomness {
        cause: error.to_string(),
    })?;
    Ok(URL_SAFE.encode(bytes.as_slice()).into())
}

#[cfg(test)]
mod tests;
