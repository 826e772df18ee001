//! A registry behind a provider, and a house whose configuration and browser lead to both.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Method;
use thv_api::{Address, ApiOptions, Drained, listen, serve};
use thv_testkit::browse::browse;
pub(crate) use thv_testkit::port::free_port;
use thv_testkit::provider::{CLIENT, Provider};
use thv_testkit::registry::{FakeRegistry, Guard};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Answer, Browser, House, house_of, options, request};

pub(crate) const REGISTRY: &str = "/api/v1beta/registry";
pub(crate) const ITEM: &str = "/api/v1beta/registry/default";
pub(crate) const LOGIN: &str = "/api/v1beta/registry/auth/login";
pub(crate) const LOGOUT: &str = "/api/v1beta/registry/auth/logout";
pub(crate) const REPORT: &str = "/api/v1/registries/default/auth";
pub(crate) const DOCTOR: &str = "/api/v1/registries/default/auth/doctor";
pub(crate) const STUDIO: (&str, &str) = ("x-client-type", "toolhive-studio");

/// A registry behind a provider, and a house that is configured for both.
pub(crate) struct Protected {
    pub(crate) house: Arc<House>,
    pub(crate) provider: Provider,
    pub(crate) registry: FakeRegistry,
    pub(crate) opened: mpsc::UnboundedReceiver<Url>,
}

pub(crate) async fn upstream() -> (Provider, FakeRegistry) {
    let registry = FakeRegistry::with_servers(3).await;
    let url = registry.url();
    let provider = Provider::for_resources(&[&url]).await;
    registry.protect(Guard::of(&provider, &url));
    (provider, registry)
}

pub(crate) async fn protected() -> Protected {
    protected_with(options()).await
}

pub(crate) async fn protected_with(mut options: ApiOptions) -> Protected {
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
    pub(crate) fn post(
        &self,
        target: &'static str,
        headers: &'static [(&str, &str)],
    ) -> JoinHandle<Answer> {
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
    pub(crate) async fn log_in_as(&mut self, headers: &'static [(&str, &str)]) -> Answer {
        let login = self.post(LOGIN, headers);
        let url = self.opened.recv().await.expect("an address to open");
        browse(url.as_str()).await;
        login.await.unwrap()
    }

    pub(crate) async fn log_in(&mut self) -> Answer {
        self.log_in_as(&[]).await
    }

    pub(crate) async fn log_out_as(&self, headers: &'static [(&str, &str)]) -> Answer {
        self.post(LOGOUT, headers).await.unwrap()
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.house.get(target).await
    }

    /// The state of the report and the word of its reason.
    pub(crate) async fn state(&self) -> (String, Option<String>) {
        let report = self.get(REPORT).await;
        assert_eq!(report.status, 200, "{}", report.text());
        let report = report.json();
        let text = |name: &str| report[name].as_str().map(str::to_owned);
        (text("state").unwrap(), text("reason"))
    }
}

/// The house behind a real socket.
pub(crate) struct Street {
    pub(crate) protected: Protected,
    pub(crate) address: String,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serving: JoinHandle<Drained>,
}

pub(crate) async fn street() -> Street {
    let address = Address::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 0,
    };
    let listener = listen(&address).await.unwrap();
    let mut options = options();
    options.host_policy = listener.host_policy();
    let protected = protected_with(options).await;
    let address = listener.url().strip_prefix("http://").unwrap().to_owned();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(
        listener,
        protected.house.api.clone(),
        shutdown.clone(),
        Duration::from_secs(30),
    ));
    Street {
        protected,
        address,
        shutdown,
        serving,
    }
}

/// What the desktop client sends to set this registry with its login.
pub(crate) fn update(registry: &FakeRegistry, issuer: &str) -> String {
    format!(
        r#"{{"api_url":"{}","allow_private_ip":true,"auth":{{"issuer":"{issuer}","client_id":"{CLIENT}"}}}}"#,
        registry.url()
    )
}
