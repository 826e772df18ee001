//! What can go wrong with secrets, told apart by what the caller can do about it.
//!
//! Texts name files, variables and limits, never a secret. Where a person has to act, the text ends
//! with what to type.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thv_config::ConfigError;
use thv_config::disk::LockError;

use crate::store::StoreKind;

/// Why secrets could not be read, written or located. Nothing on disk was changed, unless a variant
/// says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// No secret store is set up, and none can be set up by itself.
    #[error("no secret store is set up; {hint}")]
    NotSetUp {
        /// What to type.
        hint: String,
    },
    /// A store is set up, and nothing on this machine yields its password right now.
    #[error("the secret store is locked: {cause}; {hint}")]
    Locked {
        /// What was tried.
        cause: String,
        /// What to type.
        hint: String,
    },
    /// The OS keyring is needed, and cannot be used.
    #[error("the OS keyring cannot be used: {cause}; {hint}")]
    KeyringUnavailable {
        /// What the keyring said.
        cause: String,
        /// What to type.
        hint: String,
    },
    /// The OS keyring did not answer in time; it may be waiting for a person.
    #[error("the OS keyring did not answer within {limit:?}; unlock it, or {hint}")]
    KeyringTimedOut {
        /// How long was waited.
        limit: Duration,
        /// What to type instead.
        hint: String,
    },
    /// The secrets file does not open with the password found. It was left as it is.
    #[error(
        "the secrets file {} does not open with the password from {origin}; it was left as it is",
        file.display()
    )]
    WrongPassword {
        /// The secrets file.
        file: PathBuf,
        /// Where the password came from.
        origin: String,
    },
    /// The secrets file is not one, or one of a newer version. It was left as it is.
    #[error("the secrets file {} cannot be used and was left as it is: {cause}", file.display())]
    Corrupt {
        /// The secrets file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The secrets are more than the file may hold.
    #[error("the secrets in {} would be larger than {limit} bytes", file.display())]
    TooLarge {
        /// The secrets file.
        file: PathBuf,
        /// The limit, [`crate::PLAINTEXT_MAX_BYTES`] or that of the file.
        limit: u64,
    },
    /// The store takes no writes.
    #[error("the {kind} secrets provider is read-only; {hint}")]
    ReadOnly {
        /// Which store.
        kind: StoreKind,
        /// What to type.
        hint: String,
    },
    /// The provider's name means nothing.
    #[error(
        "invalid secrets provider type: {provider} (valid types: encrypted, 1password, environment)"
    )]
    UnknownProvider {
        /// What was configured.
        provider: String,
    },
    /// The store cannot do that at all.
    #[error("secrets provider does not support {action}")]
    Unsupported {
        /// Which store.
        kind: StoreKind,
        /// What was wanted of it.
        action: Action,
    },
    /// 1Password could not be asked.
    #[error("1Password cannot be used: {cause}; {hint}")]
    OnePassword {
        /// What its program said, or what is missing.
        cause: String,
        /// What to type.
        hint: String,
        /// Whether the same call may succeed later by itself.
        transient: bool,
    },
    /// A name that is no reference to a secret in 1Password.
    #[error("invalid secret path: {name}")]
    InvalidReference {
        /// The name.
        name: String,
    },
    /// There is no secret of that name.
    #[error("secret not found: {name}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// There is a secret of that name already.
    #[error("secret already exists: {name}")]
    AlreadyExists {
        /// The name.
        name: String,
    },
    /// A password that a key file cannot hold.
    #[error(
        "without a keyring the password is kept as one line of the file {}, and it is empty, has line ends, or is longer than {limit} bytes",
        path.display()
    )]
    UnfitPassword {
        /// The key file that it would be kept in.
        path: PathBuf,
        /// How long a key file may be, in bytes.
        limit: u64,
    },
    /// A set-up with another password than the one that is in use.
    #[error(
        "the secrets have a password already, from {origin}, and it is not the one given; nothing was changed"
    )]
    OtherPassword {
        /// Where the password in use came from.
        origin: String,
    },
    /// The key file cannot be used.
    #[error("the key file {} cannot be used: {cause}", path.display())]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A secret without a name.
    #[error("secret name cannot be empty")]
    EmptyName,
    /// A name that belongs to the system, used on behalf of a user.
    #[error(
        "secret name is reserved for system use and cannot be managed via user commands: cannot {verb} \"{name}\""
    )]
    ReservedName {
        /// The name.
        name: String,
        /// What was to be done: `get`, `set`, `delete`, or anything.
        verb: &'static str,
    },
    /// Another process held the lock all the time: try again.
    #[error("the secrets are in use: {} was locked for {waited:.0?}; try again", path.display())]
    LockTimeout {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The operating system refused to read or to write.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// `read`, `write`, `lock`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        cause: String,
    },
    /// The configuration says which store is meant, and could not be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system has no randomness to give.
    #[error("the operating system gives no random bytes: {cause}")]
    NoRandomness {
        /// What it said.
        cause: String,
    },
    /// The change itself refused: what a closure given to [`crate::SecretStore::update`] returns
    /// when it decides that nothing shall be written.
    #[error("the secrets were left as they are: {reason}")]
    Abandoned {
        /// Why.
        reason: String,
    },
}

/// What a store may be unable to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Listing names.
    List,
    /// Storing under a new name.
    Create,
    /// Storing over an old value.
    Update,
    /// Removing.
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::List => "listing keys",
            Self::Create => "creating secrets",
            Self::Update => "updating secrets",
            Self::Delete => "deleting secrets",
        })
    }
}

impl SecretsError {
    /// Whether the same call may well succeed later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::KeyringTimedOut { .. }
                | Self::LockTimeout { .. }
                | Self::Config(ConfigError::Locked { .. })
                | Self::OnePassword {
                    transient: true,
                    ..
                }
        )
    }

    /// Whether the key of the encrypted store is nowhere to be had.
    pub(crate) fn is_missing_key(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::KeyringUnavailable { .. })
    }

    /// Whether a person has to set up, unlock or choose a store first.
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::NotSetUp { .. }
                | Self::Locked { .. }
                | Self::KeyringUnavailable { .. }
                | Self::WrongPassword { .. }
                | Self::ReadOnly { .. }
                | Self::UnknownProvider { .. }
                | Self::KeyFile { .. }
                | Self::OtherPassword { .. }
                | Self::OnePassword {
                    transient: false,
                    ..
                }
        )
    }
}

impl From<LockError> for SecretsError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Timeout { path, waited } => Self::LockTimeout { path, waited },
            LockError::Io { path, cause } => Self::Io {
                action: "lock",
                path,
                cause,
            },
        }
    }
}
