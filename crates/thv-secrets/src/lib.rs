//! Where secrets sleep: the encrypted file, 1Password and the environment behind one trait, the places the key comes
//! from, and sealing.
//!
//! [`Secrets`] opens the store that the configuration and the environment mean, or sets one up; [`SecretStore`] is
//! what it can do; [`UserSecrets`] is what a user may do with it; [`SecretName`] says whose a secret is; [`Sealer`]
//! binds a value to its purpose. What is stored, and when, is decided in the crates above. Everything here blocks.

mod encrypted;
mod environment;
mod error;
mod examine;
pub mod format;
mod hint;
mod key;
mod key_file;
pub mod keyring;
mod migrate;
mod one_password;
mod plaintext;
mod program;
mod scope;
mod seal;
mod secrets;
pub mod select;
mod setup;
mod store;
mod user;

pub use encrypted::Rewritten;
pub use error::{Action, SecretsError};
pub use examine::{Examination, RoundTrip};
pub use format::{Form, PLAINTEXT_MAX_BYTES};
pub use hint::Hints;
pub use keyring::{Cleared, Patience};
pub use one_password::{PROGRAM_VARIABLE, TOKEN_VARIABLE};
pub use scope::{SYSTEM_PREFIX, Scope, SecretName};
pub use seal::{KEY_BYTES, SealError, Sealer};
pub use secrets::{Secrets, StoreReport};
pub use setup::{KeyPlace, SetUp, setup_lock};
pub use store::{Capabilities, Listed, SecretMap, SecretStore, StoreKind};
pub use user::{Provider, SystemSecret, UserSecrets};
