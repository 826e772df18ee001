//! When a source is asked, how often, and what is served when it does not answer: one cache for `url` and `api`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::time::{Duration, Instant};

use serde_json::json;
use thv_testkit::binary::{Server, cli};
use thv_testkit::client::Address;
use thv_testkit::fixture;
use thv_testkit::generate::{self, Row, moment};
use thv_testkit::home::Home;
use thv_testkit::registry::{FakeRegistry, Fault, Outcome, Recorded, Rule, SERVERS};
use thv_testkit::wait::{PATIENCE, all, until, until_true};

const THV: &str = env!("CARGO_BIN_EXE_thv");
const LIST: &str = "/registry/default/v0.1/servers?limit=200";
const REFRESH: &str = "/api/v1beta/registry/default/refresh";

async fn over_api(registry: &FakeRegistry) -> Server {
    Server::in_new_home(THV, |home| home.use_api(&registry.url())).await
}

async fn total(address: &Address) -> Option<u64> {
    let answer = address.get(LIST).await;
    if answer.status == 200 {
        answer.json()["metadata"]["total"].as_u64()
    } else {
        None
    }
}

async fn until_loaded(server: &Server) -> u64 {
    until("a catalog", PATIENCE, || total(server.address())).await
}

async fn refresh(server: &Server) {
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "{\"status\":\"refreshed\"}\n"),
        "{answer:?}"
    );
}

/// An outage of the shortest kind. What the server asks when it is over, it asks by itself: a forced refresh reads
/// everything, a recovery only what changed.
async fn outage(server: &Server, registry: &FakeRegistry) {
    registry.break_all(Fault::Status(503));
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 503);
    registry.clear_journal();
    registry.heal();
}

/// Reads until something is so: reads are what sets a recovery off.
async fn until_true_reading(server: &Server, mut condition: impl FnMut() -> bool) {
    until("the recovery", PATIENCE, || {
        let so = condition();
        async move {
            if so {
                return Some(());
            }
            server.get(LIST).await;
            None
        }
    })
    .await;
}

fn row(name: &str, step: usize) -> Row {
    Row::of(fixture::npm(name, "@example/x"), &moment(step))
}

#[tokio::test]
async fn w02_a_source_that_fails_first_is_used_when_it_works() {
    let registry = FakeRegistry::with_servers(4).await;
    registry.refuse().await;
    let server = over_api(&registry).await;
    assert_eq!(server.get(LIST).await.status, 503);
    registry.accept_again();
    assert_eq!(
        until_loaded(&server).await,
        4_u64.min(registry.live_names().len() as u64)
    );

    let registry = FakeRegistry::with_servers(4).await;
    registry.break_all(Fault::Status(401));
    let server = over_api(&registry).await;
    assert_eq!(server.get(LIST).await.code(), "registry_auth_required");
    registry.heal();
    refresh(&server).await;
    assert!(
        until_loaded(&server).await > 0,
        "a refusal is not remembered for ever either"
    );
}

#[tokio::test]
async fn w21_setting_an_api_asks_for_one_page_with_one_row() {
    let registry = FakeRegistry::with_servers(1000).await;
    let home = Home::new();
    let ran = cli(
        THV,
        &home,
        &["config", "set-registry", &registry.url(), "-p"],
    )
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let asked = registry.requests_for(SERVERS);
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        (asked[0].param("limit"), asked[0].param("version")),
        (Some("1"), Some("latest"))
    );
}

#[tokio::test]
async fn w24_fifty_readers_of_a_cold_catalog_cause_one_load() {
    let registry = FakeRegistry::with_servers(250).await;
    registry.break_with(Rule::always(Fault::Slow(Duration::from_millis(400))).times(1));
    let server = over_api(&registry).await;
    let answers = all((0..50).map(|_| total(server.address()))).await;
    assert!(
        answers
            .iter()
            .all(|found| *found == answers[0] && found.is_some()),
        "{answers:?}"
    );
    let starts = registry
        .requests_for(SERVERS)
        .iter()
        .filter(|request| request.param("cursor").is_none())
        .count();
    assert_eq!(starts, 1, "{:?}", registry.requests());
}

