//! Reading JSON that may be of the wrong kind: a member that does not fit is absent, never an error.
//!
//! [`FromJson`] says which kinds of JSON a type accepts, [`Pick`] is the one serde visitor over it, and the
//! `record!` macro fills structs member by member. Only broken syntax (or nesting deeper than serde allows)
//! is an error here; which documents exist is said by the neighbouring modules.

mod kinds;

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

pub(crate) use self::kinds::{Raw, RawList, Skip};

/// A type that can be made from some kinds of JSON; the other kinds give `None`.
pub(crate) trait FromJson<'de>: Sized {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        deserializer.deserialize_any(Pick::new())
    }

    fn from_null() -> Option<Self> {
        None
    }

    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_bool(_: bool) -> Option<Self> {
        None
    }

    fn from_u64(_: u64) -> Option<Self> {
        None
    }

    fn from_i64(_: i64) -> Option<Self> {
        None
    }

    fn from_f64(_: f64) -> Option<Self> {
        None
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Reads a `T` or `None` from whatever JSON comes next.
pub(crate) struct Pick<T>(PhantomData<T>);

impl<T> Pick<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: FromJson<'de>> DeserializeSeed<'de> for Pick<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        T::read(deserializer)
    }
}

impl<'de, T: FromJson<'de>> Visitor<'de> for Pick<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::from_text(text))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(T::from_bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(T::from_u64(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(T::from_i64(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(T::from_f64(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(T::from_null())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        T::from_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::from_map(map)
    }
}

/// Reads a `T` from JSON text; `None` when the text holds another kind.
///
/// # Errors
/// Broken syntax, trailing characters, nesting deeper than serde allows.
pub(crate) fn pick<'de, T: FromJson<'de>>(text: &'de str) -> Result<Option<T>, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Pick::<T>::new().deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Whether a document's key means the member `name`.
///
/// Letter case is ignored (as the Go program's decoder does), and so are underscores inside a name, which
/// covers the snake case of the 2025-07 schema.
pub(crate) fn same_key(key: &str, name: &str) -> bool {
    if key.eq_ignore_ascii_case(name) {
        return true;
    }
    // Nearly every comparison ends here.
    if !key.contains('_') && !name.contains('_') || key.starts_with('_') != name.starts_with('_') {
        return false;
    }
    letters(key).eq(letters(name))
}

fn letters(key: &str) -> impl Iterator<Item = u8> {
    key.bytes()
        .filter(|b| *b != b'_')
        .map(|b| b.to_ascii_lowercase())
}

/// The value that belongs to a key just read.
pub(crate) trait Next<'de> {
    type Error;

    fn read<T: FromJson<'de>>(self) -> Result<Option<T>, Self::Error>;
}

/// The next value of a map that is being streamed: an error in it is the map's.
pub(crate) struct Streamed<'a, A>(pub(crate) &'a mut A);

impl<'de, A: MapAccess<'de>> Next<'de> for Streamed<'_, A> {
    type Error = A::Error;

    fn read<T: FromJson<'de>>(self) -> Result<Option<T>, A::Error> {
        self.0.next_value_seed(Pick::<T>::new())
    }
}

/// A value cut out beforehand: an error in it loses this value only.
pub(crate) struct Isolated<'a>(pub(crate) &'a RawValue);

impl<'de> Next<'de> for Isolated<'de> {
    type Error = std::convert::Infallible;

    fn read<T: FromJson<'de>>(self) -> Result<Option<T>, Self::Error> {
        Ok(pick(self.0.get()).ok().flatten())
    }
}

/// A struct filled member by member; a repeated key overwrites.
pub(crate) trait Record<'de>: Default {
    fn assign<N: Next<'de>>(&mut self, key: &str, next: N) -> Result<(), N::Error>;
}

/// Reads a record from a map in one pass.
pub(crate) fn read_record<'de, R: Record<'de>, A: MapAccess<'de>>(
    mut map: A,
) -> Result<Option<R>, A::Error> {
    let mut record = R::default();
    while let Some(key) = map.next_key::<Key<'de>>()? {
        record.assign(&key.0, Streamed(&mut map))?;
    }
    Ok(Some(record))
}

