//! The upstream document as `thv registry convert` writes it: field order is the order in the file.
//!
//! Only what the outdated format can fill is here; reading such documents is [`crate::format`]'s matter.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::format::publisher::Extension;

/// The id of the schema of registry documents.
pub(super) const DOCUMENT_SCHEMA: &str = "https://raw.githubusercontent.com/stacklok/toolhive-core/main/registry/types/data/upstream-registry.schema.json";

/// The id of the schema of one server, the newest that is published.
pub(super) const SERVER_SCHEMA: &str =
    "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json";

#[derive(Debug, Serialize)]
pub(super) struct Document {
    #[serde(rename = "$schema")]
    pub(super) schema: &'static str,
    pub(super) version: String,
    pub(super) meta: DocumentMeta,
    pub(super) data: Data,
}

#[derive(Debug, Serialize)]
pub(super) struct DocumentMeta {
    pub(super) last_updated: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Data {
    pub(super) servers: Vec<Server>,
}

#[derive(Debug, Serialize)]
pub(super) struct Server {
    #[serde(rename = "$schema")]
    pub(super) schema: &'static str,
    pub(super) name: String,
    pub(super) description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repository: Option<Repository>,
    pub(super) version: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) packages: Vec<Package>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) remotes: Vec<Transport>,
    #[serde(rename = "_meta")]
    pub(super) meta: Meta,
}

#[derive(Debug, Serialize)]
pub(super) struct Repository {
    pub(super) url: String,
    pub(super) source: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Package {
    pub(super) registry_type: &'static str,
    pub(super) identifier: String,
    pub(super) transport: Transport,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) environment_variables: Vec<KeyValueInput>,
}

#[derive(Debug, Serialize)]
pub(super) struct Transport {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Vec<KeyValueInput>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyValueInput {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_secret: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) default: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) choices: Vec<String>,
    pub(super) name: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Meta {
    #[serde(rename = "io.modelcontextprotocol.registry/publisher-provided")]
    pub(super) publisher: Publisher,
}

#[derive(Debug, Serialize)]
pub(super) struct Publisher {
    /// Keyed by image reference or URL. A tree, not [`Extension`] itself, so that keys are sorted at every depth.
    #[serde(rename = "io.github.stacklok")]
    pub(super) namespace: BTreeMap<String, serde_json::Value>,
}

impl Meta {
    pub(super) fn new(key: &str, extension: &Extension) -> Result<Self, serde_json::Error> {
        let namespace = BTreeMap::from([(key.to_owned(), serde_json::to_value(extension)?)]);
        Ok(Self {
            publisher: Publisher { namespace },
        })
    }
}
