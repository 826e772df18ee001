//! JSON objects from strangers: exactly one object, no member twice.
//!
//! A document that says two things under one name is refused, as two readers of it could disagree. Members nobody asks for are
//! not looked into; a fault never quotes a value, which could be a token.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use thv_http::Reply;

/// The members of one object, values unread.
#[derive(Debug)]
pub(crate) struct Members(BTreeMap<String, Box<RawValue>>);

/// Why text is not the object we can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum JsonFault {
    /// Not JSON at all, or JSON and more.
    #[error("it is not JSON")]
    NotJson,
    /// JSON of another kind.
    #[error("it is JSON, but not an object")]
    NotObject,
    /// A member appears twice.
    #[error("a member of it appears twice, or has an unreadable name")]
    Ambiguous,
    /// A member has another type.
    #[error("its `{member}` is not {expected}")]
    Type {
        /// The member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl Members {
    /// Reads the body of an answer that says it is JSON; otherwise says in words what stands against that.
    pub(crate) fn of(reply: &Reply) -> Result<Self, String> {
        if !reply.is_json() {
            return Err("its content type is not application/json".to_owned());
        }
        Self::parse(&reply.body).map_err(|fault| fault.to_string())
    }

    /// Reads a whole body.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, JsonFault> {
        let whole: &RawValue = serde_json::from_slice(bytes).map_err(|_| JsonFault::NotJson)?;
        if !whole.get().starts_with('{') {
            return Err(JsonFault::NotObject);
        }
        serde_json::from_str(whole.get()).map_err(|_| JsonFault::Ambiguous)
    }

    /// The JSON text of a member, `None` when it is absent or `null`.
    pub(crate) fn raw(&self, member: &str) -> Option<&str> {
        let text = self.0.get(member)?.get();
        (text != "null").then_some(text)
    }

    /// A member that is text, if anything.
    pub(crate) fn text(&self, member: &'static str) -> Result<Option<String>, JsonFault> {
        self.typed(member, "text")
    }

    /// A member that is a list of texts, if anything.
    pub(crate) fn texts(&self, member: &'static str) -> Result<Option<Vec<String>>, JsonFault> {
        self.typed(member, "a list of texts")
    }

    /// A member that is true or false, if anything.
    pub(crate) fn boolean(&self, member: &'static str) -> Result<Option<bool>, JsonFault> {
        self.typed(member, "true or false")
    }

    fn typed<'a, T: Deserialize<'a>>(
        &'a self,
        member: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, JsonFault> {
        self.raw(member)
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| JsonFault::Type { member, expected })
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members
                        .insert(name, map.next_value::<Box<RawValue>>()?)
                        .is_some()
                    {
                        return Err(A::Error::custom(JsonFault::Ambiguous));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_unambiguous_object_is_read() {
        for (text, fault) in [
            ("", JsonFault::NotJson),
            ("<html>", JsonFault::NotJson),
            ("{", JsonFault::NotJson),
            ("{} {}", JsonFault::NotJson),
            ("{\"a\":1},", JsonFault::NotJson),
            ("[]", JsonFault::NotObject),
            ("null", JsonFault::NotObject),
            ("\"{}\"", JsonFault::NotObject),
            ("{\"a\":1,\"a\":1}", JsonFault::Ambiguous),
            ("{\"a\":1,\"\\u0061\":1}", JsonFault::Ambiguous),
        ] {
            assert_eq!(
                Members::parse(text.as_bytes()).map(|_| ()),
                Err(fault),
                "{text}"
            );
        }
        assert_eq!(Members::parse(b"\xff").map(|_| ()), Err(JsonFault::NotJson));
        assert!(Members::parse(b" {\"a\":{\"b\":1,\"b\":2}} ").is_ok());
    }

    #[test]
    fn members_are_read_as_what_they_should_be() {
        let members =
            Members::parse(br#"{"a":"x","b":null,"c":["y"],"d":true,"e":1e999}"#).expect("object");
        assert_eq!(members.text("a"), Ok(Some("x".to_owned())));
        assert_eq!(members.text("b"), Ok(None));
        assert_eq!(members.text("z"), Ok(None));
        assert_eq!(members.texts("c"), Ok(Some(vec!["y".to_owned()])));
        assert_eq!(members.boolean("d"), Ok(Some(true)));
        assert_eq!(members.raw("e"), Some("1e999"));
        assert_eq!(
            members.text("c"),
            Err(JsonFault::Type {
                member: "c",
                expected: "text"
            })
        );
    }
}
