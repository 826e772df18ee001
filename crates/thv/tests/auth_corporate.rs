//! A network that is left through a forward proxy only, with an authority of its own: a real squid, and TLS by a real nginx
//! before a protected registry and the npm provider. Their names are known to the proxy alone, and what it passes on comes
//! from an address of its own, so that nginx's log tells which request came which way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::collections::BTreeSet;
use std::sync::Arc;

use auth_kit::{LOGOUT, PASSWORD, STANDARD, THV, config, free_port, names};
use serde_json::json;
use thv_testkit::binary::{Ran, Server, Setup, cli_with};
use thv_testkit::certificates::Authority;
use thv_testkit::chromium::Chromium;
use thv_testkit::home::Home;
use thv_testkit::identity::IdentityProvider;
use thv_testkit::nginx::{Nginx, Seen};
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::running::Running;
use thv_testkit::squid::{self, DOMAIN, Squid};
use thv_testkit::wait::until_true;

const REGISTRY: &str = "registry.corp.test";
const PROVIDER: &str = "login.corp.test";

/// A company: its authority, its proxy, its registry and its provider; and a machine inside.
struct Company {
    authority: Authority,
    nginx: Nginx,
    squid: Squid,
    provider: IdentityProvider,
    registry: FakeRegistry,
    home: Arc<Home>,
    env: Vec<(String, String)>,
}

impl Company {
    /// `client_certificates` is what nginx does about them: `off`, `optional` or `on` for the registry.
    async fn new(client_certificates: &str) -> Self {
        let port = free_port();
        let (resource, issuer) = (
            format!("https://{REGISTRY}:{port}"),
            format!("https://{PROVIDER}:{port}"),
        );
        let registry = FakeRegistry::with_servers(6).await;
        let settings = [
            ("PAGES", "forms"),
            ("ACCESS_TTL", "3"),
            ("ISSUER", issuer.as_str()),
        ];
        let provider = IdentityProvider::start_with(&[&resource], &settings).await;
        let guard = Guard::of_issuer(&provider.address, &resource).await;
        registry.protect(guard.named(&issuer));
        let authority = Authority::new();
        let servers = [
            tls_front(&authority, REGISTRY, &registry.url(), client_certificates),
            // A person's browser has none to show.
            tls_front(&authority, PROVIDER, &provider.address, "optional"),
        ];
        let nginx = Nginx::start(port, &servers.concat()).await;
        let squid = Squid::start(free_port(), &[REGISTRY, PROVIDER]).await;
        let home = Arc::new(Home::new());
        home.write_config(&config(&resource, &issuer, &resource, free_port()));
        let env = [
            ("HTTPS_PROXY", squid.url.as_str()),
            ("TOOLHIVE_SECRETS_PASSWORD", PASSWORD),
        ];
        Company {
            env: env
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            authority,
            nginx,
            squid,
            provider,
            registry,
            home,
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Names the authority in the configuration.
    fn trust_by_configuration(&self) {
        let path = self.authority.certificate();
        let config = self.home.config();
        self.home.write_config(&format!(
            "{config}ca_certificate_path: {}\n",
            path.display()
        ));
    }

    fn trust_by_environment(&mut self) {
        let path = self.authority.certificate().display().to_string();
        self.set("SSL_CERT_FILE", &path);
    }

    async fn server(&self) -> Server {
        Setup::new(THV, &self.home)
            .envs(self.env.clone())
            .start()
            .await
    }

    async fn cli(&self, arguments: &[&str]) -> Ran {
        let env: Vec<_> = self
            .env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        cli_with(THV, &self.home, arguments, &env, b"").await
    }

    /// `thv registry login`, and a person with a browser that needs no proxy.
    async fn log_in(&self) -> Ran {
        let arguments = ["registry", "login", "--no-browser"];
        let mut running = Running::start(THV, &self.home, &arguments, self.env.clone());
        let prefix = format!("{}/auth?", self.provider.issuer);
        until_true("an address, or the end", || {
            running.stderr().contains(&prefix) || !running.is_running()
        })
        .await;
        if running.is_running() {
            let url = running.word_on_stderr(&prefix).await;
            let browser = Chromium::default()
                .knowing(DOMAIN)
                .trusting(&self.authority);
            let landing = browser.login(&url).await;
            assert!(landing.text.contains("logged in"), "{landing:?}");
        }
        running.ended().await
    }

    /// What this program asked, in contrast to the person's browser.
    fn asked(&self) -> Vec<Seen> {
        let ours = |seen: &Seen| !seen.agent.contains("Mozilla");
        self.nginx.requests().into_iter().filter(ours).collect()
    }

    fn paths(&self) -> BTreeSet<String> {
        self.asked()
            .into_iter()
            .map(|seen| {
                let target = seen.request.split(' ').nth(1).unwrap_or_default();
                let path = target.split('?').next().unwrap_or_default();
                format!("{}{path}", seen.host)
            })
            .collect()
    }

    /// The whole life of a login: in, the catalog, a renewal, out.
    async fn live(&self) {
        let ran = self.log_in().await;
        assert_eq!(ran.code, 0, "{}", ran.transcript());
        let server = self.server().await;
        assert_eq!(names(&server).await, self.registry.live_names());
        auth_kit::reading_until(&server, "a renewal", || {
            self.provider
                .events()
                .iter()
                .any(|event| event["event"] == "token" && event["grant"] == "refresh_token")
        })
        .await;
        assert_eq!(names(&server).await, self.registry.live_names());
        let logout = server.post(LOGOUT, &json!({})).await;
        assert_eq!(
            logout.json()["tokens"][0]["outcome"],
            "revoked",
            "{logout:?}"
        );
        assert!(server.stop().await.success());
        self.assert_all_came_through_the_proxy().await;
    }

    async fn assert_all_came_through_the_proxy(&self) {
        let asked = self.asked();
        let around: Vec<_> = asked
            .iter()
            .filter(|seen| seen.from != squid::SOURCE)
            .collect();
        assert!(around.is_empty(), "{around:?}");
        let paths = self.paths();
        for (host, path) in [
            (PROVIDER, "/.well-known/openid-configuration"),
            (PROVIDER, "/jwks"),
            (PROVIDER, "/token"),
            (PROVIDER, "/token/revocation"),
            (REGISTRY, "/v0.1/servers"),
        ] {
            assert!(
                paths.contains(&format!("{host}{path}")),
                "{host}{path}: {paths:?}"
            );
        }
        // A tunnel is logged when it ends.
        for host in [PROVIDER, REGISTRY] {
            let tunnel = format!("CONNECT {host}:{} 200", self.nginx.port);
            until_true(&tunnel, || self.squid.requests().contains(&tunnel)).await;
        }
    }
}

/// TLS before a fake that speaks plain HTTP.
fn tls_front(authority: &Authority, host: &str, target: &str, client_certificates: &str) -> String {
    let issued = authority.issue(&[host]);
    format!(
        "server {{
  listen PORT ssl;
  server_name {host};
  ssl_certificate {};
  ssl_certificate_key {};
  ssl_client_certificate {};
  ssl_verify_client {client_certificates};
  location / {{
    proxy_pass {target};
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
  }}
}}
",
        issued.certificate.display(),
        issued.key.display(),
        authority.certificate().display(),
    )
}

