//! `thv registry info`: everything the catalog knows of one server that matters to a person.
//! Reads the JSON object that lists show too, so both say the same.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use thv_config::world::World;
use thv_registry::{Entry, Revalidation};

use crate::commands::server_text::{kind, object};
use crate::failure::CommandError;
use crate::output::table::{one_line, wrap};
use crate::output::{Output, json};
use crate::wire_up;

/// Where the values of the first block begin.
const VALUE_COLUMN: usize = 16;

pub(super) async fn run(
    name: &str,
    as_json: bool,
    refresh: bool,
    world: &World,
    output: &mut Output,
) -> Result<(), CommandError> {
    let catalogs = wire_up::catalogs(world, Revalidation::Before).await?;
    let served = super::catalog(&catalogs, refresh, world, output).await?;
    let entry = served.snapshot.resolve(name)?;
    if as_json {
        let mut text = Vec::new();
        json::indent(&object(entry), 0, &mut text);
        text.push(b'\n');
        output.print(text)?;
    } else {
        output.print(text_of(entry, output.width()))?;
    }
    Ok(())
}

/// The members of the JSON object that are shown; both `v1beta` shapes and servers without one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    title: String,
    description: String,
    tier: String,
    status: String,
    transport: String,
    image: String,
    target_port: i64,
    provenance: Option<Value>,
    permissions: Option<Permissions>,
    url: String,
    headers: Vec<Variable>,
    oauth_config: Option<OAuth>,
    packages: Vec<Package>,
    args: Vec<String>,
    repository_url: String,
    metadata: Option<Metadata>,
    tools: Option<Vec<String>>,
    env_vars: Vec<Variable>,
    tags: Vec<String>,
    custom_metadata: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Permissions {
    read: Vec<String>,
    write: Vec<String>,
    network: Option<Network>,
    privileged: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    outbound: Option<Outbound>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outbound {
    insecure_allow_all: bool,
    allow_host: Vec<String>,
    allow_port: Vec<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Variable {
    name: String,
    description: String,
    required: bool,
    default: String,
    secret: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OAuth {
    issuer: String,
    client_id: String,
    scopes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Package {
    #[serde(alias = "registry_type")]
    registry_type: String,
    identifier: String,
    version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    stars: i64,
    last_updated: String,
}

/// Text under construction; every value from the catalog goes through `one_line`.
struct Page {
    text: String,
    width: usize,
}

impl Page {
    /// `Label:   value`, nothing when there is no value.
    fn field(&mut self, label: &str, value: &str) {
        let value = one_line(value);
        if !value.is_empty() {
            let label = format!("{label}:");
            self.push(&format!("{label:<VALUE_COLUMN$}{value}\n"));
        }
    }

    /// Like `field`, broken into lines under each other.
    fn prose(&mut self, label: &str, value: &str) {
        let wrapped = wrap(&one_line(value), VALUE_COLUMN, self.width);
        let label = format!("{label}:");
        if let Some(rest) = wrapped.get(VALUE_COLUMN..) {
            self.push(&format!("{label:<VALUE_COLUMN$}{rest}"));
        }
    }

    /// A heading and one indented line per item; nothing when there are none.
    fn list(&mut self, heading: &str, items: impl IntoIterator<Item = String>) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            return;
        }
        self.push(&format!("{heading}:\n"));
        for item in items {
            self.push(&format!("  {}\n", one_line(&item)));
        }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }
}

fn text_of(entry: &Entry, width: usize) -> String {
    let details: Details = serde_json::from_slice(&object(entry)).unwrap_or_default();
    let mut page = Page {
        text: String::new(),
        width,
    };
    page.field("Name", entry.name());
    page.field("Title", &details.title);
    page.field("Type", kind(entry));
    page.prose("Description", &details.description);
    page.field("Version", entry.version());
    page.field("Tier", &details.tier);
    page.field("Status", &details.status);
    page.field("Transport", &details.transport);
    container(&mut page, &details);
    remote(&mut page, &details);
    page.list(
        "Packages",
        details.packages.iter().map(|package| {
            format!(
                "{} {} {}",
                package.registry_type, package.identifier, package.version
            )
        }),
    );
    page.field("Repository URL", &details.repository_url);
    popularity(&mut page, &details);
    page.list(
        "Tools",
        details
            .tools
            .iter()
            .flatten()
            .map(|tool| format!("- {tool}")),
    );
    page.list(
        "Environment Variables",
        details.env_vars.iter().map(variable),
    );
    page.field("Tags", &details.tags.join(", "));
    page.list(
        "Custom Metadata",
        details
            .custom_metadata
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => format!("{key}: {text}"),
                other => format!("{key}: {other}"),
            }),
    );
    page.text
}

