//! The catalog on disk: what a restart, another process, a crash or another registry makes of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use thv_testkit::binary::{Server, Setup, cli};
use thv_testkit::client::{Address, Call, Method};
use thv_testkit::fixture;
use thv_testkit::generate::{Row, moment};
use thv_testkit::home::Home;
use thv_testkit::registry::{FakeRegistry, Fault, SERVERS};
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

/// An outage of the shortest kind. What the server asks when it is over, it asks by itself: a forced refresh reads
/// everything, a recovery only what changed.
async fn outage(server: &Server, registry: &FakeRegistry) {
    registry.break_all(Fault::Status(503));
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 503);
    registry.clear_journal();
    registry.heal();
}

fn row(name: &str, step: usize) -> Row {
    Row::of(fixture::npm(name, "@example/x"), &moment(step))
}

fn files_under(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_under(&path));
        } else if path.extension().is_none_or(|extension| extension != "lock") {
            found.push(path);
        }
    }
    found
}

/// Waits until a catalog is on disk: a server that is told to end has little time left to write it.
async fn until_kept(home: &Home) {
    until_true("a catalog on disk", || {
        let files = files_under(&home.cache_dir());
        let mut extensions = files.iter().filter_map(|file| file.extension());
        extensions.any(|extension| extension == "thv")
    })
    .await;
}

#[tokio::test]
async fn w21_an_offline_start_serves_the_catalog_from_disk() {
    let registry = FakeRegistry::with_servers(300).await;
    let home = Arc::new(Home::new());
    home.use_api(&registry.url());
    let server = Setup::new(THV, &home).start().await;
    let before = until_loaded(&server).await;
    until_kept(&home).await;
    assert_eq!(server.stop().await.code(), Some(0));
    registry.break_all(Fault::Hang);
    let server = Setup::new(THV, &home).start().await;
    let started = Instant::now();
    assert_eq!(total(server.address()).await, Some(before));
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "nothing is waited for: {:?}",
        started.elapsed()
    );
    let offline = server.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(offline.code, 0, "{offline:?}");
    assert_eq!(offline.json().as_array().unwrap().len() as u64, before);
}

#[tokio::test]
async fn w21_the_cache_of_a_document_survives_a_restart_too() {
    let registry = FakeRegistry::start().await;
    registry.put_document(
        "/registry.json",
        fixture::registry_document(fixture::every_kind()),
    );
    let home = Arc::new(Home::new());
    home.use_url(&registry.at("/registry.json"));
    let server = Setup::new(THV, &home).start().await;
    let before = until_loaded(&server).await;
    until_kept(&home).await;
    server.stop().await;
    registry.refuse().await;
    let server = Setup::new(THV, &home).start().await;
    assert_eq!(total(server.address()).await, Some(before));
}

#[tokio::test]
async fn w27_a_cache_of_another_registry_is_never_served() {
    let first = FakeRegistry::with_servers(20).await;
    let second = FakeRegistry::with_servers(7).await;
    let home = Arc::new(Home::new());
    home.use_api(&first.url());
    let server = Setup::new(THV, &home).start().await;
    until_loaded(&server).await;
    until_kept(&home).await;
    server.stop().await;
    second.refuse().await;
    home.use_api(&second.url());
    let server = Setup::new(THV, &home).start().await;
    let answer = server.get(LIST).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn w27_a_damaged_cache_is_ignored_and_replaced() {
    let registry = FakeRegistry::with_servers(40).await;
    let home = Arc::new(Home::new());
    home.use_api(&registry.url());
    let server = Setup::new(THV, &home).start().await;
    let expected = until_loaded(&server).await;
    until_kept(&home).await;
    server.stop().await;
    let files = files_under(&home.cache_dir());
    assert!(!files.is_empty(), "a catalog was kept on disk");
    for damage in ["cut", "garbled", "empty"] {
        for file in &files {
            let mut bytes = std::fs::read(file).unwrap();
            match damage {
                "cut" => bytes.truncate(bytes.len() / 2),
                "garbled" => {
                    let middle = bytes.len() / 2;
                    bytes[middle..].iter_mut().for_each(|byte| *byte ^= 0x5a);
                }
                _ => bytes.clear(),
            }
            std::fs::write(file, bytes).unwrap();
        }
        let server = Setup::new(THV, &home).start().await;
        assert_eq!(
            until_loaded(&server).await,
            expected,
            "{damage}: {}",
            server.stderr()
        );
        assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
        server.stop().await;
    }
}

#[tokio::test]
async fn w27_files_of_others_in_the_cache_directory_survive() {
    let registry = FakeRegistry::with_servers(10).await;
    let home = Arc::new(Home::new());
    let go_cache = home.write("cache/toolhive/cache/registry-0e49772f.json", "{}");
    let foreign = home.write("cache/toolhive/catalogs/notes.txt", "mine");
    let ages_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for file in [&go_cache, &foreign] {
        std::fs::File::options()
            .write(true)
            .open(file)
            .unwrap()
            .set_modified(ages_ago)
            .unwrap();
    }
    home.use_api(&registry.url());
    let server = Setup::new(THV, &home).start().await;
    until_loaded(&server).await;
    until_kept(&home).await;
    server.stop().await;
    assert!(go_cache.exists() && foreign.exists());
}

#[tokio::test]
async fn w27_cache_files_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let registry = FakeRegistry::with_servers(10).await;
    let server = over_api(&registry).await;
    until_loaded(&server).await;
    until_kept(server.home()).await;
    for file in files_under(&server.home().cache_dir()) {
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o077,
            0,
            "{}",
            file.display()
        );
    }
}