#[tokio::test]
async fn a_login_lives_behind_a_proxy_with_an_authority_from_the_configuration() {
    let mut company = Company::new("off").await;
    company.trust_by_configuration();
    // Neither setting takes the place of the other.
    let other = Authority::new();
    let path = other.certificate().display().to_string();
    company.set("SSL_CERT_FILE", &path);
    company.live().await;
}

#[tokio::test]
async fn a_login_lives_behind_a_proxy_with_an_authority_from_the_environment_and_a_client_certificate()
 {
    let mut company = Company::new("on").await;
    company.trust_by_environment();
    let machine = company.authority.issue(&["machine.corp.test"]);
    company.set(
        "THV_CLIENT_CERTIFICATE",
        &machine.certificate.display().to_string(),
    );
    company.set("THV_CLIENT_KEY", &machine.key.display().to_string());
    company.live().await;
    let without: Vec<_> = company
        .asked()
        .into_iter()
        .filter(|seen| seen.certificate != "SUCCESS")
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

#[tokio::test]
async fn an_authority_that_nobody_named_is_refused_and_the_setting_is_told() {
    let company = Company::new("off").await;
    let ran = company.log_in().await;
    assert_eq!(ran.code, 5, "{}", ran.transcript());
    for words in ["UnknownIssuer", "ca_certificate_path", "SSL_CERT_FILE"] {
        assert!(ran.stderr.contains(words), "{}", ran.transcript());
    }
    assert_eq!(company.asked().len(), 0, "{:?}", company.asked());
}

#[tokio::test]
async fn a_registry_that_wants_a_certificate_is_not_read_without_one() {
    let mut company = Company::new("on").await;
    company.trust_by_environment();
    let ran = company.log_in().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = company.cli(&["registry", "list"]).await;
    assert_eq!(ran.code, 5, "{}", ran.transcript());
    assert_eq!(company.registry.list_count(), 0);
    let machine = company.authority.issue(&["machine.corp.test"]);
    company.set("THV_CLIENT_KEY", &machine.key.display().to_string());
    let ran = company.cli(&["registry", "list"]).await;
    assert_ne!(ran.code, 0, "half a setting: {}", ran.transcript());
    assert!(
        ran.stderr.contains("THV_CLIENT_CERTIFICATE"),
        "{}",
        ran.transcript()
    );
    let chain = machine.certificate.display().to_string();
    company.set("THV_CLIENT_CERTIFICATE", &chain);
    let ran = company.cli(&["registry", "list", "--format", "json"]).await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    assert_eq!(ran.json().as_array().map(Vec::len), Some(6));
}

#[tokio::test]
async fn a_host_in_no_proxy_is_asked_without_the_proxy() {
    let mut company = Company::new("off").await;
    company.trust_by_configuration();
    company.set("NO_PROXY", REGISTRY);
    let ran = company.log_in().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let ran = company.cli(&["registry", "list"]).await;
    // Only the proxy knows the name.
    assert_eq!(ran.code, 5, "{}", ran.transcript());
    let said = format!("the name {REGISTRY} could not be resolved");
    assert!(ran.stderr.contains(&said), "{}", ran.transcript());
    let provider = format!("CONNECT {PROVIDER}:{} 200", company.nginx.port);
    until_true(&provider, || company.squid.requests().contains(&provider)).await;
    let log = company.squid.requests();
    assert!(!log.iter().any(|line| line.contains(REGISTRY)), "{log:?}");
}

#[tokio::test]
async fn a_proxy_that_is_away_is_named_and_not_gone_around() {
    let mut company = Company::new("off").await;
    company.trust_by_configuration();
    let ran = company.log_in().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let nobody = format!("127.0.0.1:{}", free_port());
    company.set("HTTPS_PROXY", &format!("http://user:hunter2@{nobody}"));
    let named = format!("the proxy {nobody} gave none: connection refused");
    let list = company.cli(&["registry", "list"]).await;
    let login = company.log_in().await;
    for ran in [list, login] {
        assert_eq!(ran.code, 5, "{}", ran.transcript());
        assert!(ran.stderr.contains(&named), "{}", ran.transcript());
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.transcript());
    }
    let server = company.server().await;
    let answer = server.get(STANDARD).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (503, "registry_unavailable"),
        "{answer:?}"
    );
    assert!(answer.text().contains(&named), "{answer:?}");
    assert!(
        !(answer.text() + &server.stderr()).contains("hunter2"),
        "{answer:?}"
    );
    assert_eq!(company.registry.list_count(), 0);
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named() {
    let mut company = Company::new("off").await;
    company.trust_by_configuration();
    let (registry, issuer) = ("https://registry.example", "https://login.example");
    company
        .home
        .write_config(&config(registry, issuer, registry, free_port()));
    let ran = company.log_in().await;
    assert_eq!(ran.code, 5, "{}", ran.transcript());
    let proxy = company.squid.url.trim_start_matches("http://").to_owned();
    let named = format!("the proxy {proxy} gave none: it refused to connect to there");
    assert!(ran.stderr.contains(&named), "{}", ran.transcript());
    let refused = "CONNECT login.example:443 403".to_owned();
    until_true(&refused, || company.squid.requests().contains(&refused)).await;
    // A setting that means nothing is no way around the proxy either.
    company.set("HTTPS_PROXY", "socks5://127.0.0.1:1");
    let ran = company.log_in().await;
    assert!(ran.stderr.contains("HTTPS_PROXY"), "{}", ran.transcript());
    assert_ne!(ran.code, 0, "{}", ran.transcript());
}

