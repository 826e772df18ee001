//! Substring search over a whole catalog.
//!
//! The lower-cased texts of all entries lie in one arena in name order, so that a search is one
//! scan of memory. What a search finds is contract: every entry that contains the query, in
//! name order, without ranking.

use std::sync::Arc;

use memchr::memmem::Finder;

use crate::entry::Entry;

/// Which texts a search looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchIn {
    /// Name and description, as the standard API has it.
    NameDescription,
    /// Tags too, as the command line has it.
    NameDescriptionTags,
}

/// Stands between the texts of one entry; a query that contains it finds nothing.
const SEPARATOR: char = '\u{1}';

#[derive(Debug)]
pub(crate) struct SearchIndex {
    arena: Vec<u8>,
    /// Where each entry begins, and the arena's length at the end.
    starts: Vec<usize>,
    /// Where each entry's tags begin.
    tags: Vec<usize>,
}

// === impl SearchIndex ===

impl SearchIndex {
    pub(crate) fn build(entries: &[Arc<Entry>]) -> Self {
        let mut arena = String::with_capacity(entries.len() * 160);
        let mut starts = Vec::with_capacity(entries.len() + 1);
        let mut tags = Vec::with_capacity(entries.len());
        for entry in entries {
            starts.push(arena.len());
            push_lowered(&mut arena, entry.name());
            push_lowered(&mut arena, entry.description());
            tags.push(arena.len());
            for tag in entry.tags() {
                push_lowered(&mut arena, tag);
            }
        }
        starts.push(arena.len());
        Self {
            arena: arena.into_bytes(),
            starts,
            tags,
        }
    }

    /// Positions of the entries that contain `query`, ascending. An empty query finds all.
    pub(crate) fn find(&self, query: &str, search_in: SearchIn) -> Vec<usize> {
        let mut needle = String::with_capacity(query.len());
        lower(&mut needle, query);
        if needle.is_empty() {
            return (0..self.tags.len()).collect();
        }
        if query.contains(SEPARATOR) {
            return Vec::new();
        }
        let finder = Finder::new(needle.as_bytes());
        let mut found = Vec::new();
        let mut from = 0;
        let mut entry = 0;
        while let Some(hit) = self.arena.get(from..).and_then(|rest| finder.find(rest)) {
            let hit = from + hit;
            entry += self
                .starts
                .get(entry..)
                .map_or(0, |rest| gallop(rest, hit))
                .saturating_sub(1);
            let in_tags = self.tags.get(entry).is_some_and(|tags| hit >= *tags);
            if !in_tags || search_in == SearchIn::NameDescriptionTags {
                found.push(entry);
            }
            let Some(next) = self.starts.get(entry + 1) else {
                break;
            };
            from = *next;
        }
        found
    }
}

/// How many of the ascending `starts` are at or before `position`, found in steps that grow, so
/// that neighbours cost little and the whole list costs its logarithm.
fn gallop(starts: &[usize], position: usize) -> usize {
    let mut reach = 1;
    while starts.get(reach).is_some_and(|start| *start <= position) {
        reach *= 2;
    }
    let low = reach / 2;
    let window = starts.get(low..reach.min(starts.len())).unwrap_or_default();
    low + window.partition_point(|start| *start <= position)
}

fn push_lowered(arena: &mut String, text: &str) {
    lower(arena, text);
    arena.push(SEPARATOR);
}

fn lower(out: &mut String, text: &str) {
    let start = out.len();
    if text.is_ascii() {
        out.push_str(text);
        if let Some(pushed) = out.get_mut(start..) {
            pushed.make_ascii_lowercase();
        }
    } else {
        out.extend(text.chars().flat_map(char::to_lowercase));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(texts: &[(&str, &str, &str)]) -> SearchIndex {
        let mut arena = String::new();
        let mut starts = Vec::new();
        let mut tags = Vec::new();
        for (name, description, tag) in texts {
            starts.push(arena.len());
            push_lowered(&mut arena, name);
            push_lowered(&mut arena, description);
            tags.push(arena.len());
            push_lowered(&mut arena, tag);
        }
        starts.push(arena.len());
        SearchIndex {
            arena: arena.into_bytes(),
            starts,
            tags,
        }
    }

    #[test]
    fn a_search_ignores_case_in_any_script() {
        let index = index(&[("a/Büro", "ÄRGER", ""), ("b/x", "plain", "")]);
        assert_eq!(index.find("büRO", SearchIn::NameDescription), [0]);
        assert_eq!(index.find("ärger", SearchIn::NameDescription), [0]);
        assert_eq!(index.find("PLAIN", SearchIn::NameDescription), [1]);
    }

    #[test]
    fn tags_count_only_when_asked_for() {
        let index = index(&[("a/x", "one", "weather"), ("b/x", "weather", "")]);
        assert_eq!(index.find("weather", SearchIn::NameDescription), [1]);
        assert_eq!(index.find("weather", SearchIn::NameDescriptionTags), [0, 1]);
    }

    #[test]
    fn no_match_reaches_across_texts() {
        let index = index(&[("a/x", "one", "two"), ("b/y", "three", "")]);
        assert!(index.find("xone", SearchIn::NameDescriptionTags).is_empty());
        assert!(index.find("twob", SearchIn::NameDescriptionTags).is_empty());
        assert!(
            index
                .find("x\u{1}one", SearchIn::NameDescriptionTags)
                .is_empty()
        );
    }

    #[test]
    fn an_empty_query_finds_everything() {
        let index = index(&[("a/x", "", ""), ("b/y", "", "")]);
        assert_eq!(index.find("", SearchIn::NameDescription), [0, 1]);
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_plain_scan_finds(
            texts in proptest::collection::vec(("[a-cA-C]{0,6}", "[a-c ß]{0,6}", "[a-c]{0,3}"), 0..40),
            query in "[a-cA-Cß]{1,3}",
        ) {
            let borrowed: Vec<_> = texts
                .iter()
                .map(|(name, description, tag)| (name.as_str(), description.as_str(), tag.as_str()))
                .collect();
            let needle = query.to_lowercase();
            let plain = |tags: bool| -> Vec<usize> {
                (0..texts.len())
                    .filter(|at| {
                        let (name, description, tag) = &texts[*at];
                        name.to_lowercase().contains(&needle)
                            || description.to_lowercase().contains(&needle)
                            || (tags && tag.to_lowercase().contains(&needle))
                    })
                    .collect()
            };
            let index = index(&borrowed);
            prop_assert_eq!(index.find(&query, SearchIn::NameDescription), plain(false));
            prop_assert_eq!(index.find(&query, SearchIn::NameDescriptionTags), plain(true));
        }
    }
}
