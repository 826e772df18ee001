//! What a person is told to type when secrets have nowhere to go. Texts only.

use std::path::{Path, PathBuf};

use crate::error::SecretsError;
use crate::one_password::TOKEN_VARIABLE;
use crate::select::{PASSWORD_VARIABLE, PROVIDER_VARIABLE};
use crate::store::StoreKind;

/// Writes the hints for one user's places.
#[derive(Clone, Debug)]
pub struct Hints {
    key_file: PathBuf,
}

impl Hints {
    /// Hints that name `key_file` as the place for a key file.
    pub fn new(key_file: &Path) -> Self {
        Self {
            key_file: key_file.to_owned(),
        }
    }

    /// The error for a machine on which nothing is set up.
    pub(crate) fn not_set_up(&self) -> SecretsError {
        SecretsError::NotSetUp {
            hint: format!("type: thv secret setup, or {}", self.give_a_password()),
        }
    }

    /// How to give the encrypted store a password that does not depend on a keyring.
    pub(crate) fn give_a_password(&self) -> String {
        let variable = if cfg!(windows) {
            format!("set {PASSWORD_VARIABLE}=<password>")
        } else {
            format!("export {PASSWORD_VARIABLE}='<password>'")
        };
        format!(
            "{}, or type: {variable} (wherever thv runs, thv serve included)",
            self.create_a_key_file()
        )
    }

    fn create_a_key_file(&self) -> String {
        let path = self.key_file.display();
        if cfg!(windows) {
            return format!("put a long random password into the file {path}");
        }
        let directory = self.key_file.parent().unwrap_or(Path::new(".")).display();
        format!(
            "create a key file, by typing: (umask 077; mkdir -p '{directory}'; head -c 32 /dev/urandom | base64 > '{path}')"
        )
    }

    /// How to repeat the password that the existing file was made with.
    pub(crate) fn repeat_the_password(&self) -> String {
        format!(
            "unlock the keyring, or give the password of the existing secrets in {PASSWORD_VARIABLE} or in the key file {}",
            self.key_file.display()
        )
    }

    /// How to let 1Password be asked.
    #[expect(clippy::unused_self, reason = "all hints are asked for alike")]
    pub(crate) fn one_password(&self) -> String {
        format!(
            "install 1Password's program `op`, and give thv, thv serve included, the token of a service account in {TOKEN_VARIABLE}"
        )
    }

    /// The error for a write to a store that takes none.
    #[expect(clippy::unused_self, reason = "all hints are asked for alike")]
    pub(crate) fn read_only(&self, kind: StoreKind) -> SecretsError {
        SecretsError::ReadOnly {
            kind,
            hint: format!(
                "to keep something, unset {PROVIDER_VARIABLE} and type: thv secret provider encrypted"
            ),
        }
    }
}
