//! Where grants are kept: one sealed record per binding in the secret store, replaced by compare-and-swap.
//!
//! Everything here blocks and asks nobody but the store. A login that the Go program left is taken over on the way
//! (`takeover`); when a grant is read or renewed is decided in [`crate::refresh`].

mod account;
mod clients;
mod step_up;
mod unrevoked;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use secrecy::SecretString;
use thv_config::disk::{Fingerprint, fingerprint};
use thv_config::world::Clock;
use thv_config::{ConfigStore, Paths};
use thv_secrets::{
    Patience, Sealer, SecretMap, SecretName, SecretStore, Secrets, SecretsError, StoreKind,
    StoreReport,
};

use crate::binding::Binding;
use crate::grant::{Grant, RecordError};
use crate::machine::secret::STORED_PREFIX;
use crate::pin::Pin;
use crate::takeover;

pub(crate) use account::Arrival;
pub use clients::KeptClients;
pub use unrevoked::Unrevoked;

/// What the sealing key is derived for.
const SEAL_PURPOSE: &str = "registry grants";

/// The names of all secrets of registry logins begin with this.
const REGISTRY_SCOPE: &str = "__thv_registry_";

/// The Go program's names for registry tokens before there were scopes begin with this.
const GO_BARE_PREFIX: &str = "REGISTRY_OAUTH_";

/// Why a grant was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] SecretsError),
    /// There is a record, and it is not one that can be used. It was left as it is.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record is not in the generation that was expected: somebody else wrote or deleted it. Nothing was written.
    #[error("the stored login has changed meanwhile")]
    Moved,
}

/// The way to the secret store, which may be another one each time: the configuration decides.
pub trait StoreSource: Debug + Send + Sync + 'static {
    /// The store that is meant now. Blocks, for as long as `patience` allows a keyring to take.
    fn open(&self, patience: Patience) -> Result<Arc<dyn SecretStore>, SecretsError>;

    /// The store for a login: one that has just proved that it keeps what it is given, set up if need be.
    fn open_for_login(&self) -> Result<Arc<dyn SecretStore>, SecretsError>;

    /// Changes whenever a store on disk, or the choice of it, has changed.
    fn marks(&self) -> Vec<Option<Fingerprint>>;

    /// Which store is meant, found out without opening it; `None` where nothing is known of it.
    fn describe(&self) -> Option<StoreReport> {
        None
    }
}

/// The secret store that configuration and environment mean.
#[derive(Clone, Debug)]
pub struct ConfiguredStore {
    secrets: Secrets,
    files: Vec<PathBuf>,
}

/// Grants on disk. Clones are the same vault.
#[derive(Clone, Debug)]
pub struct Vault {
    source: Arc<dyn StoreSource>,
    clock: Arc<dyn Clock>,
    /// Counts the logins and logouts that went through here.
    epoch: Arc<AtomicU64>,
}

/// What a logout took out of the store.
#[derive(Debug, Default)]
pub struct Wiped {
    /// The tokens that were there for the binding, ours first. Whoever deletes them may give them back to the provider.
    pub tokens: Vec<WipedTokens>,
    /// How many secrets were deleted.
    pub deleted: usize,
    /// How many grants of other registries or clients were among them. They are sealed for what they were issued for, and
    /// nobody but the provider could say what they are worth: they cannot be given back.
    pub unopened: usize,
    /// The store takes no deletions: what it holds, it keeps.
    pub read_only: bool,
}

/// The tokens of one deleted login.
#[derive(Clone, Debug)]
pub struct WipedTokens {
    /// The refresh token.
    pub refresh: Option<SecretString>,
    /// The access token.
    pub access: Option<SecretString>,
    /// What had to stay as it was for these tokens to be sent.
    pub pin: Option<Pin>,
}

// === impl ConfiguredStore ===

