//! What a catalog in memory answers: searches and lookups over 100,000 servers, and the bodies that are made once per
//! snapshot.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a bench that cannot be set up must fail at once, and says what it measures"
)]

mod kit;

use std::sync::{Arc, LazyLock};

use divan::{Bencher, black_box};
use thv_registry::{SearchIn, Snapshot};

/// Divan calls plain functions, so that what they share can only be a static.
static CATALOG: LazyLock<Arc<Snapshot>> =
    LazyLock::new(|| kit::catalog(if kit::measures() { 100_000 } else { 200 }));

/// One server; one in twenty; none; nearly all; two words.
const QUERIES: [&str; 5] = ["-mcp-77777", "weather", "zzzabsent", "e", "data from"];

fn main() {
    // Made before the first measurement, not inside it.
    let catalog = &*CATALOG;
    for query in QUERIES {
        let found = catalog.search(query, SearchIn::NameDescriptionTags).len();
        eprintln!(
            "{query:?} finds {found} of {} servers",
            catalog.entries().len()
        );
    }
    divan::main();
}

#[divan::bench(args = QUERIES)]
fn search_names_and_descriptions(query: &str) -> usize {
    CATALOG
        .search(black_box(query), SearchIn::NameDescription)
        .len()
}

#[divan::bench(args = QUERIES)]
fn search_with_tags(query: &str) -> usize {
    CATALOG
        .search(black_box(query), SearchIn::NameDescriptionTags)
        .len()
}

#[divan::bench]
fn look_up_by_full_name(bencher: Bencher<'_, '_>) {
    let name = middle().name();
    bencher.bench(|| CATALOG.resolve(black_box(name)).is_ok());
}

#[divan::bench]
fn look_up_by_short_name(bencher: Bencher<'_, '_>) {
    let name = middle().short_name();
    assert!(CATALOG.resolve(name).is_ok());
    bencher.bench(|| CATALOG.resolve(black_box(name)).is_ok());
}

#[divan::bench]
fn look_up_an_absent_name() -> bool {
    CATALOG.resolve(black_box("zzzabsent")).is_ok()
}

fn middle() -> &'static thv_registry::Entry {
    let entries = CATALOG.entries();
    entries.get(entries.len() / 2).expect("a server")
}
