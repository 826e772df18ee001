//! The projection of one `server.json` onto the shapes of `v1beta`.
//!
//! Pure: a value goes in, a value comes out. A remote wins over packages; otherwise exactly one package must be a
//! container image. The rules, and what each shape loses, are those of the Go program.

use std::{fmt, mem::take};

use super::{Base, EnvVar, Header, ImageMetadata, RemoteServerMetadata};
use crate::format::{
    publisher::Extension,
    server::{Argument, KeyValueInput, Package, ServerJson, Transport},
};

/// A server as `v1beta` shows it.
#[derive(Debug, Clone, PartialEq)]
pub enum View {
    /// It runs in a container.
    Container(Box<ImageMetadata>),
    /// It runs elsewhere.
    Remote(Box<RemoteServerMetadata>),
    /// It fits neither shape; other doors still list it.
    Omitted(Omission),
}

/// Why a server fits no shape of `v1beta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Omission {
    /// Nothing to run and nowhere to connect to.
    NoPackageOrRemote,
    /// Packages, but no container image among them.
    NoContainer {
        /// The kinds of package there are, sorted, each once.
        registry_types: Vec<String>,
    },
    /// More than one container image, and the shape holds one.
    SeveralContainers {
        /// How many images.
        count: usize,
    },
    /// The container's URL has no readable port (a template, as a rule).
    UnreadablePort {
        /// The URL, as published.
        url: String,
    },
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPackageOrRemote => f.write_str("has neither a package nor a remote"),
            Self::NoContainer { registry_types } => {
                write!(
                    f,
                    "has no container image, only {}",
                    registry_types.join(", ")
                )
            }
            Self::SeveralContainers { count } => {
                write!(f, "has {count} container images where one is expected")
            }
            Self::UnreadablePort { url } => {
                let shown = without_secrets(url);
                write!(f, "has a container URL whose port cannot be read: {shown}")
            }
        }
    }
}

/// Projects a server; `deprecated` is what its registry says of it beside the document.
pub fn project(server: &ServerJson, deprecated: bool) -> View {
    if let Some(remote) = server.remotes.first() {
        return View::Remote(Box::new(remote_view(server, remote, deprecated)));
    }
    let images: Vec<&Package> = server
        .packages
        .iter()
        .filter(|package| package.is_image())
        .collect();
    match images.as_slice() {
        [] if server.packages.is_empty() => View::Omitted(Omission::NoPackageOrRemote),
        [] => {
            let mut registry_types: Vec<String> = server
                .packages
                .iter()
                .map(|package| package.registry_type.clone())
                .collect();
            registry_types.sort_unstable();
            registry_types.dedup();
            View::Omitted(Omission::NoContainer { registry_types })
        }
        [image] => match port(&image.transport.url) {
            Ok(target_port) => {
                View::Container(Box::new(image_view(server, image, target_port, deprecated)))
            }
            Err(UnreadablePort) => View::Omitted(Omission::UnreadablePort {
                url: image.transport.url.clone(),
            }),
        },
        several => View::Omitted(Omission::SeveralContainers {
            count: several.len(),
        }),
    }
}

/// The words to find a server by, also of one that no view shows.
pub fn tags(server: &ServerJson) -> Vec<String> {
    let remotes = server.remotes.iter().map(|remote| remote.url.as_str());
    let packages = server
        .packages
        .iter()
        .map(|package| package.identifier.as_str());
    remotes
        .chain(packages)
        .chain([""])
        .find_map(|key| server.publisher.extension(key))
        .map(|extension| extension.tags.clone())
        .unwrap_or_default()
}

fn remote_view(server: &ServerJson, remote: &Transport, deprecated: bool) -> RemoteServerMetadata {
    let mut extension = server
        .publisher
        .extension(&remote.url)
        .cloned()
        .unwrap_or_default();
    RemoteServerMetadata {
        url: remote.url.clone(),
        proxy_port: extension.proxy_port,
        headers: remote.headers.iter().map(header).collect(),
        oauth_config: extension.oauth_config.take(),
        env_vars: take(&mut extension.env_vars),
        base: base(server, &remote.kind, extension, deprecated),
    }
}

