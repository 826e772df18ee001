//! Where a secret value of a credential is, and reading it from there.
//!
//! What we were given to keep is sealed in the secret store with what it is for: a record that is copied, or settings that are
//! re-pointed to another registry or authorization server, do not open it. Files and the user's own secrets are read as they are.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thv_config::disk::{Fingerprint, fingerprint};
use thv_config::world::Env;
use thv_secrets::{Patience, SecretName, Secrets, SecretsError};

use super::file::read_file;
use super::settings::{ServerSettings, SettingsFault, absolute};
use crate::limits::SECRET_MAX_BYTES;
use crate::vault::StoreSource;

/// What the sealing key is derived for.
const SEAL_PURPOSE: &str = "registry credentials";

/// The first bytes of what a stored secret is bound to, so that another layout can follow one day.
const BOUND_TO_LABEL: &[u8] = b"thv registry credential 1";

/// The names of stored secrets begin with this, so that a logout of a login leaves them.
pub(crate) const STORED_PREFIX: &str = "REGISTRY_CREDENTIAL_";

/// Where a secret value is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// In the secret store, where we have put it.
    Store,
    /// In a file, which is read again when it has changed.
    File(PathBuf),
    /// In the secret store, as the user's secret of this name.
    Secret(String),
    /// In an environment variable.
    Environment(String),
}

/// What a stored secret is for: its name in the store, and what it is sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    bound_to: Vec<u8>,
}

/// Which characters a value may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// Those of a header's value without blanks: tokens and keys.
    Token,
    /// The same and blanks: client secrets (RFC 6749 appendix A.2).
    Secret,
}

/// Why a value cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretFault {
    /// Nothing is there.
    #[error("{place} holds nothing")]
    Absent {
        /// Where it should be.
        place: String,
    },
    /// What is there cannot be used.
    #[error("{place} cannot be used: {cause}")]
    Unusable {
        /// Where it is.
        place: String,
        /// What is wrong.
        cause: String,
    },
    /// The secret store cannot be read.
    #[error("{cause}")]
    Store {
        /// What the store said.
        cause: String,
        /// Whether it waits to be unlocked.
        locked: bool,
    },
}

/// Reads secret values. Every call blocks.
#[derive(Clone, Debug)]
pub(crate) struct SecretReader {
    store: Arc<dyn StoreSource>,
    secrets: Secrets,
    env: Arc<dyn Env>,
}

// === impl SecretSource ===

/// By hand, because an error of the derived one quotes what it found: a person may have written the secret itself there.
impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || {
            D::Error::custom(
                "a secret is named by `store` or by an object with one member `file`, `secret` or `environment`; the secret itself does not belong there",
            )
        };
        let value = Value::deserialize(deserializer)?;
        if value == "store" {
            return Ok(Self::Store);
        }
        let mut members = value.as_object().into_iter().flatten();
        let (Some((name, Value::String(text))), None) = (members.next(), members.next()) else {
            return Err(wrong());
        };
        match name.as_str() {
            "file" => Ok(Self::File(text.into())),
            "secret" => Ok(Self::Secret(text.clone())),
            "environment" => Ok(Self::Environment(text.clone())),
            _ => Err(wrong()),
        }
    }
}

impl SecretSource {
    pub(crate) fn check(&self, member: &str) -> Result<(), SettingsFault> {
        match self {
            Self::File(path) => absolute(member, path),
            Self::Secret(name) => SecretName::user(name)
                .map(drop)
                .map_err(|error| SettingsFault::new(error.to_string())),
            Self::Environment(name) if name.is_empty() => Err(SettingsFault::new(format!(
                "the environment variable of `{member}` has an empty name"
            ))),
            Self::Store | Self::Environment(_) => Ok(()),
        }
    }

    /// The file, where it is in one.
    pub(crate) fn file(&self) -> Option<&std::path::Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Store | Self::Secret(_) | Self::Environment(_) => None,
        }
    }

    /// The place, for people.
    pub fn shown(&self) -> String {
        match self {
            Self::Store => "the secret store".to_owned(),
            Self::File(path) => format!("the file {}", path.display()),
            Self::Secret(name) => format!("the secret `{name}`"),
            Self::Environment(name) => format!("the environment variable {name}"),
        }
    }
}

// === impl Slot ===

impl Slot {
    /// The slot of a token for the registry at `url`.
    pub(crate) fn of_token(url: &url::Url) -> Self {
        Self::new(&["token", &url.origin().ascii_serialization(), url.as_str()])
    }

    /// The slot of the secret of the client `client_id` at the authorization server `server`, which is both of its names: a secret goes to
    /// no endpoint that was not named when it was kept.
    pub(crate) fn of_client(server: &ServerSettings, client_id: &str) -> Self {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        Self::new(&[
            "client",
            &name(&server.issuer),
            &name(&server.token_endpoint),
            client_id,
        ])
    }

    /// Each part comes with its length, so that no two lists give the same bytes.
    fn new(parts: &[&str]) -> Self {
        let mut bound_to = BOUND_TO_LABEL.to_vec();
        for part in parts {
            bound_to.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bound_to.extend_from_slice(part.as_bytes());
        }
        Self { bound_to }
    }

    fn name(&self) -> SecretName {
        let digest = crate::binding::hex(&Sha256::digest(&self.bound_to));
        SecretName::registry(&format!("{STORED_PREFIX}{digest}"))
    }
}

