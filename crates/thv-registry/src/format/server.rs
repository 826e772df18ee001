//! One `server.json`, read leniently into the members that lookups, search and the views need.
//!
//! Any year's schema is accepted: unknown members are skipped, members of the wrong kind are absent, and the snake
//! case of 2025-07 is understood. The original text stays with the caller, who keeps what is not read here.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{
    LifeCycle,
    lenient::{FromJson, Raw, Record, isolated_record, pick, record},
    publisher::Publisher,
};
pub use super::{
    RowError,
    item::{ExtensionItem, read_extension_item},
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
    if server.name.trim().is_empty() {
        Err(RowError::NoName)
    } else {
        Ok(server)
    }
}

/// Reads any row that is a record and owns what it reads.
pub(crate) fn read_row<R>(raw: &RawValue) -> Result<R, RowError>
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
record!(Repository {
    url: "url",
    source: "source"
});
record!(Package {
    registry_type: "registryType",
    identifier: "identifier",
    version: "version",
    transport: "transport",
    runtime_arguments: "runtimeArguments",
    package_arguments: "packageArguments",
    environment_variables: "environmentVariables",
});
record!(Transport {
    kind: "type",
    url: "url",
    headers: "headers"
});
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ServerJson, RowError> {
        read_server(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn members_of_the_wrong_kind_are_absent_and_unknown_ones_are_skipped() {
        let server = read(
            r#"{"name":"a/b","title":7,"description":["x"],"version":null,"repository":"nowhere","future":{"deep":[1]},
                "packages":[3,{"registryType":"oci","identifier":"i","transport":"stdio","environmentVariables":[
                    {"name":"A","isRequired":"yes","default":5},{"name":"B","isSecret":true}]}],"remotes":{}}"#,
        )
        .unwrap();
        let expected = ServerJson {
            name: "a/b".to_owned(),
            packages: vec![Package {
                registry_type: "oci".to_owned(),
                identifier: "i".to_owned(),
                environment_variables: vec![
                    KeyValueInput {
                        name: "A".to_owned(),
                        ..KeyValueInput::default()
                    },
                    KeyValueInput {
                        name: "B".to_owned(),
                        input: Input {
                            is_secret: true,
                            ..Input::default()
                        },
                    },
                ],
                ..Package::default()
            }],
            ..ServerJson::default()
        };
        assert_eq!(server, expected);
    }

    #[test]
    fn the_snake_case_of_2025_07_is_understood() {
        let server = read(
            r#"{"name":"a/b","status":"deprecated","website_url":"w","packages":[{"registry_type":"oci","identifier":"i",
                "environment_variables":[{"name":"A","is_required":true}]}]}"#,
        )
        .unwrap();
        let package = server.packages.first().unwrap();
        assert!(package.is_image());
        assert!(
            package
                .environment_variables
                .first()
                .unwrap()
                .input
                .is_required
        );
        assert_eq!(
            (server.status, server.website_url.as_deref()),
            (Some(LifeCycle::Deprecated), Some("w"))
        );
    }

    #[test]
    fn a_repeated_member_counts_last() {
        assert_eq!(
            read(r#"{"name":"a/b","name":"c/d","Name":"e/f"}"#)
                .unwrap()
                .name,
            "e/f"
        );
    }

    #[test]
    fn only_a_usable_name_is_needed() {
        for text in [
            r#"{"description":"d"}"#,
            r#"{"name":""}"#,
            r#"{"name":" "}"#,
            r#"{"name":5}"#,
        ] {
            assert_eq!(read(text), Err(RowError::NoName), "{text}");
        }
        for text in ["5", "null", "[]", "\"a/b\""] {
            assert_eq!(read(text), Err(RowError::NotAnObject), "{text}");
        }
    }

    #[test]
    fn text_cut_inside_a_surrogate_pair_is_kept_with_a_replacement() {
        let server = read(r#"{"name":"a/b","description":"cut \ud83d"}"#).unwrap();
        assert_eq!(server.description.as_deref(), Some("cut \u{fffd}"));
    }

    #[test]
    fn a_member_that_serde_refuses_is_lost_alone() {
        let deep = "[".repeat(4000) + &"]".repeat(4000);
        let text = format!(
            r#"{{"name":"a/b","title":1e999,"packages":[],"x":{deep},"_meta":{{
                "io.modelcontextprotocol.registry/publisher-provided":{{"io.github.stacklok":{{"k":{{
                    "tags":["one"],"custom_metadata":{{"d":{deep}}},"metadata":{{"stars":1e999}},"overview":"o"}}}}}}}}}}"#
        );
        let server = read(&text).unwrap();
        let extension = server.publisher.extension("k").unwrap();
        assert_eq!(extension.tags, ["one"]);
        assert_eq!(extension.overview, "o");
        assert!(extension.custom_metadata.is_empty());
        assert_eq!(extension.metadata, None);
        assert_eq!(server.title, None);
    }
}
