//! One skill or plugin of the `dev.toolhive` extensions, read as far as lookups and search need it.
//!
//! The original text stays with the caller and is what clients get.

use serde_json::value::RawValue;

use super::{RowError, lenient::record, server::read_row};

/// What is read of a skill or plugin. Strings are empty when absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExtensionItem {
    /// Who owns the name, reverse-DNS as a rule.
    pub namespace: String,
    /// Never empty.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// A version or a commit.
    pub version: String,
    /// `active`, `deprecated` or `archived`; verbatim.
    pub status: String,
    /// For people.
    pub title: String,
}

/// Reads one skill or plugin, as leniently as [`super::server::read_server`].
///
/// # Errors
/// [`RowError::NotAnObject`], and [`RowError::NoName`] when `name` is absent or blank.
pub fn read_extension_item(raw: &RawValue) -> Result<ExtensionItem, RowError> {
    let item: ExtensionItem = read_row(raw)?;
    if item.name.trim().is_empty() {
        Err(RowError::NoName)
    } else {
        Ok(item)
    }
}

record!(ExtensionItem {
    namespace: "namespace",
    name: "name",
    description: "description",
    version: "version",
    status: "status",
    title: "title",
});