// === impl SecretReader ===

impl SecretReader {
    /// Reads what we keep from `store`, and the user's secrets from wherever `secrets` has those.
    pub(crate) fn new(store: Arc<dyn StoreSource>, secrets: Secrets, env: Arc<dyn Env>) -> Self {
        Self {
            store,
            secrets,
            env,
        }
    }

    pub(crate) fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// The value as of now.
    pub(crate) fn read(
        &self,
        source: &SecretSource,
        slot: &Slot,
        alphabet: Alphabet,
    ) -> Result<SecretString, SecretFault> {
        let place = source.shown();
        let value = match source {
            SecretSource::Store => self.stored(slot)?,
            SecretSource::Secret(name) => {
                let name = SecretName::user(name).map_err(|error| store_fault(&error))?;
                let store = self.secrets.open_for_user(Patience::Request);
                store
                    .and_then(|store| store.get(&name))
                    .map_err(|error| store_fault(&error))?
            }
            SecretSource::Environment(name) => self.env.var(name).map(SecretString::from),
            SecretSource::File(path) => {
                return read_file(path).and_then(|value| checked(value, &place, alphabet));
            }
        };
        let value = value.ok_or_else(|| SecretFault::Absent {
            place: place.clone(),
        })?;
        checked(value, &place, alphabet)
    }

    /// Changes whenever a value may have changed.
    pub(crate) fn marks(&self, source: &SecretSource) -> Vec<Option<Fingerprint>> {
        match source {
            SecretSource::Store | SecretSource::Secret(_) => self.store.marks(),
            SecretSource::File(path) => vec![fingerprint(path)],
            SecretSource::Environment(_) => Vec::new(),
        }
    }

    fn stored(&self, slot: &Slot) -> Result<Option<SecretString>, SecretFault> {
        let store = match self.store.open(Patience::Request) {
            Ok(store) => store,
            // Nothing was ever kept.
            Err(SecretsError::NotSetUp { .. }) => return Ok(None),
            Err(error) => return Err(store_fault(&error)),
        };
        let failed = |error: SecretsError| store_fault(&error);
        let Some(sealed) = store.get(&slot.name()).map_err(failed)? else {
            return Ok(None);
        };
        let key = store.sealer(SEAL_PURPOSE).map_err(failed)?;
        let unusable = |cause: &str| SecretFault::Unusable {
            place: SecretSource::Store.shown(),
            cause: cause.to_owned(),
        };
        let opened = key
            .open(sealed.expose_secret(), &slot.bound_to)
            .map_err(|_| unusable("what is kept there does not open for this registry"))?;
        let text = std::str::from_utf8(opened.expose_secret())
            .map_err(|_| unusable("what is kept there is no text"))?;
        Ok(Some(text.into()))
    }

    /// Keeps `value` in the slot. The store is set up where that needs nobody.
    pub(crate) fn keep(&self, slot: &Slot, value: &SecretString) -> Result<(), SecretsError> {
        let store = self.store.open_for_login()?;
        let key = store.sealer(SEAL_PURPOSE)?;
        let sealed = key
            .seal(value.expose_secret().as_bytes(), &slot.bound_to)
            .map_err(|error| SecretsError::Abandoned {
                reason: error.to_string(),
            })?;
        store.update(&mut |secrets| {
            secrets.set(&slot.name(), sealed.as_str().into());
            Ok(())
        })
    }

    /// Forgets what is in the slot. Whether there was something.
    pub(crate) fn forget(&self, slot: &Slot) -> Result<bool, SecretsError> {
        let store = match self.store.open(Patience::Login) {
            Ok(store) => store,
            Err(SecretsError::NotSetUp { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        if !store.capabilities().delete {
            return Ok(false);
        }
        let mut found = false;
        store.update(&mut |secrets| {
            found = secrets.remove(&slot.name());
            Ok(())
        })?;
        Ok(found)
    }
}

/// `value`, if it can be sent.
pub(crate) fn checked(
    value: SecretString,
    place: &str,
    alphabet: Alphabet,
) -> Result<SecretString, SecretFault> {
    let text = value.expose_secret();
    let unusable = |cause: &str| {
        Err(SecretFault::Unusable {
            place: place.to_owned(),
            cause: cause.to_owned(),
        })
    };
    if text.is_empty() {
        return Err(SecretFault::Absent {
            place: place.to_owned(),
        });
    }
    if u64::try_from(text.len()).is_ok_and(|length| length > SECRET_MAX_BYTES) {
        return unusable("the value is longer than 64 KiB");
    }
    let fits = |byte: u8| byte.is_ascii_graphic() || (alphabet == Alphabet::Secret && byte == b' ');
    if !text.bytes().all(fits) {
        return unusable(match alphabet {
            Alphabet::Token => {
                "the value holds blanks, line ends or characters that no header can carry"
            }
            Alphabet::Secret => "the value holds line ends or characters beyond ASCII",
        });
    }
    Ok(value)
}

fn store_fault(error: &SecretsError) -> SecretFault {
    SecretFault::Store {
        locked: matches!(
            error,
            SecretsError::Locked { .. } | SecretsError::KeyringTimedOut { .. }
        ),
        cause: error.to_string(),
    }
}
