//! Reading a request's JSON as forgivingly as the Go program does: unknown members are ignored,
//! member names match in any letter case, of several members with one name the last counts,
//! `null` is the same as absent, and bytes behind the first value are not looked at. The content
//! type of a request is never asked for.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A JSON value whose objects keep every member in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Value>),
    Object(Object),
}

/// The members of a JSON object, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object(Vec<(String, Value)>);

/// The body is no JSON, or a member has another type than asked for. The answer is the same for
/// every cause, so none is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request body is not the JSON expected here")]
pub(crate) struct Unreadable;

/// Reads the first JSON value of `body` as an object; `null` reads as an empty one.
pub(crate) fn read_object(body: &[u8]) -> Result<Object, Unreadable> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    match values.next() {
        Some(Ok(Value::Object(object))) => Ok(object),
        Some(Ok(Value::Null)) => Ok(Object::default()),
        _ => Err(Unreadable),
    }
}

// === impl Object ===

impl Object {
    fn last(&self, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .rev()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .filter(|value| **value != Value::Null)
    }

    /// The text member `name`.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Unreadable> {
        match self.last(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Unreadable),
        }
    }

    /// The Boolean member `name`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Unreadable> {
        match self.last(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(Unreadable),
        }
    }

    /// The object member `name`.
    pub(crate) fn object(&self, name: &str) -> Result<Option<&Object>, Unreadable> {
        match self.last(name) {
            None => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(Unreadable),
        }
    }

    /// The member `name`, a list of texts.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, Unreadable> {
        match self.last(name) {
            None => Ok(None),
            Some(Value::List(items)) => items
                .iter()
                .map(|item| match item {
                    Value::Text(text) => Ok(text.as_str()),
                    Value::Null => Ok(""),
                    _ => Err(Unreadable),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(Unreadable),
        }
    }
}

// === impl Value ===

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_entry()? {
            members.push(member);
        }
        Ok(Value::Object(Object(members)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Object {
        read_object(text.as_bytes()).unwrap()
    }

    #[test]
    fn unknown_members_are_ignored() {
        assert_eq!(
            read(r#"{"other":{"x":[1]},"url":"u"}"#).text("url"),
            Ok(Some("u"))
        );
    }

    #[test]
    fn names_match_in_any_case_and_the_last_member_wins() {
        let object = read(r#"{"url":"first","URL":"second","Url":"third"}"#);
        assert_eq!(object.text("url"), Ok(Some("third")));
    }

    #[test]
    fn a_later_null_takes_an_earlier_value_back() {
        assert_eq!(read(r#"{"url":"u","url":null}"#).text("url"), Ok(None));
    }

    #[test]
    fn bytes_behind_the_first_value_are_not_looked_at() {
        assert_eq!(read(r#"{"url":"u"} trailing }"#).text("url"), Ok(Some("u")));
    }

    #[test]
    fn null_is_an_empty_object_and_other_values_are_refused() {
        assert_eq!(read("null"), Object::default());
        for body in ["", " ", "[]", "\"x\"", "7", "{", "{\"a\":}", "true"] {
            assert_eq!(read_object(body.as_bytes()), Err(Unreadable), "{body:?}");
        }
    }

    #[test]
    fn a_member_of_another_type_is_refused() {
        let object = read(r#"{"url":5,"allow_private_ip":"yes","auth":[],"scopes":[1]}"#);
        assert_eq!(object.text("url"), Err(Unreadable));
        assert_eq!(object.flag("allow_private_ip"), Err(Unreadable));
        assert_eq!(object.object("auth"), Err(Unreadable));
        assert_eq!(object.texts("scopes"), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = read_object(&body);
        }

        #[test]
        fn what_is_written_is_read(url in "[ -~]{0,40}", flag in any::<bool>()) {
            let body = serde_json::json!({"Api_URL": url, "ALLOW_private_ip": flag}).to_string();
            let object = read_object(body.as_bytes()).unwrap();
            prop_assert_eq!(object.text("api_url").unwrap(), Some(url.as_str()));
            prop_assert_eq!(object.flag("allow_private_ip").unwrap(), Some(flag));
        }
    }
}
