//! `thv doctor` on a healthy machine, and with each thing broken once: what is named, and with what to type.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use auth_kit::{Stage, files_below, free_port};
use rustix::process::Signal;
use serde_json::{Value, json};
use thv_auth::vault::{ConfiguredStore, Vault};
use thv_config::world::{MapEnv, SystemClock, World};
use thv_config::{ConfigStore, Paths};
use thv_secrets::Secrets;
use thv_testkit::binary::{Ran, cli_with};
use thv_testkit::home::Home;
use thv_testkit::provider::{self, Rule, paths};
use thv_testkit::registry;
use thv_testkit::wait::{PATIENCE, until, until_true};

async fn doctor(stage: &Stage) -> (i32, Value) {
    let ran = stage.cli(&["doctor", "--format", "json"]).await;
    assert!(stage.opener.urls().is_empty(), "a browser was opened");
    (ran.code, ran.json())
}

fn check<'d>(diagnosis: &'d Value, id: &str) -> &'d Value {
    let checks = diagnosis["checks"].as_array().expect("checks");
    checks
        .iter()
        .find(|check| check["id"] == id)
        .unwrap_or_else(|| panic!("no {id} in {diagnosis:#}"))
}

/// The checks that ended so.
fn ids(diagnosis: &Value, outcome: &str) -> Vec<String> {
    let checks = diagnosis["checks"].as_array().expect("checks");
    checks
        .iter()
        .filter(|check| check["outcome"] == outcome)
        .map(|check| check["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// `text` without what differs from run to run.
fn told(stage: &Stage, ran: &Ran) -> String {
    let home = stage.home.path().display().to_string();
    let port = |url: &str| url.rsplit(':').next().unwrap_or_default().to_owned();
    let replaced = [
        (home, "HOME"),
        (port(&stage.provider.issuer()), "IDP"),
        (port(&stage.registry.url()), "REGISTRY"),
        (stage.port.to_string(), "CALLBACK"),
    ]
    .into_iter()
    .fold(ran.stdout.clone(), |text, (found, name)| {
        text.replace(&found, name)
    });
    // Numbers that are different each time: how long an answer took, until when the token is good, how large the store is.
    replaced
        .lines()
        .map(|line| {
            // Where a second passes in between, it shows another one. What is made of clocks has a test of its own.
            let line = match line.split_once("its clock shows ") {
                Some((indent, _)) => format!("{indent}its clock shows …"),
                None => line.to_owned(),
            };
            line.split(' ')
                .map(|word| {
                    let varies = word.starts_with("2026-")
                        || word.starts_with("v0.")
                        || word.contains(".lock")
                        || word.parse::<u32>().is_ok();
                    if varies {
                        "…".to_owned()
                    } else {
                        word.to_owned()
                    }
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn on_a_healthy_machine_nothing_has_failed() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    stage.provider.clear_journal();
    let store = stage.home.join("data/toolhive/secrets_encrypted");
    let ran = stage.cli_with(&["doctor"], &[("COLUMNS", "100")]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    insta::assert_snapshot!(told(&stage, &ran));
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    assert_eq!(ids(&diagnosis, "failed"), [] as [String; 0]);
    assert_eq!(check(&diagnosis, "registry.token")["outcome"], "ok");
    // Nobody was asked for tokens, and nothing secret is told.
    assert_eq!(stage.provider.requests_for(paths::TOKEN).len(), 0);
    let text = diagnosis.to_string() + &ran.stdout;
    for secret in stage.provider.secrets() {
        assert!(!text.contains(&secret), "a secret is told");
    }
    assert!(store.exists());
    let ran = stage.cli(&["registry", "list", "--refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
}

#[tokio::test]
async fn before_the_first_login_it_is_said_what_to_type() {
    let stage = Stage::new().await;
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    let grant = check(&diagnosis, "login.grant");
    assert_eq!(grant["outcome"], "warning");
    assert_eq!(grant["fix"], "thv registry login");
    assert_eq!(check(&diagnosis, "store.round_trip")["outcome"], "skipped");
    assert_eq!(check(&diagnosis, "registry.challenge")["outcome"], "ok");
    assert_eq!(stage.store_bytes(), b"", "nothing was set up");
}

#[tokio::test]
async fn a_machine_on_which_nothing_was_done_is_left_so() {
    let home = Home::new();
    let before = files_below(home.path());
    let ran = cli_with(auth_kit::THV, &home, &["doctor"], &[], b"").await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stdout.contains("0 failed"), "{}", ran.stdout);
    assert_eq!(files_below(home.path()), before);
}

#[tokio::test]
async fn each_broken_rule_of_the_provider_is_named_by_its_check() {
    let stage = Stage::new().await;
    let http = format!("http://id.example{}", paths::TOKEN);
    let table = [
        (
            "issuer",
            json!("https://honest.example"),
            "issuer.identity",
            "failed",
        ),
        ("token_endpoint", json!(http), "issuer.endpoints", "failed"),
        (
            "authorization_endpoint",
            json!("javascript:alert(1)"),
            "issuer.endpoints",
            "failed",
        ),
        (
            "code_challenge_methods_supported",
            json!(["plain"]),
            "issuer.pkce",
            "failed",
        ),
        (
            "code_challenge_methods_supported",
            Value::Null,
            "issuer.pkce",
            "warning",
        ),
        (
            "authorization_response_iss_parameter_supported",
            Value::Null,
            "issuer.response_issuer",
            "warning",
        ),
        (
            "revocation_endpoint",
            Value::Null,
            "issuer.revocation",
            "warning",
        ),
        (
            "device_authorization_endpoint",
            Value::Null,
            "issuer.device",
            "warning",
        ),
        (
            "scopes_supported",
            json!(["openid"]),
            "issuer.scopes",
            "warning",
        ),
    ];
    for (member, value, id, outcome) in table {
        stage.provider.behave(|behaviour| {
            behaviour.metadata.clear();
            behaviour.metadata.insert(member.to_owned(), value.clone());
        });
        let (code, diagnosis) = doctor(&stage).await;
        let found = check(&diagnosis, id);
        assert_eq!(found["outcome"], outcome, "{member}: {found}");
        assert!(found["fix"].is_string(), "{member}: {found}");
        assert_eq!(code, i32::from(outcome == "failed"), "{member}");
        if member == "issuer" {
            let evidence = found["evidence"].as_str().unwrap();
            assert!(evidence.contains("https://honest.example"), "{evidence}");
            assert!(evidence.contains(&stage.provider.issuer()), "{evidence}");
        }
    }
}

#[tokio::test]
async fn a_provider_in_trouble_and_one_that_hangs_are_told_apart_from_ours() {
    let stage = Stage::new().await;
    for (fault, id) in [
        (provider::Fault::Status(503), "issuer.reachable"),
        (provider::Fault::Html(200), "issuer.metadata"),
        (provider::Fault::Cut, "issuer.reachable"),
        (provider::Fault::Hang, "issuer.reachable"),
    ] {
        stage
            .provider
            .break_with(Rule::always(fault.clone()).on("/.well-known"));
        let (code, diagnosis) = doctor(&stage).await;
        assert_eq!(code, 1, "{fault:?}");
        assert_eq!(
            check(&diagnosis, id)["outcome"],
            "failed",
            "{fault:?}: {diagnosis:#}"
        );
        assert_eq!(check(&diagnosis, "issuer.pkce")["outcome"], "skipped");
        assert_eq!(check(&diagnosis, "registry.reachable")["outcome"], "ok");
        stage.provider.heal();
    }
}

#[tokio::test]
async fn a_registry_that_is_down_wrong_or_refusing_is_named() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    stage.registry.refuse_good_tokens(100);
    let (code, diagnosis) = doctor(&stage).await;
    let token = check(&diagnosis, "registry.token");
    assert_eq!((code, &token["outcome"]), (1, &json!("failed")), "{token}");
    stage.registry.accept_again();

    stage.registry.break_all(registry::Fault::Status(503));
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 1);
    assert_eq!(ids(&diagnosis, "failed"), ["registry.reachable"]);
    stage.registry.heal();

    stage.registry.unprotect();
    stage
        .home
        .write_config(&stage.config_for(&format!("{}/wrong", stage.registry.url())));
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 1, "{diagnosis:#}");
    assert_eq!(check(&diagnosis, "registry.challenge")["outcome"], "failed");

    let nowhere = format!("http://127.0.0.1:{}", free_port());
    stage.home.write_config(&stage.config_for(&nowhere));
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 1);
    assert_eq!(ids(&diagnosis, "failed"), ["registry.reachable"]);
}

#[tokio::test]
async fn what_the_registry_says_of_itself_is_compared_with_the_settings() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    let (url, issuer) = (stage.registry.url(), stage.provider.issuer());
    let other = format!("{url}/other");
    let with_slash = format!("{issuer}/");
    for (metadata, id, outcome, words) in [
        (
            json!({"resource": other, "authorization_servers": [issuer]}),
            "registry.metadata",
            "warning",
            other.as_str(),
        ),
        (
            json!({"resource": url, "authorization_servers": [with_slash]}),
            "registry.issuer",
            "warning",
            "issuer_root_slash",
        ),
        (
            json!({"resource": url, "authorization_servers": ["https://evil.example"]}),
            "registry.issuer",
            "failed",
            "https://evil.example",
        ),
        (
            json!({"resource": url, "authorization_servers": [issuer], "scopes_supported": ["registry:admin"]}),
            "registry.scopes",
            "warning",
            "registry:admin",
        ),
    ] {
        stage.registry.describe(metadata);
        stage.registry.clear_journal();
        let (code, diagnosis) = doctor(&stage).await;
        assert_eq!(code, i32::from(outcome == "failed"), "{diagnosis:#}");
        let found = check(&diagnosis, id);
        assert_eq!(found["outcome"], outcome, "{found}");
        assert!(
            found["evidence"].as_str().unwrap().contains(words),
            "{found}"
        );
        assert!(found["fix"].is_string(), "{found}");
        // Only the question about the token itself carries it.
        let with_token = stage
            .registry
            .requests()
            .into_iter()
            .filter(|request| request.header("authorization").is_some());
        let paths: Vec<String> = with_token.map(|request| request.path).collect();
        assert_eq!(paths, ["/v0.1/servers"], "{paths:?}");
    }
}

#[tokio::test]
async fn a_registry_that_publishes_nothing_is_no_failure_for_a_login_that_is_configured() {
    let stage = Stage::new().await;
    stage
        .registry
        .break_with(registry::Rule::always(registry::Fault::Status(404)).on("/.well-known"));
    stage.registry.challenge_with(&["Bearer"]);
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    let metadata = check(&diagnosis, "registry.metadata");
    assert_eq!(metadata["outcome"], "ok", "{metadata}");
    assert!(
        metadata["evidence"].as_str().unwrap().contains("by hand"),
        "{metadata}"
    );
    assert_eq!(check(&diagnosis, "registry.issuer")["outcome"], "skipped");
}

#[tokio::test]
async fn clocks_that_differ_are_told_with_the_difference() {
    let stage = Stage::new().await;
    stage.provider.set_ahead(600);
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    let clock = check(&diagnosis, "issuer.clock");
    assert_eq!(clock["outcome"], "warning", "{clock}");
}

#[tokio::test]
async fn what_is_wrong_on_this_machine_is_named() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    let held = TcpListener::bind(("127.0.0.1", stage.port)).unwrap();
    let store = stage.home.join("data/toolhive/secrets_encrypted");
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o644)).unwrap();
    let lock = stage.home.join("data/toolhive/secrets_encrypted.lock");
    let locked = std::fs::File::open(&lock).unwrap();
    locked.lock().unwrap();
    let (_, diagnosis) = doctor(&stage).await;
    let port = check(&diagnosis, "login.callback_port");
    assert_eq!(port["outcome"], "warning", "{port}");
    let pid = std::process::id().to_string();
    assert!(port["evidence"].as_str().unwrap().contains(&pid), "{port}");
    assert_eq!(check(&diagnosis, "store.file_mode")["outcome"], "warning");
    assert_eq!(check(&diagnosis, "store.round_trip")["outcome"], "failed");
    let holder = check(&diagnosis, "lock.secrets");
    assert_eq!(holder["outcome"], "warning", "{holder}");
    assert!(
        holder["evidence"].as_str().unwrap().contains(&pid),
        "{holder}"
    );
    drop((held, locked));
    let setup = std::fs::File::create(stage.home.join("data/toolhive/secrets_setup.lock")).unwrap();
    setup.lock().unwrap();
    let (_, diagnosis) = doctor(&stage).await;
    let holder = check(&diagnosis, "lock.secrets_setup");
    assert_eq!(holder["outcome"], "warning", "{holder}");
    drop(setup);

    let ran = stage
        .cli_with(
            &["doctor", "--format", "json"],
            &[
                ("TOOLHIVE_SECRETS_PASSWORD", "wrong"),
                ("SSL_CERT_FILE", "/nowhere/ca.pem"),
            ],
        )
        .await;
    assert_eq!(ran.code, 1, "{}", ran.transcript());
    let diagnosis = ran.json();
    let trip = check(&diagnosis, "store.round_trip");
    assert_eq!(trip["outcome"], "failed", "{trip}");
    assert!(!trip.to_string().contains("wrong\""), "{trip}");
    assert_eq!(check(&diagnosis, "network.trust")["outcome"], "failed");

    stage.home.write_config("registry_api_url: [\n");
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 1);
    assert_eq!(check(&diagnosis, "config.file")["outcome"], "failed");
    assert_eq!(check(&diagnosis, "config.values")["outcome"], "skipped");
}

