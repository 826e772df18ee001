//! What the routes read from a request's head: the segments of the path as they were sent, the
//! query, and the few headers that shape an answer. Names are decoded exactly once, here.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Head(Parts);

/// A path segment that is no percent-encoded UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path holds a broken percent escape")]
pub(crate) struct BadEscape;

// === impl Head ===

impl Head {
    /// The path's segment at `index`, still encoded; the first one behind the leading slash has
    /// index 0.
    pub(crate) fn raw_segment(&self, index: usize) -> &str {
        let path = self.0.uri.path();
        let mut slashes = path
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'/')
            .map(|(at, _)| at);
        let Some(start) = slashes.nth(index) else {
            return "";
        };
        let end = slashes.next().unwrap_or(path.len());
        path.get(start + 1..end).unwrap_or_default()
    }

    /// The path's segment at `index`, decoded once.
    pub(crate) fn segment(&self, index: usize) -> Result<Cow<'_, str>, BadEscape> {
        decode(self.raw_segment(index))
    }

    /// The first value of the query parameter `name`, decoded.
    pub(crate) fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query_value(self.0.uri.query()?, name)
    }

    /// A request's head and its body, which the edge has collected before.
    pub(crate) async fn with_body(request: Request) -> (Self, Bytes) {
        let (head, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(_) => Bytes::new(),
        };
        (Self(head), body)
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }
}

impl<S: Send + Sync> FromRequest<S> for Head {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request.into_parts().0))
    }
}

/// Whether the client asked for JSON by name. `*/*`, which most clients send unasked, does not
/// count: their errors stay text.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("application/json"))
}

fn decode(segment: &str) -> Result<Cow<'_, str>, BadEscape> {
    if !segment.bytes().any(|byte| byte == b'%') {
        return Ok(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let high = bytes.next().and_then(hex_digit).ok_or(BadEscape)?;
            let low = bytes.next().and_then(hex_digit).ok_or(BadEscape)?;
            high << 4 | low
        } else {
            byte
        });
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| BadEscape)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn head(uri: &str) -> Head {
        Head(http::Request::get(uri).body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_segment_is_decoded_exactly_once() {
        let head = head("/servers/io.github.x%2Fy/a%252Fb/plain+plus");
        assert_eq!(head.segment(1).unwrap(), "io.github.x/y");
        assert_eq!(head.segment(2).unwrap(), "a%2Fb");
        assert_eq!(head.segment(3).unwrap(), "plain+plus");
        assert_eq!(head.segment(9).unwrap(), "");
    }

    #[test]
    fn broken_escapes_are_refused() {
        for path in ["/%zz", "/%2", "/%", "/a%ff", "/%2%46", "/x%C3%28"] {
            assert_eq!(head(path).segment(0), Err(BadEscape), "{path}");
        }
    }

    #[test]
    fn the_first_value_of_a_parameter_counts() {
        let head = head("/s?q=a+b%2Fc&q=second&limit=");
        assert_eq!(head.query("q").unwrap(), "a b/c");
        assert_eq!(head.query("limit").unwrap(), "");
        assert_eq!(head.query("page"), None);
    }

    #[test]
    fn json_is_wanted_only_when_named() {
        let table = [
            ("application/json", true),
            ("text/html, Application/JSON;q=0.5", true),
            ("*/*", false),
            ("application/*", false),
            ("application/problem+json", false),
            ("text/plain", false),
        ];
        for (accept, wanted) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(wants_json(&headers), wanted, "{accept}");
        }
        assert!(!wants_json(&HeaderMap::new()));
    }
}
