//! Where secrets sleep: the encrypted file and the environment behind one trait, the places its key
//! comes from, and sealing.
//!
//! [`Secrets`] opens the store that the configuration and the environment mean; [`SecretStore`] is
//! what it can do; [`SecretName`] says whose a secret is; [`Sealer`] binds a value to its purpose.
//! What is stored, and when, is decided in the crates above. Everything here blocks.

mod encrypted;
mod environment;
mod error;
mod hint;
mod key;
pub mod keyring;
mod plaintext;
mod scope;
mod seal;
mod secrets;
pub mod select;
mod store;

pub use encrypted::PLAINTEXT_MAX_BYTES;
pub use error::SecretsError;
pub use hint::Hints;
pub use keyring::Patience;
pub use scope::{SYSTEM_PREFIX, Scope, SecretName};
pub use seal::{KEY_BYTES, SealError, Sealer};
pub use secrets::{Secrets, StoreReport};
pub use store::{Capabilities, SecretMap, SecretStore, StoreKind};