#[tokio::test]
async fn a_proxy_that_wants_a_password_gets_the_one_in_its_address_and_nobody_else_does() {
    let mut company = Company::new("off").await;
    company.trust_by_configuration();
    let (user, password) = ("machine", "pass-word-of-the-proxy");
    company.squid = Squid::start_for(free_port(), &[REGISTRY, PROVIDER], user, password).await;
    let address = company.squid.url.trim_start_matches("http://").to_owned();
    for (with, words) in [
        (
            String::new(),
            "it wants to be asked with a user name and a password",
        ),
        (
            format!("{user}:wrong@"),
            "it wants to be asked with a user name and a password",
        ),
    ] {
        company.set("HTTPS_PROXY", &format!("http://{with}{address}"));
        let ran = company.log_in().await;
        assert_eq!(ran.code, 5, "{}", ran.transcript());
        assert!(ran.stderr.contains(words), "{}", ran.transcript());
    }
    company.set(
        "HTTPS_PROXY",
        &format!("http://{user}:{password}@{address}"),
    );
    let ran = company.log_in().await;
    assert_eq!(ran.code, 0, "{}", ran.transcript());
    let list = company.cli(&["registry", "list", "--debug"]).await;
    assert_eq!(list.code, 0, "{}", list.transcript());
    for ran in [ran, list] {
        assert!(!ran.stderr.contains(password), "{}", ran.transcript());
    }
    let headers: Vec<_> = company
        .registry
        .requests()
        .into_iter()
        .flat_map(|request| request.headers.keys().cloned().collect::<Vec<_>>())
        .collect();
    assert!(!headers.is_empty());
    assert!(
        !headers.iter().any(|name| name == "proxy-authorization"),
        "{headers:?}"
    );
}
