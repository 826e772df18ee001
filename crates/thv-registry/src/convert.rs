//! `thv registry convert`: from the outdated `ToolHive` format to the upstream document.
//!
//! The result is stable (sorted by name), says per server what could not be kept, and converts what the Go program
//! refuses: long descriptions, odd tiers, groups (lesson W34). Reading files and replacing them is the command
//! line's matter.

mod document;
mod loss;
mod rules;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use self::{
    document::{
        DOCUMENT_SCHEMA, Data, Document, DocumentMeta, KeyValueInput, Meta, Package, Repository,
        SERVER_SCHEMA, Server, Transport,
    },
    rules::Report,
};
use crate::{
    format::{
        FormatError,
        lenient::{Raw, pick, record},
        publisher::Extension,
        server::read_row,
        text,
        upstream::{Shape, shape},
    },
    json,
    view::{Base, EnvVar, Header, ImageMetadata, RemoteServerMetadata},
};

/// A converted registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The upstream document, indented by two spaces, without a trailing newline.
    pub document: Vec<u8>,
    /// What could not be kept as it was, sorted by server.
    pub notes: Vec<Note>,
}

/// Something that could not be kept as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// The server's key in the input; empty when the note is about the whole registry.
    pub server: String,
    /// One clause for people.
    pub what: String,
}

/// Why there is nothing to convert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The input is what a conversion would give.
    #[error("the input is already in the upstream format")]
    AlreadyUpstream,
    /// JSON, but not the outdated format.
    #[error("the input is not a legacy ToolHive registry: {cause}")]
    NotLegacy {
        /// What is there instead.
        cause: String,
    },
    /// The input cannot be read at all.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Converts a registry in the outdated format.
///
/// # Errors
/// See [`ConvertError`]. Odd servers are no error: they are in the notes.
pub fn convert_legacy(input: &[u8]) -> Result<Conversion, ConvertError> {
    let not_legacy = |cause: &str| ConvertError::NotLegacy {
        cause: cause.to_owned(),
    };
    match shape(input)? {
        Shape::Upstream => return Err(ConvertError::AlreadyUpstream),
        Shape::ApiPage => return Err(not_legacy("it is a page of a Registry API")),
        Shape::Other => {
            return Err(not_legacy(
                "there are no `servers`, `remote_servers` or `groups`",
            ));
        }
        Shape::Legacy => {}
    }
    let legacy: Legacy<'_> = pick(text(input)?)
        .map_err(|error| FormatError::NotJson {
            cause: error.to_string(),
        })?
        .filter(Legacy::holds_servers)
        .ok_or_else(|| not_legacy("its servers are not objects keyed by name"))?;
    let mut converter = Converter::default();
    converter.take_all(&legacy);
    let version = converter.version(legacy.version);
    let last_updated = converter.last_updated(legacy.last_updated);
    converter.notes.sort_by(|a, b| a.server.cmp(&b.server));
    let document = Document {
        schema: DOCUMENT_SCHEMA,
        version,
        meta: DocumentMeta { last_updated },
        data: Data {
            servers: converter.servers.into_values().collect(),
        },
    };
    let document = json::to_vec_pretty(&document).map_err(|error| FormatError::NotJson {
        cause: error.to_string(),
    })?;
    Ok(Conversion {
        document,
        notes: converter.notes,
    })
}

/// The outdated format's top level, its servers still text.
#[derive(Default)]
struct Legacy<'a> {
    version: String,
    last_updated: String,
    servers: Option<BTreeMap<String, Raw<'a>>>,
    remote_servers: Option<BTreeMap<String, Raw<'a>>>,
    groups: Option<Vec<LegacyGroup<'a>>>,
}

#[derive(Default)]
struct LegacyGroup<'a> {
    name: String,
    servers: BTreeMap<String, Raw<'a>>,
    remote_servers: BTreeMap<String, Raw<'a>>,
}

record!('a Legacy<'a> {
    version: "version",
    last_updated: "last_updated",
    servers: "servers",
    remote_servers: "remote_servers",
    groups: "groups",
});
record!('a LegacyGroup<'a> { name: "name", servers: "servers", remote_servers: "remote_servers" });