#[tokio::test]
async fn w24_fifty_refreshes_at_once_share_their_loads() {
    let registry = FakeRegistry::with_servers(50).await;
    let server = over_api(&registry).await;
    until_loaded(&server).await;
    registry.clear_journal();
    registry.break_with(Rule::always(Fault::Slow(Duration::from_secs(2))).on(SERVERS));
    let answers = all((0..50).map(|_| server.post(REFRESH, &serde_json::Value::Null))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    let starts = registry
        .requests_for(SERVERS)
        .iter()
        .filter(|request| request.param("cursor").is_none())
        .count();
    assert!(
        starts <= 2,
        "one load for those who came in time, at most one for the rest; {starts} began"
    );
}

#[tokio::test]
async fn w24_reads_do_not_wait_for_a_fetch_that_hangs() {
    let registry = FakeRegistry::with_servers(50).await;
    let server = over_api(&registry).await;
    let before = until_loaded(&server).await;
    registry.break_all(Fault::Hang);
    let address = server.address().clone();
    let hanging = tokio::spawn(async move { address.post(REFRESH, &json!({})).await });
    until_true("the hanging fetch", || {
        registry
            .requests()
            .iter()
            .any(|request| request.outcome == Outcome::Pending)
    })
    .await;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let started = Instant::now();
        assert_eq!(total(server.address()).await, Some(before));
        slowest = slowest.max(started.elapsed());
    }
    assert!(
        slowest < Duration::from_secs(9),
        "milliseconds on a quiet machine, the reader's patience of 10 s if it waited: {slowest:?}"
    );
    hanging.abort();
}

#[tokio::test]
async fn w24_a_source_that_keeps_failing_is_left_alone_between_tries() {
    let registry = FakeRegistry::with_servers(5).await;
    registry.break_all(Fault::Status(500));
    let server = over_api(&registry).await;
    for _ in 0..60 {
        assert_eq!(server.get(LIST).await.status, 503);
    }
    assert!(
        registry.requests().len() < 25,
        "60 reads caused {} requests",
        registry.requests().len()
    );
}

#[tokio::test]
async fn w25_a_client_that_leaves_takes_its_lookup_along() {
    let registry = FakeRegistry::with_servers(5).await;
    let server = over_api(&registry).await;
    until_loaded(&server).await;
    let name = registry.live_names()[0].replace('/', "%2F");
    let path = format!("{SERVERS}/{name}/versions");
    registry.break_with(Rule::always(Fault::Hang).on(&path));
    let address = server.address().clone();
    let asked = path.clone();
    let waiting = tokio::spawn(async move { address.get(&asked).await });
    let outcome = |registry: &FakeRegistry| {
        registry
            .requests_for(&path)
            .last()
            .map(|request: &Recorded| request.outcome)
    };
    until_true("the lookup upstream", || {
        outcome(&registry) == Some(Outcome::Pending)
    })
    .await;
    waiting.abort();
    until_true("upstream to see the connection close", || {
        outcome(&registry) == Some(Outcome::Abandoned)
    })
    .await;
}