fn container(page: &mut Page, details: &Details) {
    if details.image.is_empty() {
        return;
    }
    page.field("Image", &details.image);
    if details.target_port > 0 {
        page.field("Target Port", &details.target_port.to_string());
    }
    page.field("Arguments", &details.args.join(" "));
    page.field(
        "Has Provenance",
        if details.provenance.is_some() {
            "Yes"
        } else {
            "No"
        },
    );
    if let Some(permissions) = &details.permissions {
        page.list("Permissions", permission_lines(permissions));
    }
}

fn permission_lines(permissions: &Permissions) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |label: &str, values: Vec<String>| {
        if !values.is_empty() {
            lines.push(format!("{label}: {}", values.join(", ")));
        }
    };
    add("Read", permissions.read.clone());
    add("Write", permissions.write.clone());
    if permissions.privileged {
        add("Privileged", vec!["true".to_owned()]);
    }
    let outbound = permissions
        .network
        .as_ref()
        .and_then(|network| network.outbound.as_ref());
    if let Some(outbound) = outbound {
        if outbound.insecure_allow_all {
            add("Network, Insecure Allow All", vec!["true".to_owned()]);
        }
        add("Network, Allow Host", outbound.allow_host.clone());
        add(
            "Network, Allow Port",
            outbound
                .allow_port
                .iter()
                .map(ToString::to_string)
                .collect(),
        );
    }
    lines
}

fn remote(page: &mut Page, details: &Details) {
    page.field("URL", &details.url);
    page.list("Headers", details.headers.iter().map(variable));
    if let Some(oauth) = &details.oauth_config {
        let known = [
            ("Issuer", oauth.issuer.clone()),
            ("Client ID", oauth.client_id.clone()),
            ("Scopes", oauth.scopes.join(", ")),
        ];
        page.list(
            "OAuth Configuration",
            known.into_iter().filter_map(|(label, value)| {
                (!value.is_empty()).then(|| format!("{label}: {value}"))
            }),
        );
    }
}

fn popularity(page: &mut Page, details: &Details) {
    let Some(metadata) = &details.metadata else {
        return;
    };
    if metadata.stars > 0 {
        page.field("Popularity", &format!("{} stars", metadata.stars));
    }
    page.field("Last Updated", &metadata.last_updated);
}

/// `- NAME (required, secret) [default: x]: description`
fn variable(variable: &Variable) -> String {
    let marks = match (variable.required, variable.secret) {
        (true, true) => " (required, secret)",
        (true, false) => " (required)",
        (false, true) => " (secret)",
        (false, false) => "",
    };
    let unless_empty = |text: &str, shown: String| {
        if text.is_empty() {
            String::new()
        } else {
            shown
        }
    };
    let Variable {
        name,
        default,
        description,
        ..
    } = variable;
    let default = unless_empty(default, format!(" [default: {default}]"));
    let description = unless_empty(description, format!(": {description}"));
    format!("- {name}{marks}{default}{description}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::server_text::samples::{CONTAINER, NPM, entry};

    #[test]
    fn a_container_is_shown_with_image_and_variables() {
        let text = text_of(&entry(CONTAINER), 80);
        assert!(
            text.starts_with("Name:           io.example/box\nType:           container\n"),
            "{text}"
        );
        assert!(
            text.contains("\nImage:          ghcr.io/example/box:1\n"),
            "{text}"
        );
        assert!(
            text.contains("\nEnvironment Variables:\n  - TOKEN (required): Who you are\n"),
            "{text}"
        );
    }

    #[test]
    fn a_server_without_a_view_is_shown_with_its_packages() {
        let text = text_of(&entry(NPM), 80);
        assert!(
            text.contains("\nPackages:\n  npm @example/files 1.2.0\n"),
            "{text}"
        );
        assert!(text.contains("\nTags:           files\n"), "{text}");
    }

    #[test]
    fn a_remote_is_shown_with_url_and_headers() {
        let text = text_of(
            &entry(
                r#"{"name":"io.example/far","description":"Far \u001b[31maway","version":"1",
                "remotes":[{"type":"sse","url":"https://example.com/sse","headers":[
                {"name":"X-Key","description":"A key","isRequired":true,"isSecret":true}]}]}"#,
            ),
            80,
        );
        assert!(
            text.contains("\nURL:            https://example.com/sse\n"),
            "{text}"
        );
        assert!(
            text.contains("\nHeaders:\n  - X-Key (required, secret): A key\n"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}