impl ConfiguredStore {
    /// The store that `secrets` opens.
    pub fn new(secrets: Secrets, paths: &Paths, config: &ConfigStore) -> Self {
        Self {
            secrets,
            files: vec![paths.secrets_file(), config.path().to_owned()],
        }
    }
}

impl StoreSource for ConfiguredStore {
    fn open(&self, patience: Patience) -> Result<Arc<dyn SecretStore>, SecretsError> {
        self.secrets.open(patience)
    }

    fn open_for_login(&self) -> Result<Arc<dyn SecretStore>, SecretsError> {
        self.secrets.open_for_login()
    }

    fn marks(&self) -> Vec<Option<Fingerprint>> {
        self.files.iter().map(|file| fingerprint(file)).collect()
    }

    fn describe(&self) -> Option<StoreReport> {
        self.secrets.describe().ok()
    }
}

// === impl Vault ===

impl Vault {
    /// The grants in the store behind `source`.
    pub fn new(source: Arc<dyn StoreSource>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            epoch: Arc::default(),
        }
    }

    /// Changes whenever somebody in this process has logged in or out.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Changes whenever a stored grant may have changed. Blocks for as long as `stat` does.
    pub fn marks(&self) -> Vec<Option<Fingerprint>> {
        self.source.marks()
    }

    /// Which store is used, and what it is like.
    pub fn store_kind(&self) -> Result<StoreKind, SecretsError> {
        self.source
            .open(Patience::Request)
            .map(|store| store.kind())
    }

    /// Where that store is and what decided on it, as far as that is known without opening it.
    pub fn describe_store(&self) -> Option<StoreReport> {
        self.source.describe()
    }

    /// Whether a login could be kept: opens the store, sets it up where that needs nobody, and writes, reads and deletes.
    pub fn probe(&self) -> Result<(), VaultError> {
        self.source.open_for_login()?.sealer(SEAL_PURPOSE)?;
        Ok(())
    }

    /// The grant of `binding`. A newer login of the Go program is taken over first; tokens in the environment count where
    /// nothing that lives is stored. A store that was never set up holds nothing.
    pub fn load(&self, binding: &Binding) -> Result<Option<Grant>, VaultError> {
        let store = match self.source.open(Patience::Request) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let given = takeover::read(store.as_ref(), binding)?;
        if !store.capabilities().write {
            return Ok(given.map(|login| login.into_environment_grant(self.clock.now())));
        }
        if given.is_some()
            && let Some(grant) = self.take_over(store.as_ref(), binding)?
        {
            return Ok(Some(grant));
        }
        let stored = match store.get(&record_name(binding))? {
            Some(sealed) => {
                let key = store.sealer(SEAL_PURPOSE)?;
                Some(Grant::open(&sealed, &key, &binding.associated_data())?)
            }
            None => None,
        };
        match (stored, given) {
            (Some(stored), Some(_)) if stored.dead.is_none() => Ok(Some(stored)),
            (_, Some(given)) => Ok(Some(given.into_environment_grant(self.clock.now()))),
            (stored, None) => Ok(stored),
        }
    }

    /// The grant of `binding` for somebody who only looks: a login of the Go program is read where it is, and stays there.
    pub fn peek(&self, binding: &Binding) -> Result<Option<Grant>, VaultError> {
        let store = match self.source.open(Patience::Request) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if store.capabilities().write
            && let Some(sealed) = store.get(&record_name(binding))?
        {
            let key = store.sealer(SEAL_PURPOSE)?;
            return Ok(Some(Grant::open(
                &sealed,
                &key,
                &binding.associated_data(),
            )?));
        }
        let given = takeover::read(store.as_ref(), binding)?;
        Ok(given.map(|login| login.into_environment_grant(self.clock.now())))
    }

    /// Writes `grant` over the generation `expected`, or where `None` was expected, and returns it with the generation it
    /// got. Fails with [`VaultError::Moved`] when the record is in another one.
    pub fn store(
        &self,
        binding: &Binding,
        expected: Option<u64>,
        grant: &Grant,
    ) -> Result<Grant, VaultError> {
        let store = self.source.open(Patience::Request)?;
        write(store.as_ref(), binding, grant, false, |found| match found {
            Found::Nothing => expected.is_none(),
            Found::Grant(found) => expected == Some(found.generation),
            Found::Unreadable => false,
        })
    }

    /// Writes the grant of a new login over whatever is there, and returns it with the generation it got. What the Go
    /// program left for the same registry goes, as it is older.
    pub fn replace(&self, binding: &Binding, grant: &Grant) -> Result<Grant, VaultError> {
        let store = self.source.open(Patience::Login)?;
        let stored = write(store.as_ref(), binding, grant, true, |_| true);
        self.touched();
        stored
    }

    /// Whoever keeps what the store held looks again.
    fn touched(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Deletes the grant of `binding`, and nothing else.
    pub fn forget(&self, binding: &Binding) -> Result<(), VaultError> {
        let store = self.source.open(Patience::Login)?;
        let deleted = edit(store.as_ref(), |secrets| {
            secrets.remove(&record_name(binding));
            Ok(())
        });
        self.epoch.fetch_add(1, Ordering::AcqRel);
        deleted
    }

    /// Deletes every login to a registry, whoever stored it: all of the `registry` scope but registered clients, and the Go
    /// program's bare names.
    /// A renewal in flight finds its record gone and stores nothing.
    pub fn wipe(&self, binding: &Binding) -> Result<Wiped, VaultError> {
        let store = match self.source.open(Patience::Request) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(Wiped::default()),
            Err(error) => return Err(error.into()),
        };
        if !store.capabilities().delete {
            return Ok(Wiped {
                read_only: true,
                ..Wiped::default()
            });
        }
        let key = store.sealer(SEAL_PURPOSE)?;
        let mut wiped = Wiped::default();
        store.update(&mut |secrets| {
            wiped = Wiped::default();
            if let Some(sealed) = secrets.get(&record_name(binding))
                && let Ok(grant) = Grant::open(sealed, &key, &binding.associated_data())
            {
                wiped.tokens.push(WipedTokens {
                    refresh: grant.refresh_token,
                    access: grant.access_token,
                    pin: grant.pin,
                });
            }
            if let Some(login) = takeover::find(secrets, binding) {
                wiped.tokens.push(login.into_tokens());
            }
            let ours = record_name(binding);
            wiped.unopened = secrets
                .names()
                .filter(|name| is_grant(name) && *name != ours.as_str())
                .count();
            // A note of who it was is no secret of its own.
            let notes = secrets
                .names()
                .filter(|name| account::is_note(name))
                .count();
            wiped.deleted = secrets.retain(|name| !is_registry_secret(name)) - notes;
            Ok(())
        })?;
        self.epoch.fetch_add(1, Ordering::AcqRel);
        Ok(wiped)
    }

    fn take_over(
        &self,
        store: &dyn SecretStore,
        binding: &Binding,
    ) -> Result<Option<Grant>, VaultError> {
        let key = store.sealer(SEAL_PURPOSE)?;
        let now = self.clock.now();
        edit(store, |secrets| {
            let associated = binding.associated_data();
            let name = record_name(binding);
            let before = secrets
                .get(&name)
                .map(|sealed| Grant::open(sealed, &key, &associated))
                .transpose();
            let before = match before {
                Ok(before) => before,
                Err(error @ RecordError::Newer { .. }) => return Err(error.into()),
                Err(_) => None,
            };
            let Some(login) = takeover::take(secrets, binding, before.as_ref()) else {
                return Ok(None);
            };
            let mut grant = login.into_grant(new_login_id()?, now);
            grant.generation = next_generation(before.map(|before| before.generation))?;
            secrets.set(&name, grant.seal(&key, &associated)?);
            tracing::info!(registry = %thv_http::display_url(&binding.registry_url), "took over the login of the Go program");
            Ok(Some(grant))
        })
    }
}

