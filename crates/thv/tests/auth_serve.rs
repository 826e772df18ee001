//! The life of a protected registry through `thv serve`: before a login, after it, past the expiry of its tokens, after a
//! revocation and after a logout, at every door.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::time::Duration;

use auth_kit::{
    AUTH, DEFAULT, LOGIN, LOGOUT, REFRESH, STANDARD, Stage, assert_needs_login, info, names,
    posted, report, until_status,
};
use serde_json::json;
use thv_testkit::client::{Call, Method};
use thv_testkit::provider::{CLIENT, Fault, Rule, paths};
use thv_testkit::registry;
use thv_testkit::wait::{all, until_true};

#[tokio::test]
async fn before_a_login_every_read_asks_for_one_at_once() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    for path in stage.reads() {
        assert_needs_login(&server.get(&path).await, "never_logged_in");
    }
    assert_needs_login(&server.post(REFRESH, &json!({})).await, "never_logged_in");
    let report = report(&server).await;
    assert_eq!(report["state"], "login_required", "{report}");
    assert_eq!(report["reason"], "never_logged_in", "{report}");
    assert_eq!(report["issuer"], stage.provider.issuer());
    assert_eq!(report["client_id"], CLIENT);
    assert!(stage.opener.urls().is_empty(), "a browser was opened");
    assert!(stage.registry.bearers().is_empty());
    assert!(stage.provider.requests_for(paths::TOKEN).is_empty());
}

#[tokio::test]
async fn after_a_login_every_door_serves_the_catalog() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    let answer = stage.log_in(&server).await;
    assert_eq!(
        (answer.status, answer.text().trim()),
        (200, r#"{"status":"authenticated"}"#)
    );
    for path in stage.reads() {
        let answer = server.get(&path).await;
        let extension = path.contains("dev.toolhive");
        assert!(
            answer.status == 200 || (extension && answer.status == 404),
            "{path}: {answer:?}\n{}",
            server.stderr()
        );
    }
    assert_eq!(names(&server).await, stage.registry.live_names());
    let info = info(&server).await;
    assert_eq!(info["auth_status"], "authenticated", "{info}");
    assert_eq!(info["auth_type"], "oauth");
    assert_eq!(info["auth_config"]["issuer"], stage.provider.issuer());
    assert_eq!(info["auth_config"]["client_id"], CLIENT);
    let report = report(&server).await;
    assert_eq!(report["state"], "authenticated", "{report}");
    assert_eq!(report["account"]["sub"], "alice");
    assert_eq!(report["refreshable"], true);
    assert!(report["expires_at"].is_string(), "{report}");
    assert!(
        stage
            .registry
            .bearers()
            .iter()
            .all(|bearer| bearer.refused.is_none())
    );
}

#[tokio::test]
async fn the_standard_door_serves_it_to_a_client_that_knows_nothing_of_oauth() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    let home = std::sync::Arc::new(thv_testkit::home::Home::new());
    home.use_api(&server.url());
    let other = thv_testkit::binary::Setup::new(auth_kit::THV, &home)
        .start()
        .await;
    assert_eq!(names(&other).await, stage.registry.live_names());
}

#[tokio::test]
async fn expired_tokens_are_renewed_without_anybody() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    until_true("two renewals", || {
        drop(posted(server.address(), REFRESH));
        stage.refreshes() >= 2
    })
    .await;
    let answer = server.post(REFRESH, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}\n{}", server.stderr());
    assert_eq!(stage.opener.urls().len(), 1);
    assert_eq!(stage.provider.token_count("authorization_code"), 1);
    assert!(
        stage
            .provider
            .families()
            .iter()
            .all(|family| family.ended.is_none())
    );
    let report = report(&server).await;
    assert_eq!(report["last_refresh"]["result"], "renewed", "{report}");
}

#[tokio::test]
async fn f12_a_revocation_stops_the_catalog_everywhere_and_purges_it() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let name = stage.registry.live_names()[0].clone();
    let has_name = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&name);
    stage.provider.revoke_everything();
    until_true("the revocation to be noticed", || {
        drop(posted(server.address(), REFRESH));
        stage.refreshes() >= 1
    })
    .await;
    until_status(&server, STANDARD, 503).await;
    for path in stage.reads() {
        assert_needs_login(&server.get(&path).await, "grant_revoked");
    }
    assert_eq!(info_status(&server).await, "configured");
    until_true("the cached catalog to be deleted", || {
        !stage.cached().iter().any(|(_, bytes)| has_name(bytes))
    })
    .await;
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&server).await.len(), 6);
}

/// The status as the state report tells it: the collection has no catalog to show now.
async fn info_status(server: &thv_testkit::binary::Server) -> &'static str {
    match report(server).await["state"].as_str() {
        Some("authenticated") => "authenticated",
        Some("none") => "none",
        _ => "configured",
    }
}

#[tokio::test]
async fn f12_a_warm_cache_survives_an_outage_and_no_refusal() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    stage.registry.break_all(registry::Fault::Status(500));
    assert_ne!(server.post(REFRESH, &json!({})).await.status, 200);
    assert_eq!(names(&server).await.len(), 6);
    stage.registry.heal();
    stage.registry.break_all(registry::Fault::Status(401));
    let answer = server.post(REFRESH, &json!({})).await;
    assert_needs_login(&answer, "registry_rejected_token");
    assert_needs_login(&server.get(STANDARD).await, "registry_rejected_token");
    assert_needs_login(&server.get(DEFAULT).await, "registry_rejected_token");
}

