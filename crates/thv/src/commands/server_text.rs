//! One server of the catalog as the command line shows it: the columns of a list, and the JSON
//! object of lists and `info`. Servers without a `v1beta` view (npm, `PyPI`, …) get an object of the
//! same kind with their packages in it, so that no list leaves a server out.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thv_registry::format::page::LifeCycle;
use thv_registry::{Entry, ViewRef};

use crate::output::{json, table};

/// Key of what publishers add to a `server.json`.
const PUBLISHER_META: &str = "io.modelcontextprotocol.registry/publisher-provided";

/// A server as lists show it.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) description: String,
    pub(super) tier: String,
    pub(super) transport: String,
    pub(super) stars: String,
}

/// The members of either `v1beta` shape, and of `Unviewed`, that a list needs.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Listed<'a> {
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
    tier: String,
    status: String,
    transport: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Metadata {
    stars: i64,
}

/// What is shown of a server that has no `v1beta` view. Keys as there, and `packages` besides.
#[derive(Debug, Serialize)]
struct Unviewed<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    title: &'a str,
    description: &'a str,
    tier: String,
    status: String,
    transport: String,
    tools: Option<Vec<String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    repository_url: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<&'a RawValue>,
}

/// The members of a `server.json` that `Unviewed` needs; whatever is odd in it reads as absent.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Original<'a> {
    repository: Option<serde_json::Value>,
    #[serde(borrow)]
    packages: Option<&'a RawValue>,
    #[serde(rename = "_meta")]
    meta: Option<serde_json::Value>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Package {
    #[serde(alias = "registry_type")]
    registry_type: String,
    transport: PackageTransport,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PackageTransport {
    #[serde(rename = "type")]
    kind: String,
}

impl Row {
    pub(super) fn of(entry: &Entry) -> Self {
        let object = object(entry);
        let listed: Listed<'_> = serde_json::from_slice(&object).unwrap_or_default();
        let metadata: Metadata = listed
            .metadata
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default();
        let mut description = table::one_line(entry.description());
        if is_deprecated(entry, &listed.status) {
            description.insert_str(0, "**DEPRECATED** ");
        }
        Self {
            name: table::one_line(entry.name()),
            kind: kind(entry),
            description,
            tier: dash(table::one_line(&listed.tier)),
            transport: dash(table::one_line(&listed.transport)),
            stars: dash(if metadata.stars > 0 {
                metadata.stars.to_string()
            } else {
                String::new()
            }),
        }
    }
}

/// A cell is never blank, so that columns can be told apart by programs too.
fn dash(text: String) -> String {
    if text.is_empty() {
        "-".to_owned()
    } else {
        text
    }
}

/// The registry's word counts, and the publisher's in any letter case (W33).
fn is_deprecated(entry: &Entry, status: &str) -> bool {
    entry.life_cycle() == LifeCycle::Deprecated || status.eq_ignore_ascii_case("deprecated")
}

/// `container`, `remote`, or the kind of its packages; `mixed` when there are several.
pub(super) fn kind(entry: &Entry) -> &'static str {
    match entry.view() {
        ViewRef::Container(_) => "container",
        ViewRef::Remote(_) => "remote",
        ViewRef::Omitted(_) => {
            let raw = entry.raw();
            let original: Original<'_> = serde_json::from_slice(&raw).unwrap_or_default();
            packages_kind(&packages(&original))
        }
    }
}

fn packages_kind(packages: &[Package]) -> &'static str {
    let mut kinds = packages.iter().map(|package| word(&package.registry_type));
    let Some(first) = kinds.next() else {
        return "none";
    };
    if kinds.all(|kind| kind == first) {
        first
    } else {
        "mixed"
    }
}

fn word(registry_type: &str) -> &'static str {
    match registry_type {
        "oci" | "docker" => "container",
        "npm" => "npm",
        "pypi" => "pypi",
        "nuget" => "nuget",
        "mcpb" => "mcpb",
        "cargo" => "cargo",
        _ => "other",
    }
}

fn packages(original: &Original<'_>) -> Vec<Package> {
    let Some(raw) = original.packages else {
        return Vec::new();
    };
    let rows: Vec<serde_json::Value> = serde_json::from_str(raw.get()).unwrap_or_default();
    rows.into_iter()
        .map(|row| serde_json::from_value(row).unwrap_or_default())
        .collect()
}

/// The server as one compact JSON object.
pub(super) fn object(entry: &Entry) -> Vec<u8> {
    match entry.view() {
        ViewRef::Container(json) | ViewRef::Remote(json) => json.to_vec(),
        ViewRef::Omitted(_) => unviewed(entry),
    }
}

/// The servers as an indented JSON array; `[]` when there are none.
pub(super) fn array<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<u8> {
    let objects: Vec<Vec<u8>> = entries.map(object).collect();
    json::array(objects.iter().map(Vec::as_slice))
}

