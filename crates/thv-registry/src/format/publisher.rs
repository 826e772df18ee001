//! The publisher's extension of a `server.json`: `_meta` → `…/publisher-provided` → `io.github.stacklok`, keyed by image
//! reference or remote URL.
//!
//! Each member of an extension is decoded alone: one that cannot be read is absent, its neighbours stay.
//! Which extension belongs to which package or remote is asked here, what becomes of it is the views' matter.

use serde::{Serialize, de::MapAccess};
use serde_json::{Map, Value};

use super::lenient::{FromJson, Key, Pick, read_record, read_record_isolated, record};
use crate::view::{EnvVar, Metadata, OAuthConfig, Permissions, Provenance, ToolDefinition};

/// The key of the publisher's part of `_meta`.
pub const PUBLISHER_META: &str = "io.modelcontextprotocol.registry/publisher-provided";

/// `ToolHive`'s namespace in the publisher's part.
pub const NAMESPACE: &str = "io.github.stacklok";

/// The extensions of one server, in the order of the document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Publisher {
    entries: Vec<(String, Extension)>,
}

/// What a publisher says about one image or remote beyond `server.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Extension {
    /// `active` or `deprecated`, in any case; verbatim.
    pub status: String,
    /// `Official` or `Community`; verbatim.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// Names of the tools; `None` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<String>>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Markdown for a catalog page.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub overview: String,
    /// The tools in full.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_definitions: Vec<ToolDefinition>,
    /// Popularity and origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// The publisher's own facts.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom_metadata: Map<String, Value>,
    /// The server answers POST requests only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stateless: bool,
    /// The port a proxy in front of it should use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_port: Option<u16>,
    /// What a container may touch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    /// A container's default command line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Other tags of the image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docker_tags: Vec<String>,
    /// Who built the image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// How to log in to a remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth_config: Option<OAuthConfig>,
    /// Variables for a remote's client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env_vars: Vec<EnvVar>,
}

impl Publisher {
    /// The extension of the package or remote named `key`; the only one there is when none has that key.
    pub fn extension(&self, key: &str) -> Option<&Extension> {
        let matching = self.entries.iter().find(|(name, _)| name == key);
        match (matching, self.entries.as_slice()) {
            (Some((_, extension)), _) | (None, [(_, extension)]) => Some(extension),
            _ => None,
        }
    }

    /// All extensions with their keys, in the order of the document.
    pub fn entries(&self) -> &[(String, Extension)] {
        &self.entries
    }
}

/// The object under [`NAMESPACE`].
#[derive(Default)]
struct Namespace(Vec<(String, Extension)>);

#[derive(Default)]
struct PublisherText {
    namespace: Namespace,
}

#[derive(Default)]
struct MetaText {
    publisher: PublisherText,
}

record!(MetaText {
    publisher: "io.modelcontextprotocol.registry/publisher-provided"
});
record!(PublisherText {
    namespace: "io.github.stacklok"
});

impl<'de> FromJson<'de> for Publisher {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        let meta: Option<MetaText> = read_record(map)?;
        Ok(meta.map(|meta| Self {
            entries: meta.publisher.namespace.0,
        }))
    }
}

impl<'de> FromJson<'de> for Namespace {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut entries: Vec<(String, Extension)> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            if let Some(extension) = map.next_value_seed(Pick::<Isolating>::new())? {
                entries.retain(|(name, _)| *name != key);
                entries.push((key.into_owned(), extension.0));
            }
        }
        Ok(Some(Self(entries)))
    }
}

/// An extension whose members are decoded one by one.
struct Isolating(Extension);

impl<'de> FromJson<'de> for Isolating {
    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(read_record_isolated(map)?.map(Self))
    }
}

record!(Extension {
    status: "status",
    tier: "tier",
    tools: "tools",
    tags: "tags",
    overview: "overview",
    tool_definitions: "tool_definitions",
    metadata: "metadata",
    custom_metadata: "custom_metadata",
    stateless: "stateless",
    proxy_port: "proxy_port",
    permissions: "permissions",
    args: "args",
    docker_tags: "docker_tags",
    provenance: "provenance",
    oauth_config: "oauth_config",
    env_vars: "env_vars",
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::lenient::pick;

    fn publisher(namespace: &str) -> Publisher {
        let text =
            format!(r#"{{"{PUBLISHER_META}":{{"other":{{}},"{NAMESPACE}":{namespace}}},"x":1}}"#);
        pick(&text).unwrap().unwrap()
    }

    #[test]
    fn w28_the_extension_is_matched_by_key() {
        let two = publisher(r#"{"a:1":{"tier":"A"},"b:1":{"tier":"B"}}"#);
        assert_eq!(two.extension("b:1").unwrap().tier, "B");
        assert_eq!(two.extension("c:1"), None);
        let one = publisher(r#"{"a:1":{"tier":"A"}}"#);
        assert_eq!(one.extension("c:1").unwrap().tier, "A");
        assert_eq!(publisher("{}").extension("a:1"), None);
    }

    #[test]
    fn a_member_of_the_wrong_kind_is_absent_and_its_neighbours_stay() {
        let odd = publisher(
            r#"{"a:1":{"status":1,"tier":"Community","tools":"add","tags":["x",2,"y"],"proxy_port":99999,"stateless":"no",
                "metadata":{"stars":12.0,"last_updated":4},"permissions":[],"oauth_config":{"scopes":["s"],"callback_port":0},
                "tool_definitions":[{"name":"t","inputSchema":{"x-odd":1}},{"description":"no name"},5]}}"#,
        );
        let extension = odd.extension("a:1").unwrap();
        assert_eq!(
            (extension.status.as_str(), extension.tier.as_str()),
            ("", "Community")
        );
        assert_eq!(
            (&extension.tools, extension.tags.as_slice()),
            (&None, ["x".to_owned(), "y".to_owned()].as_slice())
        );
        assert_eq!((extension.proxy_port, extension.stateless), (None, false));
        assert_eq!(extension.metadata.as_ref().unwrap().stars, 12);
        assert_eq!(extension.permissions, None);
        assert_eq!(extension.oauth_config.as_ref().unwrap().callback_port, None);
        let tools = serde_json::to_string(&extension.tool_definitions).unwrap();
        assert_eq!(
            tools,
            r#"[{"annotations":{},"inputSchema":{"x-odd":1},"name":"t"}]"#
        );
    }
}
