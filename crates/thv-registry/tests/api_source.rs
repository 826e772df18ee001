//! Registries behind an API, read from a fake one: what is asked, what is kept, what is
//! survived.

#![allow(clippy::indexing_slicing, reason = "helpers of tests")]

mod kit;

use std::sync::Arc;
use std::time::Duration;

use kit::Reader;
use thv_registry::{Fault, Revalidation, SearchIn};
use thv_testkit::fixture;
use thv_testkit::generate::{self, Row};
use thv_testkit::registry::{FakeRegistry, Fault as Break, Outcome, Rule};

const PATIENCE: Duration = Duration::from_mins(1);

fn row(name: &str, version: &str, updated_at: &str) -> Row {
    let mut server = fixture::container(name, "registry.example.test/x:1");
    server["version"] = version.into();
    Row::of(server, updated_at)
}

/// A time after everything that the generator publishes.
fn late(minute: usize) -> String {
    format!("2027-01-01T00:{minute:02}:00Z")
}

#[tokio::test]
async fn w21_a_catalog_of_a_thousand_is_walked_once_in_pages_of_a_hundred() {
    let upstream = FakeRegistry::with_servers(1000).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    let served = reader.catalog().await.unwrap();
    let names: Vec<_> = served
        .snapshot
        .entries()
        .iter()
        .map(|entry| entry.name().to_owned())
        .collect();
    assert_eq!(names, upstream.live_names());
    let lists = upstream.requests_for("/v0.1/servers");
    assert!(lists.len() <= 11, "{} pages", lists.len());
    assert!(lists.iter().all(|list| list.param("limit") == Some("100")));
    assert!(
        lists
            .iter()
            .all(|list| list.param("version") == Some("latest"))
    );
}

#[tokio::test]
async fn later_loads_cost_what_changed() {
    let upstream = FakeRegistry::with_servers(1000).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    reader.catalog().await.unwrap();
    let victim = upstream.live_names()[0].clone();
    upstream.clear_journal();
    upstream.upsert(row("test.change/new", "1.0.0", &late(1)));
    upstream.delete(&victim, &late(2));

    reader.clock.advance(Duration::from_hours(1));
    let served = reader.catalog().await.unwrap();
    assert!(served.snapshot.get("test.change/new").is_some());
    assert!(served.snapshot.get(&victim).is_none());
    let lists = upstream.requests_for("/v0.1/servers");
    let pages = lists
        .iter()
        .filter(|list| list.path == "/v0.1/servers")
        .count();
    assert_eq!(pages, 1, "{lists:?}");
    assert!(lists[0].param("updated_since").is_some());

    upstream.clear_journal();
    reader.clock.advance(Duration::from_mins(10));
    let again = reader.catalog().await.unwrap();
    assert_eq!(again.snapshot.digest(), served.snapshot.digest());
}

#[tokio::test]
async fn an_earlier_version_stands_in_for_a_withdrawn_one() {
    let upstream = FakeRegistry::start().await;
    upstream.extend([
        row("test.a/x", "1.0.0", &generate::moment(1)),
        row("test.a/x", "2.0.0", &generate::moment(2)),
        row("test.b/y", "1.0.0", &generate::moment(3)),
    ]);
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    let version = |served: &thv_registry::Served| {
        served
            .snapshot
            .get("test.a/x")
            .map(|entry| entry.version().to_owned())
    };
    let served = reader.catalog().await.unwrap();
    assert_eq!(version(&served).as_deref(), Some("2.0.0"));

    let mut withdrawn = row("test.a/x", "2.0.0", &late(1));
    withdrawn.status = "deleted".to_owned();
    withdrawn.is_latest = false;
    upstream.upsert(withdrawn);
    upstream.upsert(row("test.a/x", "1.0.0", &late(1)));
    reader.clock.advance(Duration::from_hours(1));
    let served = reader.catalog().await.unwrap();
    assert_eq!(version(&served).as_deref(), Some("1.0.0"));

    upstream.set_status("test.a/x", "deleted", &late(2));
    reader.clock.advance(Duration::from_hours(1));
    let served = reader.catalog().await.unwrap();
    assert_eq!(version(&served), None);
    assert_eq!(served.snapshot.entries().len(), 1);
}

