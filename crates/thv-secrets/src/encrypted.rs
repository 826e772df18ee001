//! The encrypted file, shared with the Go program: `nonce ‖ ciphertext ‖ tag` of AES-256-GCM.
//!
//! Reads take no lock and remember nothing: the file is opened anew each time, because other
//! processes replace it. Writes exclude each other, within the process and between processes, read
//! again what is there, and replace the file as a whole. A file that does not open is never
//! replaced. Where the key comes from is not decided here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use thv_config::Clock;
use thv_config::disk::{FileLock, ReadError, read_bounded, write_atomic};

use crate::environment::Variables;
use crate::error::SecretsError;
use crate::key::{FileKey, Keys};
use crate::plaintext;
use crate::scope::{Scope, SecretName};
use crate::seal::{self, NONCE_BYTES, SealError, Sealer, TAG_BYTES};
use crate::select::KeySource;
use crate::store::{Capabilities, SecretMap, SecretStore, StoreKind};

/// The most that the secrets of a file may be together, as JSON.
pub const PLAINTEXT_MAX_BYTES: u64 = 32 * 1024 * 1024;
const FILE_MAX_BYTES: u64 = PLAINTEXT_MAX_BYTES + (NONCE_BYTES + TAG_BYTES) as u64;
/// How long a writer waits for the others.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// About the size of a large token.
const PROBE_BYTES: usize = 4096;

/// The file on disk, and what its users within this process share.
pub(crate) struct SecretsFile {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    /// Held by the one writer of this process, so that threads queue up without polling.
    turn: Mutex<()>,
}

impl SecretsFile {
    pub(crate) fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            path,
            clock,
            turn: Mutex::new(()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything that only the right key opens.
    pub(crate) fn has_content(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > 0)
    }

    fn read(&self, key: &FileKey) -> Result<SecretMap, SecretsError> {
        let bytes = match read_bounded(&self.path, FILE_MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(ReadError::NotFound) => return Ok(SecretMap::default()),
            Err(ReadError::TooLarge { limit }) => {
                return Err(SecretsError::TooLarge {
                    file: self.path.clone(),
                    limit,
                });
            }
            Err(ReadError::Io(error)) => return Err(self.io("read", &error)),
        };
        if bytes.is_empty() {
            return Ok(SecretMap::default());
        }
        let plaintext = seal::decrypt(key.bytes(), &bytes, b"").map_err(|error| match error {
            SealError::Refused => SecretsError::WrongPassword {
                file: self.path.clone(),
                origin: key.origin.clone(),
            },
            _ => self.corrupt("it is too short to be a secrets file".to_owned()),
        })?;
        plaintext::parse(&plaintext).map_err(|cause| self.corrupt(cause))
    }

    fn write(&self, key: &FileKey, secrets: &SecretMap) -> Result<(), SecretsError> {
        let plaintext = plaintext::render(secrets).map_err(|cause| self.corrupt(cause))?;
        if u64::try_from(plaintext.len()).unwrap_or(u64::MAX) > PLAINTEXT_MAX_BYTES {
            return Err(SecretsError::TooLarge {
                file: self.path.clone(),
                limit: PLAINTEXT_MAX_BYTES,
            });
        }
        let bytes = seal::encrypt(key.bytes(), &plaintext, b"").map_err(|error| match error {
            SealError::NoRandomness { cause } => SecretsError::NoRandomness { cause },
            other => self.corrupt(other.to_string()),
        })?;
        write_atomic(&self.path, &bytes).map_err(|error| self.io("write", &error))
    }

    /// Runs `work` while nobody else writes.
    fn exclusively<T>(
        &self,
        work: impl FnOnce() -> Result<T, SecretsError>,
    ) -> Result<T, SecretsError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let _lock = FileLock::acquire(&self.lock_path(), self.clock.as_ref(), LOCK_WAIT)?;
        work()
    }

    fn lock_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        PathBuf::from(path)
    }

    fn corrupt(&self, cause: String) -> SecretsError {
        SecretsError::Corrupt {
            file: self.path.clone(),
            cause,
        }
    }

    fn io(&self, action: &'static str, error: &std::io::Error) -> SecretsError {
        SecretsError::Io {
            action,
            path: self.path.clone(),
            cause: error.to_string(),
        }
    }
}

