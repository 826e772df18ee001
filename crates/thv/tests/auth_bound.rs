//! Logins whose tokens are bound to a key (RFC 9449), through the real program: at a provider that offers it and a registry that knows
//! it, at one that does not, and where a person has settled whether they are to be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::sync::Arc;

use auth_kit::{DEFAULT, LOGIN, REFRESH, STANDARD, Stage, THV, config, free_port, names, report};
use serde_json::{Value, json};
use thv_testkit::binary::{Ran, Server, Setup};
use thv_testkit::browse::browse;
use thv_testkit::home::Home;
use thv_testkit::identity::IdentityProvider;
use thv_testkit::opener::Opener;
use thv_testkit::proof::Nonces;
use thv_testkit::provider::{Registration, paths};
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::wait::until_true;

/// A provider that binds tokens, and a registry that knows proofs.
async fn bound() -> Stage {
    let stage = Stage::new().await;
    stage
        .provider
        .behave(|behaviour| behaviour.binds_tokens = true);
    stage
        .registry
        .protect(Guard::of(&stage.provider, &stage.registry.url()).proofs());
    stage
}

fn relaxations(report: &Value) -> Vec<&str> {
    let relaxations = report["relaxations"].as_array().unwrap().iter();
    relaxations.filter_map(Value::as_str).collect()
}

#[track_caller]
fn assert_settings_refused(ran: &Ran, about: &str) {
    assert_ne!(ran.code, 0, "{}", ran.transcript());
    assert!(ran.stderr.contains(about), "{}", ran.transcript());
}

#[tokio::test]
async fn a_login_where_everybody_knows_proofs_shows_one_with_every_request() {
    let stage = bound().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await, stage.registry.live_names());
    let told = report(&server).await;
    assert_eq!(told["token_type"], "DPoP", "{told}");
    assert!(
        !relaxations(&told).contains(&"bearer_despite_dpop"),
        "{told}"
    );
    let seen = stage.registry.bearers();
    assert!(!seen.is_empty() && seen.iter().all(|token| token.refused.is_none()));
    let authorize = stage.provider.requests_for(paths::AUTHORIZE);
    let named = authorize[0].param("dpop_jkt").unwrap();
    assert_eq!(stage.provider.families()[0].key.as_deref(), Some(named));
    for file in auth_kit::files_below(stage.home.path()) {
        let text = String::from_utf8_lossy(&file.1);
        assert!(!text.contains("proof_key"), "{}", file.0);
    }
    let live = stage.cli(&["registry", "status", "--check"]).await;
    assert_eq!(live.code, 0, "{}", live.transcript());
}

#[tokio::test]
async fn renewals_and_restarts_keep_the_key() {
    let stage = bound().await;
    stage.live_for(3);
    let server = stage.logged_in_server().await;
    auth_kit::reading_until(&server, "a renewal", || stage.refreshes() >= 1).await;
    assert!(server.stop().await.success());
    let server = stage.server().await;
    let before = stage.refreshes();
    auth_kit::reading_until(&server, "a renewal", || stage.refreshes() > before).await;
    assert_eq!(names(&server).await.len(), 6);
    let families = stage.provider.families();
    assert_eq!(families.len(), 1);
    assert!(families[0].key.is_some() && families[0].ended.is_none());
    assert_eq!(stage.cli(&["registry", "list"]).await.code, 0);
}

#[tokio::test]
async fn servers_that_want_nonces_get_them() {
    let stage = bound().await;
    stage
        .provider
        .want_nonces(Nonces::Wanted("provider-1".to_owned()));
    stage
        .registry
        .want_nonces(Nonces::Wanted("registry-1".to_owned()));
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(stage.provider.requests_for(paths::TOKEN).len(), 2);
    let refused = |stage: &Stage| {
        let seen = stage.registry.bearers();
        seen.iter().filter(|token| token.refused.is_some()).count()
    };
    // The two loads after a login may both begin before either has got the nonce.
    let before = refused(&stage);
    assert!((1..=2).contains(&before), "{before}");
    stage
        .registry
        .want_nonces(Nonces::Wanted("registry-2".to_owned()));
    for _ in 0..2 {
        assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    }
    assert_eq!(refused(&stage), before + 1);
}

