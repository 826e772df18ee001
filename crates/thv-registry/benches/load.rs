//! What loads cost as a catalog grows: the first one, and later ones that bring 0, 1 or 100 changes.
//!
//! A plain program, because a load is long and changes what it measures: `cargo bench -p thv-registry --bench load`
//! prints two Markdown tables. The fake registry runs in the same process and searches its rows one by one, so the
//! questions of each later load are asked again by a plain client: the difference is what the load itself costs.
//! Without `--bench`, as under `cargo test`, it runs once over a small catalog.

#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for the developer's own terminal that measures real time"
)]

mod kit;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use kit::Reader;
use thv_config::RegistrySource;
use thv_registry::{SearchIn, Snapshot};
use thv_testkit::client::Address;
use thv_testkit::generate::Row;
use thv_testkit::registry::FakeRegistry;

const CHANGES: [usize; 3] = [0, 1, 100];

/// What one load cost.
#[derive(Debug, Default)]
struct Costs {
    load: Vec<Duration>,
    upstream: Vec<Duration>,
    search: Vec<Duration>,
    list: Vec<Duration>,
    appended: Vec<u64>,
}

/// Changes the upstream at ever later times.
#[derive(Debug)]
struct Editor {
    now: Timestamp,
    edition: usize,
}

fn main() {
    let (sizes, rounds): (&[usize], _) = if kit::measures() {
        (&[1_000, 10_000, 100_000], 7)
    } else {
        (&[200], 1)
    };
    let runtime = kit::runtime();
    let mut whole = Vec::new();
    let mut later = Vec::new();
    for servers in sizes {
        runtime.block_on(measure(*servers, rounds, &mut whole, &mut later));
    }
    println!(
        "| servers | first load | rows/s | memory it added | cache file |\n|--:|--:|--:|--:|--:|"
    );
    for line in &whole {
        println!("{line}");
    }
    println!(
        "\n| servers | rows changed | later load | of which the registry's answers | then: first search | then: first v1beta list | added to the cache file |\n|--:|--:|--:|--:|--:|--:|--:|"
    );
    for line in &later {
        println!("{line}");
    }
}

async fn measure(servers: usize, rounds: usize, whole: &mut Vec<String>, later: &mut Vec<String>) {
    let upstream = kit::upstream(servers).await;
    let reader = Reader::open(RegistrySource::Api(upstream.url())).await;
    let before = resident_kib();
    let begun = Instant::now();
    let snapshot = reader.catalog().await;
    let took = begun.elapsed();
    let added = resident_kib().saturating_sub(before);
    let file = reader.cache_file();
    let kept = grown(&file, 0).await;
    whole.push(format!(
        "| {servers} | {} | {:.0} | {} MiB | {:.1} MB |",
        milliseconds(took),
        rows(&snapshot) / took.as_secs_f64(),
        added / 1024,
        megabytes(kept),
    ));
    let mut editor = Editor {
        now: "2027-01-01T00:00:00Z".parse().expect("a time"),
        edition: 0,
    };
    // The first later load finds out that the registry tells changes; it is no different, but it comes after an hour.
    later_load(&reader, &upstream, &mut editor, 0, &mut Costs::default()).await;
    for changes in CHANGES {
        let mut costs = Costs::default();
        for _ in 0..rounds {
            later_load(&reader, &upstream, &mut editor, changes, &mut costs).await;
        }
        later.push(format!(
            "| {servers} | {changes} | {} | {} | {} | {} | {} B |",
            milliseconds(median(costs.load)),
            milliseconds(median(costs.upstream)),
            milliseconds(median(costs.search)),
            milliseconds(median(costs.list)),
            median(costs.appended),
        ));
    }
}

async fn later_load(
    reader: &Reader,
    upstream: &FakeRegistry,
    editor: &mut Editor,
    changes: usize,
    costs: &mut Costs,
) {
    let known = reader.catalog().await;
    editor.change(upstream, &known, changes);
    let file = reader.cache_file();
    let length = kit::length(&file);
    reader.clock.advance(Duration::from_hours(1));
    upstream.clear_journal();
    let begun = Instant::now();
    let snapshot = reader.catalog().await;
    costs.load.push(begun.elapsed());
    assert_eq!(
        Arc::ptr_eq(&known, &snapshot),
        changes == 0,
        "a change shows, and nothing else does"
    );
    costs.upstream.push(asked_again(upstream).await);
    costs.appended.push(grown(&file, length).await - length);
    let begun = Instant::now();
    assert!(
        !snapshot
            .search("mcp", SearchIn::NameDescriptionTags)
            .is_empty()
    );
    costs.search.push(begun.elapsed());
    let begun = Instant::now();
    drop(snapshot.v1beta_servers().await);
    costs.list.push(begun.elapsed());
}

impl Editor {
    /// Gives `count` servers a new description, ten minutes after the last time: further than a reader looks back.
    fn change(&mut self, upstream: &FakeRegistry, known: &Snapshot, count: usize) {
        self.now += SignedDuration::from_mins(10);
        self.edition += 1;
        let step = (known.entries().len() / count.max(1)).max(1);
        for entry in known.entries().iter().step_by(step).take(count) {
            let mut server: serde_json::Value =
                serde_json::from_slice(&entry.raw()).expect("a server document");
            if let Some(description) = server.get_mut("description") {
                *description = format!("Changed for the {}th time", self.edition).into();
            }
            upstream.upsert(Row::of(server, &self.now.to_string()));
        }
    }
}

/// How long the upstream takes for the questions it was asked last.
async fn asked_again(upstream: &FakeRegistry) -> Duration {
    let address = Address::from_record(&upstream.url());
    let mut took = Duration::ZERO;
    for request in upstream.requests() {
        let pairs = request
            .query
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let query = pairs.collect::<Vec<_>>().join("&");
        let begun = Instant::now();
        let answer = address.get(&format!("{}?{query}", request.path)).await;
        took += begun.elapsed();
        assert_eq!(answer.status, 200);
    }
    took
}

/// The file's length once it is another than `before`: it is written behind the answer.
async fn grown(file: &Path, before: u64) -> u64 {
    thv_testkit::wait::until_true("the cache file is written", || kit::length(file) != before)
        .await;
    kit::length(file)
}

fn rows(snapshot: &Snapshot) -> f64 {
    u32::try_from(snapshot.entries().len()).map_or(f64::MAX, f64::from)
}

fn megabytes(bytes: u64) -> f64 {
    u32::try_from(bytes / 1000).map_or(f64::MAX, f64::from) / 1000.0
}

fn milliseconds(took: Duration) -> String {
    format!("{:.2} ms", took.as_secs_f64() * 1000.0)
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    *values.get(values.len() / 2).expect("a measurement")
}

/// `VmRSS` of this process; 0 where there is no /proc.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
