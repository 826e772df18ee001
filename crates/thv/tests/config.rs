//! The configuration file: one write path, shared with the Go program, which rewrites it in place and deletes lock files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use thv_testkit::binary::{Server, Setup, cli};
use thv_testkit::fixture;
use thv_testkit::home::Home;
use thv_testkit::registry::FakeRegistry;
use thv_testkit::wait::{PATIENCE, until};

const THV: &str = env!("CARGO_BIN_EXE_thv");
const DEFAULT: &str = "/api/v1beta/registry/default";

/// A configuration as a Go program leaves it, with keys and comments that are none of our business.
const FOREIGN: &str = "\
# written by hand
secrets:
    provider_type: encrypted
    setup_completed: true
clients:
    registered_clients:
        - vscode
        - cursor   # the good one
otel:
    endpoint: https://otel.example.test
    sampling-rate: 0.1
registry_url: \"\"
registry_api_url: \"\"
local_registry_path: \"\"
allow_private_registry_ip: false
secret_scope_migration: true
disable_usage_metrics: true
build_env:
    YES: \"no\"
    NUMBER: \"007\"
runtime_configs:
    npx:
        builder_image: node:22-alpine
llm:
    unknown_to_everyone: {a: [1, 2], b: ~}
";

fn document(name: &str) -> String {
    fixture::registry_document([fixture::npm(name, "@example/x")])
}

async fn source(server: &Server) -> String {
    server.get("/api/v1beta/registry").await.json()["registries"][0]["source"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The lines of a configuration that are not about the registry.
fn others(config: &str) -> String {
    let ours = [
        "registry_url:",
        "registry_api_url:",
        "local_registry_path:",
        "allow_private_registry_ip:",
    ];
    config
        .lines()
        .filter(|line| !ours.iter().any(|key| line.starts_with(key)))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn w41_keys_of_others_survive_every_change() {
    let registry = FakeRegistry::with_servers(2).await;
    let server = Server::in_new_home(THV, |home| home.write_config(FOREIGN)).await;
    let file = server.home().write("r.json", document("test.w41/keys"));
    for body in [
        json!({"local_path": file.display().to_string()}),
        json!({"api_url": registry.url(), "allow_private_ip": true}),
        json!({}),
    ] {
        let answer = server.put(DEFAULT, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let config = server.home().config();
        assert_eq!(others(&config), others(FOREIGN), "after {body}");
    }
    let ran = server
        .cli(&["config", "set-registry", &file.display().to_string()])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let config = server.home().config();
    assert_eq!(others(&config), others(FOREIGN));
    assert!(
        config.contains(&format!("local_registry_path: {}", file.display())),
        "{config}"
    );
}

#[tokio::test]
async fn w41_readers_never_see_a_half_written_file() {
    let server = Server::in_new_home(THV, |home| home.write_config(FOREIGN)).await;
    let home = Arc::clone(server.home());
    let one = home
        .write("one.json", document("test.w41/one"))
        .display()
        .to_string();
    let two = home
        .write("two.json", document("test.w41/two"))
        .display()
        .to_string();
    assert_eq!(
        server
            .put(DEFAULT, &json!({"local_path": one}))
            .await
            .status,
        200
    );
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (home, done) = (Arc::clone(&home), Arc::clone(&done));
        std::thread::spawn(move || {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let config = home.config();
                assert!(
                    config.contains("local_registry_path: /")
                        && config.contains("unknown_to_everyone"),
                    "half a file: {config}"
                );
                reads += 1;
            }
            reads
        })
    };
    let address = server.address().clone();
    let watching = {
        let done = Arc::clone(&done);
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let answer = address.get("/api/v1beta/registry").await;
                let text = answer.text();
                assert!(
                    text.contains("\"type\":\"file\""),
                    "never the default in between: {text}"
                );
            }
        })
    };
    for round in 0..200 {
        let path = if round % 2 == 0 { &two } else { &one };
        let answer = server.put(DEFAULT, &json!({"local_path": path})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    done.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 100);
    watching.await.unwrap();
}