#[tokio::test]
async fn case_46_nonces_without_end_are_an_outage_and_no_storm() {
    let stage = bound().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage.registry.want_nonces(Nonces::Endless);
    let before = stage.registry.requests().len();
    let answer = server.post(REFRESH, &json!({})).await;
    assert_ne!(answer.status, 200, "{answer:?}");
    let asked = stage.registry.requests().len() - before;
    assert!((2..=4).contains(&asked), "{asked} requests");
    assert_eq!(stage.refreshes(), 0);
    let told = report(&server).await;
    assert_eq!(told["state"], "authenticated", "{told}");
    stage.registry.want_nonces(Nonces::Unwanted);
    assert!(server.stop().await.success());
    let restarted = stage.server().await;
    assert_eq!(names(&restarted).await.len(), 6);
}

#[tokio::test]
async fn a_registry_that_knows_no_proofs_is_read_with_a_bearer_and_that_is_said() {
    let stage = bound().await;
    let unaware = Guard::of(&stage.provider, &stage.registry.url());
    stage.registry.protect(unaware);
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let told = report(&server).await;
    assert!(
        relaxations(&told).contains(&"bearer_despite_dpop"),
        "{told}"
    );
    assert_eq!(told["state"], "authenticated", "{told}");
    assert_eq!(stage.refreshes(), 0);
}