/// The store of the provider `encrypted`.
pub(crate) struct EncryptedStore {
    file: Arc<SecretsFile>,
    keys: Arc<Keys>,
    source: KeySource,
    key: Mutex<Arc<FileKey>>,
    variables: Variables,
}

impl EncryptedStore {
    pub(crate) fn new(
        file: Arc<SecretsFile>,
        keys: Arc<Keys>,
        source: KeySource,
        key: Arc<FileKey>,
        variables: Variables,
    ) -> Self {
        Self {
            file,
            keys,
            source,
            key: Mutex::new(key),
            variables,
        }
    }

    /// Runs `attempt` with the key at hand and, should the file not open with it, once more with the
    /// one that its source has by now. No lock is held while the source is asked.
    fn with_key<T>(
        &self,
        mut attempt: impl FnMut(&FileKey) -> Result<T, SecretsError>,
    ) -> Result<T, SecretsError> {
        let key = Arc::clone(&self.key.lock().unwrap_or_else(PoisonError::into_inner));
        let refused = match attempt(&key) {
            Err(refused @ SecretsError::WrongPassword { .. }) => refused,
            settled => return settled,
        };
        let Some(renewed) = self.keys.renew(&self.source, &key)? else {
            return Err(refused);
        };
        let outcome = attempt(&renewed)?;
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(outcome)
    }
}

impl fmt::Debug for EncryptedStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncryptedStore")
            .field("file", &self.file.path)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl SecretStore for EncryptedStore {
    fn kind(&self) -> StoreKind {
        StoreKind::Encrypted
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            read: true,
            write: true,
            delete: true,
            list: true,
            cleanup: true,
        }
    }

    fn get(&self, name: &SecretName) -> Result<Option<SecretString>, SecretsError> {
        let secrets = self.with_key(|key| self.file.read(key))?;
        let fallback = self.variables.as_fallback();
        let look_up = |name: &SecretName| {
            let stored = secrets.get(name).cloned();
            stored.or_else(|| fallback.and_then(|variables| variables.get(name)))
        };
        Ok(look_up(name).or_else(|| name.bare().and_then(|bare| look_up(&bare))))
    }

    fn update(
        &self,
        change: &mut dyn FnMut(&mut SecretMap) -> Result<(), SecretsError>,
    ) -> Result<(), SecretsError> {
        self.with_key(|key| {
            self.file.exclusively(|| {
                let current = self.file.read(key)?;
                let mut wanted = current.clone();
                change(&mut wanted)?;
                if wanted.holds_the_same_as(&current) {
                    return Ok(());
                }
                self.file.write(key, &wanted)
            })
        })
    }

    fn probe(&self) -> Result<(), SecretsError> {
        let name = SecretName::system(Scope::Auth, "store-probe");
        self.with_key(|key| {
            self.file.exclusively(|| {
                let mut secrets = self.file.read(key)?;
                secrets.set(&name, "p".repeat(PROBE_BYTES).into());
                self.file.write(key, &secrets)?;
                let is_back = self
                    .file
                    .read(key)?
                    .get(&name)
                    .is_some_and(|value| value.expose_secret().len() == PROBE_BYTES);
                secrets.remove(&name);
                self.file.write(key, &secrets)?;
                if is_back {
                    Ok(())
                } else {
                    Err(self
                        .file
                        .corrupt("it does not hold what was just written to it".to_owned()))
                }
            })
        })
    }

    fn sealer(&self, purpose: &str) -> Result<Sealer, SecretsError> {
        // The file is read for the sake of the key: one that does not open it must seal nothing.
        self.with_key(|key| {
            self.file.read(key)?;
            Ok(Sealer::derived(key.bytes(), purpose))
        })
    }
}

#[cfg(test)]
mod tests;