/// What a write finds.
enum Found {
    Nothing,
    Grant(Box<Grant>),
    Unreadable,
}

fn write(
    store: &dyn SecretStore,
    binding: &Binding,
    grant: &Grant,
    is_new_login: bool,
    admits: impl Fn(&Found) -> bool,
) -> Result<Grant, VaultError> {
    let key = store.sealer(SEAL_PURPOSE)?;
    edit(store, |secrets| {
        put(secrets, &key, binding, grant, is_new_login, admits)
    })
}

/// Writes a grant, if `admits` says so of what is there.
fn put(
    secrets: &mut SecretMap,
    key: &Sealer,
    binding: &Binding,
    grant: &Grant,
    is_new_login: bool,
    admits: impl Fn(&Found) -> bool,
) -> Result<Grant, VaultError> {
    let name = record_name(binding);
    let associated = binding.associated_data();
    let found = match secrets.get(&name) {
        None => Found::Nothing,
        Some(sealed) => Grant::open(sealed, key, &associated)
            .map_or(Found::Unreadable, |grant| Found::Grant(Box::new(grant))),
    };
    if !admits(&found) {
        return Err(VaultError::Moved);
    }
    let before = match &found {
        Found::Grant(found) => Some(found.generation),
        Found::Nothing | Found::Unreadable => None,
    };
    let mut grant = grant.clone();
    grant.generation = next_generation(before)?;
    secrets.set(&name, grant.seal(key, &associated)?);
    if is_new_login {
        takeover::take(secrets, binding, None);
        if let Some(account) = &grant.account {
            account::note(secrets, binding, account);
        }
    }
    Ok(grant)
}

