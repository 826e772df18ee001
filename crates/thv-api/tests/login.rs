//! Logging in and out through the desktop client's door, with a provider and a protected registry.

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use common::{Answer, Browser, House, house, house_of, options, request};
use http::Method;
use thv_api::ApiOptions;
use thv_config::world::{Clock as _, ManualClock, SystemClock};
use thv_testkit::browse::browse;
use thv_testkit::provider::{CLIENT, Provider, User, paths};
use thv_testkit::registry::{FakeRegistry, Guard};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use url::Url;

const REGISTRY: &str = "/api/v1beta/registry";
const ITEM: &str = "/api/v1beta/registry/default";
const LOGIN: &str = "/api/v1beta/registry/auth/login";
const LOGOUT: &str = "/api/v1beta/registry/auth/logout";
const REPORT: &str = "/api/v1/registries/default/auth";
const STUDIO: (&str, &str) = ("x-client-type", "toolhive-studio");

/// A registry behind a provider, and a house that is configured for both.
struct Protected {
    house: Arc<House>,
    provider: Provider,
    registry: FakeRegistry,
    opened: mpsc::UnboundedReceiver<Url>,
}

async fn upstream() -> (Provider, FakeRegistry) {
    let registry = FakeRegistry::with_servers(3).await;
    let url = registry.url();
    let provider = Provider::for_resources(&[&url]).await;
    registry.protect(Guard::of(&provider, &url));
    (provider, registry)
}

/// A port that is free now: a port of the system's choice would not be the one in the configuration.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn protected() -> Protected {
    protected_with(options()).await
}

async fn protected_with(mut options: ApiOptions) -> Protected {
    let (provider, registry) = upstream().await;
    let (browser, opened) = Browser::new();
    options.opener = Some(browser);
    let config = format!(
        "registry_api_url: {url}\nallow_private_registry_ip: true\nregistry_auth:\n    type: oauth\n    oauth:\n        issuer: {issuer}\n        client_id: {CLIENT}\n        audience: {url}\n        callback_port: {port}\n",
        port = free_port(),
        url = registry.url(),
        issuer = provider.issuer(),
    );
    let house = house_of(tempfile::tempdir().unwrap(), &config, options).await;
    Protected {
        house: Arc::new(house),
        provider,
        registry,
        opened,
    }
}

impl Protected {
    fn post(&self, target: &'static str, headers: &'static [(&str, &str)]) -> JoinHandle<Answer> {
        let house = Arc::clone(&self.house);
        let builder = headers
            .iter()
            .fold(request(Method::POST, target), |builder, (name, value)| {
                builder.header(*name, *value)
            });
        let request = builder.body(Body::empty()).unwrap();
        tokio::spawn(async move { house.send(request).await })
    }

    /// Posts a login and does in the browser what the provider's next user does.
    async fn log_in_as(&mut self, headers: &'static [(&str, &str)]) -> Answer {
        let login = self.post(LOGIN, headers);
        let url = self.opened.recv().await.expect("an address to open");
        browse(url.as_str()).await;
        login.await.unwrap()
    }

    async fn log_in(&mut self) -> Answer {
        self.log_in_as(&[]).await
    }

    async fn log_out_as(&self, headers: &'static [(&str, &str)]) -> Answer {
        self.post(LOGOUT, headers).await.unwrap()
    }

    async fn get(&self, target: &str) -> Answer {
        self.house.get(target).await
    }

    /// The state of the report and the word of its reason.
    async fn state(&self) -> (String, Option<String>) {
        let report = self.get(REPORT).await;
        assert_eq!(report.status, 200, "{}", report.text());
        let report = report.json();
        let text = |name: &str| report[name].as_str().map(str::to_owned);
        (text("state").unwrap(), text("reason"))
    }
}

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
            serde_json::json!([{"method": "POST", "href": LOGIN}]),
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
async fn w14_a_second_login_joins_the_first() {
    let mut protected = protected().await;
    let first = protected.post(LOGIN, &[]);
    let url = protected.opened.recv().await.unwrap();
    let report = protected.get(REPORT).await.json();
    assert!(report["pending_login"]["expires_at"].is_string());
    let second = protected.post(LOGIN, &[STUDIO]);
    tokio::task::yield_now().await;
    browse(url.as_str()).await;
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(second.await.unwrap().status, 200);
    assert!(protected.opened.try_recv().is_err(), "one browser for both");
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
async fn studio_logs_out_after_a_failed_login_and_the_previous_login_stays() {
    let mut protected = protected().await;
    protected.log_in_as(&[STUDIO]).await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    let reflex = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(
        (reflex.status.as_u16(), reflex.text()),
        (
            200,
            "{\"status\":\"logged_out\",\"tokens\":[],\"deleted\":0,\"read_only_store\":false,\"previous_login_kept\":true}\n"
        )
    );
    assert_eq!(protected.get(REGISTRY).await.status, 200);
    assert_eq!(protected.state().await.0, "authenticated");
    let meant = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(meant.json().get("previous_login_kept"), None);
    assert_eq!(protected.get(REGISTRY).await.status, 503);
}

#[tokio::test]
async fn a_logout_of_another_client_is_meant_whatever_failed_before() {
    let mut protected = protected().await;
    protected.log_in().await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    assert_eq!(protected.log_out_as(&[]).await.json()["deleted"], 1);
    assert_eq!(protected.get(REGISTRY).await.status, 503);
}

#[tokio::test]
async fn a_logout_of_studio_is_meant_when_it_was_another_clients_login_that_failed() {
    let mut protected = protected().await;
    protected.log_in().await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in().await.status, 403);
    assert_eq!(protected.log_out_as(&[STUDIO]).await.json()["deleted"], 1);
}

