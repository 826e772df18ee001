//! Logins through a real reverse proxy, with a real browser on the other side of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests, and real time around a real process"
)]

mod auth_kit;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_kit::{PASSWORD, STANDARD, THV, config, free_port, posted};
use serde_json::Value;
use thv_testkit::binary::{Server, Setup};
use thv_testkit::chromium::chromium_login;
use thv_testkit::client::{Address, Call};
use thv_testkit::home::Home;
use thv_testkit::identity::IdentityProvider;
use thv_testkit::nginx::Nginx;
use thv_testkit::opener::Opener;
use thv_testkit::registry::{FakeRegistry, Guard};
use thv_testkit::wait::all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LOGINS: &str = "/api/v1/registries/default/auth/logins";

/// A server with a public address, the proxy that stands there, and all that a login needs.
struct Public {
    provider: IdentityProvider,
    _registry: FakeRegistry,
    home: Arc<Home>,
    opener: Opener,
    port: u16,
}

impl Public {
    async fn new() -> Self {
        let registry = FakeRegistry::with_servers(6).await;
        let resource = registry.url();
        let settings = [("PAGES", "forms")];
        let provider = IdentityProvider::start_with(&[&resource], &settings).await;
        registry.protect(Guard::of_issuer(&provider.issuer, &resource).await);
        let home = Arc::new(Home::new());
        home.write_config(&config(&resource, &provider.issuer, &resource, free_port()));
        Public {
            opener: Opener::install(&home),
            provider,
            _registry: registry,
            home,
            port: free_port(),
        }
    }

    /// The proxy with these `location` blocks.
    async fn nginx(&self, locations: &str) -> Nginx {
        Nginx::start(
            self.port,
            &format!("server {{ listen PORT;\n{locations}\n}}"),
        )
        .await
    }

    fn setup(&self) -> Setup {
        Setup::new(THV, &self.home)
            .envs(self.opener.env())
            .env("TOOLHIVE_SECRETS_PASSWORD", PASSWORD)
            .arg(&format!("--public-url=http://localhost:{}/thv", self.port))
    }

    /// A person logs in with a browser that reaches the proxy only.
    async fn log_in(&self, server: &Server, nginx: &Nginx) {
        let login = posted(server.address(), LOGINS).await.unwrap();
        assert_eq!(login.status, 201, "{login:?}");
        let login = login.json();
        let url = login["methods"][0]["authorization_url"].as_str().unwrap();
        assert!(url.starts_with(&self.provider.issuer), "{url}");
        let landing = chromium_login(url).await;
        let clean = format!("http://localhost:{}/thv/oauth/callback/", self.port);
        assert!(
            landing.url.starts_with(&clean),
            "{landing:?} {}",
            nginx.errors()
        );
        assert!(!landing.url.contains("code="), "{landing:?}");
        assert!(landing.text.contains("You are logged in"), "{landing:?}");
        let poll = login["poll_url"].as_str().unwrap();
        let state = server.get(poll).await.json();
        assert_eq!(state["state"], "authenticated", "{state}");
        assert_eq!(auth_kit::names(server).await.len(), 6);
        assert!(self.opener.urls().is_empty(), "a browser was opened here");
    }
}

#[tokio::test]
async fn a_person_logs_in_through_a_proxy_that_takes_the_path_off_to_a_server_on_a_socket() {
    let public = Public::new().await;
    let socket = public.home.path().join("thv.sock");
    let server = public.setup().socket(&socket).start().await;
    // What an operator does for the proxy's user.
    for (path, mode) in [(public.home.path(), 0o711), (&socket, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let nginx = public
        .nginx(&format!(
            "location /thv/ {{ proxy_pass http://unix:{}:/; }}",
            socket.display()
        ))
        .await;
    public.log_in(&server, &nginx).await;
    // Not one connection of the proxy's user is lost while others end.
    let proxy = Address::Tcp(format!("127.0.0.1:{}", public.port).parse().unwrap());
    for _ in 0..10 {
        let asked = (0..50).map(|_| Call::get("/thv/oauth/callback?state=x").to(&proxy));
        for answer in all(asked).await {
            assert_ne!(answer.status, 502, "{}", nginx.errors());
        }
    }
}

#[tokio::test]
async fn a_person_logs_in_through_a_proxy_that_passes_name_and_path_on_and_gets_nothing_else_there()
{
    let public = Public::new().await;
    let server = public.setup().start().await;
    let Address::Tcp(upstream) = server.address().clone() else {
        panic!("TCP")
    };
    // A name that is none of this machine's: what a public server has.
    let nginx = public.nginx(
        &format!(
            "location / {{ proxy_pass http://{upstream}; proxy_set_header Host $http_host; }}\n\
             location /elsewhere/ {{ proxy_pass http://{upstream}/; proxy_set_header Host thv.example; }}"
        ),
    )
    .await;
    public.log_in(&server, &nginx).await;
    let proxy = Address::Tcp(([127, 0, 0, 1], public.port).into());
    for path in [
        "/elsewhere/v0.1/servers",
        "/elsewhere/api/v1beta/registry",
        "/elsewhere/oauth/callback?code=x&state=y",
    ] {
        let answer = proxy.get(path).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
    }
    assert_eq!(server.get(STANDARD).await.status, 200);
}

#[tokio::test]
async fn a_proxy_hands_events_on_as_they_come() {
    let public = Public::new().await;
    let server = public.setup().start().await;
    let Address::Tcp(upstream) = server.address().clone() else {
        panic!("TCP")
    };
    let nginx = public
        .nginx(&format!("location / {{ proxy_pass http://{upstream}; }}"))
        .await;
    let login = posted(server.address(), LOGINS).await.unwrap().json();
    let events = login["events_url"].as_str().unwrap();
    let began = Instant::now();
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", public.port))
        .await
        .unwrap();
    let request = format!("GET {events} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let pending = heard(&mut stream, "\"pending\"").await;
    assert!(pending.contains("text/event-stream"), "{pending}");
    let url = login["url"].as_str().unwrap();
    let cancelled = Call::new(thv_testkit::client::Method::DELETE, url)
        .to(server.address())
        .await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    heard(&mut stream, "\"cancelled\"").await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "events were held back: {}",
        nginx.errors()
    );
    let state: Value = server.get(url).await.json();
    assert_eq!(state["state"], "cancelled");
}

/// Reads until `word` has come.
async fn heard(stream: &mut tokio::net::TcpStream, word: &str) -> String {
    let mut said = String::new();
    let reading = async {
        while !said.contains(word) {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).await.unwrap();
            assert_ne!(length, 0, "no {word} in {said}");
            said.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .unwrap_or_else(|_| panic!("no {word}"));
    said
}
