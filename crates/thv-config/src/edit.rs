//! Changing single keys in YAML text and leaving every other byte alone.

/// A value we write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// A string.
    Text(String),
    /// A boolean.
    Flag(bool),
    /// A port.
    Number(u16),
    /// A list of strings.
    List(Vec<String>),
}

impl Scalar {
    /// Whether the value says no more than a missing key does.
    pub(crate) fn is_neutral(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Flag(flag) => !flag,
            Self::Number(number) => *number == 0,
            Self::List(items) => items.is_empty(),
        }
    }
}

/// One key that gets a value, or goes away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The key's path from the root.
    pub(crate) path: &'static [&'static str],
    /// The new value; `None` removes the key.
    pub(crate) value: Option<Scalar>,
}

impl Change {
    /// Removes the key and all that is below it.
    pub(crate) fn remove(path: &'static [&'static str]) -> Self {
        Self { path, value: None }
    }
}

pub(crate) fn apply(_text: &str, _changes: &[Change]) -> Option<String> {
    None
}