#[tokio::test]
async fn w25_shutdown_ends_a_fetch_that_hangs() {
    let registry = FakeRegistry::with_servers(5).await;
    registry.break_all(Fault::Hang);
    let server = over_api(&registry).await;
    until_true("the load", || registry.list_count() > 0).await;
    let started = Instant::now();
    assert_eq!(server.stop().await.code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    until_true("upstream to see it", || {
        registry.requests()[0].outcome == Outcome::Abandoned
    })
    .await;
}

#[tokio::test]
async fn w26_two_reads_of_a_document_cause_one_fetch() {
    let registry = FakeRegistry::start().await;
    registry.put_document(
        "/registry.json",
        fixture::registry_document(fixture::every_kind()),
    );
    let server =
        Server::in_new_home(THV, |home| home.use_url(&registry.at("/registry.json"))).await;
    until_loaded(&server).await;
    for _ in 0..5 {
        assert_eq!(server.get(LIST).await.status, 200);
        assert_eq!(
            server
                .get("/api/v1beta/registry/default/servers")
                .await
                .status,
            200
        );
    }
    assert_eq!(registry.requests().len(), 1, "{:?}", registry.requests());
}

#[tokio::test]
async fn w26_an_unchanged_document_is_revalidated_and_a_changed_one_replaced() {
    let registry = FakeRegistry::start().await;
    registry.put_document(
        "/registry.json",
        fixture::registry_document([fixture::npm("test.w26/old", "@example/o")]),
    );
    let server =
        Server::in_new_home(THV, |home| home.use_url(&registry.at("/registry.json"))).await;
    until_loaded(&server).await;
    outage(&server, &registry).await;
    until_true_reading(&server, || !registry.requests().is_empty()).await;
    let first = registry.requests()[0].clone();
    assert!(first.header("if-none-match").is_some(), "{first:?}");
    assert_eq!(first.outcome, Outcome::Answered(304));
    registry.put_document(
        "/registry.json",
        fixture::registry_document([fixture::npm("test.w26/new", "@example/n")]),
    );
    refresh(&server).await;
    assert!(server.get(LIST).await.text().contains("test.w26/new"));
}

#[tokio::test]
async fn w26_a_document_source_serves_its_last_good_catalog_through_an_outage() {
    let registry = FakeRegistry::start().await;
    registry.put_document(
        "/registry.json",
        fixture::registry_document(fixture::every_kind()),
    );
    let server =
        Server::in_new_home(THV, |home| home.use_url(&registry.at("/registry.json"))).await;
    let before = until_loaded(&server).await;
    registry.refuse().await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert_eq!(total(server.address()).await, Some(before));
}

#[tokio::test]
async fn w26_an_endless_body_is_refused() {
    let registry = FakeRegistry::start().await;
    registry.break_all(Fault::EndlessBody);
    let server = Server::in_new_home(THV, |_| {}).await;
    let body = json!({"url": registry.at("/registry.json"), "allow_private_ip": true});
    let answer = server.put("/api/v1beta/registry/default", &body).await;
    assert!([502, 504].contains(&answer.status), "{answer:?}");
    assert_eq!(server.get("/health").await.status, 204);
}

#[tokio::test]
async fn w46_a_refresh_that_fails_says_so_and_the_data_stays() {
    let registry = FakeRegistry::with_servers(30).await;
    let server = over_api(&registry).await;
    let before = until_loaded(&server).await;
    refresh(&server).await;
    registry.break_all(Fault::Status(500));
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert_eq!(total(server.address()).await, Some(before));
    let view = server.get("/api/v1beta/registry/default/servers").await;
    assert_eq!(view.status, 200, "{view:?}");
}

#[tokio::test]
async fn w46_a_refresh_of_a_file_reads_the_file() {
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&fixture::registry_document([fixture::npm(
            "test.w46/one",
            "@example/o",
        )]));
    })
    .await;
    refresh(&server).await;
    server.home().write(
        "registry.json",
        fixture::registry_document([fixture::npm("test.w46/two", "@example/t")]),
    );
    refresh(&server).await;
    assert!(server.get(LIST).await.text().contains("test.w46/two"));
    std::fs::remove_file(server.home().join("registry.json")).unwrap();
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn f12_a_refused_credential_is_not_hidden_behind_old_data() {
    let registry = FakeRegistry::with_servers(30).await;
    let server = over_api(&registry).await;
    until_loaded(&server).await;
    registry.break_all(Fault::Status(401));
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_auth_required"),
        "{answer:?}"
    );
    assert_eq!(server.get(LIST).await.code(), "registry_auth_required");
}

