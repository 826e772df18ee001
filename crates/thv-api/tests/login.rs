//! Logging in and out through the desktop client's door, with a provider and a protected registry.

mod common;

use std::sync::Arc;

use common::protected::{
    DOCTOR, ITEM, LOGIN, LOGOUT, Protected, REGISTRY, REPORT, free_port, protected, protected_with,
    upstream,
};
use common::{Browser, house, house_of, options};
use futures_util::future::join_all;
use http::Method;
use thv_api::ApiOptions;
use thv_api::limits::ANSWER_TIME;
use thv_config::world::{Clock as _, ManualClock, SystemClock};
use thv_testkit::provider::{CLIENT, User, paths};

#[tokio::test]
async fn every_read_without_a_login_says_at_once_that_one_is_needed_and_how() {
    let mut protected = protected().await;
    for path in [
        REGISTRY,
        ITEM,
        "/api/v1beta/registry/default/servers",
        "/api/v1beta/registry/default/servers/x",
        "/registry/default/v0.1/servers",
        "/registry/default/v0.1/x/dev.toolhive/skills",
        "/v0.1/servers",
        "/v0.1/servers/x/versions/latest",
    ] {
        let answer = protected.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        let body = answer.json();
        assert_eq!(body["code"], "registry_auth_required", "{path}");
        assert_eq!(body["reason"], "never_logged_in", "{path}");
        assert_eq!(
            body["message"],
            "Registry authentication required. POST to /api/v1beta/registry/auth/login to authenticate."
        );
        assert_eq!(
            body["actions"],
            serde_json::json!([
                {"method": "POST", "href": LOGIN},
                {"method": "POST", "href": "/api/v1/registries/default/auth/logins"},
                {"method": "GET", "href": DOCTOR},
            ]),
            "{path}"
        );
    }
    assert_eq!(
        protected.state().await,
        (
            "login_required".to_owned(),
            Some("never_logged_in".to_owned())
        )
    );
    assert!(protected.opened.try_recv().is_err(), "a browser was opened");
    assert_eq!(protected.registry.bearers().len(), 0);
}

#[tokio::test]
async fn a_login_makes_the_next_read_work_and_a_logout_ends_that() {
    let mut protected = protected().await;
    assert_eq!(protected.get(REGISTRY).await.status, 503);
    let login = protected.log_in().await;
    assert_eq!(
        (login.status.as_u16(), login.text()),
        (200, "{\"status\":\"authenticated\"}\n")
    );
    assert_eq!(protected.get(ITEM).await.status, 200);
    let listed = protected.get(REGISTRY).await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    let registry = &listed.json()["registries"][0];
    assert_eq!(registry["auth_status"], "authenticated");
    assert_eq!(registry["auth_type"], "oauth");
    assert_eq!(registry["auth_config"]["client_id"], CLIENT);
    let report = protected.get(REPORT).await;
    assert_eq!(report.header("cache-control"), Some("no-store"));
    let report = report.json();
    assert_eq!(report["registry"], "default");
    assert_eq!(report["state"], "authenticated");
    assert_eq!(report["refreshable"], true);
    assert_eq!(report["account"]["sub"], "alice");
    assert_eq!(
        report["actions"][0],
        serde_json::json!({"method": "POST", "href": LOGOUT})
    );
    let logout = protected.log_out_as(&[]).await;
    assert_eq!(logout.status, 200, "{}", logout.text());
    let receipt = logout.json();
    assert_eq!(receipt["status"], "logged_out");
    assert_eq!(receipt["tokens"][0]["token"], "refresh_token");
    assert_eq!(receipt["tokens"][0]["outcome"], "revoked");
    assert_eq!(receipt.get("previous_login_kept"), None);
    assert_eq!(protected.get(REGISTRY).await.status, 503);
    assert_eq!(protected.state().await.0, "login_required");
    for secret in protected.provider.secrets() {
        assert!(!logout.text().contains(&secret));
    }
}

#[tokio::test]
async fn w4_a_login_asks_the_provider_although_the_last_one_is_still_good() {
    let mut protected = protected().await;
    protected.log_in().await;
    protected
        .provider
        .users([User::ApprovesAs("bob".to_owned())]);
    assert_eq!(protected.log_in().await.status, 200);
    assert_eq!(
        protected.provider.requests_for(paths::AUTHORIZE).len(),
        2,
        "one authorization per login"
    );
    let report = protected.get(REPORT).await.json();
    assert_eq!(report["account"]["sub"], "bob");
}

