//! Foreign formats: what files, URLs and Registry APIs send us, read leniently.
//!
//! [`upstream`] reads whole registry documents, [`page`] the answers of a Registry API, [`server`] one
//! `server.json`, [`item`] one skill or plugin. Reading never changes or drops the original text; what clients of
//! `v1beta` see of it is decided in [`crate::view`].

pub mod item;
pub(crate) mod lenient;
pub mod page;
pub mod publisher;
pub mod server;
pub mod upstream;

#[cfg(test)]
mod tests;

/// Why bytes are not the registry data that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The outdated `ToolHive` format; `thv registry convert` migrates it.
    #[error("the document is in the legacy ToolHive registry format")]
    Legacy,
    /// A document of the right kind in which no list of servers, skills or plugins can be found.
    #[error("the registry contains no servers, skills, or plugins")]
    Empty,
    /// Not JSON at all, or broken JSON.
    #[error("invalid JSON: {cause}")]
    NotJson {
        /// What the parser met, with line and column where it knows them.
        cause: String,
    },
    /// JSON, but of another kind.
    #[error("not a registry: {cause}")]
    NotRegistry {
        /// What was there instead, with a hint where one is known.
        cause: String,
    },
}

/// Why one server, skill or plugin cannot be listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The row is a number, a string, a list, …
    #[error("the entry is not an object")]
    NotAnObject,
    /// Without a name nobody can ask for the entry.
    #[error("the entry has no usable name")]
    NoName,
    /// The text cannot be decoded, not even member by member.
    #[error("the entry cannot be decoded")]
    Unusable,
}

/// What a registry says about an entry's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LifeCycle {
    /// In use.
    #[default]
    Active,
    /// Still served, not recommended.
    Deprecated,
    /// Withdrawn (spam, malware, …): must not be listed.
    Deleted,
}

impl LifeCycle {
    /// The wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Deleted => "deleted",
        }
    }
}

impl lenient::FromJson<'_> for LifeCycle {
    fn from_text(text: &str) -> Option<Self> {
        [Self::Active, Self::Deprecated, Self::Deleted]
            .into_iter()
            .find(|state| text.eq_ignore_ascii_case(state.as_str()))
    }
}

/// The text in `bytes`, without the byte order mark that editors on Windows like to leave.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, FormatError> {
    std::str::from_utf8(without_mark(bytes)).map_err(|error| FormatError::NotJson {
        cause: format!("the text is not UTF-8: {error}"),
    })
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// The error for text that the parser refused; says so when it looks like a web page.
fn not_json(bytes: &[u8], error: &serde_json::Error) -> FormatError {
    let cause = match without_mark(bytes).trim_ascii_start().first() {
        None => "the text is empty".to_owned(),
        Some(b'<') => "the text is HTML or XML".to_owned(),
        Some(_) => error.to_string(),
    };
    FormatError::NotJson { cause }
}
