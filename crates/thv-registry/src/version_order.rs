//! Which of two versions of one server is the later one.
//!
//! The rule that the standard gives to aggregators: a row marked as latest wins; two semantic
//! versions compare as such; two other versions compare by the time of publication; a semantic
//! version is later than one that is not.

use std::cmp::Ordering;

use crate::entry::Entry;

/// Compares two rows of one server; `Greater` means that `left` is the later one.
pub(crate) fn compare(left: &Entry, right: &Entry) -> Ordering {
    let marked = |entry: &Entry| entry.marked_latest() == Some(true);
    marked(left)
        .cmp(&marked(right))
        .then_with(|| compare_versions(left, right))
}

fn compare_versions(left: &Entry, right: &Entry) -> Ordering {
    let parse = |entry: &Entry| semver::Version::parse(entry.version()).ok();
    match (parse(left), parse(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => left
            .published_ms()
            .cmp(&right.published_ms())
            .then_with(|| left.updated_at().cmp(&right.updated_at())),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::format::page;

    fn entry(version: &str, published: &str, latest: Option<bool>) -> Entry {
        let latest = latest.map_or(String::new(), |latest| format!(r#","isLatest":{latest}"#));
        let body = format!(
            r#"{{"server":{{"name":"a/b","description":"d","version":"{version}"}},"_meta":{{"io.modelcontextprotocol.registry/official":{{"status":"active","publishedAt":"{published}"{latest}}}}}}}"#
        );
        let row = page::parse_server_response(body.as_bytes()).unwrap();
        Entry::from_row(&row, Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn the_later_version_follows_the_aggregator_rule() {
        let day = |n: u8| format!("2026-01-0{n}T00:00:00Z");
        let table = [
            (
                entry("1.0.0", &day(1), Some(true)),
                entry("2.0.0", &day(2), Some(false)),
                Ordering::Greater,
            ),
            (
                entry("1.10.0", &day(1), None),
                entry("1.9.0", &day(2), None),
                Ordering::Greater,
            ),
            (
                entry("1.0.0-rc.1", &day(2), None),
                entry("1.0.0", &day(1), None),
                Ordering::Less,
            ),
            (
                entry("auto", &day(1), None),
                entry("latest-ish", &day(2), None),
                Ordering::Less,
            ),
            (
                entry("0.0.1", &day(1), None),
                entry("auto", &day(2), None),
                Ordering::Greater,
            ),
        ];
        for (left, right, expected) in table {
            assert_eq!(
                compare(&left, &right),
                expected,
                "{} against {}",
                left.version(),
                right.version()
            );
            assert_eq!(compare(&right, &left), expected.reverse());
        }
    }
}