#[tokio::test]
async fn a_refused_login_says_who_refused_and_why() {
    let mut protected = protected().await;
    protected.provider.users([User::Denies]);
    let refused = protected.log_in().await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(
        refused
            .text()
            .starts_with("Login failed: the identity provider refused the login: access_denied"),
        "{}",
        refused.text()
    );
    assert_eq!(
        refused.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
}

#[tokio::test]
async fn w5_a_login_that_cannot_be_stored_opens_no_browser() {
    let (provider, registry) = upstream().await;
    let (browser, mut opened) = Browser::new();
    let mut options = options();
    options.opener = Some(browser);
    let config = format!(
        "registry_api_url: {}\nallow_private_registry_ip: true\nsecrets:\n    provider_type: environment\n    setup_completed: true\nregistry_auth:\n    type: oauth\n    oauth:\n        issuer: {}\n        client_id: {CLIENT}\n        callback_port: {}\n",
        registry.url(),
        provider.issuer(),
        free_port(),
    );
    let house = house_of(tempfile::tempdir().unwrap(), &config, options).await;
    let refused = house.call(Method::POST, LOGIN, "").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("read-only"), "{}", refused.text());
    assert!(opened.try_recv().is_err(), "a browser was opened");
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let (provider, registry) = upstream().await;
    let (browser, _opened) = Browser::new();
    let mut options = options();
    options.opener = Some(browser);
    let config = format!(
        "registry_api_url: {}\nallow_private_registry_ip: true\nregistry_auth:\n    type: oauth\n    oauth:\n        issuer: {}\n        client_id: {CLIENT}\n        callback_port: {port}\n",
        registry.url(),
        provider.issuer(),
    );
    let house = house_of(tempfile::tempdir().unwrap(), &config, options).await;
    let refused = house.call(Method::POST, LOGIN, "").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(
        refused.text().contains(&format!("port {port} ")),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn without_a_browser_the_login_says_what_to_do_instead() {
    let mut protected = protected().await;
    protected.opened.close();
    let refused = protected.post(LOGIN, &[]).await.unwrap();
    assert_eq!(refused.status, 501, "{}", refused.text());
    assert!(
        refused.text().contains("thv registry login"),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn w8_a_provider_that_is_away_is_no_reason_to_log_in() {
    let mut protected = protected().await;
    protected.provider.refuse().await;
    let failed = protected.post(LOGIN, &[]).await.unwrap();
    assert_eq!(failed.status, 502, "{}", failed.text());
    assert!(
        failed
            .text()
            .contains("OIDC discovery failed for issuer http"),
        "{}",
        failed.text()
    );
    assert!(protected.opened.try_recv().is_err());
}

#[tokio::test]
async fn without_settings_there_is_nothing_to_log_in_to() {
    let house = house().await;
    for target in [LOGIN, LOGOUT] {
        let answer = house.call(Method::POST, target, "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (
                400,
                "Registry OAuth not configured; call PUT /api/v1beta/registry/default with a client ID and issuer URL first\n"
            ),
            "{target}"
        );
    }
    let report = house.get(REPORT).await;
    assert_eq!(report.status, 200);
    assert_eq!(report.json()["state"], "none");
    assert_eq!(report.json()["actions"], serde_json::json!([]));
}

#[tokio::test]
async fn the_word_auth_is_no_registry() {
    let house = house().await;
    assert_eq!(house.get("/api/v1beta/registry/auth").await.status, 404);
    for target in [LOGIN, LOGOUT] {
        let refused = house.get(target).await;
        assert_eq!(refused.status, 405, "{target}");
        assert_eq!(refused.header("allow"), Some("POST"), "{target}");
    }
}

#[tokio::test]
async fn the_report_on_an_unknown_registry_is_a_problem_document() {
    let answer = house().await.get("/api/v1/registries/other/auth").await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(
        answer.text(),
        "{\"type\":\"about:blank\",\"title\":\"Not Found\",\"status\":404,\"detail\":\"Registry not found\",\"code\":\"not_found\",\"message\":\"Registry not found\"}\n"
    );
}

#[tokio::test]
async fn a_registry_that_wants_a_login_where_none_is_configured_says_so_everywhere() {
    let (_provider, registry) = upstream().await;
    let config = format!(
        "registry_api_url: {}\nallow_private_registry_ip: true\n",
        registry.url()
    );
    let house = house_of(tempfile::tempdir().unwrap(), &config, options()).await;
    let read = house.get(ITEM).await;
    assert_eq!(read.status, 503);
    let configure =
        serde_json::json!([{"method": "PUT", "href": ITEM}, {"method": "GET", "href": DOCTOR}]);
    assert_eq!(read.json()["reason"], "login_not_configured");
    assert_eq!(read.json()["actions"], configure);
    let report = house.get(REPORT).await.json();
    assert_eq!(report["state"], "login_required");
    assert_eq!(report["reason"], "login_not_configured");
    assert_eq!(report["actions"], configure);
    assert!(report["since"].is_string());
}

/// A house whose clock a test moves.
async fn timed() -> (Protected, ManualClock) {
    let clock = ManualClock::new(SystemClock::new().now());
    let protected = protected_with(ApiOptions {
        clock: Arc::new(clock.clone()),
        ..options()
    });
    (protected.await, clock)
}

#[tokio::test]
async fn two_hundred_who_want_to_know_are_one_question() {
    let (mut protected, clock) = timed().await;
    assert_eq!(protected.log_in().await.status, 200);
    assert_eq!(protected.get(ITEM).await.status, 200);
    let live = format!("{REPORT}?check=live");
    let asked = async |target: &str| {
        let before = protected.registry.requests().len();
        let asking = (0..200).map(|_| protected.get(target));
        let answers = join_all(asking).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        assert!(answers.iter().all(|answer| answer.body == answers[0].body));
        protected.registry.requests().len() - before
    };
    assert_eq!(asked(&live).await, 1);
    assert_eq!(asked(&live).await, 0, "the answer of a moment ago");
    clock.advance(ANSWER_TIME);
    assert_eq!(asked(&live).await, 1);
    let examination = asked(DOCTOR).await;
    assert!((1..10).contains(&examination), "{examination} requests");
    assert_eq!(asked(DOCTOR).await, 0);
    // Another login is another question.
    assert_eq!(protected.log_out_as(&[]).await.status, 200);
    let report = protected.get(&live).await.json();
    assert_eq!(report["live"]["result"], "no_token", "{report}");
}

#[tokio::test]
async fn what_a_refusal_points_to_says_what_is_wrong_and_changes_nothing() {
    let (protected, clock) = timed().await;
    let refusal = protected.get(ITEM).await.json();
    let link = refusal["actions"][2]["href"].as_str().unwrap().to_owned();
    let answer = protected.get(&link).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let diagnosis = answer.json();
    assert_eq!(diagnosis["registry"], "default");
    assert_eq!(diagnosis["outcome"], "warning");
    let checks = diagnosis["checks"].as_array().unwrap();
    let grant = checks
        .iter()
        .find(|check| check["id"] == "login.grant")
        .unwrap();
    assert_eq!(grant["fix"], "thv registry login");
    assert!(checks.len() > 25, "{diagnosis}");

    protected
        .provider
        .behave(|behaviour| behaviour.advertise("issuer", "https://honest.example"));
    clock.advance(ANSWER_TIME);
    let diagnosis = protected.get(&link).await.json();
    assert_eq!(diagnosis["outcome"], "failed");
    let unknown = protected.get("/api/v1/registries/other/auth/doctor").await;
    assert_eq!(unknown.status, 404);
}

#[tokio::test]
async fn the_report_asks_the_registry_when_told_to_and_the_provider_never() {
    let (mut protected, clock) = timed().await;
    let live = format!("{REPORT}?check=live");
    assert_eq!(
        protected.get(&live).await.json()["live"]["result"],
        "no_token"
    );
    assert_eq!(protected.log_in().await.status, 200);
    protected.provider.clear_journal();
    let report = protected.get(&live).await.json();
    assert_eq!(report["live"]["result"], "accepted", "{report}");
    protected.registry.refuse_good_tokens(100);
    clock.advance(ANSWER_TIME);
    let report = protected.get(&live).await.json();
    assert_eq!(report["live"]["result"], "refused", "{report}");
    assert_eq!(report["next_step"], "thv registry login");
    assert_eq!(protected.provider.requests().len(), 0);
    let plain = protected.get(REPORT).await.json();
    assert!(plain["live"].is_null(), "{plain}");
}
