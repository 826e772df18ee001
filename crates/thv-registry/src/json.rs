//! The JSON dialect of the wire (compact, `<`, `>`, `&` and the two line separators escaped inside strings).
//!
//! [`compact`] rewrites text that came from elsewhere without decoding it, so that numbers, key order and
//! unknown members stay byte for byte; [`to_vec`] and [`to_vec_pretty`] write our own values. What the
//! documents mean lives in `format` and `view`.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// Rewrites valid JSON text in the compact dialect in one pass.
///
/// Whitespace between tokens goes; inside strings `<`, `>`, `&`, U+2028 and U+2029 become `\u` escapes;
/// every other byte is kept. Text that is not JSON gives some bytes, never a panic.
pub fn compact(raw: &str) -> Vec<u8> {
    let mut rest = raw.as_bytes();
    let mut out = Vec::with_capacity(rest.len() + rest.len() / 64);
    loop {
        let stop = rest
            .iter()
            .position(|b| matches!(b, b'"' | b' ' | b'\n' | b'\r' | b'\t'));
        let Some((run, tail)) = stop.and_then(|at| rest.split_at_checked(at)) else {
            out.extend_from_slice(rest);
            return out;
        };
        out.extend_from_slice(run);
        rest = if let Some(string) = tail.strip_prefix(b"\"") {
            out.push(b'"');
            compact_string(string, &mut out)
        } else {
            tail.trim_ascii_start()
        };
    }
}

/// Copies a string's inside and its closing quote; answers what follows the quote.
fn compact_string<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    loop {
        let stop = rest
            .iter()
            .position(|b| matches!(b, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xE2));
        let Some((run, tail)) = stop.and_then(|at| rest.split_at_checked(at)) else {
            out.extend_from_slice(rest);
            return &[];
        };
        out.extend_from_slice(run);
        let taken = match tail {
            [b'"', after @ ..] => {
                out.push(b'"');
                return after;
            }
            [b'\\', _, ..] => 2,
            other => match escape(other) {
                Some((text, length)) => {
                    out.extend_from_slice(text);
                    rest = tail.get(length..).unwrap_or_default();
                    continue;
                }
                None => 1,
            },
        };
        let (kept, after) = tail.split_at_checked(taken).unwrap_or((tail, &[]));
        out.extend_from_slice(kept);
        rest = after;
    }
}

/// The escape for the character that `bytes` starts with, and how many bytes it replaces.
fn escape(bytes: &[u8]) -> Option<(&'static [u8], usize)> {
    match bytes {
        [b'<', ..] => Some((b"\\u003c", 1)),
        [b'>', ..] => Some((b"\\u003e", 1)),
        [b'&', ..] => Some((b"\\u0026", 1)),
        [0xE2, 0x80, 0xA8, ..] => Some((b"\\u2028", 3)),
        [0xE2, 0x80, 0xA9, ..] => Some((b"\\u2029", 3)),
        _ => None,
    }
}

/// Replaces each `\u` escape of half a surrogate pair by that of U+FFFD, as the Go program reads it.
///
/// Programs that cut UTF-16 text in the middle of a pair write such escapes, and serde refuses them.
pub(crate) fn replace_lone_surrogates(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        out.push('\\');
        let pair = surrogate(after).is_some_and(|half| half < 0xDC00)
            && after
                .get(5..)
                .and_then(|tail| tail.strip_prefix('\\'))
                .and_then(surrogate)
                .is_some_and(|half| half >= 0xDC00);
        let length = if pair {
            11
        } else if surrogate(after).is_some() {
            out.push_str("ufffd");
            rest = after.get(5..).unwrap_or_default();
            continue;
        } else {
            after.chars().next().map_or(0, char::len_utf8)
        };
        let (kept, tail) = after.split_at_checked(length).unwrap_or((after, ""));
        out.push_str(kept);
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// The half of a pair that `escape` (an escape without its backslash) stands for.
fn surrogate(escape: &str) -> Option<u16> {
    let digits = escape.strip_prefix('u')?.get(..4)?;
    u16::from_str_radix(digits, 16)
        .ok()
        .filter(|unit| (0xD800..=0xDFFF).contains(unit))
}

/// Serialises a value compactly in the dialect, without a trailing newline.
///
/// # Errors
/// Only when the value's own `Serialize` fails.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    write(value, CompactFormatter)
}

