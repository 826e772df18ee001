//! One `server.json`, read leniently into the members that lookups, search and the views need.
//!
//! Any year's schema is accepted: unknown members are skipped, members of the wrong kind are absent, and the snake
//! case of 2025-07 is understood. The original text stays with the caller, who keeps what is not read here.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

pub use super::{
    RowError,
    item::{ExtensionItem, read_extension_item},
};
use super::{
    LifeCycle,
    lenient::{FromJson, Raw, Record, isolated_record, pick, record},
    publisher::Publisher,
};
use crate::json::replace_lone_surrogates;

/// What is read of a `server.json`. Strings that are not options are empty when absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerJson {
    /// The full name, reverse-DNS as a rule; never empty.
    pub name: String,
    /// For people.
    pub title: Option<String>,
    /// One line for people.
    pub description: Option<String>,
    /// Any text; not always a semantic version.
    pub version: Option<String>,
    /// The project's page.
    pub website_url: Option<String>,
    /// Where the source is.
    pub repository: Repository,
    /// The state that schemas before 2025-09-29 kept here.
    pub status: Option<LifeCycle>,
    /// How to run it here.
    pub packages: Vec<Package>,
    /// Where it runs already.
    pub remotes: Vec<Transport>,
    /// The publisher's own facts, from `_meta`.
    pub publisher: Publisher,
}

/// Where a server's source is; real data often has an empty object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repository {
    /// A page or a clone URL.
    pub url: String,
    /// The hosting service, `github` as a rule.
    pub source: String,
}

/// One way to run a server on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// `npm`, `pypi`, `oci`, `nuget`, `mcpb`, …
    pub registry_type: String,
    /// A package name, an image reference or a download URL.
    pub identifier: String,
    /// Absent for images, whose reference holds it.
    pub version: String,
    /// How the running package is spoken to.
    pub transport: Transport,
    /// For the runtime (`docker`, `npx`, …).
    pub runtime_arguments: Vec<Argument>,
    /// For the program in the package.
    pub package_arguments: Vec<Argument>,
    /// What the program reads from its environment.
    pub environment_variables: Vec<KeyValueInput>,
}

impl Package {
    /// Whether this is a container image.
    pub fn is_image(&self) -> bool {
        self.registry_type == "oci"
    }
}

/// How a server is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transport {
    /// `stdio`, `sse`, `streamable-http`.
    pub kind: String,
    /// May hold `{variables}`; empty for stdio.
    pub url: String,
    /// Headers a client has to send.
    pub headers: Vec<KeyValueInput>,
}

/// A value that a user may have to give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// One line for people.
    pub description: String,
    /// Nothing works without it.
    pub is_required: bool,
    /// Must not be shown.
    pub is_secret: bool,
    /// Fixed by the publisher; may hold `{variables}`.
    pub value: String,
    /// Taken when the user gives none.
    pub default: String,
    /// The only values allowed, when not empty.
    pub choices: Vec<String>,
}

/// A named value: an environment variable or a header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyValueInput {
    /// The variable's or header's name.
    pub name: String,
    /// What to put there.
    pub input: Input,
}

/// One word, or one flag with its value, of a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Argument {
    /// `positional` or `named`.
    pub kind: String,
    /// The flag, with its dashes; empty when positional.
    pub name: String,
    /// What to put there.
    pub input: Input,
    /// What the `{variables}` in the value stand for.
    pub variables: BTreeMap<String, Input>,
}

/// Reads one `server.json`.
///
/// The common case is one pass. Text that serde refuses (a lone surrogate, a number beyond `f64`, absurd nesting) is
/// read again with more patience: surrogates replaced, then member by member, so that only the member is lost.
///
/// # Errors
/// [`RowError::NotAnObject`], and [`RowError::NoName`] when `name` is absent, blank or lost.
pub fn read_server(raw: &RawValue) -> Result<ServerJson, RowError> {
    let server: ServerJson = read_row(raw)?;
    if server.name.trim().is_empty() { Err(RowError::NoName) } else { Ok(server) }
}

/// Reads any row that is a record and owns what it reads.
pub(super) fn read_row<R>(raw: &RawValue) -> Result<R, RowError>
where
    R: for<'a> Record<'a> + for<'a> FromJson<'a>,
{
    if !Raw(raw).is_object() {
        return Err(RowError::NotAnObject);
    }
    if let Ok(Some(record)) = pick(raw.get()) {
        return Ok(record);
    }
    let repaired = replace_lone_surrogates(raw.get());
    match pick(&repaired) {
        Ok(Some(record)) => Ok(record),
        _ => isolated_record(&repaired).map_err(|_| RowError::Unusable),
    }
}

record!(ServerJson {
    name: "name",
    title: "title",
    description: "description",
    version: "version",
    website_url: "websiteUrl",
    repository: "repository",
    status: "status",
    packages: "packages",
    remotes: "remotes",
    publisher: "_meta",
});
record!(Repository { url: "url", source: "source" });
record!(Package {
    registry_type: "registryType",
    identifier: "identifier",
    version: "version",
    transport: "transport",
    runtime_arguments: "runtimeArguments",
    package_arguments: "packageArguments",
    environment_variables: "environmentVariables",
});
record!(Transport { kind: "type", url: "url", headers: "headers" });
record!(Input {
    description: "description",
    is_required: "isRequired",
    is_secret: "isSecret",
    value: "value",
    default: "default",
    choices: "choices",
});
record!(KeyValueInput { name: "name" } rest: input);
record!(Argument { kind: "type", name: "name", variables: "variables" } rest: input);
