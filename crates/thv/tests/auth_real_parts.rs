//! The same product against parts that are not ours: the certified npm provider, and a person with a real browser.

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

use auth_kit::{
    LOGOUT, REFRESH, STANDARD, THV, assert_needs_login, config, free_port, names, report,
};
use serde_json::{Value, json};
use thv_testkit::binary::{Server, Setup};
use thv_testkit::browse::{Browser, browse};
use thv_testkit::chromium::chromium_login;
use thv_testkit::client::{Answer, Call, Method};
use thv_testkit::home::Home;
use thv_testkit::identity::IdentityProvider;
use thv_testkit::opener::Opener;
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::running::Running;
use thv_testkit::wait::{PATIENCE, until};

/// A registry that takes the npm provider's tokens, and a home that is configured for it.
struct Real {
    provider: IdentityProvider,
    registry: FakeRegistry,
    home: Arc<Home>,
    opener: Opener,
}

impl Real {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let registry = FakeRegistry::with_servers(6).await;
        let resource = registry.url();
        let provider = IdentityProvider::start_with(&[&resource], settings).await;
        registry.protect(
            Guard::of_issuer(&provider.issuer, &resource)
                .await
                .scope("registry:read"),
        );
        let home = Arc::new(Home::new());
        home.write_config(&config(&resource, &provider.issuer, &resource, free_port()));
        Real {
            opener: Opener::install(&home),
            provider,
            registry,
            home,
        }
    }

    fn setup(&self) -> Setup {
        Setup::new(THV, &self.home)
            .envs(self.opener.env())
            .env("TOOLHIVE_SECRETS_PASSWORD", auth_kit::PASSWORD)
    }

    async fn server(&self) -> Server {
        self.setup().start().await
    }

    async fn log_in(&self, server: &Server) -> Answer {
        let before = self.opener.urls().len();
        let login = auth_kit::posted(server.address(), auth_kit::LOGIN);
        let url = self.opener.url(before + 1).await;
        let page = browse(&url).await;
        assert_eq!(page.answer.status, 200, "{page:?}");
        login.await.unwrap()
    }

    /// `thv registry login` with the registry's URL, and a person who logs in.
    async fn log_in_by_url(&self, more: &[&str]) {
        let (url, port) = (self.registry.url(), free_port().to_string());
        let mut env = self.opener.env();
        let password = auth_kit::PASSWORD.to_owned();
        env.push(("TOOLHIVE_SECRETS_PASSWORD".to_owned(), password));
        let arguments = ["registry", "login", &url, "-p", "--no-browser"];
        let arguments = [&arguments[..], &["--callback-port", &port], more].concat();
        let running = Running::start(THV, &self.home, &arguments, env);
        let authorize = format!("{}/auth", self.provider.issuer);
        let page = browse(&running.word_on_stderr(&authorize).await).await;
        assert_eq!(page.answer.status, 200, "{page:?}");
        let ran = running.ended().await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
    }

    async fn logged_in_server(&self) -> Server {
        let server = self.server().await;
        let answer = self.log_in(&server).await;
        assert_eq!(answer.status, 200, "{answer:?}\n{}", server.stderr());
        server
    }

    fn granted(&self, grant: &str) -> usize {
        let fits = |event: &&Value| event["event"] == "token" && event["grant"] == grant;
        self.provider.events().iter().filter(fits).count()
    }

    async fn until_renewed(&self, server: &Server, times: usize) {
        auth_kit::reading_until(server, "renewals", || {
            self.granted("refresh_token") >= times
        })
        .await;
    }
}

#[tokio::test]
async fn the_certified_provider_a_login_gives_tokens_that_the_registry_takes() {
    let real = Real::new(&[]).await;
    let server = real.server().await;
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
    assert_eq!(real.log_in(&server).await.status, 200);
    assert_eq!(names(&server).await, real.registry.live_names());
    let report = report(&server).await;
    assert_eq!(report["account"]["sub"], "alice", "{report}");
    assert_eq!(report["refreshable"], true, "{report}");
    assert_eq!(real.granted("authorization_code"), 1);
    assert!(
        real.registry
            .bearers()
            .iter()
            .all(|bearer| bearer.refused.is_none())
    );
}

#[tokio::test]
async fn the_certified_provider_reads_our_client_document_and_registers_nobody() {
    let document = "https://app.example/thv.json";
    let client = json!({
        "client_id": document,
        "client_name": "thv",
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "redirect_uris": ["http://localhost/callback"],
    });
    let real = Real::new(&[("CLIENT_DOCUMENT", &client.to_string())]).await;
    std::fs::remove_file(real.home.config_file()).unwrap();
    real.log_in_by_url(&["--yes", "--client-metadata", document])
        .await;
    let events = real.provider.events();
    let did = |event: &str, member: &str, value: &str| {
        let fits = |told: &&Value| told["event"] == event && told[member] == value;
        events.iter().filter(fits).count()
    };
    assert_eq!(did("fetched", "url", document), 1, "{events:?}");
    assert_eq!(did("request", "path", "/reg"), 0, "{events:?}");
    let server = real.server().await;
    assert_eq!(names(&server).await, real.registry.live_names());
    assert_eq!(report(&server).await["client_id"], document);
}

