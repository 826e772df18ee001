//! A server behind a reverse proxy: logins come back to it through a real nginx, from a person with a real browser.

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

use auth_kit::{THV, config, end_of, free_port, names, report};
use serde_json::{Value, json};
use thv_testkit::binary::{Server, Setup};
use thv_testkit::certificates::Authority;
use thv_testkit::chromium::{Chromium, Landing};
use thv_testkit::client::{Address, Call};
use thv_testkit::home::Home;
use thv_testkit::identity::IdentityProvider;
use thv_testkit::nginx::Nginx;
use thv_testkit::registry::{FakeRegistry, Guard};

const LOGINS: &str = "/api/v1/registries/default/auth/logins";
const DOMAIN: &str = "corp.test";

/// A server that is known under `public` to the npm provider, and that nobody has logged in to.
struct Published {
    provider: IdentityProvider,
    registry: FakeRegistry,
    server: Server,
}

impl Published {
    async fn new(public: &str) -> Self {
        let registry = FakeRegistry::with_servers(6).await;
        let resource = registry.url();
        let redirect_uri = format!("{public}/oauth/callback");
        let settings = [("PAGES", "forms"), ("REDIRECT_URIS", redirect_uri.as_str())];
        let provider = IdentityProvider::start_with(&[&resource], &settings).await;
        registry.protect(Guard::of_issuer(&provider.issuer, &resource).await);
        let home = Arc::new(Home::new());
        home.write_config(&config(&resource, &provider.issuer, &resource, free_port()));
        let server = Setup::new(THV, &home)
            .arg(&format!("--public-url={public}"))
            .env("TOOLHIVE_SECRETS_PASSWORD", auth_kit::PASSWORD)
            .start()
            .await;
        Published {
            provider,
            registry,
            server,
        }
    }

    /// Starts a login as a client on the server's own machine does.
    async fn start_login(&self) -> Value {
        let answer = self.server.post(LOGINS, &json!({})).await;
        assert_eq!(answer.status, 201, "{answer:?}\n{}", self.server.stderr());
        answer.json()
    }

    /// A person logs in with Chromium, and the catalog is there.
    async fn log_in(&self, browser: Chromium) -> Landing {
        let login = self.start_login().await;
        let url = login["methods"][0]["authorization_url"].as_str().unwrap();
        let landing = browser.login(url).await;
        let ended = end_of(&self.server, &login).await;
        assert_eq!(ended["state"], "authenticated", "{ended}\n{landing:?}");
        assert_eq!(names(&self.server).await, self.registry.live_names());
        assert_eq!(report(&self.server).await["account"]["sub"], "alice");
        let redeemed = |event: &Value| event["event"] == "token";
        let _ = self.provider.event(redeemed).await;
        landing
    }
}

/// A proxy that speaks TLS and passes requests under `location` on to `target`.
fn tls(authority: &Authority, host: &str, location: &str, target: &str) -> String {
    let issued = authority.issue(&[host]);
    format!(
        "server {{
  listen PORT ssl;
  server_name {host};
  ssl_certificate {};
  ssl_certificate_key {};
  location {location} {{
    proxy_pass {target};
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
  }}
}}",
        issued.certificate.display(),
        issued.key.display()
    )
}

#[tokio::test]
async fn a_person_logs_in_through_a_proxy_with_tls_that_takes_the_path_off() {
    let port = free_port();
    let public = format!("https://tools.{DOMAIN}:{port}/thv");
    let published = Published::new(&public).await;
    let authority = Authority::new();
    let target = format!("{}/", published.server.url());
    let nginx = Nginx::start(port, &tls(&authority, "tools.corp.test", "/thv/", &target)).await;
    let browser = Chromium::default().knowing(DOMAIN).trusting(&authority);
    let landing = published.log_in(browser).await;
    let callback = format!("{public}/oauth/callback");
    assert!(landing.url.starts_with(&callback), "{landing:?}");
    assert!(!landing.url.contains("code="), "{landing:?}");
    assert!(landing.text.contains("logged in"), "{landing:?}");
    let through: Vec<_> = nginx.requests();
    assert!(
        through
            .iter()
            .any(|seen| seen.request.starts_with("GET /thv/oauth/callback?")),
        "{through:?}"
    );
}

#[tokio::test]
async fn a_person_logs_in_through_a_proxy_with_tls_that_leaves_the_path() {
    let port = free_port();
    let public = format!("https://tools.{DOMAIN}:{port}/deep/er");
    let published = Published::new(&public).await;
    let authority = Authority::new();
    let target = published.server.url();
    let nginx = Nginx::start(
        port,
        &tls(&authority, "tools.corp.test", "/deep/er/", &target),
    )
    .await;
    let browser = Chromium::default().knowing(DOMAIN).trusting(&authority);
    let landing = published.log_in(browser).await;
    let callback = format!("{public}/oauth/callback");
    assert!(landing.url.starts_with(&callback), "{landing:?}");
    assert!(nginx.requests().len() >= 2, "{:?}", nginx.requests());
}

#[tokio::test]
async fn a_proxy_that_passes_the_name_on_opens_the_callback_and_nothing_else() {
    let port = free_port();
    let public = format!("https://tools.{DOMAIN}/thv");
    let published = Published::new(&public).await;
    let target = format!("{}/", published.server.url());
    let block = format!(
        "server {{ listen PORT; location /thv/ {{ proxy_pass {target}; proxy_set_header Host $http_host; }} }}"
    );
    let nginx = Nginx::start(port, &block).await;
    let front = Address::from_record(&format!("http://127.0.0.1:{}", nginx.port));
    let login = published.start_login().await;
    let under = |path: &str| Call::get(path).header("host", "tools.corp.test");
    let poll_url = login["poll_url"].as_str().unwrap();
    for path in [
        "/v0.1/servers",
        "/api/v1beta/registry",
        "/api/v1beta/secrets/default/keys",
        "/health",
        "/oauth/callback/../../v0.1/servers",
        poll_url,
    ] {
        let answer = under(&format!("/thv{path}")).to(&front).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    // Forged answers reach the callback, and the login goes on.
    for _ in 0..3 {
        let forged = under("/thv/oauth/callback?code=x&state=guessed")
            .to(&front)
            .await;
        assert_eq!(forged.status, 400, "{forged:?}");
    }
    let poll = published.server.get(login["url"].as_str().unwrap()).await;
    assert_eq!(poll.json()["state"], "pending", "{poll:?}");
}

#[tokio::test]
async fn a_person_logs_in_through_a_proxy_on_this_machine_that_passes_only_the_callback_and_not_its_name()
 {
    let port = free_port();
    let public = format!("http://127.0.0.1:{port}/thv");
    let published = Published::new(&public).await;
    // What nginx does unless it is told to pass the name on.
    let target = format!("{}/oauth/callback", published.server.url());
    let block = format!(
        "server {{ listen PORT; location /thv/oauth/callback {{ proxy_pass {target}; }} }}"
    );
    let nginx = Nginx::start(port, &block).await;
    let front = Address::from_record(&format!("http://127.0.0.1:{}", nginx.port));
    assert_eq!(front.get("/thv/v0.1/servers").await.status, 404);
    let landing = published.log_in(Chromium::default()).await;
    assert!(landing.url.starts_with(&public), "{landing:?}");
}
