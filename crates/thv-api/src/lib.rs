//! The wire: routes, wire types, errors, the listener and the discovery record.
//!
//! Three doors lead to one catalog: the desktop client's (`/api/v1beta`), the ToolHive-shaped
//! one (`/registry/{name}/v0.1`) and the standard MCP Registry API (`/v0.1`). A door translates
//! and decides nothing: what servers there are is the business of `thv_registry`.

mod changes;
pub mod discovery;
mod edge;
mod error;
mod head;
pub mod limits;
pub mod listen;
mod login_desk;
mod metrics;
pub mod openapi;
mod paging;
mod question;
mod reply;
mod router;
mod routes;
mod state;
mod stream;
mod wire;

use std::fmt;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::HeaderValue;
use thv_auth::Auth;
use thv_auth::login::PublicUrl;
use thv_auth::opener::Opener;
use thv_config::world::Clock;
use thv_registry::Registries;
use thv_secrets::UserSecrets;

pub use discovery::{CallerToken, ClaimError, Discovery, Nonce};
pub use edge::{Callers, HostPolicy};
pub use listen::{Address, Drained, ListenError, Listener, listen, serve};

/// What is fixed when a server starts.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Version that `GET /api/v1beta/version` tells.
    pub version: String,
    /// What names this run of the server in its health answer and its discovery record.
    pub nonce: Option<Nonce>,
    /// Whether the `OpenAPI` document and its page are served.
    pub openapi: bool,
    /// Whether `GET /metrics` is served.
    pub metrics: bool,
    /// Origins whose pages may read the standard door; `*` stands for all.
    pub cors_origins: Vec<String>,
    /// What callers have to show; nothing without it.
    pub callers: Option<Callers>,
    /// Which hosts requests may be for; see [`Listener::host_policy`].
    pub host_policy: HostPolicy,
    /// The address under which browsers reach this server, if logins are to come back here and not to a port of their own.
    pub public_url: Option<PublicUrl>,
    /// Logins to the registries.
    pub auth: Arc<Auth>,
    /// The user's secrets.
    pub secrets: UserSecrets,
    /// Opens a browser for the one request that asks for a login. Without it that request fails.
    pub opener: Option<Arc<dyn Opener>>,
    /// Measures how long requests take, and how long ago a login failed.
    pub clock: Arc<dyn Clock>,
}

/// The whole HTTP interface: takes requests, gives answers. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    edge: Arc<edge::Edge>,
    shared: Arc<state::Shared>,
}

// === impl Api ===

impl Api {
    /// The interface to `registries`.
    pub fn new(registries: Arc<Registries>, options: ApiOptions) -> Self {
        let metrics = options.metrics.then(|| Arc::new(metrics::Metrics::new()));
        let shared = state::Shared {
            changes: changes::Changes::new(
                Arc::clone(&registries),
                Arc::clone(&options.auth),
                Arc::clone(&options.clock),
            ),
            registries,
            auth: Arc::clone(&options.auth),
            desk: login_desk::LoginDesk::new(
                Arc::clone(&options.auth),
                options.opener,
                options.public_url.clone(),
                Arc::clone(&options.clock),
            ),
            secrets: Arc::new(options.secrets),
            version: options.version,
            nonce: options
                .nonce
                .and_then(|nonce| HeaderValue::from_str(nonce.as_str()).ok()),
            openapi: options.openapi,
            metrics: metrics.clone(),
            compressed_item: reply::CompressedItem::default(),
            waiting: stream::Waiting::with_places(limits::MAX_WAITING),
            following: stream::Waiting::with_places(limits::MAX_FOLLOWING),
            live: question::Question::new(Arc::clone(&options.clock)),
            examination: question::Question::new(Arc::clone(&options.clock)),
            examining: tokio::sync::Mutex::default(),
        };
        let shared = Arc::new(shared);
        let mut router = router::Router::new(&shared);
        if let Some(public) = &options.public_url {
            router.add_callback(&public.callback_paths(), &shared);
        }
        let edge = edge::Edge::new(
            router,
            options.host_policy,
            &options.cors_origins,
            options.public_url.as_ref().map(edge::Callback::new),
            options.callers,
            edge::Watch::new(options.clock, metrics),
        );
        Self {
            edge: Arc::new(edge),
            shared,
        }
    }

    /// Answers one request. Never fails: what goes wrong becomes an answer.
    pub async fn handle(&self, request: Request) -> Response {
        self.edge.handle(request).await
    }

    /// Ends the requests that wait for a person or for a change: the server is about to stop.
    async fn stop_waiting(&self) {
        self.shared.changes.stop();
        self.shared.auth.cancel_logins().await;
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Api").finish_non_exhaustive()
    }
}
