//! The key of the secrets file: where its password comes from, and how long it is remembered.
//!
//! A password in a variable or in a file is read anew each time. One from a keyring is asked for once
//! per process and remembered as a key, until that key turns out not to open the file any more.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use thv_config::Env;
use zeroize::Zeroizing;

use crate::encrypted::SecretsFile;
use crate::error::SecretsError;
use crate::hint::Hints;
use crate::key_file;
use crate::keyring::{Agent, Cleared, Found, Lookup, Patience};
use crate::seal::KEY_BYTES;
use crate::select::{KeySource, PASSWORD_VARIABLE};

/// The key that opens the secrets file.
pub(crate) struct FileKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    /// Where the password came from, for people.
    pub(crate) origin: String,
    /// Whether the password is still there after a restart of the machine.
    pub(crate) is_durable: bool,
}

impl FileKey {
    /// SHA-256 of the password, unsalted, as the Go program makes it.
    pub(crate) fn from_password(password: &str, origin: String, is_durable: bool) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        Sha256::new_with_prefix(password).finalize_into((&mut *bytes).into());
        Self {
            bytes,
            origin,
            is_durable,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// Where the password is, for people; with a warning when it will not stay there.
    pub(crate) fn place(&self) -> String {
        if self.is_durable {
            self.origin.clone()
        } else {
            format!("{}, which a restart empties", self.origin)
        }
    }

    pub(crate) fn is_the_same_as(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FileKey(from {})", self.origin)
    }
}

/// Gets keys.
pub(crate) struct Keys {
    env: Arc<dyn Env>,
    file: Arc<SecretsFile>,
    agent: Agent,
    hints: Hints,
    /// The key whose password came from a keyring.
    remembered: Mutex<Option<Arc<FileKey>>>,
}

impl Keys {
    pub(crate) fn new(
        env: Arc<dyn Env>,
        file: Arc<SecretsFile>,
        agent: Agent,
        hints: Hints,
    ) -> Self {
        Self {
            env,
            file,
            agent,
            hints,
            remembered: Mutex::new(None),
        }
    }

    /// The key from `source`; an error when there is none.
    pub(crate) fn get(
        &self,
        source: &KeySource,
        patience: Patience,
    ) -> Result<Arc<FileKey>, SecretsError> {
        match self.look_for(source, patience)? {
            Ok(key) => Ok(key),
            Err(lookup) => Err(self.explain(&lookup)),
        }
    }

    /// The key from `source`, or what the keyrings said when none of them has it.
    pub(crate) fn look_for(
        &self,
        source: &KeySource,
        patience: Patience,
    ) -> Result<Result<Arc<FileKey>, Lookup>, SecretsError> {
        let password = match source {
            KeySource::PasswordVariable => {
                let password = self.env.var(PASSWORD_VARIABLE).unwrap_or_default();
                SecretString::from(password)
            }
            KeySource::KeyFile(path) | KeySource::Credential(path) => {
                key_file::read(path, patience)?
            }
            KeySource::Keyring => return self.recall_or_ask(patience),
        };
        let key = FileKey::from_password(password.expose_secret(), source.describe(), true);
        Ok(Ok(Arc::new(key)))
    }

    /// Another key than `stale`, which did not open the file; `None` when the source has no other.
    pub(crate) fn renew(
        &self,
        source: &KeySource,
        stale: &FileKey,
    ) -> Result<Option<Arc<FileKey>>, SecretsError> {
        self.forget(stale);
        let key = self.get(source, Patience::Request)?;
        if key.is_the_same_as(stale) {
            self.forget(&key);
            return Ok(None);
        }
        Ok(Some(key))
    }

    /// Gives the durable keyrings a password and returns the key of whatever they hold then, or what they said when none
    /// took it.
    pub(crate) fn hand_over(
        &self,
        password: &SecretString,
    ) -> Result<Result<Arc<FileKey>, Lookup>, SecretsError> {
        let limit = Patience::Login.limit();
        let lookup = self
            .agent
            .store(password, limit)
            .map_err(|_| self.timed_out(limit))?;
        Ok(match &lookup.found {
            Some(found) => Ok(self.remember(found)),
            None => Err(lookup),
        })
    }

    /// Takes our entry out of every keyring, and forgets what is remembered.
    pub(crate) fn clear_keyrings(&self) -> Result<Vec<Cleared>, SecretsError> {
        *self.remembered() = None;
        let limit = Patience::Login.limit();
        self.agent.clear(limit).map_err(|_| self.timed_out(limit))
    }

    fn recall_or_ask(
        &self,
        patience: Patience,
    ) -> Result<Result<Arc<FileKey>, Lookup>, SecretsError> {
        // An empty file opens with every key. What is remembered may be gone from the keyring by now, and a file that is
        // begun with it would be lost with this process.
        if self.file.has_content()
            && let Some(key) = self.remembered().clone()
        {
            return Ok(Ok(key));
        }
        self.ask_keyrings(patience)
    }

    /// What the keyrings hold now, whatever is remembered.
    pub(crate) fn look_in_keyrings(&self, patience: Patience) -> Result<Lookup, SecretsError> {
        let limit = patience.limit();
        self.agent
            .find(patience.may_ask(), limit)
            .map_err(|_| self.timed_out(limit))
    }

    /// The key that the keyrings have now, whatever is remembered.
    fn ask_keyrings(
        &self,
        patience: Patience,
    ) -> Result<Result<Arc<FileKey>, Lookup>, SecretsError> {
        let lookup = self.look_in_keyrings(patience)?;
        Ok(match &lookup.found {
            Some(found) => Ok(self.remember(found)),
            None => Err(lookup),
        })
    }

    fn remember(&self, found: &Found) -> Arc<FileKey> {
        let key = Arc::new(FileKey::from_password(
            found.password.expose_secret(),
            found.keyring.to_owned(),
            found.is_durable,
        ));
        *self.remembered() = Some(Arc::clone(&key));
        key
    }

    fn forget(&self, stale: &FileKey) {
        let mut remembered = self.remembered();
        if remembered
            .as_ref()
            .is_some_and(|key| key.is_the_same_as(stale))
        {
            *remembered = None;
        }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Option<Arc<FileKey>>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The error for keyrings that do not have the password of a store that is set up.
    pub(crate) fn explain(&self, lookup: &Lookup) -> SecretsError {
        let (cause, hint) = (lookup.cause(), self.hints.repeat_the_password());
        if lookup.is_locked() || lookup.troubles.is_empty() {
            SecretsError::Locked { cause, hint }
        } else {
            SecretsError::KeyringUnavailable { cause, hint }
        }
    }

    fn timed_out(&self, limit: Duration) -> SecretsError {
        SecretsError::KeyringTimedOut {
            limit,
            hint: if self.file.has_content() {
                self.hints.repeat_the_password()
            } else {
                self.hints.give_a_password()
            },
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Keys")
            .field("agent", &self.agent)
            .finish_non_exhaustive()
    }
}