#[tokio::test]
async fn the_certified_provider_registers_us_and_a_url_leads_to_the_catalog() {
    let real = Real::new(&[("ACCESS_TTL", "3")]).await;
    std::fs::remove_file(real.home.config_file()).unwrap();
    real.log_in_by_url(&[]).await;
    let config = real.home.config();
    assert!(!config.contains("client_id: thv-cli"), "{config}");
    let server = real.server().await;
    assert_eq!(names(&server).await, real.registry.live_names());
    assert_eq!(report(&server).await["account"]["sub"], "alice");
    real.until_renewed(&server, 1).await;
    let asked = |path: &str| {
        let fits = |event: &&Value| event["event"] == "request" && event["path"] == path;
        real.provider.events().iter().filter(fits).count()
    };
    assert_eq!(asked("/reg"), 1);
    assert!(server.stop().await.success());

    // Behind a reverse proxy the browser comes back to another address, for which there is no client yet.
    let server = real.setup().arg("--public-url=https://tools.example/thv");
    let server = server.start().await;
    let logins = "/api/v1/registries/default/auth/logins";
    let login = server.post(logins, &json!({})).await;
    assert_eq!(login.status, 201, "{login:?}");
    let login = login.json();
    let authorize = login["methods"][0]["authorization_url"].as_str().unwrap();
    let callback = "https://tools.example/thv/oauth/callback";
    let back = Browser::default().open_until(authorize, callback).await;
    let path = login["callback_url"].as_str().unwrap();
    let handed = server.post(path, &json!({"url": back})).await;
    assert!(handed.status < 300, "{handed:?}");
    let ended = auth_kit::end_of(&server, &login).await;
    assert_eq!(ended["state"], "authenticated", "{ended}");
    assert_eq!(names(&server).await, real.registry.live_names());
    assert_eq!(asked("/reg"), 2);
}

#[tokio::test]
async fn the_certified_provider_rotates_and_the_login_lives_on_over_restarts() {
    let real = Real::new(&[("ACCESS_TTL", "2")]).await;
    let server = real.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    real.until_renewed(&server, 2).await;
    assert!(server.stop().await.success());
    let server = real.server().await;
    real.until_renewed(&server, 4).await;
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
    let refused = |event: &Value| event["event"] == "refused" || event["event"] == "revoked";
    assert!(
        !real.provider.events().iter().any(refused),
        "{:?}",
        real.provider.events()
    );
    assert_eq!(real.opener.urls().len(), 1);
}

#[tokio::test]
async fn the_certified_provider_new_keys_are_followed() {
    let real = Real::new(&[]).await;
    let server = real.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    real.provider.order("rotate-keys").await;
    real.registry
        .protect(Guard::of_issuer(&real.provider.issuer, &real.registry.url()).await);
    assert_eq!(
        real.log_in(&server).await.status,
        200,
        "{}",
        server.stderr()
    );
    assert_eq!(server.post(REFRESH, &json!({})).await.status, 200);
}

#[tokio::test]
async fn the_certified_provider_a_revocation_ends_the_login() {
    let real = Real::new(&[("ACCESS_TTL", "2")]).await;
    let server = real.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    real.provider.order("revoke-all").await;
    auth_kit::reading_until(&server, "the revocation to be noticed", || {
        real.provider
            .events()
            .iter()
            .any(|event| event["event"] == "refused")
    })
    .await;
    let answer = auth_kit::until_status(&server, STANDARD, 503).await;
    assert_needs_login(&answer, "grant_revoked");
    assert_eq!(real.log_in(&server).await.status, 200);
    assert_eq!(names(&server).await.len(), 6);
}

