//! The shape of a server that runs in a container.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Base, EnvVar, Permissions, Provenance};
use crate::format::lenient::record;

/// A server that runs in a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ImageMetadata {
    /// What both kinds of server have.
    #[serde(flatten)]
    pub base: Base,
    /// The image reference.
    pub image: String,
    /// The port the program in the container listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
    /// The port a proxy in front of it should use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_port: Option<u16>,
    /// What the container may touch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// What the program reads from its environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_vars: Vec<EnvVar>,
    /// The default command line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Other tags of the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docker_tags: Vec<String>,
    /// Who built the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

record!(serde ImageMetadata {
    image: "image",
    target_port: "target_port",
    proxy_port: "proxy_port",
    permissions: "permissions",
    env_vars: "env_vars",
    args: "args",
    docker_tags: "docker_tags",
    provenance: "provenance",
} rest: base);
