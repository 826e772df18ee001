//! From one catalog to the next when little changed: what stayed is taken over, with what was
//! made of it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use tokio::sync::OnceCell;

use super::short_names::Moves;
use super::{Edition, Snapshot, content_of_items};
use crate::entry::{Entry, Extension, ExtensionEntry};

/// One step from the catalog before to the one after.
struct Step {
    /// Position in the catalog before.
    at: usize,
    /// Whether the entry there goes; otherwise something comes in front of it.
    replaces: bool,
    entry: Option<Arc<Entry>>,
}

// === impl Step ===

impl Step {
    fn name(&self) -> Option<&[u8]> {
        self.entry.as_ref().map(|entry| entry.name_bytes())
    }
}

// === impl Snapshot ===

impl Snapshot {
    /// This catalog after `upserts` (of one name each) have come, the servers named in `removed`
    /// have left, and the extensions hold what is given. Costs little more than the changes.
    pub(crate) fn changed<'a>(
        &self,
        edition: Edition,
        upserts: Vec<Arc<Entry>>,
        removed: impl IntoIterator<Item = &'a str>,
        mut extensions: BTreeMap<Extension, Vec<Arc<ExtensionEntry>>>,
    ) -> Self {
        super::sort_items(&mut extensions);
        let steps = self.steps(upserts, removed);
        let mut entries = Vec::with_capacity(self.entries.len() + steps.len());
        let mut content = self.servers;
        let mut moves = Moves::default();
        let mut from = 0;
        for step in steps {
            entries.extend_from_slice(self.entries.get(from..step.at).unwrap_or_default());
            from = step.at;
            match (&step.entry, step.replaces) {
                (Some(_), false) => moves.come.push(entries.len()),
                (None, true) => moves.gone.push(step.at),
                _ => {}
            }
            if step.replaces {
                if let Some(before) = self.entries.get(step.at) {
                    content.remove(before);
                }
                from += 1;
            }
            if let Some(entry) = step.entry {
                content.add(&entry);
                entries.push(entry);
            }
        }
        entries.extend_from_slice(self.entries.get(from..).unwrap_or_default());
        let all = content.with(content_of_items(&extensions));
        let short_names = OnceLock::new();
        if let Some(before) = self.short_names.get() {
            short_names.get_or_init(|| before.moved(&entries, &moves));
        }
        Self {
            digest: all.digest(&edition),
            servers: content,
            content: all,
            edition,
            entries,
            older: Vec::new(),
            extensions,
            bad_rows: self.bad_rows,
            counts: OnceLock::new(),
            short_names,
            search: OnceLock::new(),
            search_before: self.search.get().or(self.search_before.as_ref()).cloned(),
            v1beta_servers: OnceCell::new(),
            v1beta_registry: OnceCell::new(),
        }
    }

    /// The steps in order. A server that is removed and comes again comes.
    fn steps<'a>(
        &self,
        upserts: Vec<Arc<Entry>>,
        removed: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Step> {
        let mut steps: Vec<Step> = upserts
            .into_iter()
            .map(|entry| {
                let place = self.position(entry.name_bytes());
                Step {
                    replaces: place.is_ok(),
                    at: place.unwrap_or_else(|at| at),
                    entry: Some(entry),
                }
            })
            .collect();
        for name in removed {
            if let Ok(at) = self.position(name.as_bytes()) {
                steps.push(Step {
                    at,
                    replaces: true,
                    entry: None,
                });
            }
        }
        steps.sort_by(|left, right| {
            (left.at, left.replaces)
                .cmp(&(right.at, right.replaces))
                // What comes goes before what only goes, so that the latter is dropped below.
                .then_with(|| right.entry.is_some().cmp(&left.entry.is_some()))
                .then_with(|| left.name().cmp(&right.name()))
        });
        steps.dedup_by(|later, kept| later.replaces && kept.replaces && later.at == kept.at);
        steps
    }

    /// Where the server of this name is, or would be.
    pub(super) fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| entry.name_bytes().cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::format::page;
    use crate::search::SearchIn;

    fn entry(name: &str, word: &str) -> Arc<Entry> {
        let body =
            format!(r#"{{"server":{{"name":"{name}","description":"{word}","version":"1.0.0"}}}}"#);
        let row = page::parse_server_response(body.as_bytes()).unwrap();
        Arc::new(Entry::from_row(&row, Timestamp::UNIX_EPOCH).unwrap())
    }

    fn whole(servers: &HashMap<String, String>) -> Snapshot {
        let entries = servers.iter().map(|(name, word)| entry(name, word));
        Snapshot::new(
            Edition::default(),
            entries.collect(),
            Vec::new(),
            BTreeMap::new(),
            0,
        )
    }

    fn names<'a>(entries: impl IntoIterator<Item = &'a Arc<Entry>>) -> Vec<String> {
        entries
            .into_iter()
            .map(|entry| format!("{} {}", entry.name(), entry.description()))
            .collect()
    }

    fn assert_equal(changed: &Snapshot, whole: &Snapshot) {
        assert_eq!(names(changed.entries()), names(whole.entries()));
        assert_eq!(changed.digest(), whole.digest());
        for query in ["", "a", "b", "n1", "word a", "zz"] {
            let search_in = SearchIn::NameDescription;
            assert_eq!(
                names(changed.search(query, search_in)),
                names(whole.search(query, search_in)),
                "{query}"
            );
        }
        for short in 0..12 {
            let short = format!("n{short}");
            let told = |snapshot: &Snapshot| match snapshot.resolve(&short) {
                Ok(entry) => entry.name().to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(told(changed), told(whole));
        }
    }

    fn server() -> impl Strategy<Value = (String, String)> {
        ("[ab]/n[0-9]", "word [ab]")
    }

    proptest! {
        #[test]
        fn a_changed_catalog_is_the_one_that_is_made_anew(
            first in proptest::collection::hash_map("[ab]/n[0-9]", "word [ab]", 0..20),
            changes in proptest::collection::vec(
                (
                    proptest::collection::vec(server(), 0..4),
                    proptest::collection::vec("[ab]/n[0-9]", 0..4),
                ),
                1..4,
            ),
            warm in any::<bool>(),
        ) {
            let mut servers = first;
            let mut snapshot = whole(&servers);
            for (upserts, removed) in changes {
                if warm {
                    snapshot.warm();
                }
                let upserts: HashMap<String, String> = upserts.into_iter().collect();
                servers.retain(|name, _| !removed.contains(name));
                servers.extend(upserts.clone());
                snapshot = snapshot.changed(
                    Edition::default(),
                    upserts.iter().map(|(name, word)| entry(name, word)).collect(),
                    removed.iter().map(String::as_str),
                    BTreeMap::new(),
                );
            }
            assert_equal(&snapshot, &whole(&servers));
        }
    }

    #[test]
    fn a_large_catalog_takes_over_its_indexes() {
        let mut servers: HashMap<String, String> = (0..2000)
            .map(|number| (format!("c/n{number}"), "word a".to_owned()))
            .collect();
        let mut snapshot = whole(&servers);
        snapshot.warm();
        for number in [0, 700, 1999] {
            servers.remove(&format!("c/n{number}"));
            let new = (format!("b/n{number}"), "word b".to_owned());
            snapshot = snapshot.changed(
                Edition::default(),
                vec![entry(&new.0, &new.1)],
                [format!("c/n{number}").as_str()],
                BTreeMap::new(),
            );
            servers.insert(new.0, new.1);
        }
        assert_equal(&snapshot, &whole(&servers));
    }
}