#[tokio::test]
async fn a_running_server_is_found_and_one_that_was_killed_too() {
    let stage = Stage::new().await;
    let mut server = stage.server().await;
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    assert_eq!(check(&diagnosis, "server.record")["outcome"], "ok");
    assert_eq!(check(&diagnosis, "server.version")["outcome"], "ok");
    server.signal(Signal::KILL);
    until_true("the server to be gone", || !server.is_running()).await;
    let (code, diagnosis) = doctor(&stage).await;
    assert_eq!(code, 0, "{diagnosis:#}");
    let record = check(&diagnosis, "server.record");
    assert_eq!(record["outcome"], "warning", "{record}");
}

#[tokio::test]
async fn a_status_that_asks_the_registry_never_asks_for_tokens() {
    let stage = Stage::new().await;
    let status = ["registry", "status", "--check", "--format", "json"];
    let ran = stage.cli(&status).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    let login = &ran.json()["login"];
    assert_eq!(login["live"]["result"], "no_token", "{login}");
    assert_eq!(login["next_step"], "thv registry login");

    stage.logged_in_by_cli().await;
    stage.provider.clear_journal();
    let ran = stage.cli(&status).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let login = &ran.json()["login"];
    assert_eq!(login["live"]["result"], "accepted", "{login}");
    assert_eq!(login["live"]["status"], 200, "{login}");
    let file = login["store"]["file"].as_str().unwrap();
    assert!(file.ends_with("secrets_encrypted"), "{login}");
    assert_eq!(login["store"]["key"], "TOOLHIVE_SECRETS_PASSWORD");
    assert!(login["received_at"].is_string(), "{login}");
    assert_eq!(login["next_step"], Value::Null);
    let text = stage.cli(&["registry", "status", "--check"]).await;
    for words in ["it takes the token", "Tokens in:", "secrets_encrypted"] {
        assert!(text.stdout.contains(words), "{}", text.stdout);
    }
    // A token that the registry refuses is told, and no other is asked for.
    stage.registry.refuse_good_tokens(usize::MAX);
    let refused = stage.cli(&status).await;
    assert_eq!(refused.code, 3, "{}", refused.transcript());
    assert_eq!(refused.json()["login"]["live"]["result"], "refused");
    assert_eq!(refused.json()["state"], "not read");
    for words in ["refuses the token", "`thv registry login`"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
    stage.registry.refuse_good_tokens(0);
    // Whether the token can be renewed is not the question.
    assert_eq!(stage.provider.requests_for(paths::TOKEN).len(), 0);
    let plain = stage.cli(&["registry", "status", "--format", "json"]).await;
    assert_eq!(plain.json()["login"]["live"], Value::Null);

    // Nor is the question another one when the token has expired.
    stage.live_for(1);
    stage.logged_in_by_cli().await;
    let expired = until("the token to expire", PATIENCE, || async {
        let ran = stage.cli(&status).await;
        (ran.json()["login"]["live"]["result"] == "no_token").then_some(ran)
    });
    let expired = expired.await;
    // Nor where nothing is kept that could be shown in its place.
    std::fs::remove_dir_all(stage.home.cache_dir()).unwrap();
    let bare = stage.cli(&status).await;
    assert_eq!(bare.code, 0, "{}", bare.transcript());
    assert_eq!(bare.json()["login"]["state"], "authenticated");
    assert_eq!(stage.refreshes(), 0, "{}", expired.transcript());
    // Long-lived from here on: a second would be over before the catalog is asked for, and a second renewal due.
    stage.live_for(300);
    let ran = stage.cli(&["registry", "refresh"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(stage.refreshes(), 1);
    // Another process has renewed; this one tells of it.
    let told = stage.cli(&["registry", "status", "--format", "json"]).await;
    let renewal = &told.json()["login"]["last_refresh"];
    assert_eq!(renewal["result"], "renewed", "{}", told.transcript());
}

#[tokio::test]
async fn a_logout_without_the_provider_says_what_becomes_of_the_tokens() {
    let stage = Stage::new().await;
    stage.logged_in_by_cli().await;
    stage
        .provider
        .break_with(Rule::always(provider::Fault::Status(503)).on(paths::REVOKE));
    let ran = stage.cli(&["registry", "logout"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains("is kept sealed"), "{}", ran.stderr);
    assert!(ran.stderr.contains("end the session"), "{}", ran.stderr);
    let ran = stage.cli(&["registry", "status", "--format", "json"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert_eq!(ran.json()["login"]["queued_revocations"], 2);
    let store = String::from_utf8_lossy(&stage.store_bytes()).into_owned();
    for secret in stage.provider.secrets() {
        assert!(!store.contains(&secret), "a token lies open in the store");
    }

    // Looking spends nothing and asks the provider nothing, however long the tokens wait; who logs in or out gives them back.
    stage.provider.heal();
    make_due(&stage);
    stage.provider.clear_journal();
    let ran = stage.cli(&["registry", "status", "--format", "json"]).await;
    assert_eq!(ran.json()["login"]["queued_revocations"], 2);
    let ran = stage.cli(&["doctor", "--format", "json"]).await;
    assert!(!ran.stdout.is_empty());
    assert!(stage.provider.requests_for(paths::REVOKE).is_empty());
    let ran = stage.cli(&["registry", "status"]).await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(stage.provider.requests_for(paths::REVOKE).is_empty());
    stage.logged_in_by_cli().await;
    assert_eq!(stage.provider.requests_for(paths::REVOKE).len(), 2);
    let ran = stage.cli(&["registry", "status", "--format", "json"]).await;
    assert_eq!(ran.json()["login"]["queued_revocations"], Value::Null);
}

/// The time has come to give back what waits for that.
fn make_due(stage: &Stage) {
    let variables = [stage.home.env(), stage.env()].concat();
    let env = variables.iter().fold(
        MapEnv::new().with_home(stage.home.path()),
        |env, (name, value)| env.with_var(name, value),
    );
    let paths = Paths::from_env(&env).unwrap();
    let world = World::new(SystemClock::new(), env);
    let config = ConfigStore::new(paths.config_file(), world.clone());
    let secrets = Secrets::with_keyrings(world.clone(), &paths, config.clone(), Vec::new());
    let store = ConfiguredStore::new(secrets, &paths, &config);
    let vault = Vault::new(Arc::new(store), Arc::clone(&world.clock));
    let mut tokens = vault.unrevoked().unwrap();
    for token in &mut tokens {
        token.next = token.since;
    }
    assert_eq!(vault.keep_unrevoked(&tokens).unwrap(), 2);
}