/// Serialises a value indented by two spaces in the dialect, without a trailing newline.
///
/// # Errors
/// Only when the value's own `Serialize` fails.
pub fn to_vec_pretty<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    write(value, PrettyFormatter::new())
}

fn write<T: Serialize + ?Sized>(
    value: &T,
    layout: impl Formatter,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(256);
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut out,
        Escaping(layout),
    ))?;
    Ok(out)
}

/// A layout that escapes string contents as [`compact`] does.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment.as_bytes();
        loop {
            let stop = rest
                .iter()
                .position(|b| matches!(b, b'<' | b'>' | b'&' | 0xE2));
            let Some((run, tail)) = stop.and_then(|at| rest.split_at_checked(at)) else {
                return writer.write_all(rest);
            };
            writer.write_all(run)?;
            let (text, length) = escape(tail).unwrap_or((tail.get(..1).unwrap_or_default(), 1));
            writer.write_all(text)?;
            rest = tail.get(length..).unwrap_or_default();
        }
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn compact_drops_whitespace_between_tokens_only() {
        let raw = " { \"a b\" :\t[ 1 ,\r\n 2.50e+1 , \" x \\\" y \" ] , \"a b\":{} }\n";
        assert_eq!(
            text(compact(raw)),
            r#"{"a b":[1,2.50e+1," x \" y "],"a b":{}}"#
        );
    }

    #[test]
    fn compact_escapes_what_go_escapes_and_nothing_else() {
        let raw = "{\"<k>\":\"a&b \u{2028}\u{2029}\u{2026}\u{20ac} \\u003C \\\\<\"}";
        assert_eq!(
            text(compact(raw)),
            "{\"\\u003ck\\u003e\":\"a\\u0026b \\u2028\\u2029\u{2026}\u{20ac} \\u003C \\\\\\u003c\"}"
        );
    }

    #[test]
    fn to_vec_escapes_as_compact_does() {
        let value = json!({ "<k>": "a&b \u{2028}\u{2029}\u{2026} \"q\" \n\u{8}" });
        let expected =
            "{\"\\u003ck\\u003e\":\"a\\u0026b \\u2028\\u2029\u{2026} \\\"q\\\" \\n\\b\"}";
        assert_eq!(text(to_vec(&value).unwrap()), expected);
        assert_eq!(
            text(compact(&serde_json::to_string_pretty(&value).unwrap())),
            expected
        );
    }

    #[test]
    fn to_vec_pretty_indents_by_two_spaces() {
        let value = json!({ "a": [1, "<"], "b": {}, "c": [] });
        let expected = "{\n  \"a\": [\n    1,\n    \"\\u003c\"\n  ],\n  \"b\": {},\n  \"c\": []\n}";
        assert_eq!(text(to_vec_pretty(&value).unwrap()), expected);
    }

    #[test]
    fn halves_of_surrogate_pairs_are_replaced_and_pairs_stay() {
        let cases = [
            (r"\ud83d\ude00", r"\ud83d\ude00"),
            (r"cut \ud83d", r"cut \ufffd"),
            (r"\ude00\ud83d", r"\ufffd\ufffd"),
            (r"\ud83dA", r"\ufffdA"),
            (r"\\ud83d \u00e9 \", r"\\ud83d \u00e9 \"),
        ];
        for (raw, expected) in cases {
            assert_eq!(replace_lone_surrogates(raw), expected);
        }
    }

    /// Any JSON value, with strings that hold what the dialect treats specially.
    pub(crate) fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
            "[ \\\\\"<>&\u{2028}\u{2029}a-z\u{e9}\u{1f600}\n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[ <a-c\"]{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn compact_keeps_the_value_and_is_idempotent(value in any_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let once = text(compact(&pretty));
            prop_assert_eq!(serde_json::from_str::<Value>(&once).unwrap(), value.clone());
            prop_assert_eq!(&text(compact(&once)), &once);
            prop_assert_eq!(text(to_vec(&value).unwrap()), once);
        }

        #[test]
        fn compact_of_any_text_is_text(raw in "\\PC*|[ \"\\\\\\[{,:\u{2028}]*") {
            text(compact(&raw));
            replace_lone_surrogates(&raw);
        }
    }
}
