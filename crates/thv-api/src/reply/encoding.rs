//! Content encodings: which one a client asks for, and making it. Nothing is ever compressed
//! for a client that does not name gzip (a desktop client that sends no `Accept-Encoding`
//! cannot inflate); a bare `*` does not name it.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, header};

/// Whether `Accept-Encoding` (RFC 9110 section 12.5.3) names gzip and does not refuse it.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| {
                name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip")
            });
            named && !parts.any(is_zero_weight)
        })
}

fn is_zero_weight(parameter: &str) -> bool {
    parameter
        .strip_prefix(['q', 'Q'])
        .and_then(|rest| rest.trim_start().strip_prefix('='))
        .is_some_and(|weight| {
            weight
                .trim()
                .parse::<f32>()
                .is_ok_and(|weight| weight <= 0.0)
        })
}

/// The entity tag of the compressed form of what `tag` names: two encodings are two
/// representations and need two tags.
pub(super) fn gzip_tag(tag: &str) -> String {
    match tag.strip_suffix('"') {
        Some(open) => format!("{open}-gzip\""),
        None => tag.to_owned(),
    }
}

/// Compresses `pieces` into one gzip body (RFC 1952), on a blocking thread.
pub(super) async fn gzip(pieces: Vec<Bytes>) -> Bytes {
    let compressed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(4));
        for piece in &pieces {
            encoder.write_all(piece)?;
        }
        encoder.finish()
    });
    match compressed.await {
        Ok(Ok(bytes)) => Bytes::from(bytes),
        // Neither writing to memory nor the thread pool of a running server fails.
        Ok(Err(_)) | Err(_) => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_used_only_when_it_is_named_and_not_refused() {
        let table = [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("gzip;q=1.0", true),
            ("gzip;q=0", false),
            ("gzip; q = 0.000", false),
            ("identity", false),
            ("*", false),
            ("br, deflate", false),
            ("", false),
        ];
        for (value, expected) in table {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn the_compressed_form_has_a_tag_of_its_own() {
        assert_eq!(gzip_tag("\"abc\""), "\"abc-gzip\"");
    }

    #[tokio::test]
    async fn pieces_become_one_body() {
        let body = gzip(vec![
            Bytes::from_static(b"one "),
            Bytes::from_static(b"two"),
        ])
        .await;
        let mut inflated = String::new();
        flate2::read::GzDecoder::new(&body[..])
            .read_to_string(&mut inflated)
            .unwrap();
        assert_eq!(inflated, "one two");
    }
}
