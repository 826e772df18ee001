//! What is on this machine, and how we change it.
//!
//! The configuration file shared with the Go program ([`ConfigStore`], [`ConfigWatch`]), the settings
//! that are ours alone ([`registries`]), the places where files live ([`paths`]), the primitives by which they are replaced and locked ([`disk`]),
//! and the outside world as values ([`world`]): clock and environment. What a registry or a
//! credential *means* is decided in the crates above; this one knows no network.

pub mod disk;
mod edit;
mod error;
pub mod holder;
#[cfg(test)]
mod hook;
pub mod limits;
mod model;
pub mod paths;
pub mod registries;
mod scalar;
mod store;
mod watch;
mod wire;
pub mod world;
mod yaml;

pub use error::ConfigError;
pub use model::{Config, OAuthSettings, RegistryAuth, RegistrySource, SecretsSettings};
pub use paths::Paths;
pub use registries::{RegistriesStore, RegistrySettings};
pub use store::ConfigStore;
pub use watch::ConfigWatch;
pub use world::{Clock, Env, ManualClock, MapEnv, Overlay, ProcessEnv, SystemClock, World};