#[tokio::test]
async fn a_restart_continues_from_the_cache_with_changes_only() {
    let registry = FakeRegistry::with_servers(1000).await;
    let home = Arc::new(Home::new());
    home.use_api(&registry.url());
    let server = Setup::new(THV, &home).start().await;
    until("the whole catalog", PATIENCE, || async {
        (total(server.address()).await == Some(registry.live_names().len() as u64)).then_some(())
    })
    .await;
    until_kept(&home).await;
    server.stop().await;
    registry.upsert(row("test.new/overnight", 5000));
    let server = Setup::new(THV, &home).start().await;
    assert!(total(server.address()).await.is_some(), "served from disk");
    outage(&server, &registry).await;
    until("the new server", PATIENCE, || async {
        let found = server.get("/v0.1/servers?search=overnight").await;
        found.text().contains("test.new/overnight").then_some(())
    })
    .await;
    let asked = registry.requests_for(SERVERS);
    assert!(asked.len() <= 2, "{} list requests", asked.len());
    assert!(asked[0].param("updated_since").is_some(), "{asked:?}");
}

#[tokio::test]
async fn w27_processes_that_write_the_same_cache_at_once_leave_a_whole_one() {
    let registry = FakeRegistry::with_servers(400).await;
    let home = Arc::new(Home::new());
    home.use_api(&registry.url());
    let ran = all((0..6).map(|_| {
        cli(
            THV,
            &home,
            &["registry", "list", "--refresh", "--format", "json"],
        )
    }))
    .await;
    for ran in &ran {
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(
            ran.json().as_array().unwrap().len(),
            registry.live_names().len()
        );
    }
    registry.refuse().await;
    let offline = cli(THV, &home, &["registry", "list", "--format", "json"]).await;
    assert_eq!(offline.code, 0, "{offline:?}");
    assert_eq!(
        offline.json().as_array().unwrap().len(),
        registry.live_names().len()
    );
}

#[tokio::test]
async fn a_server_killed_at_any_moment_leaves_a_home_that_starts() {
    let registry = FakeRegistry::with_servers(600).await;
    let home = Arc::new(Home::new());
    home.use_api(&registry.url());
    for round in 0..12_u64 {
        let server = Setup::new(THV, &home).start().await;
        let reading = tokio::spawn({
            let address = server.address().clone();
            async move {
                Call::new(Method::POST, REFRESH)
                    .attempt(&address)
                    .await
                    .is_ok()
            }
        });
        // Not a wait for something: another moment of the load in each round.
        tokio::time::sleep(Duration::from_millis(round * 9)).await;
        drop(server);
        let _ = reading.await;
    }
    let server = Setup::new(THV, &home).start().await;
    let expected = registry.live_names().len() as u64;
    until("the whole catalog", PATIENCE, || async {
        (total(server.address()).await == Some(expected)).then_some(())
    })
    .await;
    assert!(!server.stderr().contains("panicked"), "{}", server.stderr());
}
