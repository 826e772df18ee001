//! Which kinds of JSON the plain types accept: text, numbers, lists, maps, trees, and text cut out undecoded.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess};
use serde_json::{Map, Value, value::RawValue};

use super::{FromJson, Key, Pick};

/// A value nobody wants.
pub(crate) struct Skip;

/// A value's text, cut out and not decoded.
#[derive(Clone, Copy)]
pub(crate) struct Raw<'a>(pub(crate) &'a RawValue);

/// A list's elements, cut out and not decoded; `null` is an empty list, as the Go program writes one.
#[derive(Default)]
pub(crate) struct RawList<'a>(pub(crate) Vec<&'a RawValue>);

impl<'de> FromJson<'de> for Skip {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| None)
    }
}

impl Raw<'_> {
    /// Whether the text is an object.
    pub(crate) fn is_object(self) -> bool {
        self.0.get().starts_with('{')
    }

    /// Whether the text is a list.
    pub(crate) fn is_list(self) -> bool {
        self.0.get().starts_with('[')
    }
}

impl<'de> FromJson<'de> for Raw<'de> {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(|raw| Some(Self(raw)))
    }
}

impl<'de> FromJson<'de> for RawList<'de> {
    fn from_null() -> Option<Self> {
        Some(Self::default())
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut list = Vec::new();
        while let Some(raw) = seq.next_element()? {
            list.push(raw);
        }
        Ok(Some(Self(list)))
    }
}

impl FromJson<'_> for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl FromJson<'_> for bool {
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl FromJson<'_> for i64 {
    fn from_u64(value: u64) -> Option<Self> {
        Self::try_from(value).ok()
    }

    fn from_i64(value: i64) -> Option<Self> {
        Some(value)
    }

    fn from_f64(value: f64) -> Option<Self> {
        /// The largest integer below which every integer has its own `f64`.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the range is checked and the fraction is meant to go"
        )]
        let whole = (value.abs() <= EXACT).then_some(value as Self);
        whole
    }
}

/// A port: zero, as everywhere in these formats, means "none".
impl FromJson<'_> for u16 {
    fn from_u64(value: u64) -> Option<Self> {
        Self::try_from(value).ok().filter(|port| *port != 0)
    }
}

impl<'de, T: FromJson<'de>> FromJson<'de> for Option<T> {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Option<Self>, D::Error> {
        T::read(deserializer).map(|value| value.map(Some))
    }
}

/// A list; elements of another kind are left out.
impl<'de, T: FromJson<'de>> FromJson<'de> for Vec<T> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut list = Self::new();
        while let Some(element) = seq.next_element_seed(Pick::<T>::new())? {
            list.extend(element);
        }
        Ok(Some(list))
    }
}

impl<'de, T: FromJson<'de>> FromJson<'de> for BTreeMap<String, T> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut found = Self::new();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            if let Some(value) = map.next_value_seed(Pick::<T>::new())? {
                found.insert(key.0.into_owned(), value);
            }
        }
        Ok(Some(found))
    }
}

impl<'de> FromJson<'de> for Map<String, Value> {
    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut found = Self::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            found.insert(key, value);
        }
        Ok(Some(found))
    }
}

impl<'de> FromJson<'de> for Value {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.into())
    }

    fn from_bool(value: bool) -> Option<Self> {
        Some(value.into())
    }

    fn from_u64(value: u64) -> Option<Self> {
        Some(value.into())
    }

    fn from_i64(value: i64) -> Option<Self> {
        Some(value.into())
    }

    fn from_f64(value: f64) -> Option<Self> {
        Some(value.into())
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element()? {
            list.push(element);
        }
        Ok(Some(Self::Array(list)))
    }

    fn from_map<A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(Map::from_map(map)?.map(Self::Object))
    }
}
