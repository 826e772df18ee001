//! Substring search over a whole catalog.
//!
//! The lower-cased texts of the entries lie in arenas in name order, so that a search is a scan
//! of memory. What a search finds is contract: every entry that contains the query, in name
//! order, without ranking. An arena belongs to a run of some entries and is shared by all
//! catalogs in which these follow each other.

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

/// How many entries a new run has. One changed entry costs its run; a search pays a little for
/// each run.
const RUN: usize = 128;

/// A run that grew beyond this is split.
const LONGEST_RUN: usize = 2 * RUN;

#[derive(Debug)]
pub(crate) struct SearchIndex {
    runs: Vec<Arc<Run>>,
}

/// Entries that follow each other, and their texts.
#[derive(Debug)]
struct Run {
    entries: Vec<Arc<Entry>>,
    texts: Texts,
}

#[derive(Debug, Default)]
struct Texts {
    arena: String,
    /// Where each entry begins, and the arena's length at the end.
    starts: Vec<usize>,
    /// Where each entry's tags begin.
    tags: Vec<usize>,
}

// === impl SearchIndex ===

impl SearchIndex {
    /// The index of `entries`, which are in name order. Runs of the index `before` are taken
    /// over where their entries still follow each other.
    pub(crate) fn build(entries: &[Arc<Entry>], before: Option<&Self>) -> Self {
        let mut runs = Vec::with_capacity(entries.len() / RUN + 1);
        let mut rest = entries;
        for run in before.map_or(&[][..], |before| &before.runs) {
            let (here, behind) = rest.split_at(run.reach(rest));
            rest = behind;
            if run.is_of(here) {
                runs.push(Arc::clone(run));
            } else {
                push_runs(&mut runs, here);
            }
        }
        push_runs(&mut runs, rest);
        Self { runs }
    }

    /// Positions of the entries that contain `query`, ascending. An empty query finds all.
    pub(crate) fn find(&self, query: &str, search_in: SearchIn) -> Vec<usize> {
        let mut needle = String::with_capacity(query.len());
        lower(&mut needle, query);
        if needle.is_empty() {
            let count = self.runs.iter().map(|run| run.entries.len()).sum();
            return (0..count).collect();
        }
        if query.contains(SEPARATOR) {
            return Vec::new();
        }
        let finder = Finder::new(needle.as_bytes());
        let mut found = Vec::new();
        let mut first = 0;
        for run in &self.runs {
            run.texts
                .find(&finder, search_in, |at| found.push(first + at));
            first += run.entries.len();
        }
        found
    }
}

fn push_runs(runs: &mut Vec<Arc<Run>>, entries: &[Arc<Entry>]) {
    let length = if entries.len() > LONGEST_RUN {
        RUN
    } else {
        LONGEST_RUN
    };
    runs.extend(entries.chunks(length).map(|run| Arc::new(Run::of(run))));
}

// === impl Run ===

impl Run {
    fn of(entries: &[Arc<Entry>]) -> Self {
        let mut texts = Texts::default();
        for entry in entries {
            texts.push(entry.name(), entry.description(), entry.tags());
        }
        texts.end();
        Self {
            entries: entries.to_vec(),
            texts,
        }
    }

    /// How many of `rest` stand where this run stood: up to the name of its last entry.
    fn reach(&self, rest: &[Arc<Entry>]) -> usize {
        let Some(last) = self.entries.last() else {
            return 0;
        };
        let length = self.entries.len();
        match rest.get(length - 1) {
            Some(entry) if Arc::ptr_eq(entry, last) => length,
            _ => rest.partition_point(|entry| entry.name_bytes() <= last.name_bytes()),
        }
    }

    fn is_of(&self, entries: &[Arc<Entry>]) -> bool {
        self.entries.len() == entries.len()
            && self
                .entries
                .iter()
                .zip(entries)
                .all(|(left, right)| Arc::ptr_eq(left, right))
    }
}

// === impl Texts ===

impl Texts {
    fn push<'a>(&mut self, name: &str, description: &str, tags: impl IntoIterator<Item = &'a str>) {
        self.starts.push(self.arena.len());
        push_lowered(&mut self.arena, name);
        push_lowered(&mut self.arena, description);
        self.tags.push(self.arena.len());
        for tag in tags {
            push_lowered(&mut self.arena, tag);
        }
    }

    fn end(&mut self) {
        self.starts.push(self.arena.len());
        self.arena.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.tags.shrink_to_fit();
    }

    /// Tells the positions of the entries that contain the needle, ascending.
    fn find(&self, finder: &Finder<'_>, search_in: SearchIn, mut tell: impl FnMut(usize)) {
        let arena = self.arena.as_bytes();
        let mut from = 0;
        let mut entry = 0;
        while let Some(hit) = arena.get(from..).and_then(|rest| finder.find(rest)) {
            let hit = from + hit;
            // Where much is found, it is in the next entry.
            if self.starts.get(entry + 1).is_some_and(|next| *next <= hit) {
                entry += self
                    .starts
                    .get(entry..)
                    .map_or(0, |rest| gallop(rest, hit))
                    .saturating_sub(1);
            }
            let in_tags = self.tags.get(entry).is_some_and(|tags| hit >= *tags);
            if !in_tags || search_in == SearchIn::NameDescriptionTags {
                tell(entry);
            }
            entry += 1;
            let Some(next) = self.starts.get(entry) else {
                break;
            };
            from = *next;
        }
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
    use jiff::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::format::page;

    const PUBLISHER: &str = "io.modelcontextprotocol.registry/publisher-provided";

    fn entry(name: &str, description: &str, tag: &str) -> Arc<Entry> {
        let server = json!({"server": {
            "name": name,
            "description": description,
            "remotes": [{"type": "sse", "url": "https://x.example/"}],
            "_meta": {PUBLISHER: {"io.github.stacklok": {"https://x.example/": {"tags": [tag]}}}},
        }});
        let body = server.to_string();
        let row = page::parse_server_response(body.as_bytes()).unwrap();
        Arc::new(Entry::from_row(&row, Timestamp::UNIX_EPOCH).unwrap())
    }

    fn index(texts: &[(&str, &str, &str)]) -> SearchIndex {
        let entries: Vec<_> = texts
            .iter()
            .map(|(name, description, tag)| entry(name, description, tag))
            .collect();
        SearchIndex::build(&entries, None)
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
            texts in proptest::collection::vec(("[a-cA-C]{1,6}", "[a-c ß]{0,6}", "[a-c]{0,3}"), 0..40),
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