impl Legacy<'_> {
    fn holds_servers(&self) -> bool {
        self.servers.is_some() || self.remote_servers.is_some() || self.groups.is_some()
    }
}

/// Containers come before remotes of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Container,
    Remote,
}

#[derive(Default)]
struct Converter {
    servers: BTreeMap<(String, Kind), Server>,
    notes: Vec<Note>,
}

impl Converter {
    fn take_all(&mut self, legacy: &Legacy<'_>) {
        let none = BTreeMap::new();
        self.take(legacy.servers.as_ref().unwrap_or(&none), Kind::Container);
        self.take(
            legacy.remote_servers.as_ref().unwrap_or(&none),
            Kind::Remote,
        );
        for group in legacy.groups.iter().flatten() {
            let count = group.servers.len() + group.remote_servers.len();
            self.note(
                "",
                format!("the upstream format has no groups: the {count} servers of `{}` are listed without it", group.name),
            );
            self.take(&group.servers, Kind::Container);
            self.take(&group.remote_servers, Kind::Remote);
        }
        let shared: Vec<String> = self
            .servers
            .keys()
            .filter(|(name, kind)| {
                *kind == Kind::Remote && self.servers.contains_key(&(name.clone(), Kind::Container))
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in shared {
            self.note(
                &name,
                "a container and a remote have this name; readers may list only one".to_owned(),
            );
        }
    }

    fn take(&mut self, entries: &BTreeMap<String, Raw<'_>>, kind: Kind) {
        for (key, raw) in entries {
            let mut report = Report::default();
            match convert_entry(key, raw.0, kind, &mut report) {
                Some(server) if self.servers.contains_key(&(server.name.clone(), kind)) => {
                    report.say(format!(
                        "skipped: another entry is named `{}` already",
                        server.name
                    ));
                }
                Some(server) => {
                    self.servers.insert((server.name.clone(), kind), server);
                }
                None => {}
            }
            for line in report.into_lines() {
                self.note(key, line);
            }
        }
    }

    fn version(&mut self, given: String) -> String {
        if rules::is_document_version(&given) {
            return given;
        }
        self.note(
            "",
            format!("the version `{given}` is not three numbers and became `1.0.0`"),
        );
        "1.0.0".to_owned()
    }

    fn last_updated(&mut self, given: String) -> String {
        const NEVER: &str = "1970-01-01T00:00:00Z";
        if given.parse::<jiff::Timestamp>().is_ok() {
            return given;
        }
        self.note(
            "",
            format!("the last update `{given}` is not a time and became `{NEVER}`"),
        );
        NEVER.to_owned()
    }

    fn note(&mut self, server: &str, what: String) {
        self.notes.push(Note {
            server: server.to_owned(),
            what,
        });
    }
}

/// One server; `None`, with the reason in the report, when nothing of use can be made of it.
fn convert_entry(key: &str, raw: &RawValue, kind: Kind, report: &mut Report) -> Option<Server> {
    let converted = match kind {
        Kind::Container => read_row::<ImageMetadata>(raw).map(|image| {
            report_losses(raw, &image, report);
            container(key, image, report)
        }),
        Kind::Remote => read_row::<RemoteServerMetadata>(raw).map(|remote| {
            report_losses(raw, &remote, report);
            remote_server(key, remote, report)
        }),
    };
    match converted {
        Ok(Some(server)) => Some(server),
        Ok(None) => None,
        Err(error) => {
            report.say(format!("skipped: {error}"));
            None
        }
    }
}

fn report_losses(raw: &RawValue, kept: &impl serde::Serialize, report: &mut Report) {
    let lost = loss::lost_members(raw, kept);
    if !lost.is_empty() {
        report.say(format!(
            "members the upstream format cannot hold, or of the wrong kind, were dropped: {}",
            lost.join(", ")
        ));
    }
}

fn container(key: &str, image: ImageMetadata, report: &mut Report) -> Option<Server> {
    if image.image.is_empty() {
        report.say("skipped: it names no image".to_owned());
        return None;
    }
    let kind = rules::container_transport(&image.base.transport, report);
    let url = match (kind, image.target_port) {
        ("stdio", port) => {
            if let Some(port) = port {
                report.say(format!(
                    "the target port {port} was dropped: the transport is stdio"
                ));
            }
            String::new()
        }
        (_, Some(port)) => format!("http://localhost:{port}"),
        (_, None) => "http://localhost".to_owned(),
    };
    let extension = Extension {
        proxy_port: image.proxy_port,
        permissions: image
            .permissions
            .map(|permissions| rules::permissions(permissions, report)),
        args: image.args,
        docker_tags: rules::distinct(image.docker_tags),
        provenance: image.provenance,
        ..Extension::default()
    };
    let package = Package {
        registry_type: "oci",
        identifier: image.image.clone(),
        transport: Transport {
            kind,
            url,
            headers: Vec::new(),
        },
        environment_variables: image
            .env_vars
            .into_iter()
            .map(KeyValueInput::from)
            .collect(),
    };
    let server = server(key, image.base, &image.image, extension, report)?;
    Some(Server {
        packages: vec![package],
        ..server
    })
}

fn remote_server(key: &str, remote: RemoteServerMetadata, report: &mut Report) -> Option<Server> {
    if !rules::is_remote_url(&remote.url) {
        report.say(format!(
            "skipped: `{}` is not an http or https URL",
            remote.url
        ));
        return None;
    }
    let extension = Extension {
        proxy_port: remote.proxy_port,
        oauth_config: remote.oauth_config,
        env_vars: remote.env_vars,
        ..Extension::default()
    };
    let transport = Transport {
        kind: rules::remote_transport(&remote.base.transport, report),
        url: remote.url.clone(),
        headers: remote
            .headers
            .into_iter()
            .map(KeyValueInput::from)
            .collect(),
    };
    let server = server(key, remote.base, &remote.url, extension, report)?;
    Some(Server {
        remotes: vec![transport],
        ..server
    })
}

/// What both kinds have in common, still without packages and remotes.
fn server(
    key: &str,
    base: Base,
    extension_key: &str,
    kind_part: Extension,
    report: &mut Report,
) -> Option<Server> {
    let Some(name) = rules::name(key, &base.name, report) else {
        report.say("skipped: it has no name".to_owned());
        return None;
    };
    let mut overview = base.overview;
    let description = rules::description(&base.description, &name, &mut overview, report);
    let extension = Extension {
        status: rules::status(&base.status, report),
        tier: rules::tier(&base.tier, report),
        tools: base.tools.map(|tools| rules::tools(tools, report)),
        tags: rules::tags(base.tags, report),
        overview,
        tool_definitions: base.tool_definitions,
        metadata: base.metadata,
        custom_metadata: base.custom_metadata,
        stateless: base.stateless,
        ..kind_part
    };
    let repository = Some(base.repository_url)
        .filter(|url| !url.is_empty())
        .map(|url| Repository {
            source: rules::repository_source(&url),
            url,
        });
    let Ok(meta) = Meta::new(extension_key, &extension) else {
        report.say("skipped: its metadata cannot be written as JSON".to_owned());
        return None;
    };
    Some(Server {
        schema: SERVER_SCHEMA,
        name,
        description,
        title: rules::title(&base.title, report),
        repository,
        version: "1.0.0",
        packages: Vec::new(),
        remotes: Vec::new(),
        meta,
    })
}

impl From<EnvVar> for KeyValueInput {
    fn from(variable: EnvVar) -> Self {
        Self {
            description: variable.description,
            is_required: variable.required,
            is_secret: variable.secret,
            default: variable.default,
            choices: Vec::new(),
            name: variable.name,
        }
    }
}

impl From<Header> for KeyValueInput {
    fn from(header: Header) -> Self {
        Self {
            description: header.description,
            is_required: header.required,
            is_secret: header.secret,
            default: header.default,
            choices: header.choices,
            name: header.name,
        }
    }
}
