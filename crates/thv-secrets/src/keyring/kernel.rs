//! The keyring of the Linux kernel, where the Go program keeps the password when there is no Secret
//! Service. It is emptied by a restart, so we read from it and never make it the only copy.

use linux_keyutils::{Key, KeyError, KeyRing, KeyRingIdentifier};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{ENTRY, Keyring, KeyringError};

/// The user keyring of this user.
#[derive(Clone, Copy, Debug)]
pub struct KernelKeyring;

impl Keyring for KernelKeyring {
    fn name(&self) -> &'static str {
        "the kernel keyring"
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn password(&self, _may_ask: bool) -> Result<Option<SecretString>, KeyringError> {
        match read(&format!("{ENTRY}:{ENTRY}")) {
            Ok(payload) => match std::str::from_utf8(&payload) {
                Ok("") => Ok(None),
                Ok(password) => Ok(Some(password.into())),
                Err(_) => Err(KeyringError::Failed {
                    cause: "the key toolhive:toolhive is no text".to_owned(),
                }),
            },
            Err(error) => absence(error).map_or(Ok(None), Err),
        }
    }

    fn offer_password(
        &self,
        _password: &SecretString,
        _still_wanted: &dyn Fn() -> bool,
    ) -> Result<(), KeyringError> {
        Err(KeyringError::Failed {
            cause: "it does not outlive a restart".to_owned(),
        })
    }

    fn clear(&self) -> Result<bool, KeyringError> {
        let description = format!("{ENTRY}:{ENTRY}");
        let user = KeyRing::from_special_id(KeyRingIdentifier::User, false);
        let removed = user.and_then(|user| {
            let (_thread, key) = find(&description)?;
            user.unlink_key(key)
        });
        match removed {
            Ok(()) => Ok(true),
            Err(error) => match absence(error) {
                None => Ok(false),
                Some(trouble) => Err(trouble),
            },
        }
    }
}

/// What a failed call says about the key: `None` where it is just not there.
fn absence(error: KeyError) -> Option<KeyringError> {
    match error {
        // Without a keyring there is no key in it.
        KeyError::KeyDoesNotExist
        | KeyError::KeyringDoesNotExist
        | KeyError::KeyExpired
        | KeyError::KeyRevoked => None,
        // Sandboxes forbid the calls.
        KeyError::OperationNotSupported | KeyError::PermissionDenied | KeyError::AccessDenied => {
            Some(KeyringError::Absent {
                cause: error.to_string(),
            })
        }
        error => Some(KeyringError::Failed {
            cause: error.to_string(),
        }),
    }
}

/// Keys in the user keyring can be read only through a keyring that the process possesses. The
/// thread's own is one, and goes away with the thread.
fn find(description: &str) -> Result<(KeyRing, Key), KeyError> {
    let thread = KeyRing::from_special_id(KeyRingIdentifier::Thread, true)?;
    thread.link_keyring_id(KeyRingIdentifier::User)?;
    let key = thread.search(description)?;
    Ok((thread, key))
}

fn read(description: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let (_thread, key) = find(description)?;
    key.read_to_vec().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_user_keyring_is_read_by_its_description() {
        let description = format!("thv-test:{}", std::process::id());
        let user = match KeyRing::from_special_id(KeyRingIdentifier::User, true) {
            Ok(user) => user,
            Err(refused) => {
                // A sandbox without the calls: then there is no key either.
                assert!(KernelKeyring.password(false).is_err(), "{refused}");
                return;
            }
        };
        assert_eq!(read(&description).unwrap_err(), KeyError::KeyDoesNotExist);
        let key = user.add_key(&description, "payload").unwrap();
        let payload = read(&description);
        user.unlink_key(key).unwrap();
        assert_eq!(payload.unwrap().as_slice(), b"payload");
        assert_eq!(read(&description).unwrap_err(), KeyError::KeyDoesNotExist);
    }
}
