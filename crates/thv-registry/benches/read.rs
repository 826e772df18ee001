//! Bytes into catalogs: cache files, pages of an API, whole documents.

#![allow(
    clippy::expect_used,
    reason = "a bench that cannot be set up must fail at once"
)]

mod kit;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use serde_json::json;
use thv_config::RegistrySource;
use thv_registry::Entry;
use thv_registry::cache::read_cache_bytes;
use thv_registry::format::page::parse_page;
use thv_registry::format::upstream::parse_document;
use thv_testkit::generate::{self, Row};

fn main() {
    divan::main();
}

#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 20)]
fn cache_file(bencher: Bencher<'_, '_>, servers: usize) {
    let bytes = kit::cache_file(scaled(servers));
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench(|| read_cache_bytes(black_box(&bytes)).expect("a cache file"));
}

/// A page of 100 rows, cut but not yet decoded.
#[divan::bench]
fn page(bencher: Bencher<'_, '_>) {
    let bytes = page_of(100);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench(|| parse_page(black_box(&bytes)).expect("a page").rows.len());
}

/// A page of 100 rows, each made into an entry with its view.
#[divan::bench]
fn page_into_entries(bencher: Bencher<'_, '_>) {
    let bytes = page_of(100);
    let seen = "2027-01-01T00:00:00Z".parse().expect("a time");
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let page = parse_page(black_box(&bytes)).expect("a page");
        let entries = page.rows.iter().map(|row| Entry::from_row(row, seen));
        entries
            .collect::<Result<Vec<_>, _>>()
            .expect("readable rows")
    });
}

#[divan::bench(sample_count = 20)]
fn document_of_ten_thousand(bencher: Bencher<'_, '_>) {
    let bytes = document(scaled(10_000));
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench(|| parse_document(black_box(&bytes)).expect("a document"));
}

/// The whole way from a file on disk to a catalog.
#[divan::bench(sample_count = 20)]
fn file_source_of_ten_thousand(bencher: Bencher<'_, '_>) {
    let bytes = document(scaled(10_000));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("registry.json");
    thv_config::disk::write_atomic(&path, &bytes).expect("a writable file");
    let runtime = kit::runtime();
    let source = RegistrySource::File(path);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .with_inputs(|| runtime.block_on(kit::Reader::open(source.clone())))
        .bench_refs(|reader| runtime.block_on(reader.catalog()));
}

fn scaled(servers: usize) -> usize {
    if kit::measures() { servers } else { 100 }
}

fn page_of(rows: usize) -> Vec<u8> {
    let rows: Vec<_> = generate::servers(rows, 1)
        .iter()
        .take(rows)
        .map(Row::envelope)
        .collect();
    let count = rows.len();
    json!({"servers": rows, "metadata": {"count": count, "nextCursor": "x:1"}})
        .to_string()
        .into_bytes()
}

fn document(servers: usize) -> Vec<u8> {
    generate::document(&generate::servers(servers, 1), &[], &[])
        .to_string()
        .into_bytes()
}