#[tokio::test]
async fn a_registry_that_ignores_updated_since_is_walked_whole_without_asking_twice() {
    let upstream = FakeRegistry::with_servers(300).await;
    upstream.honour_updated_since(false);
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    reader.catalog().await.unwrap();
    let pages = upstream.list_count();
    upstream.clear_journal();
    upstream.upsert(row("test.change/new", "1.0.0", &late(1)));
    let gone = upstream.live_names()[0].clone();
    upstream.forget(&gone);
    reader.clock.advance(Duration::from_hours(2));
    let served = reader.catalog().await.unwrap();
    assert!(served.snapshot.get("test.change/new").is_some());
    assert!(served.snapshot.get(&gone).is_none());
    assert_eq!(upstream.list_count(), pages);
}

#[tokio::test]
async fn a_registry_without_times_is_never_asked_for_changes() {
    let upstream = FakeRegistry::with_servers(50).await;
    upstream.send_official_meta(false);
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    reader.catalog().await.unwrap();
    upstream.clear_journal();
    reader.clock.advance(Duration::from_hours(2));
    reader.catalog().await.unwrap();
    let lists = upstream.requests_for("/v0.1/servers");
    assert!(
        lists
            .iter()
            .all(|list| list.param("updated_since").is_none())
    );
}

#[tokio::test]
async fn a_refresh_finds_what_left_without_a_trace() {
    let upstream = FakeRegistry::with_servers(200).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Behind).await;
    reader.catalog().await.unwrap();
    let gone = upstream.live_names()[3].clone();
    upstream.forget(&gone);
    let served = reader.registry.refresh().await.unwrap();
    assert!(served.snapshot.get(&gone).is_none());
}

#[tokio::test]
async fn a_page_that_fails_half_way_is_asked_for_again() {
    let upstream = FakeRegistry::with_servers(500).await;
    upstream.break_with(
        Rule::always(Break::TooManyRequests { retry_after: 7 })
            .on("/v0.1/servers")
            .after(2)
            .times(1),
    );
    upstream.break_with(
        Rule::always(Break::CutBody)
            .on("/v0.1/servers")
            .after(3)
            .times(1),
    );
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    let (registry, clock) = (Arc::clone(&reader.registry), reader.clock.clone());
    let loading = tokio::spawn(async move { registry.catalog(PATIENCE * 10).await });
    thv_testkit::wait::until_true("the walk ends", || {
        clock.advance(Duration::from_millis(200));
        loading.is_finished()
    })
    .await;
    let served = loading.await.unwrap().unwrap();
    assert_eq!(served.snapshot.entries().len(), upstream.live_names().len());
    let failed = upstream.requests();
    assert!(
        failed
            .iter()
            .any(|list| list.outcome == Outcome::Answered(429))
    );
}

#[tokio::test]
async fn an_endless_walk_is_called_unavailable() {
    for fault in [Break::RepeatedCursor, Break::EndlessCursors] {
        let upstream = FakeRegistry::with_servers(30).await;
        upstream.break_with(Rule::always(fault.clone()).on("/v0.1/servers"));
        let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
        let Err(Fault::Unavailable { cause, .. }) = reader.catalog().await else {
            panic!("{fault:?} must end");
        };
        assert!(
            cause.contains("cursor") || cause.contains("nothing new"),
            "{cause}"
        );
    }
}

#[tokio::test]
async fn w27_a_catalog_kept_on_disk_serves_the_next_start_without_the_network() {
    let upstream = FakeRegistry::with_servers(300).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Behind).await;
    let before = reader.catalog().await.unwrap();
    reader.kept().await;
    upstream.refuse().await;
    upstream.clear_journal();

    let next = reader.restarted(Revalidation::Behind).await;
    let served = next.catalog().await.unwrap();
    assert_eq!(served.snapshot.digest(), before.snapshot.digest());
    assert_eq!(upstream.list_count(), 0);

    next.clock.advance(Duration::from_hours(24));
    let served = next.catalog().await.unwrap();
    assert_eq!(
        served.snapshot.digest(),
        before.snapshot.digest(),
        "an outage hides nothing"
    );
}