fn unviewed(entry: &Entry) -> Vec<u8> {
    let raw = entry.raw();
    let original: Original<'_> = serde_json::from_slice(&raw).unwrap_or_default();
    let extension = extension(&original);
    let text = |key: &str| {
        let value = extension.and_then(|extension| extension.get(key));
        value
            .and_then(|value| value.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let status = if entry.life_cycle() == LifeCycle::Deprecated {
        "Deprecated".to_owned()
    } else {
        text("status")
    };
    let transport = packages(&original)
        .first()
        .map(|package| match package.transport.kind.as_str() {
            "" => "stdio".to_owned(),
            kind => kind.to_owned(),
        })
        .unwrap_or_default();
    let repository_url = original
        .repository
        .as_ref()
        .and_then(|repository| repository.get("url")?.as_str())
        .unwrap_or_default()
        .to_owned();
    let unviewed = Unviewed {
        name: entry.name(),
        title: entry.title(),
        description: entry.description(),
        tier: text("tier"),
        status,
        transport,
        tools: extension
            .and_then(|extension| serde_json::from_value(extension.get("tools")?.clone()).ok()),
        repository_url,
        tags: entry.tags().collect(),
        version: entry.version(),
        packages: original.packages,
    };
    thv_registry::json::to_vec(&unviewed).unwrap_or_else(|_| b"{}".to_vec())
}

/// The publisher's `ToolHive` extension: the only entry there is, or the first.
fn extension<'a>(original: &'a Original<'_>) -> Option<&'a serde_json::Value> {
    original
        .meta
        .as_ref()?
        .get(PUBLISHER_META)?
        .get("io.github.stacklok")?
        .as_object()?
        .values()
        .next()
}

/// The words under which a list's JSON and text are tested, shared by the tests of the verbs.
#[cfg(test)]
pub(super) mod samples {
    use super::Entry;
    use thv_registry::format::page::Official;

    /// An entry read from one `server.json`.
    pub(in crate::commands) fn entry(server: &str) -> Entry {
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(server).unwrap();
        Entry::new(
            &raw,
            None,
            &Official::default(),
            jiff::Timestamp::UNIX_EPOCH,
        )
        .unwrap()
    }

    /// A server that can only be installed with npm.
    pub(in crate::commands) const NPM: &str = r#"{"name":"io.example/files","title":"Files",
        "description":"Reads <files>","version":"1.2.0",
        "repository":{"url":"https://example.com/files","source":"github"},
        "packages":[{"registryType":"npm","identifier":"@example/files","version":"1.2.0",
        "transport":{"type":"stdio"}}],
        "_meta":{"io.modelcontextprotocol.registry/publisher-provided":{"io.github.stacklok":{
        "@example/files":{"tier":"Community","status":"deprecated","tags":["files"]}}}}}"#;

    /// A server in a container.
    pub(in crate::commands) const CONTAINER: &str = r#"{"name":"io.example/box","description":"In a box",
        "version":"1.0.0","packages":[{"registryType":"oci","identifier":"ghcr.io/example/box:1",
        "transport":{"type":"stdio"},
        "environmentVariables":[{"name":"TOKEN","description":"Who you are","isRequired":true}]}]}"#;
}

#[cfg(test)]
mod tests {
    use super::samples::{CONTAINER, NPM, entry};
    use super::*;

    #[test]
    fn a_server_without_a_view_is_shown_with_its_packages() {
        let value: serde_json::Value = serde_json::from_slice(&object(&entry(NPM))).unwrap();
        assert_eq!(value["name"], "io.example/files");
        assert_eq!(value["tier"], "Community");
        assert_eq!(value["transport"], "stdio");
        assert_eq!(value["tools"], serde_json::Value::Null);
        assert!(value.as_object().unwrap().contains_key("tools"));
        assert_eq!(value["repository_url"], "https://example.com/files");
        assert_eq!(value["packages"][0]["identifier"], "@example/files");
    }

    #[test]
    fn the_array_has_every_kind_of_server() {
        let entries = [entry(CONTAINER), entry(NPM)];
        let value: serde_json::Value = serde_json::from_slice(&array(entries.iter())).unwrap();
        assert_eq!(value[0]["image"], "ghcr.io/example/box:1");
        assert_eq!(value[1]["packages"][0]["registryType"], "npm");
        assert!(
            String::from_utf8(array(entries.iter()))
                .unwrap()
                .starts_with("[\n  {\n    \"name\": ")
        );
        assert_eq!(array(std::iter::empty()), b"[]\n");
    }

    #[test]
    fn w33_deprecated_is_seen_in_any_letter_case() {
        let row = Row::of(&entry(NPM));
        assert_eq!(row.description, "**DEPRECATED** Reads <files>");
        assert_eq!(row.kind, "npm");
    }

    #[test]
    fn a_container_has_its_columns() {
        let row = Row::of(&entry(CONTAINER));
        assert_eq!((row.kind, row.transport.as_str()), ("container", "stdio"));
        assert_eq!((row.tier.as_str(), row.stars.as_str()), ("-", "-"));
    }

    #[test]
    fn packages_of_several_kinds_are_mixed() {
        let kinds = |list: &[&str]| {
            let packages: Vec<Package> = list
                .iter()
                .map(|kind| Package {
                    registry_type: (*kind).to_owned(),
                    ..Package::default()
                })
                .collect();
            packages_kind(&packages)
        };
        assert_eq!(kinds(&["npm", "pypi"]), "mixed");
        assert_eq!(kinds(&["oci", "oci"]), "container");
        assert_eq!(kinds(&["npm"]), "npm");
        assert_eq!(kinds(&[]), "none");
    }
}
