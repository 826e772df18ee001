//! The shape of a server that runs elsewhere.

use serde::Serialize;
use utoipa::ToSchema;

use super::{Base, EnvVar, Header, OAuthConfig};
use crate::format::lenient::record;

/// A server that runs elsewhere and is reached by URL.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct RemoteServerMetadata {
    /// What both kinds of server have.
    #[serde(flatten)]
    pub base: Base,
    /// Where it is; may hold `{variables}`.
    pub url: String,
    /// The port a proxy in front of it should use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_port: Option<u16>,
    /// Headers it wants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    /// How to log in to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth_config: Option<OAuthConfig>,
    /// Variables for its client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_vars: Vec<EnvVar>,
}

record!(serde RemoteServerMetadata {
    url: "url",
    proxy_port: "proxy_port",
    headers: "headers",
    oauth_config: "oauth_config",
    env_vars: "env_vars",
} rest: base);