#[tokio::test]
async fn w27_without_a_token_nothing_is_served_from_disk() {
    let upstream = FakeRegistry::with_servers(30).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Behind).await;
    reader.catalog().await.unwrap();
    reader.kept().await;
    let next = reader
        .restarted_with_login("https://id.example.test", "thv", Revalidation::Behind)
        .await;
    let fault = next.catalog().await.unwrap_err();
    assert!(matches!(fault, Fault::AuthRequired { .. }), "{fault:?}");
}

#[tokio::test]
async fn f12_a_refusal_hides_and_purges_what_was_known() {
    let upstream = FakeRegistry::with_servers(30).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Behind).await;
    reader.catalog().await.unwrap();
    reader.kept().await;
    upstream.break_all(Break::Status(401));
    assert!(reader.registry.refresh().await.is_err());
    let fault = reader.catalog().await.unwrap_err();
    assert!(matches!(fault, Fault::AuthRequired { .. }), "{fault:?}");
    let status = reader.registry.status();
    let file = status.cache_file.unwrap();
    thv_testkit::wait::until_true("the cache file is gone", || !file.exists()).await;
}

#[tokio::test]
async fn w46_a_refresh_that_fails_says_so_and_the_data_stays() {
    let upstream = FakeRegistry::with_servers(30).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Behind).await;
    reader.catalog().await.unwrap();
    upstream.break_all(Break::Status(500));
    let fault = reader.registry.refresh().await.unwrap_err();
    assert!(matches!(fault, Fault::Unavailable { .. }), "{fault:?}");
    let served = reader.catalog().await.unwrap();
    assert!(!served.snapshot.entries().is_empty());
    assert!(served.stale.unwrap().why.contains("500"));
}

#[tokio::test]
async fn w25_a_refresh_that_nobody_waits_for_closes_its_connection() {
    let upstream = FakeRegistry::with_servers(30).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Behind).await;
    reader.catalog().await.unwrap();
    upstream.clear_journal();
    upstream.break_all(Break::Hang);
    let registry = Arc::clone(&reader.registry);
    let waiting = tokio::spawn(async move { registry.refresh().await.map(|_| ()) });
    thv_testkit::wait::until_true("the request arrives", || upstream.list_count() == 1).await;
    waiting.abort();
    thv_testkit::wait::until_true("the connection closes", || {
        upstream.requests()[0].outcome == Outcome::Abandoned
    })
    .await;
}

#[tokio::test]
async fn a_registry_without_extensions_has_none_of_their_items() {
    let upstream = FakeRegistry::with_servers(5).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    let served = reader.catalog().await.unwrap();
    assert!(served.snapshot.skills().is_empty());

    let upstream = FakeRegistry::with_servers(5).await;
    upstream.set_extensions(generate::skills(150, 1), generate::plugins(3, 1));
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    let served = reader.catalog().await.unwrap();
    assert_eq!(served.snapshot.skills().len(), 150);
    assert_eq!(served.snapshot.plugins().len(), 3);
}