#[tokio::test]
async fn a_logout_forgets_revokes_and_deletes() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let name = stage.registry.live_names()[0].clone();
    let answer = server.post(LOGOUT, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["status"], "logged_out", "{answer:?}");
    for path in stage.reads() {
        assert_needs_login(&server.get(&path).await, "never_logged_in");
    }
    assert_eq!(info_status(&server).await, "configured");
    let revoked = stage.provider.requests_for(paths::REVOKE);
    assert!(!revoked.is_empty(), "nothing was revoked");
    assert!(
        stage
            .provider
            .families()
            .iter()
            .all(|family| family.ended.is_some())
    );
    assert!(
        !stage
            .cached()
            .iter()
            .any(|(_, bytes)| String::from_utf8_lossy(bytes).contains(&name)),
        "the catalog is still cached"
    );
    let config = stage.home.config();
    assert!(config.contains(&stage.provider.issuer()), "{config}");
    assert!(!config.contains("cached_refresh_token_ref: R"), "{config}");
}

#[tokio::test]
async fn f19_after_a_logout_a_login_asks_the_provider_again() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    assert_eq!(server.post(LOGOUT, &json!({})).await.status, 200);
    let before = stage.authorizations();
    let answer = stage.log_in(&server).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(stage.authorizations(), before + 1);
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn a_logout_succeeds_when_the_provider_is_down_and_says_so() {
    let stage = Stage::new().await;
    let server = stage.logged_in_server().await;
    stage.provider.refuse().await;
    let answer = server.post(LOGOUT, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text().contains("queued"), "{answer:?}");
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
}

#[tokio::test]
async fn login_and_logout_without_settings_say_what_to_do() {
    let server = thv_testkit::binary::Server::in_new_home(auth_kit::THV, |_| {}).await;
    for path in [LOGIN, LOGOUT] {
        let answer = server.post(path, &json!({})).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(
            answer
                .text()
                .starts_with("Registry OAuth not configured; call PUT "),
            "{answer:?}"
        );
    }
    let report = report(&server).await;
    assert_eq!(report["state"], "none", "{report}");
    assert_eq!(
        server.get("/api/v1/registries/other/auth").await.status,
        404
    );
    assert_eq!(info(&server).await["auth_status"], "none");
}

#[tokio::test]
async fn f10_serve_starts_whatever_the_registry_and_the_provider_do() {
    let stage = Stage::new().await;
    stage.registry.break_all(registry::Fault::Status(401));
    stage.provider.refuse().await;
    let server = stage.server().await;
    assert_eq!(server.get("/health").await.status, 204);
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    assert_eq!(report(&server).await["state"], "login_required");
}

#[tokio::test]
async fn f7_an_open_registry_that_wants_a_login_says_that_none_is_configured() {
    let stage = Stage::new().await;
    stage.home.use_api(&stage.registry.url());
    let server = stage.server().await;
    let answer = server.get(STANDARD).await;
    assert_needs_login(&answer, "login_not_configured");
}

#[tokio::test]
async fn the_report_is_there_in_every_state() {
    let stage = Stage::with_tokens_of(2).await;
    let server = stage.server().await;
    let states = async |expected: &str| {
        let answer = server.get(AUTH).await;
        assert_eq!(answer.status, 200);
        let report = answer.json();
        assert_eq!(report["state"], expected, "{report}");
        for member in ["scopes", "store", "refreshable", "relaxations"] {
            assert!(!report[member].is_null(), "no {member} in {report}");
        }
        report
    };
    states("login_required").await;
    let login = stage.start_login(&server).await;
    let pending = states("login_required").await;
    assert!(!pending["pending_login"].is_null(), "{pending}");
    let _ = thv_testkit::browse::browse(&login.url).await;
    assert_eq!(login.answer().await.status, 200);
    let done = states("authenticated").await;
    assert!(done["pending_login"].is_null(), "{done}");
    stage
        .provider
        .break_with(Rule::always(Fault::Status(500)).on(paths::TOKEN));
    until_true("the provider to be missed", || {
        drop(posted(server.address(), REFRESH));
        stage.refreshes() >= 1
    })
    .await;
    until_state(&server, "provider_unavailable").await;
    assert!(
        stage
            .registry
            .requests()
            .iter()
            .all(|request| request.path != "/token")
    );
}

async fn until_state(server: &thv_testkit::binary::Server, state: &str) {
    thv_testkit::wait::until(state, thv_testkit::wait::PATIENCE, || async {
        (report(server).await["state"] == state).then_some(())
    })
    .await;
}

#[tokio::test]
async fn reads_at_once_before_and_after_a_login_agree() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let before = all((0..20).map(|_| server.get(STANDARD))).await;
    for answer in &before {
        assert_needs_login(answer, "never_logged_in");
    }
    assert_eq!(stage.log_in(&server).await.status, 200);
    for answer in all((0..20).map(|_| server.get(STANDARD))).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_login_route_is_only_a_post_and_outlives_the_route_timeout() {
    let stage = Stage::new().await;
    let server = stage.server().await;
    let answer = Call::new(Method::GET, LOGIN).to(server.address()).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    let mut login = stage.start_login(&server).await;
    let waiting = tokio::time::timeout(Duration::from_secs(2), login.ended()).await;
    assert!(waiting.is_err(), "the login ended by itself");
    login.drop_it().await;
}