#[tokio::test]
async fn the_certified_provider_a_token_used_elsewhere_ends_the_family_and_that_is_said() {
    let real = Real::new(&[("ACCESS_TTL", "2")]).await;
    let server = real.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    // A copy of the whole home, as a backup that is restored would be.
    let copy = Arc::new(Home::new());
    copy_all(real.home.path(), copy.path());
    real.until_renewed(&server, 1).await;
    assert!(server.stop().await.success());
    let _ = std::fs::remove_dir_all(copy.join("state"));
    let stale = Setup::new(THV, &copy)
        .env("TOOLHIVE_SECRETS_PASSWORD", auth_kit::PASSWORD)
        .start()
        .await;
    // Its copy of the access token may be good for a moment yet.
    let answer = until("the copy to need a renewal", PATIENCE, || async {
        Some(stale.post(REFRESH, &json!({})).await).filter(|answer| answer.status != 200)
    })
    .await;
    assert_needs_login(&answer, "grant_revoked");
    drop(stale);
    let server = real.server().await;
    auth_kit::reading_until(&server, "the end of the family", || {
        let refused = |event: &&Value| event["event"] == "refused";
        real.provider.events().iter().filter(refused).count() >= 2
    })
    .await;
    let answer = auth_kit::until_status(&server, STANDARD, 503).await;
    assert_needs_login(&answer, "grant_revoked");
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else if kind.is_file() {
            match std::fs::copy(entry.path(), target) {
                // A file that the server was about to put in the place of another one.
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

#[tokio::test]
async fn the_certified_provider_a_logout_revokes() {
    let real = Real::new(&[]).await;
    let server = real.logged_in_server().await;
    assert_eq!(names(&server).await.len(), 6);
    let answer = server.post(LOGOUT, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        answer.json()["tokens"][0]["outcome"],
        "revoked",
        "{answer:?}"
    );
    let asked = |event: &Value| event["event"] == "request" && event["path"] == "/token/revocation";
    let _ = real.provider.event(asked).await;
    assert_needs_login(&server.get(STANDARD).await, "never_logged_in");
}

#[tokio::test]
async fn the_certified_provider_a_person_says_no() {
    let real = Real::new(&[("PAGES", "deny")]).await;
    let server = real.server().await;
    let login = auth_kit::posted(server.address(), auth_kit::LOGIN);
    let _ = browse(&real.opener.url(1).await).await;
    let answer = login.await.unwrap();
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(answer.text().contains("access_denied"), "{answer:?}");
}

#[tokio::test]
async fn a_person_logs_in_with_a_real_browser() {
    let real = Real::new(&[("PAGES", "forms")]).await;
    let server = real.server().await;
    let login = auth_kit::posted(server.address(), auth_kit::LOGIN);
    let url = real.opener.url(1).await;
    let landing = chromium_login(&url).await;
    assert!(landing.url.contains("/callback"), "{landing:?}");
    let answer = login.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(names(&server).await.len(), 6);
    let outside = |url: &&String| {
        !url.starts_with("http://127.0.0.1:") && !url.starts_with("http://localhost:")
    };
    assert_eq!(landing.requests.iter().find(outside), None);
}

#[tokio::test]
async fn the_certified_provider_takes_a_device_code_and_a_person_can_refuse_one() {
    let real = Real::new(&[]).await;
    let started = || {
        let mut env = real.opener.env();
        let password = auth_kit::PASSWORD.to_owned();
        env.push(("TOOLHIVE_SECRETS_PASSWORD".to_owned(), password));
        Running::start(THV, &real.home, &["registry", "login", "--device"], env)
    };
    let prefix = format!("{}/device?", real.provider.issuer);
    let running = started();
    let page = browse(&running.word_on_stderr(&prefix).await).await;
    assert_eq!(page.answer.status, 200, "{page:?}");
    let ran = running.ended().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let server = real.server().await;
    assert_eq!(names(&server).await, real.registry.live_names());
    let report = report(&server).await;
    assert_eq!(report["account"]["sub"], "alice", "{report}");
    assert_eq!(report["refreshable"], true, "{report}");

    real.provider.order("pages deny").await;
    let running = started();
    let _ = browse(&running.word_on_stderr(&prefix).await).await;
    let ran = running.ended().await;
    assert_eq!(ran.code, 3, "{}", ran.transcript());
    assert!(ran.stderr.contains("access_denied"), "{}", ran.transcript());
}

#[tokio::test]
async fn the_certified_provider_a_login_as_a_resource_ends_with_a_redirect_that_was_handed_over() {
    let real = Real::new(&[]).await;
    let server = real.server().await;
    let logins = "/api/v1/registries/default/auth/logins";
    let login = auth_kit::posted(server.address(), logins).await.unwrap();
    assert_eq!(login.status, 201, "{login:?}");
    let login = login.json();
    let methods = login["methods"].as_array().unwrap();
    let kinds: Vec<_> = methods.iter().map(|method| &method["type"]).collect();
    assert_eq!(kinds, ["browser", "device", "paste"]);
    let url = methods[0]["authorization_url"].as_str().unwrap();
    let redirect = Browser::default()
        .open_until(url, "http://localhost:")
        .await;
    let handed_over = Call::new(Method::POST, login["callback_url"].as_str().unwrap())
        .json(&json!({ "url": redirect }))
        .to(server.address())
        .await;
    assert_eq!(handed_over.status, 202, "{handed_over:?}");
    let events = server.get(login["events_url"].as_str().unwrap()).await;
    assert!(events.text().contains("authenticated"), "{events:?}");
    assert_eq!(names(&server).await, real.registry.live_names());
    assert!(real.opener.urls().is_empty(), "a browser was opened");
}
