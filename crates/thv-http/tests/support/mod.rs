//! Servers on port 0 and clients in a chosen environment.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use axum::Router;
use thv_config::world::{MapEnv, SystemClock, World};
use thv_http::{Http, HttpOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Serves `app` on a free port of this machine; answers its base URL without a slash at the end.
pub(crate) async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

pub(crate) fn options() -> HttpOptions {
    HttpOptions {
        user_agent: "thv-test/1.0".into(),
        extra_ca: None,
        insecure_urls: false,
    }
}

/// A client in an empty environment.
pub(crate) fn http() -> Http {
    with(options(), MapEnv::new())
}

/// A client in an environment of these variables.
pub(crate) fn http_in<const N: usize>(variables: [(&str, &str); N]) -> Http {
    with(options(), MapEnv::from(variables))
}

pub(crate) fn with(options: HttpOptions, env: MapEnv) -> Http {
    Http::new(options, &World::new(SystemClock::new(), env)).expect("client")
}

/// Tells when everything that holds one of its guards is gone.
#[derive(Clone)]
pub(crate) struct Gone(Arc<watch::Sender<()>>);

impl Gone {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }

    pub(crate) fn guard(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    /// Waits until the guards given out so far are dropped.
    pub(crate) async fn wait(&self) {
        self.0.closed().await;
    }
}