#[tokio::test]
async fn a_logout_is_meant_ten_seconds_after_a_failed_login() {
    let clock = ManualClock::new(SystemClock::new().now());
    let mut options = options();
    options.clock = Arc::new(clock.clone());
    let mut protected = protected_with(options).await;
    protected.log_in().await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    clock.advance(Duration::from_secs(10));
    let meant = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(meant.json().get("previous_login_kept"), None);
    assert_eq!(protected.state().await.0, "login_required");
}

#[tokio::test]
async fn a_logout_is_meant_after_a_login_that_worked_in_the_end() {
    let mut protected = protected().await;
    protected.provider.users([User::Denies]);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 403);
    assert_eq!(protected.log_in_as(&[STUDIO]).await.status, 200);
    let meant = protected.log_out_as(&[STUDIO]).await;
    assert_eq!(meant.json()["deleted"], 1, "{}", meant.text());
}

#[tokio::test]
async fn a_logout_ends_the_login_that_waits() {
    let mut protected = protected().await;
    let login = protected.post(LOGIN, &[]);
    protected.opened.recv().await.unwrap();
    assert_eq!(protected.log_out_as(&[]).await.status, 200);
    let ended = login.await.unwrap();
    assert_eq!(ended.status, 409, "{}", ended.text());
    assert!(ended.text().starts_with("Login failed: the login was ended"));
}

#[tokio::test]
async fn an_update_that_replaces_the_registry_ends_the_login_that_waits() {
    let mut protected = protected().await;
    let login = protected.post(LOGIN, &[]);
    protected.opened.recv().await.unwrap();
    let same = update(&protected.registry, &protected.provider.issuer());
    let kept = protected.house.call(Method::PUT, ITEM, &same).await;
    assert_eq!(kept.status, 200, "{}", kept.text());
    assert!(!login.is_finished(), "nothing was replaced");
    let reset = protected.house.call(Method::PUT, ITEM, "{}").await;
    assert_eq!(reset.status, 200, "{}", reset.text());
    assert_eq!(login.await.unwrap().status, 409);
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
    let read = house.get(REGISTRY).await;
    assert_eq!(read.status, 503);
    let configure = serde_json::json!([{"method": "PUT", "href": ITEM}]);
    assert_eq!(read.json()["reason"], "login_not_configured");
    assert_eq!(read.json()["actions"], configure);
    let report = house.get(REPORT).await.json();
    assert_eq!(report["state"], "login_required");
    assert_eq!(report["reason"], "login_not_configured");
    assert_eq!(report["actions"], configure);
    assert!(report["since"].is_string());
}

fn update(registry: &FakeRegistry, issuer: &str) -> String {
    format!(
        r#"{{"api_url":"{}","allow_private_ip":true,"auth":{{"issuer":"{issuer}","client_id":"{CLIENT}"}}}}"#,
        registry.url()
    )
}

#[tokio::test]
async fn an_update_sets_the_registry_and_its_login_together() {
    let (provider, registry) = upstream().await;
    let house = house().await;
    let set = house
        .call(Method::PUT, ITEM, &update(&registry, &provider.issuer()))
        .await;
    assert_eq!(
        (set.status.as_u16(), set.text()),
        (200, "{\"type\":\"api\"}\n")
    );
    let read = house.get(REGISTRY).await;
    assert_eq!(read.json()["code"], "registry_auth_required");
    let config = house.config_text();
    for expected in [registry.url(), provider.issuer(), CLIENT.to_owned()] {
        assert!(config.contains(&expected), "{expected}: {config}");
    }
    let cleared = house
        .call(
            Method::PUT,
            ITEM,
            &format!(r#"{{"api_url":"{}","allow_private_ip":true}}"#, registry.url()),
        )
        .await;
    assert_eq!(cleared.status, 200);
    assert!(!house.config_text().contains(CLIENT), "the login is cleared");
}

#[tokio::test]
async fn w11_an_update_with_a_bad_issuer_changes_nothing() {
    let (_provider, registry) = upstream().await;
    let house = house().await;
    let before = house.config_text();
    let no_issuer = format!("{}/nothing", registry.url());
    let refused = house
        .call(Method::PUT, ITEM, &update(&registry, &no_issuer))
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let expected = format!(
        "failed to configure registry auth: configuring OAuth: OIDC discovery failed for issuer {no_issuer}: "
    );
    assert!(refused.text().starts_with(&expected), "{}", refused.text());
    assert_eq!(
        refused.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(house.config_text(), before);
    assert_eq!(house.get(REGISTRY).await.status, 200);
}

#[tokio::test]
async fn w18_a_login_for_a_source_without_use_for_it_is_refused() {
    let (provider, _registry) = upstream().await;
    let house = house().await;
    let before = house.config_text();
    let file = house.path().join("registry.json");
    let login = format!(
        r#""auth":{{"issuer":"{}","client_id":"{CLIENT}"}}"#,
        provider.issuer()
    );
    for body in [
        format!(r#"{{"local_path":"{}",{login}}}"#, file.display()),
        format!("{{{login}}}"),
    ] {
        let refused = house.call(Method::PUT, ITEM, &body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(
            refused
                .text()
                .starts_with("failed to configure registry auth: configuring OAuth: "),
            "{}",
            refused.text()
        );
    }
    assert_eq!(house.config_text(), before);
}

#[tokio::test]
async fn what_the_command_line_set_stays_when_studio_saves_the_same_login() {
    let protected = protected().await;
    let same = update(&protected.registry, &protected.provider.issuer());
    let saved = protected.house.call(Method::PUT, ITEM, &same).await;
    assert_eq!(saved.status, 200, "{}", saved.text());
    let audience = format!("audience: {}", protected.registry.url());
    let config = protected.house.config_text();
    assert!(config.contains(&audience), "{config}");
}
