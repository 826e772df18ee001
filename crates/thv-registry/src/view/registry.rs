//! The shape of a whole catalog. Serving builds this text from prepared pieces; the types here describe and read it.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{ImageMetadata, RemoteServerMetadata};
use crate::format::lenient::record;

/// A whole catalog, its servers keyed by full name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Registry {
    /// The document's version.
    pub version: String,
    /// RFC 3339.
    pub last_updated: String,
    /// Servers that run in containers.
    pub servers: BTreeMap<String, ImageMetadata>,
    /// Servers that run elsewhere.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub remote_servers: BTreeMap<String, RemoteServerMetadata>,
    /// Always empty: the upstream format has no groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
}

/// Servers that belong together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Group {
    /// The group.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Servers that run in containers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub servers: BTreeMap<String, ImageMetadata>,
    /// Servers that run elsewhere.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub remote_servers: BTreeMap<String, RemoteServerMetadata>,
}

record!(serde Registry {
    version: "version",
    last_updated: "last_updated",
    servers: "servers",
    remote_servers: "remote_servers",
    groups: "groups",
});
record!(serde Group {
    name: "name",
    description: "description",
    servers: "servers",
    remote_servers: "remote_servers",
});
