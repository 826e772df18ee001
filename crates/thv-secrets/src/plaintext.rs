//! The plain content of the secrets file: JSON, `{"secrets":{"name":"value"}}`.
//!
//! Reading refuses what it does not understand: to write such a file again would lose part of it.
//! Buffers are sized before they are filled, so that no outgrown copy of a secret stays in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeStruct as _, Serializer};
use zeroize::Zeroizing;

use crate::store::SecretMap;

/// Reads the content. The error says what is wrong without quoting any of it.
pub(crate) fn parse(plaintext: &[u8]) -> Result<SecretMap, String> {
    let content: Content = serde_json::from_slice(plaintext).map_err(|error| {
        format!(
            "its content is not what this program writes, or comes from a newer version (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    Ok(content
        .secrets
        .unwrap_or_default()
        .into_iter()
        .map(|(name, Value(value))| (name, value))
        .collect())
}

/// Writes the content.
pub(crate) fn render(secrets: &SecretMap) -> Result<Zeroizing<Vec<u8>>, String> {
    let content = Rendered(secrets);
    let mut length = Length(0);
    serde_json::to_writer(&mut length, &content).map_err(|error| error.to_string())?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, &content).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    secrets: Option<BTreeMap<String, Value>>,
}

struct Value(SecretString);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Value;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value(text.into()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

struct Rendered<'a>(&'a SecretMap);

impl Serialize for Rendered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut content = serializer.serialize_struct("Content", 1)?;
        content.serialize_field("secrets", &RenderedMap(self.0))?;
        content.end()
    }
}

struct RenderedMap<'a>(&'a SecretMap);

impl Serialize for RenderedMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0.entries() {
            map.serialize_entry(name, value.expose_secret())?;
        }
        map.end()
    }
}

/// Counts bytes and keeps none.
struct Length(usize);

impl io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::SecretName;
    use proptest::prelude::*;

    #[test]
    fn the_content_is_written_as_the_go_program_reads_it() {
        let mut map = SecretMap::default();
        map.set(&SecretName::user("a").unwrap(), "b".into());
        let bytes = render(&map).unwrap();
        assert_eq!(bytes.as_slice(), br#"{"secrets":{"a":"b"}}"#);
        assert_eq!(bytes.capacity(), bytes.len());
    }

    #[test]
    fn nothing_and_null_are_no_secrets() {
        for text in [r"{}", r#"{"secrets":null}"#, r#"{"secrets":{}}"#] {
            assert!(parse(text.as_bytes()).unwrap().is_empty(), "{text}");
        }
    }

    #[test]
    fn case_89_content_of_a_newer_version_is_refused_and_not_quoted() {
        for text in [
            r#"{"secrets":{"a":"canary"},"version":2}"#,
            r#"{"secrets":{"a":{"value":"canary"}}}"#,
            r#"{"secrets":{"a":12}}"#,
            r#"["canary"]"#,
            r#"{"secrets":{"a":"canary"}} canary"#,
            "",
        ] {
            let cause = parse(text.as_bytes()).unwrap_err();
            assert!(!cause.contains("canary"), "{cause}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(secrets in proptest::collection::btree_map(".{1,12}", ".{0,40}", 0..8)) {
            let map: SecretMap = secrets
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect();
            prop_assert!(parse(&render(&map).unwrap()).unwrap().holds_the_same_as(&map));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
