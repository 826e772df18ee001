//! The encrypted file, shared with the Go program, as a place: who reads and writes it, and when.
//!
//! What its bytes mean is said in [`crate::format`]. Reads take no lock and remember nothing: the file is opened anew each time, because other
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
use crate::format::{FILE_MAX_BYTES, Form, FormError, Forms, PLAINTEXT_MAX_BYTES};
use crate::key::{FileKey, Keys};
use crate::scope::{Scope, SecretName};
use crate::seal::Sealer;
use crate::select::KeySource;
use crate::store::{Listed, SecretMap, SecretStore, StoreKind};

/// How long a writer waits for the others.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// About the size of a large token.
const PROBE_BYTES: usize = 4096;

/// The file on disk, and what its users within this process share.
pub(crate) struct SecretsFile {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    forms: Forms,
}

/// A file that was written anew in another form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The form it is in now.
    pub form: Form,
    /// Where the file as it was before is kept; `None` when it was in that form already, or held nothing.
    pub backup: Option<PathBuf>,
}

impl SecretsFile {
    pub(crate) fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            path,
            clock,
            forms: Forms::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything that only the right key opens.
    pub(crate) fn has_content(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Its size in bytes and its form, without opening it; `None` where there is nothing in it.
    pub(crate) fn look(&self) -> Result<Option<(u64, Form)>, SecretsError> {
        let bytes = self.bytes()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let form = Form::of(&bytes).map_err(|error| self.told(error, ""))?;
        Ok(Some((u64::try_from(bytes.len()).unwrap_or(u64::MAX), form)))
    }

    /// Its bytes; none where it does not exist.
    fn bytes(&self) -> Result<Vec<u8>, SecretsError> {
        match read_bounded(&self.path, FILE_MAX_BYTES) {
            Ok(bytes) => Ok(bytes),
            Err(ReadError::NotFound) => Ok(Vec::new()),
            Err(ReadError::TooLarge { limit }) => Err(SecretsError::TooLarge {
                file: self.path.clone(),
                limit,
            }),
            Err(ReadError::Io(error)) => Err(self.io("read", &error)),
        }
    }

    /// What it holds, and the form to write it in again.
    fn read(&self, key: &FileKey) -> Result<(SecretMap, Form), SecretsError> {
        self.open(key, &self.bytes()?)
    }

    fn open(&self, key: &FileKey, bytes: &[u8]) -> Result<(SecretMap, Form), SecretsError> {
        if bytes.is_empty() {
            return Ok((SecretMap::default(), Form::One));
        }
        self.forms
            .open(key, bytes)
            .map_err(|error| self.told(error, &key.origin))
    }

    /// Whether it opens with `key`, or holds nothing.
    pub(crate) fn opens_with(&self, key: &FileKey) -> Result<(), SecretsError> {
        self.read(key).map(drop)
    }

    fn write(&self, key: &FileKey, form: Form, secrets: &SecretMap) -> Result<(), SecretsError> {
        let bytes = self
            .forms
            .close(key, form, secrets)
            .map_err(|error| self.told(error, &key.origin))?;
        write_atomic(&self.path, &bytes).map_err(|error| self.io("write", &error))
    }

    /// Writes the file anew in another form. The file as it was is kept beside it until the next time.
    fn rewrite(&self, key: &FileKey, wanted: Form) -> Result<Rewritten, SecretsError> {
        self.exclusively(|| {
            let before = self.bytes()?;
            let (secrets, form) = self.open(key, &before)?;
            if form.number() == wanted.number() {
                return Ok(Rewritten { form, backup: None });
            }
            let backup =
                (!before.is_empty()).then(|| self.beside(&format!(".form{}.bak", form.number())));
            if let Some(backup) = &backup {
                write_atomic(backup, &before).map_err(|error| SecretsError::Io {
                    action: "write",
                    path: backup.clone(),
                    cause: error.to_string(),
                })?;
            }
            self.write(key, wanted, &secrets)?;
            let (written, form) = self.read(key)?;
            if !written.holds_the_same_as(&secrets) {
                return Err(self.corrupt("it does not hold what was just written to it".to_owned()));
            }
            Ok(Rewritten { form, backup })
        })
    }

    /// Runs `work` while nobody else writes, in another process or on another thread of this one.
    fn exclusively<T>(
        &self,
        work: impl FnOnce() -> Result<T, SecretsError>,
    ) -> Result<T, SecretsError> {
        let _lock = FileLock::acquire(
            &FileLock::beside(&self.path),
            self.clock.as_ref(),
            LOCK_WAIT,
        )?;
        work()
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }

    fn told(&self, error: FormError, origin: &str) -> SecretsError {
        match error {
            FormError::Refused => SecretsError::WrongPassword {
                file: self.path.clone(),
                origin: origin.to_owned(),
            },
            FormError::Unusable(cause) => self.corrupt(cause),
            FormError::TooLarge => SecretsError::TooLarge {
                file: self.path.clone(),
                limit: PLAINTEXT_MAX_BYTES,
            },
            FormError::NoRandomness(cause) => SecretsError::NoRandomness { cause },
        }
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

    /// Writes the file anew in the form `wanted`, unless it is in that form already.
    pub(crate) fn rewrite(&self, wanted: Form) -> Result<Rewritten, SecretsError> {
        self.with_key(|key| self.file.rewrite(key, wanted))
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

    fn list(&self) -> Result<Vec<Listed>, SecretsError> {
        let (secrets, _) = self.with_key(|key| self.file.read(key))?;
        secrets
            .names()
            .map(|name| {
                Ok(Listed {
                    name: SecretName::stored(name)?,
                    description: None,
                })
            })
            .collect()
    }

    fn get(&self, name: &SecretName) -> Result<Option<SecretString>, SecretsError> {
        let (secrets, _) = self.with_key(|key| self.file.read(key))?;
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
                let (current, form) = self.file.read(key)?;
                let mut wanted = current.clone();
                change(&mut wanted)?;
                if wanted.holds_the_same_as(&current) {
                    return Ok(());
                }
                self.file.write(key, form, &wanted)
            })
        })
    }

    fn probe(&self) -> Result<(), SecretsError> {
        let name = SecretName::system(Scope::Auth, "store-probe");
        self.with_key(|key| {
            self.file.exclusively(|| {
                let (mut secrets, form) = self.file.read(key)?;
                secrets.set(&name, "p".repeat(PROBE_BYTES).into());
                self.file.write(key, form, &secrets)?;
                let (written, _) = self.file.read(key)?;
                let is_back = written
                    .get(&name)
                    .is_some_and(|value| value.expose_secret().len() == PROBE_BYTES);
                secrets.remove(&name);
                self.file.write(key, form, &secrets)?;
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
