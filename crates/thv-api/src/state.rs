//! What the handlers work with: the registries, the secrets, and the few values that are fixed when the
//! server starts. Built once by [`crate::Api::new`].

use std::sync::Arc;

use thv_auth::doctor::Diagnosis;
use thv_auth::status::AuthReport;
use thv_auth::{Auth, AuthFailure};
use thv_registry::{Fault, Registries, Registry, Served};
use thv_secrets::UserSecrets;

use crate::changes::Changes;
use crate::error::Problem;
use crate::head::BadEscape;
use crate::limits;
use crate::login_desk::LoginDesk;
use crate::metrics::Metrics;
use crate::question::Question;
use crate::reply::CompressedItem;
use crate::stream::Waiting;

/// The state behind every handler.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registries: Arc<Registries>,
    /// Tells where logins stand. Nothing that is asked of it here opens a browser.
    pub(crate) auth: Arc<Auth>,
    pub(crate) desk: LoginDesk,
    pub(crate) secrets: Arc<UserSecrets>,
    /// What clients can follow.
    pub(crate) changes: Changes,
    pub(crate) version: String,
    pub(crate) nonce: Option<http::HeaderValue>,
    pub(crate) openapi: bool,
    pub(crate) metrics: Option<Arc<Metrics>>,
    pub(crate) compressed_item: CompressedItem,
    /// Places for clients that wait for a login.
    pub(crate) waiting: Waiting,
    /// Places for clients that follow all changes.
    pub(crate) following: Waiting,
    /// What the registry says to the current token.
    pub(crate) live: Question<About, Result<AuthReport, AuthFailure>>,
    /// What an examination finds.
    pub(crate) examination: Question<About, Diagnosis>,
    /// Held by the one examination that runs: each writes to the store to see whether that works.
    pub(crate) examining: tokio::sync::Mutex<()>,
}

/// What questions about the login to a registry are about: the registry, and what is known of its login without asking
/// anybody.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct About {
    source: String,
    login: Result<AuthReport, String>,
}

/// The state as handlers take it.
pub(crate) type State = axum::extract::State<Arc<Shared>>;

// === impl About ===

impl About {
    /// The login to `registry`, when it stands as `report` says.
    pub(crate) fn of(registry: &Registry, report: Result<&AuthReport, &AuthFailure>) -> Self {
        Self {
            source: registry.info().source,
            login: match report {
                // The rest changes by itself.
                Ok(report) => Ok(AuthReport {
                    refreshing: false,
                    last_refresh: None,
                    retry_after_s: None,
                    clock_skew_s: None,
                    pending_login: None,
                    ..report.clone()
                }),
                Err(failure) => Err(failure.to_string()),
            },
        }
    }
}

// === impl Shared ===

impl Shared {
    /// The registry that a path segment names. A name that cannot be decoded names none.
    pub(crate) fn registry(
        &self,
        segment: Result<std::borrow::Cow<'_, str>, BadEscape>,
    ) -> Result<Arc<Registry>, Problem> {
        segment
            .ok()
            .and_then(|name| self.registries.get(&name))
            .ok_or_else(Problem::registry_not_found)
    }

    /// The catalog of the registry that a path segment names.
    pub(crate) async fn catalog(
        &self,
        segment: Result<std::borrow::Cow<'_, str>, BadEscape>,
    ) -> Result<Served, Problem> {
        let registry = self.registry(segment)?;
        let served = registry.catalog(limits::CATALOG_PATIENCE).await;
        served.map_err(Problem::of_read(&registry))
    }

    /// The registry that the doors without a registry name stand for.
    pub(crate) fn default_registry(&self) -> Result<Arc<Registry>, Problem> {
        self.registry(Ok(thv_registry::DEFAULT_REGISTRY.into()))
    }

    /// Its catalog.
    pub(crate) async fn default_catalog(&self) -> Result<Served, Problem> {
        let registry = self.default_registry()?;
        let served = registry.catalog(limits::CATALOG_PATIENCE).await;
        served.map_err(Problem::of_read(&registry))
    }

    /// After a login, the next read must not meet the refusal that made somebody log in: where one
    /// is remembered, the registry is asked again now. What that brings is the next reader's to see.
    pub(crate) async fn read_again(&self) {
        // A login may have changed what is configured.
        self.registries.look().await;
        let Ok(registry) = self.default_registry() else {
            return;
        };
        if let Some((Fault::AuthRequired { .. }, _)) = registry.status().fault {
            // Dropped when it takes too long; the load itself goes on where readers wait for it.
            let _ = tokio::time::timeout(limits::CATALOG_PATIENCE, registry.refresh()).await;
        }
    }
}
