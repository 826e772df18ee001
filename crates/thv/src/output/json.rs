//! JSON for people and programs: compact JSON re-laid with two blanks of indentation, number
//! spellings, key order and escapes untouched. Making the JSON is the registry's work.

use serde::Serialize;

/// One level of indentation.
const INDENT: &[u8] = b"  ";

/// `value` indented by two blanks, with a newline at its end. The escapes are those of the Go
/// program, as everywhere else.
pub(crate) fn pretty<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    indent(&thv_registry::json::to_vec(value)?, 0, &mut text);
    text.push(b'\n');
    Ok(text)
}

/// Compact objects as one indented array with a newline at its end.
pub(crate) fn array<'a>(items: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut text = vec![b'['];
    let mut separator: &[u8] = b"\n";
    let mut empty = true;
    for item in items {
        empty = false;
        text.extend_from_slice(separator);
        text.extend_from_slice(INDENT);
        indent(item, 1, &mut text);
        separator = b",\n";
    }
    if !empty {
        text.push(b'\n');
    }
    text.extend_from_slice(b"]\n");
    text
}

/// Appends compact JSON, indented as if it stood `depth` levels deep.
pub(crate) fn indent(compact: &[u8], depth: usize, text: &mut Vec<u8>) {
    let mut depth = depth;
    let mut in_string = false;
    let mut escaped = false;
    let mut bytes = compact.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if in_string {
            text.push(byte);
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                text.push(byte);
            }
            b'{' | b'[' => {
                text.push(byte);
                // An empty object or array stays on its line.
                if let Some(close) = bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    text.push(close);
                } else {
                    depth += 1;
                    new_line(depth, text);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                new_line(depth, text);
                text.push(byte);
            }
            b',' => {
                text.push(byte);
                new_line(depth, text);
            }
            b':' => text.extend_from_slice(b": "),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            other => text.push(other),
        }
    }
}

fn new_line(depth: usize, text: &mut Vec<u8>) {
    text.push(b'\n');
    for _ in 0..depth {
        text.extend_from_slice(INDENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indented(compact: &str) -> String {
        let mut text = Vec::new();
        indent(compact.as_bytes(), 0, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn spelling_and_order_are_kept() {
        let compact = r#"{"b":1.0e2,"a":[],"c":{},"d":[1,{"x":"a,b:{\"\\"}],"e":"\u003c"}"#;
        assert_eq!(
            indented(compact),
            "{\n  \"b\": 1.0e2,\n  \"a\": [],\n  \"c\": {},\n  \"d\": [\n    1,\n    {\n      \
             \"x\": \"a,b:{\\\"\\\\\"\n    }\n  ],\n  \"e\": \"\\u003c\"\n}"
        );
    }

    #[test]
    fn an_array_of_nothing_is_two_brackets() {
        assert_eq!(array([]), b"[]\n");
        assert_eq!(
            array([&b"{\"a\":1}"[..], b"{}"]),
            b"[\n  {\n    \"a\": 1\n  },\n  {}\n]\n"
        );
    }

    #[test]
    fn indenting_twice_changes_nothing() {
        let once = indented(r#"{"a":[{"b":[1,2]},"]"]}"#);
        assert_eq!(indented(&once), once);
    }
}
