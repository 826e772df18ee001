//! The servers of a catalog in the order of their short names.

use std::sync::Arc;

use crate::entry::Entry;

/// Positions of the entries, sorted by the part of their name behind the slash.
#[derive(Clone, Debug)]
pub(crate) struct ShortNames(Vec<u32>);

/// Where entries came and went between two catalogs.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Positions in the catalog before, ascending.
    pub(crate) gone: Vec<usize>,
    /// Positions in the catalog after, ascending.
    pub(crate) come: Vec<usize>,
}

/// From this part of all entries on, sorting anew is cheaper than moving.
const MOST_MOVES_DIVISOR: usize = 64;

// === impl ShortNames ===

impl ShortNames {
    pub(crate) fn build(entries: &[Arc<Entry>]) -> Self {
        let mut sorted: Vec<u32> = (0..entries.len()).map(narrow).collect();
        sorted.sort_by(|left, right| short_of(entries, *left).cmp(short_of(entries, *right)));
        Self(sorted)
    }

    /// The same for `entries`, the catalog after these moves.
    pub(crate) fn moved(&self, entries: &[Arc<Entry>], moves: &Moves) -> Self {
        let Moves { gone, come } = moves;
        if gone.is_empty() && come.is_empty() {
            return self.clone();
        }
        if gone.len() + come.len() > entries.len() / MOST_MOVES_DIVISOR {
            return Self::build(entries);
        }
        let after = positions_after(self.0.len(), moves);
        let mut sorted: Vec<u32> = self
            .0
            .iter()
            .filter_map(|at| *after.get(*at as usize)?)
            .collect();
        for at in come {
            let at = narrow(*at);
            let key = (short_of(entries, at), at);
            let place = sorted.partition_point(|other| (short_of(entries, *other), *other) < key);
            sorted.insert(place, at);
        }
        Self(sorted)
    }

    /// Positions of the entries with this short name, ascending.
    pub(crate) fn find(&self, entries: &[Arc<Entry>], short: &str) -> &[u32] {
        let short = short.as_bytes();
        let first = self.0.partition_point(|at| short_of(entries, *at) < short);
        let rest = self.0.get(first..).unwrap_or_default();
        let count = rest.partition_point(|at| short_of(entries, *at) == short);
        rest.get(..count).unwrap_or_default()
    }
}

/// Where each of `count` entries is after the moves; `None` for those that went.
fn positions_after(count: usize, moves: &Moves) -> Vec<Option<u32>> {
    let mut gone = moves.gone.iter().peekable();
    let mut come = moves.come.iter().peekable();
    let mut next = 0;
    let mut after = Vec::with_capacity(count);
    for at in 0..count {
        if gone.next_if(|gone| **gone == at).is_some() {
            after.push(None);
            continue;
        }
        while come.next_if(|come| **come == next).is_some() {
            next += 1;
        }
        after.push(Some(narrow(next)));
        next += 1;
    }
    after
}

fn short_of(entries: &[Arc<Entry>], at: u32) -> &[u8] {
    let name = entries
        .get(at as usize)
        .map_or(&[][..], |entry| entry.name_bytes());
    memchr::memrchr(b'/', name).map_or(name, |slash| name.get(slash + 1..).unwrap_or_default())
}

/// No catalog reaches this limit: a walk ends far below it.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}
