//! `/api/v1beta/registry/**` and `/api/v1beta/secrets/**`, the desktop client's door. Shapes and texts are those of the Go
//! program.

pub(crate) mod auth;
pub(crate) mod registry;
pub(crate) mod secrets;
pub(crate) mod servers;
pub(crate) mod update;

/// Index of the path segment that names the registry.
pub(crate) const NAME: usize = 3;

/// Index of the path segment that names the server.
pub(crate) const SERVER_NAME: usize = 5;
