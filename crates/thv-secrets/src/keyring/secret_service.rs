//! The Secret Service of a Linux desktop (that of GNOME, of KDE, or of a password manager), over the session bus.
//!
//! The entry is the one that the Go program makes: found by the attributes `service` and
//! `username`, kept in the collection `login` or else in the default one. The service is spoken to
//! directly, because a lookup while a request is served must not raise an unlock prompt.

use std::collections::HashMap;

use secrecy::{ExposeSecret as _, SecretString};
use secret_service::blocking::{Collection, SecretService};
use secret_service::{EncryptionType, Error};
use zeroize::Zeroizing;

use super::{ENTRY, Keyring, KeyringError};

const CONTENT_TYPE: &str = "text/plain; charset=utf-8";

/// The Secret Service of this session.
#[derive(Clone, Copy, Debug)]
pub struct SecretServiceKeyring;

impl Keyring for SecretServiceKeyring {
    fn name(&self) -> &'static str {
        "the Secret Service"
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn password(&self, may_ask: bool) -> Result<Option<SecretString>, KeyringError> {
        let service = connect()?;
        let items = service.search_items(attributes())?;
        let item = match (
            items.unlocked.into_iter().next(),
            items.locked.into_iter().next(),
        ) {
            (Some(item), _) => item,
            (None, Some(_)) if !may_ask => return Err(KeyringError::Locked),
            (None, Some(item)) => {
                item.unlock()?;
                item
            }
            (None, None) => return Ok(None),
        };
        let secret = Zeroizing::new(item.get_secret()?);
        match std::str::from_utf8(&secret) {
            Ok("") => Ok(None),
            Ok(password) => Ok(Some(password.into())),
            Err(_) => Err(KeyringError::Failed {
                cause: "the entry toolhive is no text".to_owned(),
            }),
        }
    }

    fn offer_password(
        &self,
        password: &SecretString,
        still_wanted: &dyn Fn() -> bool,
    ) -> Result<(), KeyringError> {
        let service = connect()?;
        let collection = collection(&service)?;
        if collection.is_locked()? {
            // A person may take any time for this, and somebody else may be faster.
            collection.unlock()?;
        }
        let found = service.search_items(attributes())?;
        if !found.unlocked.is_empty() || !found.locked.is_empty() {
            return Ok(());
        }
        if !still_wanted() {
            return Err(KeyringError::Failed {
                cause: "it was unlocked too late".to_owned(),
            });
        }
        collection.create_item(
            &format!("Password for '{ENTRY}' on '{ENTRY}'"),
            attributes(),
            password.expose_secret().as_bytes(),
            true,
            CONTENT_TYPE,
        )?;
        Ok(())
    }

    fn clear(&self) -> Result<bool, KeyringError> {
        let service = connect()?;
        // As the Go program does: whatever the account, as long as the service is ours.
        let items = service.search_items(HashMap::from([("service", ENTRY)]))?;
        let found = !items.unlocked.is_empty() || !items.locked.is_empty();
        for item in &items.locked {
            item.unlock()?;
        }
        for item in items.locked.iter().chain(&items.unlocked) {
            item.delete()?;
        }
        Ok(found)
    }
}

/// Whatever is wrong with the way to it, there is none for us.
fn connect() -> Result<SecretService<'static>, KeyringError> {
    SecretService::connect(EncryptionType::Dh).map_err(|error| match error.into() {
        KeyringError::Failed { cause } => KeyringError::Absent { cause },
        other => other,
    })
}

fn attributes() -> HashMap<&'static str, &'static str> {
    HashMap::from([("service", ENTRY), ("username", ENTRY)])
}

/// The collection `login`, which is unlocked together with the session, else the default one.
fn collection<'a>(service: &'a SecretService<'a>) -> Result<Collection<'a>, Error> {
    let login = service
        .get_all_collections()?
        .into_iter()
        .find(|collection| collection.collection_path.as_str().ends_with("/login"));
    match login {
        Some(login) => Ok(login),
        None => service.get_default_collection(),
    }
}

impl From<Error> for KeyringError {
    fn from(error: Error) -> Self {
        match error {
            Error::Locked | Error::Prompt | Error::PromptDisconnected => Self::Locked,
            Error::Unavailable => Self::Absent {
                cause: "there is none in this session".to_owned(),
            },
            Error::NoResult => Self::Absent {
                cause: "it has no collection to keep passwords in".to_owned(),
            },
            other => Self::Failed {
                cause: other.to_string(),
            },
        }
    }
}