fn image_view(
    server: &ServerJson,
    image: &Package,
    target_port: Option<u16>,
    deprecated: bool,
) -> ImageMetadata {
    let mut extension = server
        .publisher
        .extension(&image.identifier)
        .cloned()
        .unwrap_or_default();
    let words: Vec<String> = image.package_arguments.iter().flat_map(words).collect();
    ImageMetadata {
        image: image.identifier.clone(),
        target_port,
        proxy_port: extension.proxy_port,
        permissions: extension.permissions.take(),
        env_vars: env_vars(image),
        args: if words.is_empty() {
            take(&mut extension.args)
        } else {
            words
        },
        docker_tags: take(&mut extension.docker_tags),
        provenance: extension.provenance.take(),
        base: base(server, &image.transport.kind, extension, deprecated),
    }
}

fn base(server: &ServerJson, transport: &str, extension: Extension, deprecated: bool) -> Base {
    Base {
        name: server.name.clone(),
        title: server.title.clone().unwrap_or_default(),
        description: server.description.clone().unwrap_or_default(),
        tier: extension.tier,
        status: if deprecated {
            "Deprecated".to_owned()
        } else {
            extension.status
        },
        transport: transport.to_owned(),
        stateless: extension.stateless,
        tools: extension.tools,
        metadata: extension.metadata,
        repository_url: server.repository.url.clone(),
        tags: extension.tags,
        overview: extension.overview,
        tool_definitions: extension.tool_definitions,
        custom_metadata: extension.custom_metadata,
    }
}

fn header(header: &KeyValueInput) -> Header {
    Header {
        name: header.name.clone(),
        description: header.input.description.clone(),
        required: header.input.is_required,
        default: header.input.default.clone(),
        secret: header.input.is_secret,
        choices: header.input.choices.clone(),
    }
}

/// The declared variables, then those that the runtime's command line sets with `-e KEY=…`.
fn env_vars(image: &Package) -> Vec<EnvVar> {
    let declared = image.environment_variables.iter().map(|variable| EnvVar {
        name: variable.name.clone(),
        description: variable.input.description.clone(),
        required: variable.input.is_required,
        default: variable.input.default.clone(),
        secret: variable.input.is_secret,
    });
    declared
        .chain(
            image
                .runtime_arguments
                .iter()
                .filter_map(env_var_of_argument),
        )
        .collect()
}

fn env_var_of_argument(argument: &Argument) -> Option<EnvVar> {
    if argument.kind != "named" || !matches!(argument.name.as_str(), "-e" | "--env") {
        return None;
    }
    let (name, value) = argument.input.value.split_once('=')?;
    let variable = value
        .strip_prefix('{')
        .and_then(|value| value.strip_suffix('}'))
        .map(|name| argument.variables.get(name).cloned().unwrap_or_default());
    let (default, secret) = match variable {
        Some(variable) => (variable.default, variable.is_secret),
        None => (value.to_owned(), false),
    };
    Some(EnvVar {
        name: name.to_owned(),
        description: argument.input.description.clone(),
        required: argument.input.is_required,
        default,
        secret,
    })
}

/// A command line's words: the flag, if any, then the value, if any.
fn words(argument: &Argument) -> impl Iterator<Item = String> {
    [&argument.name, &argument.input.value]
        .into_iter()
        .filter(|word| !word.is_empty())
        .cloned()
}

/// A URL, or a template of one, without what may hold a secret: user information, query and fragment.
fn without_secrets(url: &str) -> String {
    let head = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = head.split_once("://") else {
        return head.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// A URL's port is there and is not a number from 1 to 65535.
#[derive(Debug, PartialEq, Eq)]
struct UnreadablePort;

/// The port that a container's URL names; `None` when it names none.
///
/// Not the `url` crate: the host and the path of such a URL are often templates, and only the port is wanted.
fn port(url: &str) -> Result<Option<u16>, UnreadablePort> {
    let Some((_, rest)) = url.split_once("://") else {
        return Ok(None);
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let after_brackets = host.rsplit_once(']').map_or(host, |(_, tail)| tail);
    match after_brackets.rsplit_once(':') {
        None | Some((_, "")) => Ok(None),
        Some((_, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .map(|port| Some(port).filter(|port| *port != 0))
            .map_err(|_| UnreadablePort),
        Some(_) => Err(UnreadablePort),
    }
}
