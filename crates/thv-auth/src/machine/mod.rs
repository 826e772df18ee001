//! Credentials that need no person: tokens that are given, and tokens that we fetch as a client of our own.
//!
//! [`way`] decides which one a registry is read with, out of what [`settings`] and `environment` say; [`registry`] holds the
//! decision and follows changes of it. `given` and `fetched` are the two kinds of credential; what fetches is in `client`,
//! `command` and `subject`. [`manage`] stores and forgets. Nothing here can start a login.

pub(crate) mod assertion;
pub(crate) mod client;
pub(crate) mod command;
pub(crate) mod environment;
pub(crate) mod fetched;
pub(crate) mod file;
pub(crate) mod given;
pub mod manage;
pub(crate) mod mend;
pub(crate) mod program;
pub mod registry;
pub(crate) mod report;
pub mod secret;
pub mod settings;
pub(crate) mod subject;
pub(crate) mod token_host;
pub mod way;

pub use registry::{RegistryAt, RegistryCredentials};
pub use secret::SecretSource;
pub use settings::{CredentialKind, CredentialSettings, SettingsFault};
pub use way::{Choice, Way};
