//! JSON bodies in the Go program's dialect: compact, `<`, `>` and `&` escaped, one line feed at
//! the end. Bodies that are kept rendered come from the catalog and do not pass here.

use serde::Serialize;

/// Media type of every JSON body.
pub(crate) const MEDIA_TYPE: &str = "application/json";

/// Renders `value` with the trailing line feed.
///
/// Only types of this crate are passed, whose maps have text keys; should one ever fail to
/// render, an empty object is sent rather than half a body.
pub(crate) fn line<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut body = thv_registry::json::to_vec(value).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be rendered");
        b"{}".to_vec()
    });
    body.push(b'\n');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_characters_are_escaped_and_a_line_feed_ends_the_body() {
        assert_eq!(
            line(&serde_json::json!({"message": "a<b>&"})),
            b"{\"message\":\"a\\u003cb\\u003e\\u0026\"}\n"
        );
    }
}
