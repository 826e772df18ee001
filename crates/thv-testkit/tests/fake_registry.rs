//! The fake keeps the promises of the published API, or what the product's tests prove is worth nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::time::Duration;

use serde_json::Value;
use thv_testkit::client::{Address, Answer, Call, Method};
use thv_testkit::fixture;
use thv_testkit::generate::{self, OFFICIAL, Row, moment};
use thv_testkit::registry::{FakeRegistry, Fault, Outcome, PLUGINS, Rule, SERVERS, SKILLS};
use thv_testkit::wait::until_true;

async fn get(registry: &FakeRegistry, path: &str) -> Answer {
    Address::from_record(&registry.url()).get(path).await
}

fn names(page: &Value) -> Vec<String> {
    page["servers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["server"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn cursors_lead_to_every_latest_version_once() {
    let registry = FakeRegistry::with_servers(250).await;
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(
            &registry,
            &format!("{SERVERS}?limit=100&version=latest{cursor}"),
        )
        .await
        .json();
        found.extend(names(&page));
        match page["metadata"]["nextCursor"].as_str() {
            Some(next) => {
                cursor = format!("&cursor={}", next.replace('/', "%2F").replace('+', "%2B"));
            }
            None => break,
        }
    }
    assert_eq!(found, registry.live_names());
    assert_eq!(registry.list_count(), 3);
}

#[tokio::test]
async fn changes_since_a_time_include_the_deleted_and_nothing_older() {
    let registry = FakeRegistry::with_servers(50).await;
    let name = registry.live_names()[0].clone();
    registry.delete(&name, &moment(1000));
    assert!(!registry.live_names().contains(&name));
    let changes = get(
        &registry,
        &format!("{SERVERS}?version=latest&updated_since={}", moment(1000)),
    )
    .await
    .json();
    assert_eq!(names(&changes), [name.as_str()]);
    assert_eq!(
        changes["servers"][0]["_meta"][OFFICIAL]["status"],
        "deleted"
    );
    assert!(!names(&get(&registry, &format!("{SERVERS}?limit=100")).await.json()).contains(&name));
    assert_eq!(
        get(&registry, &format!("{SERVERS}?updated_since=yesterday"))
            .await
            .status,
        422
    );
    assert_eq!(
        get(&registry, &format!("{SERVERS}?limit=1000"))
            .await
            .status,
        422
    );
}

#[tokio::test]
async fn a_new_latest_version_demotes_the_old_one() {
    let registry = FakeRegistry::start().await;
    for version in ["1.0.0", "1.1.0"] {
        let mut server = fixture::npm("test.v/x", "@example/x");
        server["version"] = version.into();
        registry.upsert(Row::of(server, &moment(0)));
    }
    let latest = get(&registry, &format!("{SERVERS}/test.v%2Fx/versions/latest"))
        .await
        .json();
    assert_eq!(latest["server"]["version"], "1.1.0");
    let old = get(&registry, &format!("{SERVERS}/test.v%2Fx/versions/1.0.0"))
        .await
        .json();
    assert_eq!(old["_meta"][OFFICIAL]["isLatest"], false);
    let all = get(&registry, &format!("{SERVERS}/test.v%2Fx/versions"))
        .await
        .json();
    assert_eq!(all["servers"].as_array().unwrap().len(), 2);
    assert_eq!(
        get(&registry, &format!("{SERVERS}/test.v%2Fy/versions"))
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn the_extension_is_absent_until_it_is_set() {
    let registry = FakeRegistry::start().await;
    assert_eq!(get(&registry, SKILLS).await.status, 404);
    registry.set_extensions(generate::skills(40, 1), generate::plugins(2, 1));
    let page = get(&registry, SKILLS).await.json();
    assert_eq!(
        (
            page["skills"].as_array().unwrap().len(),
            page["metadata"]["nextCursor"].as_str()
        ),
        (30, Some("30"))
    );
    assert_eq!(get(&registry, PLUGINS).await.json()["metadata"]["count"], 2);
}

#[tokio::test]
async fn documents_have_etags_and_the_journal_has_everything() {
    let registry = FakeRegistry::start().await;
    registry.put_document("/r.json", "{}");
    let first = get(&registry, "/r.json?a=b%20c").await;
    let again = Call::get("/r.json")
        .header("if-none-match", first.header("etag"))
        .to(&Address::from_record(&registry.url()))
        .await;
    assert_eq!((first.status, again.status), (200, 304));
    let journal = registry.requests();
    assert_eq!(journal[0].param("a"), Some("b c"));
    assert_eq!(journal[1].outcome, Outcome::Answered(304));
    registry.put_redirect("/old", "http://elsewhere.test/");
    assert_eq!(
        get(&registry, "/old").await.header("location"),
        "http://elsewhere.test/"
    );
}

#[tokio::test]
async fn faults_strike_where_and_when_they_are_told_to() {
    let registry = FakeRegistry::with_servers(5).await;
    registry.break_with(
        Rule::always(Fault::TooManyRequests { retry_after: 7 })
            .on(SERVERS)
            .after(1)
            .times(1),
    );
    let statuses = [
        get(&registry, SKILLS).await.status,
        get(&registry, SERVERS).await.status,
        get(&registry, SERVERS).await.status,
        get(&registry, SERVERS).await.status,
    ];
    assert_eq!(statuses, [404, 200, 429, 200]);
    for fault in [Fault::CutBody, Fault::BadJson, Fault::Html, Fault::Legacy] {
        registry.heal();
        registry.break_all(fault.clone());
        let outcome = Call::get(SERVERS)
            .attempt(&Address::from_record(&registry.url()))
            .await;
        let honest = outcome
            .ok()
            .and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok())
            .is_some_and(|page| page["servers"].is_array());
        assert!(!honest, "{fault:?}");
    }
}

#[tokio::test]
async fn a_refusing_registry_keeps_its_port_and_comes_back() {
    let registry = FakeRegistry::with_servers(5).await;
    let address = Address::from_record(&registry.url());
    let mut kept = address.connect().await.unwrap();
    registry.refuse().await;
    assert!(address.connect().await.is_err());
    assert!(
        kept.read_all(Duration::from_secs(5)).await.1,
        "open connections end too"
    );
    registry.accept_again();
    assert_eq!(address.get(SERVERS).await.status, 200);
}

#[tokio::test]
async fn the_journal_shows_who_gave_up() {
    let registry = FakeRegistry::with_servers(5).await;
    for fault in [Fault::Hang, Fault::HangInBody, Fault::EndlessBody] {
        registry.heal();
        registry.clear_journal();
        registry.break_all(fault.clone());
        let address = Address::from_record(&registry.url());
        let waiting =
            tokio::spawn(async move { Call::new(Method::GET, SERVERS).attempt(&address).await });
        until_true("the request", || {
            registry
                .requests()
                .iter()
                .any(|request| request.outcome == Outcome::Pending)
        })
        .await;
        waiting.abort();
        until_true(&format!("{fault:?} to be abandoned"), || {
            registry.requests()[0].outcome == Outcome::Abandoned
        })
        .await;
    }
}
