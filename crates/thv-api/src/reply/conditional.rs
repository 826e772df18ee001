//! `If-None-Match` (RFC 9110 section 13.1.2): a list of entity tags or a star, compared weakly.

use http::{HeaderMap, header};

/// Whether the client has the content that `tag` names.
pub(super) fn matches(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.trim() == "*" || tags(list).any(|given| given == opaque(tag)))
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The tags of a list, without their weakness mark; what is no tag ends the list.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = opaque(rest.trim_start_matches([' ', '\t', ',']));
        let inner = rest.strip_prefix('"')?;
        let end = inner.find('"')?;
        let (tag, behind) = rest.split_at_checked(end + 2)?;
        rest = behind;
        Some(tag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn given(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn lists_stars_and_weak_tags_match() {
        let table = [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("*", true),
            (" * ", true),
            ("\"b\", W/\"c\" , \"a\"", true),
            ("\"b,\"a\"", false),
            ("\"a", false),
            ("a", false),
            ("\"A\"", false),
            ("\"a-gzip\"", false),
            ("", false),
        ];
        for (value, expected) in table {
            assert_eq!(matches(&given(value), "\"a\""), expected, "{value}");
        }
        assert!(!matches(&HeaderMap::new(), "\"a\""));
    }

    #[test]
    fn a_comma_within_a_tag_does_not_end_it() {
        assert!(matches(&given("\"x,y\", \"a\""), "\"a\""));
        assert!(matches(&given("\"x,y\""), "\"x,y\""));
    }

    #[test]
    fn every_field_line_counts() {
        let mut headers = given("\"b\"");
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
        assert!(matches(&headers, "\"a\""));
    }

    proptest! {
        #[test]
        fn no_list_makes_the_reader_panic(list in "[\"W/,*a é]{0,40}") {
            let _ = tags(&list).count();
        }
    }
}