/// [`SecretStore::update`] with an outcome and errors of our own.
fn edit<T>(
    store: &dyn SecretStore,
    change: impl FnOnce(&mut SecretMap) -> Result<T, VaultError>,
) -> Result<T, VaultError> {
    let mut change = Some(change);
    let mut outcome = None;
    let updated = store.update(&mut |secrets| {
        let Some(change) = change.take() else {
            return Ok(());
        };
        let done = change(secrets);
        let failed = done.is_err();
        outcome = Some(done);
        if failed {
            Err(SecretsError::Abandoned {
                reason: "the stored login was not the one expected".to_owned(),
            })
        } else {
            Ok(())
        }
    });
    match (updated, outcome) {
        (_, Some(Err(error))) => Err(error),
        (Err(error), _) => Err(error.into()),
        (Ok(()), Some(Ok(value))) => Ok(value),
        (Ok(()), None) => Err(VaultError::Moved),
    }
}

fn record_name(binding: &Binding) -> SecretName {
    SecretName::registry(&binding.key())
}

fn is_grant(name: &str) -> bool {
    let grants = SecretName::registry(crate::binding::GRANT_PREFIX);
    name.starts_with(grants.as_str())
}

/// What is kept for a configured credential is no login.
fn is_registry_secret(name: &str) -> bool {
    let is_login = name.starts_with(GO_BARE_PREFIX)
        || name
            .strip_prefix(REGISTRY_SCOPE)
            .is_some_and(|name| !name.starts_with(STORED_PREFIX));
    is_login && !clients::is_client_record(name)
}

/// The generation after `before`. A first one is drawn by lot, so that a record made anew after a deletion is not taken for
/// the one that was deleted.
fn next_generation(before: Option<u64>) -> Result<u64, SecretsError> {
    match before.and_then(|before| before.checked_add(1)) {
        Some(next) => Ok(next),
        None => Ok(u64::from_be_bytes(random()?) >> 16),
    }
}

/// A name for a login, 32 hex digits.
pub fn new_login_id() -> Result<String, SecretsError> {
    Ok(crate::binding::hex(&random::<16>()?))
}

fn random<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| SecretsError::NoRandomness {
        cause: error.to_string(),
    })?;
    Ok(bytes)
}