/// Reads a record from a map, losing only those members whose text cannot be decoded.
pub(crate) fn read_record_isolated<'de, R: Record<'de>, A: MapAccess<'de>>(
    mut map: A,
) -> Result<Option<R>, A::Error> {
    let mut record = R::default();
    while let Some(key) = map.next_key::<Key<'de>>()? {
        let Ok(()) = record.assign(&key.0, Isolated(map.next_value::<&'de RawValue>()?));
    }
    Ok(Some(record))
}

/// [`read_record_isolated`] for text that is known to be an object.
pub(crate) fn isolated_record<'de, R: Record<'de>>(text: &'de str) -> Result<R, serde_json::Error> {
    struct Members<R>(PhantomData<R>);
    impl<'de, R: Record<'de>> Visitor<'de> for Members<R> {
        type Value = R;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<R, A::Error> {
            read_record_isolated(map).map(Option::unwrap_or_default)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Members(PhantomData))
}

/// A map key, borrowed when it has no escapes.
pub(crate) struct Key<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// Reads a `FromJson` type for serde; another kind of JSON is an error that names what was expected.
pub(crate) fn deserialize<'de, T: FromJson<'de>, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
) -> Result<T, D::Error> {
    Pick::<T>::new()
        .deserialize(deserializer)?
        .ok_or_else(|| D::Error::custom(format_args!("expected {expected}")))
}

/// Makes a struct with `Default` readable: `record!(Type { field: "jsonKey", … } rest: base)`.
///
/// `rest` names the field (itself a record) that gets the keys not listed. `record!(serde Type { … })` also
/// implements serde's `Deserialize`; `record!('a Type<'a> { … })` is for types that borrow from the text.
macro_rules! record {
    (@rest $self:ident, $key:ident, $next:ident) => {
        $next.read::<$crate::format::lenient::Skip>().map(drop)
    };
    (@rest $self:ident, $key:ident, $next:ident, $rest:ident) => {
        $crate::format::lenient::Record::assign(&mut $self.$rest, $key, $next)
    };
    ($de:lifetime $type:ty { $($field:ident: $json:literal),* $(,)? } $(rest: $rest:ident)?) => {
        impl<$de> $crate::format::lenient::Record<$de> for $type {
            fn assign<N: $crate::format::lenient::Next<$de>>(&mut self, key: &str, next: N) -> Result<(), N::Error> {
                $(
                    if $crate::format::lenient::same_key(key, $json) {
                        self.$field = next.read()?.unwrap_or_default();
                        return Ok(());
                    }
                )*
                $crate::format::lenient::record!(@rest self, key, next $(, $rest)?)
            }
        }

        impl<$de> $crate::format::lenient::FromJson<$de> for $type {
            fn from_map<A: serde::de::MapAccess<$de>>(map: A) -> Result<Option<Self>, A::Error> {
                $crate::format::lenient::read_record(map)
            }
        }
    };
    (serde $type:ty { $($field:ident: $json:literal),* $(,)? } $(rest: $rest:ident)?) => {
        $crate::format::lenient::record!('de $type { $($field: $json),* } $(rest: $rest)?);

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::format::lenient::deserialize(deserializer, "an object")
            }
        }
    };
    ($type:ty { $($field:ident: $json:literal),* $(,)? } $(rest: $rest:ident)?) => {
        $crate::format::lenient::record!('de $type { $($field: $json),* } $(rest: $rest)?);
    };
}
pub(crate) use record;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_whatever_their_case_and_inner_underscores() {
        for (key, name) in [
            ("registryType", "registryType"),
            ("registry_type", "registryType"),
            ("REGISTRYTYPE", "registryType"),
            ("next_cursor", "nextCursor"),
            ("lastUpdated", "last_updated"),
            ("_Meta", "_meta"),
        ] {
            assert!(same_key(key, name), "{key} {name}");
        }
        for (key, name) in [
            ("meta", "_meta"),
            ("_meta", "meta"),
            ("url", "uri"),
            ("names", "name"),
            ("", "name"),
        ] {
            assert!(!same_key(key, name), "{key} {name}");
        }
    }

    #[test]
    fn each_kind_of_json_is_taken_only_by_types_that_want_it() {
        assert_eq!(pick::<String>("\"x\"").unwrap(), Some("x".to_owned()));
        for other in ["1", "-1", "1.5", "true", "null", "[1,[2]]", "{\"a\":{}}"] {
            assert_eq!(pick::<String>(other).unwrap(), None, "{other}");
            assert_eq!(
                pick::<Vec<String>>(other).unwrap(),
                other.starts_with('[').then(Vec::new),
                "{other}"
            );
        }
        assert_eq!(pick::<i64>("2.9").unwrap(), Some(2));
        assert_eq!(pick::<i64>("1e300").unwrap(), None);
        assert_eq!(pick::<i64>("18446744073709551615").unwrap(), None);
        assert_eq!(pick::<u16>("70000").unwrap(), None);
        assert_eq!(pick::<u16>("0").unwrap(), None);
        assert_eq!(pick::<Option<bool>>("false").unwrap(), Some(Some(false)));
        assert!(pick::<bool>("true false").is_err());
    }
}