#[tokio::test]
async fn versions_are_fetched_when_they_are_asked_for() {
    let upstream = FakeRegistry::start().await;
    upstream.extend([
        row("test.a/x", "1.0.0", &generate::moment(1)),
        row("test.a/x", "1.10.0", &generate::moment(2)),
        row("test.a/x", "1.9.0", &generate::moment(3)),
    ]);
    let reader = Reader::of_api(&upstream.url(), Revalidation::Behind).await;
    reader.catalog().await.unwrap();
    upstream.clear_journal();
    let versions = reader
        .registry
        .versions("test.a/x", PATIENCE)
        .await
        .unwrap();
    assert_eq!(versions.len(), 3);
    let asked = &upstream.requests()[0];
    assert_eq!(asked.path, "/v0.1/servers/test.a%2Fx/versions");
    assert!(
        reader
            .registry
            .versions("test.a/none", PATIENCE)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn ten_thousand_is_no_limit() {
    let upstream = FakeRegistry::with_servers(10_500).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    let served = reader.catalog().await.unwrap();
    let expected = upstream.live_names().len();
    assert!(expected > 10_000);
    assert_eq!(served.snapshot.entries().len(), expected);
    let one = &served.snapshot.entries()[expected / 2];
    let found = served
        .snapshot
        .search(one.name(), SearchIn::NameDescription);
    assert!(found.iter().any(|entry| entry.name() == one.name()));
}

#[tokio::test]
async fn an_extension_that_is_answered_with_something_else_is_absent() {
    for nonsense in [
        Break::Html,
        Break::Legacy,
        Break::Status(404),
        Break::RedirectTo("/login".to_owned()),
    ] {
        let upstream = FakeRegistry::with_servers(5).await;
        upstream.put_document_as("/login", "text/html", "<!doctype html><p>Log in</p>");
        upstream.break_with(Rule::always(nonsense.clone()).on("/v0.1/x/"));
        let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
        let served = reader.catalog().await;
        let served = served.unwrap_or_else(|fault| panic!("{nonsense:?}: {fault}"));
        assert_eq!(served.snapshot.entries().len(), upstream.live_names().len());
        assert!(served.snapshot.skills().is_empty());
    }
}

#[tokio::test]
async fn an_extension_that_fails_does_not_keep_the_servers_away() {
    let upstream = FakeRegistry::with_servers(5).await;
    upstream.set_extensions(generate::skills(3, 1), generate::plugins(2, 1));
    upstream.break_with(Rule::always(Break::Status(500)).on("/v0.1/x/"));
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    let served = reader.catalog().await.unwrap();
    assert!(!served.snapshot.entries().is_empty());
    assert!(served.snapshot.skills().is_empty());
    // A person who asks is told.
    let fault = reader.registry.refresh().await.unwrap_err();
    assert!(fault.to_string().contains("500"), "{fault}");

    upstream.heal();
    let served = reader.registry.refresh().await.unwrap();
    assert_eq!(served.snapshot.skills().len(), 3);

    // What was known stays, while the servers go on.
    upstream.break_with(Rule::always(Break::Status(500)).on("/v0.1/x/"));
    upstream.upsert(row("test.change/new", "1.0.0", &late(1)));
    reader.clock.advance(Duration::from_hours(1));
    let served = reader.catalog().await.unwrap();
    assert!(served.snapshot.get("test.change/new").is_some());
    assert_eq!(served.snapshot.skills().len(), 3);
    assert_eq!(served.snapshot.plugins().len(), 2);
}

#[tokio::test]
async fn a_load_that_was_overtaken_changes_nothing() {
    let upstream = FakeRegistry::with_servers(30).await;
    let reader = Reader::of_api(&upstream.url(), Revalidation::Behind).await;
    reader.catalog().await.unwrap();
    upstream.clear_journal();

    // A load for changes hangs; a refresh overtakes it and brings what is new.
    upstream.break_with(Rule::always(Break::Slow(Duration::from_secs(2))).times(1));
    reader.clock.advance(Duration::from_hours(1));
    reader.catalog().await.unwrap();
    thv_testkit::wait::until_true("the first request", || upstream.list_count() == 1).await;
    // Unreported removals are found by whole walks only.
    let gone = upstream.live_names()[0].clone();
    upstream.forget(&gone);
    let served = reader.registry.refresh().await.unwrap();
    assert!(served.snapshot.get(&gone).is_none());

    // The last thing that each of the two loads asks for.
    thv_testkit::wait::until_true("the slow load is over", || {
        upstream.requests_for("/v0.1/x/dev.toolhive/plugins").len() == 2
    })
    .await;
    // Whatever the slow load makes of its answer, it is older than the refresh.
    let served = reader.catalog().await.unwrap();
    assert!(served.snapshot.get(&gone).is_none(), "{gone} is back");
}

#[tokio::test]
async fn a_row_from_the_future_does_not_hide_later_changes() {
    let upstream = FakeRegistry::with_servers(30).await;
    upstream.upsert(row("test.future/x", "1.0.0", "2099-01-01T00:00:00Z"));
    let reader = Reader::of_api(&upstream.url(), Revalidation::Before).await;
    reader.catalog().await.unwrap();
    upstream.upsert(row("test.change/new", "1.0.0", "2027-02-01T00:30:00Z"));
    upstream.clear_journal();
    reader.clock.advance(Duration::from_hours(1));
    let served = reader.catalog().await.unwrap();
    assert!(served.snapshot.get("test.change/new").is_some());
    assert_eq!(upstream.list_count(), 1, "only the changes are asked for");
}
