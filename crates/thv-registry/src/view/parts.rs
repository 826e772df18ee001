//! The parts that both shapes share, and those that only one of them holds but that are shapes of their own.
//!
//! Field order is the order on the wire. Members that the contract omits when empty are omitted; the others are
//! always written. Reading is as lenient as everywhere: a member of the wrong kind is absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, de::MapAccess};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::format::lenient::{self, FromJson, record};

/// What both kinds of server have.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = ServerBase)]
pub struct Base {
    /// The full name, reverse-DNS as a rule.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// One line for people.
    pub description: String,
    /// `Official`, `Community`, or empty when the publisher says nothing.
    pub tier: String,
    /// `active`, `Deprecated`, …; empty when the publisher says nothing.
    pub status: String,
    /// `stdio`, `sse` or `streamable-http`.
    pub transport: String,
    /// The server answers POST requests only.
    #[serde(skip_serializing_if = "is_false")]
    pub stateless: bool,
    /// Names of the tools; `null` when the publisher names none.
    #[schema(required = true)]
    pub tools: Option<Vec<String>>,
    /// Popularity and origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Where the source is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repository_url: String,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Markdown for a catalog page.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub overview: String,
    /// The tools in full.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_definitions: Vec<ToolDefinition>,
    /// The publisher's own facts.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = BTreeMap<String, Value>)]
    pub custom_metadata: Map<String, Value>,
}

/// Popularity and origin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Metadata {
    /// Stars of the repository.
    #[serde(skip_serializing_if = "is_zero")]
    pub stars: i64,
    /// RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_updated: String,
    /// Where it runs, when it was found in a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesMetadata>,
}

/// A workload of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct KubernetesMetadata {
    /// The resource's kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The resource's namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The resource's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The resource's unique identifier.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The container image in use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// How the workload is spoken to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub transport: String,
}

/// A variable of the server's (or its client's) environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct EnvVar {
    /// The variable.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The server does not start without it.
    pub required: bool,
    /// Taken when the user gives none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default: String,
    /// Must not be shown.
    #[serde(skip_serializing_if = "is_false")]
    pub secret: bool,
}

/// A header that a remote server wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Header {
    /// The header.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Requests fail without it.
    pub required: bool,
    /// Taken when the user gives none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub default: String,
    /// Must not be shown.
    #[serde(skip_serializing_if = "is_false")]
    pub secret: bool,
    /// The only values allowed, when not empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// What a container may touch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Permissions {
    /// The profile's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Paths it may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    /// Paths it may write.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
    /// Whom it may speak to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPermissions>,
    /// It runs with all rights.
    #[serde(skip_serializing_if = "is_false")]
    pub privileged: bool,
}

/// Whom a container may speak to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct NetworkPermissions {
    /// The container engine's network mode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// From the container to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbound: Option<OutboundNetwork>,
    /// From others to the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbound: Option<InboundNetwork>,
}

/// Connections that a container opens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct OutboundNetwork {
    /// Everything is allowed.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure_allow_all: bool,
    /// Hosts allowed; a leading dot allows the subdomains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_host: Vec<String>,
    /// Ports allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_port: Vec<i64>,
}

/// Connections that a container accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct InboundNetwork {
    /// Hosts allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_host: Vec<String>,
}

/// Who built an image, as its signature must say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Provenance {
    /// Host of the trust root.
    pub sigstore_url: String,
    /// Repository the image was built from.
    pub repository_uri: String,
    /// Branch or tag it was built from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repository_ref: String,
    /// Who signed.
    pub signer_identity: String,
    /// Where the build ran.
    pub runner_environment: String,
    /// Who vouched for the signer.
    pub cert_issuer: String,
    /// A statement about the build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
}

/// A statement about a build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Attestation {
    /// URI of the statement's kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub predicate_type: String,
    /// The statement, any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate: Option<Value>,
}

/// How to log in to a remote server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct OAuthConfig {
    /// Issuer to discover the endpoints from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// Authorization endpoint, when there is no discovery.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub authorize_url: String,
    /// Token endpoint, when there is no discovery.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token_url: String,
    /// The registered client.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// Scopes to ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Use PKCE (RFC 7636).
    #[serde(skip_serializing_if = "is_false")]
    pub use_pkce: bool,
    /// Further parameters of the authorization request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub oauth_params: BTreeMap<String, String>,
    /// Local port of the callback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback_port: Option<u16>,
    /// Resource indicator (RFC 8707).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
}

/// A tool in full, as MCP defines it.
///
/// Unknown members stay; keys are sorted; `inputSchema` and `annotations` are always there.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(value_type = Object)]
#[serde(transparent)]
pub struct ToolDefinition(Map<String, Value>);

// === impl ToolDefinition ===

impl ToolDefinition {
    /// The tool's name; never empty.
    pub fn name(&self) -> &str {
        self.0
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// All members.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }
}

impl<'de> FromJson<'de> for ToolDefinition {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        let Some(mut members) = Map::from_map(map)? else {
            return Ok(None);
        };
        members.retain(|_, value| !value.is_null());
        members
            .entry("inputSchema")
            .or_insert_with(|| serde_json::json!({ "type": "object" }));
        members
            .entry("annotations")
            .or_insert_with(|| Value::Object(Map::new()));
        let tool = Self(members);
        Ok((!tool.name().is_empty()).then_some(tool))
    }
}

impl<'de> Deserialize<'de> for ToolDefinition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::deserialize(deserializer, "a tool with a name")
    }
}

// === reading ===

record!(serde Base {
    name: "name",
    title: "title",
    description: "description",
    tier: "tier",
    status: "status",
    transport: "transport",
    stateless: "stateless",
    tools: "tools",
    metadata: "metadata",
    repository_url: "repository_url",
    tags: "tags",
    overview: "overview",
    tool_definitions: "tool_definitions",
    custom_metadata: "custom_metadata",
});
record!(serde Metadata { stars: "stars", last_updated: "last_updated", kubernetes: "kubernetes" });
record!(serde KubernetesMetadata {
    kind: "kind",
    namespace: "namespace",
    name: "name",
    uid: "uid",
    image: "image",
    transport: "transport",
});
record!(serde EnvVar {
    name: "name",
    description: "description",
    required: "required",
    default: "default",
    secret: "secret",
});
record!(serde Header {
    name: "name",
    description: "description",
    required: "required",
    default: "default",
    secret: "secret",
    choices: "choices",
});
record!(serde Permissions {
    name: "name",
    read: "read",
    write: "write",
    network: "network",
    privileged: "privileged",
});
record!(serde NetworkPermissions { mode: "mode", outbound: "outbound", inbound: "inbound" });
record!(serde OutboundNetwork {
    insecure_allow_all: "insecure_allow_all",
    allow_host: "allow_host",
    allow_port: "allow_port",
});
record!(serde InboundNetwork { allow_host: "allow_host" });
record!(serde Provenance {
    sigstore_url: "sigstore_url",
    repository_uri: "repository_uri",
    repository_ref: "repository_ref",
    signer_identity: "signer_identity",
    runner_environment: "runner_environment",
    cert_issuer: "cert_issuer",
    attestation: "attestation",
});
record!(serde Attestation { predicate_type: "predicate_type", predicate: "predicate" });
record!(serde OAuthConfig {
    issuer: "issuer",
    authorize_url: "authorize_url",
    token_url: "token_url",
    client_id: "client_id",
    scopes: "scopes",
    use_pkce: "use_pkce",
    oauth_params: "oauth_params",
    callback_port: "callback_port",
    resource: "resource",
});

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}