#[tokio::test]
async fn a_bound_token_is_of_no_use_to_others_and_off_gives_one_that_is() {
    let stage = bound().await;
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage.cli(&["registry", "token"]).await;
    assert_settings_refused(&ran, "--dpop off");
    let ran = stage.cli(&["registry", "status"]).await;
    assert!(
        ran.stdout.contains("bound to a key"),
        "{}",
        ran.transcript()
    );
    let ran = stage.cli_login(&["--dpop", "off"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage.cli(&["registry", "token"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let told = stage
        .cli(&["registry", "status", "--format", "json"])
        .await
        .stdout;
    assert!(told.contains("bearer_despite_dpop"), "{told}");
    // It holds for logins through the API, too.
    let server = stage.logged_in_server().await;
    assert_eq!(report(&server).await["token_type"], "Bearer");
    let ran = stage.cli_login(&["--dpop", "auto"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn case_16_where_bound_tokens_are_required_no_other_is_kept() {
    let stage = Stage::new().await;
    let required = ["registry", "login", "--no-browser", "--dpop", "required"];
    let ran = stage.cli(&required).await;
    assert_settings_refused(&ran, "--dpop auto");
    assert_eq!(stage.authorizations(), 0);
    // What a login that failed wanted is not settled.
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    stage
        .provider
        .behave(|behaviour| behaviour.binds_tokens = true);
    let ran = stage.cli_login(&["--dpop", "required"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    stage
        .provider
        .behave(|behaviour| behaviour.answer_with("token_type", "Bearer"));
    let ran = stage.cli_login(&[]).await;
    assert_settings_refused(&ran, "not bound to the key");
    let server = stage.server().await;
    let answer = stage.log_in(&server).await;
    assert_ne!(answer.status, 200, "{answer:?}");
    until_true("the tokens to be given back", || {
        stage.provider.requests_for(paths::REVOKE).len() >= 2
    })
    .await;
    // The login of before is as good as it was.
    let told = report(&server).await;
    assert_eq!(told["token_type"], "DPoP", "{told}");
}

#[tokio::test]
async fn a_provider_that_offers_keys_no_longer_is_noticed_at_the_next_login() {
    let stage = bound().await;
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    stage
        .provider
        .behave(|behaviour| behaviour.binds_tokens = false);
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let server = stage.server().await;
    let told = report(&server).await;
    assert!(
        relaxations(&told).contains(&"bearer_despite_dpop"),
        "{told}"
    );
}

#[tokio::test]
async fn a_clock_that_was_set_right_after_a_login_costs_one_request_and_no_login() {
    let stage = bound().await;
    stage.provider.set_ahead(3600);
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    // To the program this is a clock of its own that was put an hour ahead.
    stage.provider.set_ahead(0);
    let server = stage.server().await;
    assert_eq!(names(&server).await.len(), 6);
    assert_eq!(report(&server).await["state"], "authenticated");
}

#[tokio::test]
async fn codes_that_are_typed_in_on_other_devices_bring_bound_tokens() {
    let stage = bound().await;
    stage.provider.behave(|behaviour| {
        behaviour.offers_device = true;
        behaviour.device_interval = 1;
    });
    stage
        .provider
        .want_nonces(Nonces::Wanted("device".to_owned()));
    let running = stage.start_cli(&["registry", "login", "--device"]);
    let page = stage.provider.at(paths::DEVICE);
    let _ = browse(&running.word_on_stderr(&format!("{page}?")).await).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert!(stage.provider.families()[0].key.is_some());
    let server = stage.server().await;
    assert_eq!(report(&server).await["token_type"], "DPoP");
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn a_registry_that_knows_no_proofs_gets_no_bearer_where_they_are_required() {
    let stage = bound().await;
    let ran = stage.cli_login(&["--dpop", "required"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let unaware = Guard::of(&stage.provider, &stage.registry.url());
    stage.registry.protect(unaware);
    let server = stage.server().await;
    let answer = server.get(STANDARD).await;
    assert_ne!(answer.status, 200, "{answer:?}");
    let seen = stage.registry.requests();
    let (token, proof) = ("authorization", "dpop");
    let unproven = seen.iter().filter(|request| {
        request.headers.contains_key(token) && !request.headers.contains_key(proof)
    });
    assert_eq!(unproven.count(), 0, "{seen:#?}");
}

#[tokio::test]
async fn what_was_relaxed_for_a_found_login_holds_for_the_next_one_and_nothing_else_does() {
    let stage = Stage::new().await;
    stage.provider.behave(|behaviour| {
        behaviour.registration = Registration::Open;
    });
    std::fs::remove_file(stage.home.config_file()).unwrap();
    let (url, port) = (stage.registry.url(), stage.port.to_string());
    let from_url = [&url, "-p", "--callback-port", &port];
    let ran = stage.cli_login(&from_url).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    stage.provider.behave(|behaviour| {
        behaviour.advertise("code_challenge_methods_supported", Value::Null);
    });
    let ran = stage.cli(&["registry", "login", "--no-browser"]).await;
    assert_settings_refused(&ran, "does not say that it offers PKCE");
    let server = stage.server().await;
    let answer = server.post(LOGIN, &json!({})).await;
    assert_ne!(answer.status, 200, "{answer:?}");
    assert_eq!(stage.authorizations(), 1);
    let relaxed = ["--relax", "allow_missing_pkce_metadata"];
    let ran = stage.cli_login(&relaxed).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = stage.cli_login(&[]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let metadata = json!({"resource": url, "authorization_servers": ["https://other.example"]});
    stage.registry.describe(metadata);
    let ran = stage.cli(&["registry", "login", "--no-browser"]).await;
    assert_settings_refused(&ran, "https://other.example");
    // The old login is for the issuer of before and still good, as far as anybody has said.
    let answer = server.get(DEFAULT).await;
    assert!([200, 503].contains(&answer.status), "{answer:?}");
}

/// The certified provider and a registry that checks its tokens and their proofs.
async fn certified(dpop: &str) -> (IdentityProvider, FakeRegistry, Server, Opener) {
    let registry = FakeRegistry::with_servers(6).await;
    let resource = registry.url();
    let settings = [("DPOP", dpop), ("ACCESS_TTL", "3")];
    let provider = IdentityProvider::start_with(&[&resource], &settings).await;
    let guard = Guard::of_issuer(&provider.issuer, &resource).await;
    registry.protect(guard.scope("registry:read").proofs());
    let home = Arc::new(Home::new());
    home.write_config(&config(&resource, &provider.issuer, &resource, free_port()));
    let opener = Opener::install(&home);
    let server = Setup::new(THV, &home)
        .envs(opener.env())
        .env("TOOLHIVE_SECRETS_PASSWORD", auth_kit::PASSWORD)
        .start()
        .await;
    (provider, registry, server, opener)
}

#[tokio::test]
async fn the_certified_provider_binds_tokens_to_our_key_with_and_without_its_nonces() {
    for dpop in ["on", "nonce"] {
        let (provider, registry, server, opener) = certified(dpop).await;
        let login = auth_kit::posted(server.address(), LOGIN);
        let page = browse(&opener.url(1).await).await;
        assert_eq!(page.answer.status, 200, "{page:?}");
        let answer = login.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}\n{}", server.stderr());
        assert_eq!(names(&server).await, registry.live_names());
        assert_eq!(report(&server).await["token_type"], "DPoP");
        let renewed = || {
            let events = provider.events();
            let fits =
                |event: &Value| event["event"] == "token" && event["grant"] == "refresh_token";
            events.into_iter().filter(fits).count()
        };
        auth_kit::reading_until(&server, "renewals", || renewed() >= 2).await;
        assert_eq!(names(&server).await.len(), 6);
        let told = report(&server).await;
        assert_eq!(told["state"], "authenticated", "{told}");
    }
}