#[tokio::test]
async fn f31_a_refresh_shows_at_once_what_an_hour_would_have_hidden() {
    let registry = FakeRegistry::with_servers(3).await;
    registry.honour_updated_since(false);
    let server = over_api(&registry).await;
    until_loaded(&server).await;
    registry.upsert(row("test.new/comer", 5000));
    let newcomer = "/v0.1/servers/test.new%2Fcomer/versions/latest";
    assert_eq!(server.get(newcomer).await.status, 404);
    refresh(&server).await;
    assert_eq!(server.get(newcomer).await.status, 200);
}

#[tokio::test]
async fn f32_a_refresh_renews_skills_and_plugins() {
    let registry = FakeRegistry::with_servers(3).await;
    registry.set_extensions(generate::skills(2, 1), generate::plugins(2, 1));
    let server = over_api(&registry).await;
    until_loaded(&server).await;
    registry.set_extensions(generate::skills(5, 2), generate::plugins(4, 2));
    refresh(&server).await;
    for (kind, count) in [("skills", 5), ("plugins", 4)] {
        let body = server
            .get(&format!("/registry/default/v0.1/x/dev.toolhive/{kind}"))
            .await
            .json();
        assert_eq!(body["metadata"]["total"], count, "{kind}");
    }
}

#[tokio::test]
async fn an_incremental_load_costs_as_many_requests_as_there_are_changes() {
    let registry = FakeRegistry::with_servers(2000).await;
    let server = over_api(&registry).await;
    until("the whole catalog", PATIENCE, || async {
        (total(server.address()).await == Some(registry.live_names().len() as u64)).then_some(())
    })
    .await;
    let whole = registry.list_count();
    assert!(whole >= 20, "{whole}");
    let names = registry.live_names();
    outage(&server, &registry).await;
    registry.upsert(row("test.new/comer", 5000));
    registry.delete(&names[0], &moment(5001));
    registry.set_status(&names[1], "deprecated", &moment(5002));
    let now_live = registry.live_names().len() as u64;
    until("the changes", PATIENCE, || async {
        (server.get(LIST).await.json()["metadata"]["total"] == now_live
            && server
                .get("/v0.1/servers?search=test.new%2Fcomer")
                .await
                .text()
                .contains("test.new/comer"))
        .then_some(())
    })
    .await;
    let asked = registry.requests_for(SERVERS);
    assert!(
        asked.len() <= 2,
        "{} requests for three changes",
        asked.len()
    );
    assert!(asked[0].param("updated_since").is_some(), "{asked:?}");
    assert_eq!(
        total(server.address()).await,
        Some(registry.live_names().len() as u64)
    );
    assert_eq!(
        server
            .get("/v0.1/servers/test.new%2Fcomer/versions/latest")
            .await
            .status,
        200
    );
    let gone = names[0].replace('/', "%2F");
    assert_eq!(
        server
            .get(&format!(
                "/registry/default/v0.1/servers/{gone}/versions/latest"
            ))
            .await
            .status,
        404
    );
    let old = server
        .get(&format!(
            "/v0.1/servers/{}/versions/latest",
            names[1].replace('/', "%2F")
        ))
        .await
        .json();
    assert_eq!(old["_meta"][generate::OFFICIAL]["status"], "deprecated");

    outage(&server, &registry).await;
    until_true_reading(&server, || registry.list_count() > 0).await;
    assert!(
        registry.list_count() <= 2,
        "nothing changed: {} requests",
        registry.list_count()
    );
}

#[tokio::test]
async fn an_upstream_that_ignores_updated_since_is_still_read_right() {
    let registry = FakeRegistry::with_servers(120).await;
    registry.honour_updated_since(false);
    let server = over_api(&registry).await;
    until_loaded(&server).await;
    let names = registry.live_names();
    registry.forget(&names[3]);
    registry.upsert(row("test.new/comer", 5000));
    refresh(&server).await;
    refresh(&server).await;
    let text = server.get(LIST).await.text();
    assert!(text.contains("test.new/comer"));
    assert!(
        !text.contains(&format!("\"{}\"", names[3])),
        "what is gone upstream is gone here"
    );
}