#[tokio::test]
async fn w41_a_damaged_file_is_an_error_and_not_the_end() {
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&document("test.w41/kept"));
    })
    .await;
    let good = server.home().config();
    let broken = "registry_url: [unclosed\n  - {";
    server.home().write_config(broken);
    let file = server.home().write("r.json", document("test.w41/new"));
    let answer = server
        .put(DEFAULT, &json!({"local_path": file.display().to_string()}))
        .await;
    assert!(
        answer.status >= 400,
        "a change on top of a damaged file cannot succeed: {answer:?}"
    );
    assert_eq!(
        server.home().config(),
        broken,
        "what we cannot read we do not overwrite"
    );
    assert_eq!(server.get("/health").await.status, 204);
    let read = server.get("/registry/default/v0.1/servers").await;
    assert!(
        !read.text().contains("io.github.stacklok"),
        "never the built-in registry: {read:?}"
    );

    let ran = server.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("config.yaml"), "{ran:?}");

    server.home().write_config(&good);
    until("the repaired file to count", PATIENCE, || async {
        let answer = server.get("/registry/default/v0.1/servers").await;
        answer.text().contains("test.w41/kept").then_some(())
    })
    .await;
}

#[tokio::test]
async fn w41_a_server_starts_next_to_a_damaged_file_or_says_why_not() {
    let home = Arc::new(Home::new());
    home.write_config("registry_url: [unclosed\n  - {");
    let mut server = Setup::new(THV, &home).spawn();
    until("a record or an end", PATIENCE, || {
        std::future::ready((home.server_record().exists() || !server.is_running()).then_some(()))
    })
    .await;
    assert!(
        server.is_running() || server.stderr().contains("config.yaml"),
        "{}",
        server.stderr()
    );
}

#[tokio::test]
async fn appendix_d_a_file_rewritten_in_place_is_waited_for() {
    let server = Server::in_new_home(THV, |home| {
        home.use_document(&document("test.d2/before"));
    })
    .await;
    let home = Arc::clone(server.home());
    let after = home.write("after.json", document("test.d2/after"));
    assert_eq!(
        source(&server).await,
        home.join("registry.json").display().to_string()
    );

    // A Go program truncates, then writes: in between the file is empty.
    let mut file = std::fs::File::create(home.config_file()).unwrap();
    let config = format!("local_registry_path: {}\n", after.display());
    let address = server.address().clone();
    let during = address.get("/registry/default/v0.1/servers").await;
    assert!(
        !during.text().contains("io.github.stacklok"),
        "an empty file is not the built-in registry: {during:?}"
    );
    file.write_all(config.as_bytes()).unwrap();
    drop(file);
    until("the new source", PATIENCE, || async {
        let answer = server.get("/registry/default/v0.1/servers").await;
        answer.text().contains("test.d2/after").then_some(())
    })
    .await;
    assert_eq!(source(&server).await, after.display().to_string());
}

#[tokio::test]
async fn appendix_d_locks_that_others_delete_do_not_block() {
    let server = Server::in_new_home(THV, |home| home.write_config(FOREIGN)).await;
    let home = Arc::clone(server.home());
    let file = home
        .write("r.json", document("test.d3/lock"))
        .display()
        .to_string();
    let lock = home.join("config/toolhive/config.yaml.lock");
    for _ in 0..5 {
        assert_eq!(
            server
                .put(DEFAULT, &json!({"local_path": file}))
                .await
                .status,
            200
        );
        let _ = std::fs::remove_file(&lock);
        assert_eq!(server.put(DEFAULT, &json!({})).await.status, 200);
    }
}

