//! The Credential Manager of Windows. The entry is the one that the Go program makes: a generic credential with the
//! target `toolhive:toolhive`, whose bytes are the password in UTF-8.

use std::collections::HashMap;

use keyring_core::api::CredentialStoreApi as _;
use keyring_core::{Entry, Error};
use secrecy::{ExposeSecret as _, SecretString};
use windows_native_keyring_store::Store;
use zeroize::Zeroizing;

use super::{ENTRY, Keyring, KeyringError};

/// The credentials of this user on this machine.
#[derive(Clone, Copy, Debug)]
pub struct CredentialManager;

impl Keyring for CredentialManager {
    fn name(&self) -> &'static str {
        "the Credential Manager"
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn password(&self, _may_ask: bool) -> Result<Option<SecretString>, KeyringError> {
        let secret = match entry()?.get_secret() {
            Ok(secret) => Zeroizing::new(secret),
            Err(Error::NoEntry) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match std::str::from_utf8(&secret) {
            Ok("") => Ok(None),
            Ok(password) => Ok(Some(password.into())),
            Err(_) => Err(KeyringError::Failed {
                cause: "the credential toolhive is no text".to_owned(),
            }),
        }
    }

    fn offer_password(
        &self,
        password: &SecretString,
        still_wanted: &dyn Fn() -> bool,
    ) -> Result<(), KeyringError> {
        if self.password(false)?.is_some() || !still_wanted() {
            return Ok(());
        }
        Ok(entry()?.set_secret(password.expose_secret().as_bytes())?)
    }

    fn clear(&self) -> Result<bool, KeyringError> {
        match entry()?.delete_credential() {
            Ok(()) => Ok(true),
            Err(Error::NoEntry) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn entry() -> Result<Entry, KeyringError> {
    let target = format!("{ENTRY}:{ENTRY}");
    let modifiers = HashMap::from([("target", target.as_str()), ("persistence", "LocalMachine")]);
    Ok(Store::new()?.build(ENTRY, ENTRY, Some(&modifiers))?)
}

impl From<Error> for KeyringError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoStorageAccess(_) => Self::Locked,
            other => Self::Failed {
                cause: other.to_string(),
            },
        }
    }
}
