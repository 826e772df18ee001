//! What clients of `v1beta` and readers of the command line's JSON see of a server.
//!
//! The shapes are in the files beside this one; here is the projection of a `server.json` onto them. A server that
//! fits neither shape is [`View::Omitted`] with a typed reason, never dropped in silence (lesson W28).

mod image;
mod parts;
mod project;
mod registry;
mod remote;

#[cfg(test)]
mod tests;

pub use image::ImageMetadata;
pub use parts::{
    Attestation, Base, EnvVar, Header, InboundNetwork, KubernetesMetadata, Metadata,
    NetworkPermissions, OAuthConfig, OutboundNetwork, Permissions, Provenance, ToolDefinition,
};
pub use project::{Omission, View, project, tags};
pub use registry::{Group, Registry};
pub use remote::RemoteServerMetadata;