#[tokio::test]
async fn appendix_d_a_lock_held_by_another_process_is_an_error_after_a_second() {
    let server = Server::in_new_home(THV, |home| home.write_config(FOREIGN)).await;
    let home = Arc::clone(server.home());
    let file = home
        .write("r.json", document("test.d4/lock"))
        .display()
        .to_string();
    let lock = std::fs::File::create(home.join("config/toolhive/config.yaml.lock")).unwrap();
    lock.lock().unwrap();
    let started = std::time::Instant::now();
    let answer = server.put(DEFAULT, &json!({"local_path": file})).await;
    assert!(answer.status >= 400, "{answer:?}");
    assert!(answer.text().contains(LOCKED), "{answer:?}");
    assert!(
        started.elapsed().as_secs_f64() < 10.0,
        "{:?}",
        started.elapsed()
    );
    assert_eq!(home.config(), FOREIGN);
    lock.unlock().unwrap();
    assert_eq!(
        server
            .put(DEFAULT, &json!({"local_path": file}))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn f28_a_running_server_notices_what_the_command_line_sets() {
    let server = Server::in_new_home(THV, |_| {}).await;
    let file = server.home().write("mine.json", document("test.f28/cli"));
    let ran = server
        .cli(&["config", "set-registry", &file.display().to_string()])
        .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    until("the new source", PATIENCE, || async {
        (source(&server).await == file.display().to_string()).then_some(())
    })
    .await;
    assert!(
        server
            .get("/v0.1/servers")
            .await
            .text()
            .contains("test.f28/cli")
    );
    let ran = server.cli(&["config", "unset-registry"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{ran:?}");
    until("the built-in source", PATIENCE, || async {
        source(&server).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn f34_a_change_that_fails_leaves_every_byte() {
    let server = Server::in_new_home(THV, |home| home.write_config(FOREIGN)).await;
    for body in [
        json!({"local_path": "/nowhere/at/all.json"}),
        json!({"url": "http://plain.example.test/r.json"}),
        json!({"url": "https://10.1.2.3/r.json"}),
        json!({"url": "https://a.example.test/r.json", "api_url": "https://b.example.test"}),
    ] {
        assert!(server.put(DEFAULT, &body).await.status >= 400, "{body}");
        assert_eq!(server.home().config(), FOREIGN, "{body}");
    }
    let ran = server
        .cli(&["config", "set-registry", "/nowhere/at/all.json"])
        .await;
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(server.home().config(), FOREIGN);
}

#[tokio::test]
async fn f35_only_the_file_that_was_read_is_written() {
    let home = Home::new();
    home.write(
        "config/toolhive/config.yaml",
        "secrets:\n    provider_type: encrypted\n    setup_completed: false\n",
    );
    let bystander = home.write(
        ".config/toolhive/config.yaml",
        "registry_url: https://untouched.example.test/r.json\n",
    );
    let file = home.write("r.json", document("test.f35/x"));
    let ran = cli(
        THV,
        &home,
        &["config", "set-registry", &file.display().to_string()],
    )
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        std::fs::read_to_string(&bystander).unwrap(),
        "registry_url: https://untouched.example.test/r.json\n"
    );
    assert!(home.config().contains("local_registry_path"));
}

#[tokio::test]
async fn f36_an_absent_boolean_stays_absent() {
    let home = Home::new();
    home.write_config("secrets:\n    provider_type: \"\"\n    setup_completed: false\n");
    let file = home.write("r.json", document("test.f36/x"));
    let ran = cli(
        THV,
        &home,
        &["config", "set-registry", &file.display().to_string()],
    )
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let config = home.config();
    for key in [
        "secret_scope_migration",
        "disable_usage_metrics",
        "default_group_migration",
    ] {
        assert!(!config.contains(key), "{key} came from nowhere: {config}");
    }
}

#[tokio::test]
async fn unset_on_the_default_is_no_write() {
    let home = Home::new();
    home.write_config(FOREIGN);
    let before = std::fs::metadata(home.config_file())
        .unwrap()
        .modified()
        .unwrap();
    let ran = cli(THV, &home, &["config", "unset-registry"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(home.config(), FOREIGN);
    assert_eq!(
        std::fs::metadata(home.config_file())
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
}

#[tokio::test]
async fn the_file_stays_private() {
    let home = Home::new();
    let file = home.write("r.json", document("test.private/x"));
    let ran = cli(
        THV,
        &home,
        &["config", "set-registry", &file.display().to_string()],
    )
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(
        std::fs::metadata(home.config_file())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert_eq!(
        std::fs::metadata(home.join("config/toolhive"))
            .unwrap()
            .permissions()
            .mode()
            & 0o077,
        0
    );
}

/// What is said to somebody whose turn does not come within a second. Where a disk is slow, that is no fault.
const LOCKED: &str = "another process is changing the configuration";

#[tokio::test]
async fn commands_and_server_change_the_file_at_the_same_time_without_loss() {
    let server = Server::in_new_home(THV, |home| home.write_config(FOREIGN)).await;
    let home = Arc::clone(server.home());
    let file = home
        .write("r.json", document("test.race/x"))
        .display()
        .to_string();
    let mut running = Vec::new();
    for round in 0..8 {
        let (home, file) = (Arc::clone(&home), file.clone());
        running.push(tokio::spawn(async move {
            let set = ["config", "set-registry", file.as_str()];
            let arguments: &[&str] = if round % 2 == 0 {
                &set
            } else {
                &["config", "unset-registry"]
            };
            until("its turn", PATIENCE, || async {
                let ran = cli(THV, &home, arguments).await;
                (!ran.stderr.contains(LOCKED)).then_some(ran)
            })
            .await
        }));
    }
    for _ in 0..8 {
        let answer = until("its turn", PATIENCE, || async {
            let answer = server.put(DEFAULT, &json!({"local_path": file})).await;
            (!answer.text().contains(LOCKED)).then_some(answer)
        });
        let answer = answer.await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for ran in running {
        let ran = ran.await.unwrap();
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(others(&home.config()), others(FOREIGN));
}
