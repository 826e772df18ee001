//! Reading registries: the collection, one of them with its whole catalog, and the forced
//! refresh. The collection is asked for on every navigation of the desktop client and waits
//! only briefly for a first catalog.

use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;
use thv_registry::{RegistryInfo, Snapshot};
use utoipa::ToSchema;

use super::NAME;
use crate::error::{ErrorBody, Problem};
use crate::head::Head;
use crate::limits;
use crate::reply::{self, Parts};
use crate::state::State;
use crate::wire::json;

/// The registries.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegistryListResponse<'a> {
    /// One per registry; the first is `default`.
    registries: Vec<RegistryInfoBody<'a>>,
}

/// A registry without its servers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RegistryInfo)]
pub(crate) struct RegistryInfoBody<'a> {
    /// Name of the registry.
    #[schema(example = "default")]
    name: &'a str,
    /// Version of the registry document; `1.0.0` where the source has none.
    version: &'a str,
    /// When the registry was last updated, RFC 3339.
    last_updated: &'a str,
    /// Number of container and remote servers in the registry's lists.
    server_count: usize,
    /// Where the registry comes from: `default`, `file`, `url` or `api`.
    #[serde(rename = "type")]
    #[schema(example = "default")]
    kind: &'static str,
    /// URL or absolute path; empty for the built-in registry.
    source: &'a str,
    /// `none`, `configured` or `authenticated`.
    #[schema(example = "none")]
    auth_status: &'static str,
    /// `oauth`, or empty without a login.
    auth_type: &'a str,
    /// Public login settings; absent without a login.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    auth_config: Option<AuthConfigBody<'a>>,
}

/// Login settings of a registry, none of them secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OAuthPublicConfig)]
pub(crate) struct AuthConfigBody<'a> {
    /// Issuer URL.
    issuer: &'a str,
    /// Client identifier.
    client_id: &'a str,
    /// Audience that tokens are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    audience: Option<&'a str>,
    /// Scopes that are asked for.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes: &'a [String],
}

/// A registry with its servers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GetRegistryResponse)]
pub(crate) struct RegistryItemBody<'a> {
    #[serde(flatten)]
    info: RegistryInfoBody<'a>,
    /// The catalog.
    registry: thv_registry::view::Registry,
}

/// What a refresh came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefreshResponse {
    /// Always `refreshed`.
    #[schema(example = "refreshed")]
    status: &'static str,
}

/// List registries
///
/// Waits no longer than two seconds for a first catalog.
#[utoipa::path(
    get,
    path = "/api/v1beta/registry",
    operation_id = "listRegistries",
    tag = "registry",
    responses(
        (status = 200, description = "The registries", body = RegistryListResponse<'static>),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn list(state: State, head: Head) -> Result<Response, Problem> {
    let registry = state.default_registry()?;
    let served = registry.catalog(limits::OVERVIEW_PATIENCE).await;
    let served = served.map_err(Problem::of_read(&registry))?;
    let info = registry.info();
    let body = json::line(&RegistryListResponse {
        registries: vec![describe(&info, &served.snapshot)],
    });
    let tag = reply::tag_of(&body);
    Ok(reply::rendered(&head, &tag, &served, || body).await)
}

/// Get a registry
#[utoipa::path(
    get,
    path = "/api/v1beta/registry/{name}",
    operation_id = "getRegistry",
    tag = "registry",
    params(("name" = String, Path, description = "Registry name")),
    responses(
        (status = 200, description = "The registry and its catalog", body = RegistryItemBody<'static>),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No registry has this name", body = String, content_type = "text/plain"),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn get(state: State, head: Head) -> Result<Response, Problem> {
    let registry = state.registry(head.segment(NAME))?;
    let served = registry.catalog(limits::CATALOG_PATIENCE).await;
    let served = served.map_err(Problem::of_read(&registry))?;
    let mut before = json::line(&describe(&registry.info(), &served.snapshot));
    let tag = reply::tag_within(&served.snapshot, &before);
    before.truncate(before.len().saturating_sub(b"}\n".len()));
    before.extend_from_slice(b",\"registry\":");
    let catalog = served.snapshot.v1beta_registry().await;
    let parts = Parts([
        Bytes::from(before),
        catalog.identity(),
        Bytes::from_static(b"}\n"),
    ]);
    Ok(reply::in_parts(&head, &tag, &served, parts, &state.compressed_item).await)
}

/// Refresh a registry
///
/// Reads the registry from its source now. When that fails, the catalog read before is still
/// served.
#[utoipa::path(
    post,
    path = "/api/v1beta/registry/{name}/refresh",
    operation_id = "refreshRegistry",
    tag = "registry",
    params(("name" = String, Path, description = "Registry name")),
    responses(
        (status = 200, description = "The catalog was read again", body = RefreshResponse),
        (status = 404, description = "No registry has this name", body = String, content_type = "text/plain"),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn refresh(state: State, head: Head) -> Result<Response, Problem> {
    let registry = state.registry(head.segment(NAME))?;
    let read = registry.refresh().await;
    read.map_err(Problem::of_read(&registry))?;
    Ok(reply::ok(json::line(&RefreshResponse {
        status: "refreshed",
    })))
}

fn describe<'a>(info: &'a RegistryInfo, snapshot: &'a Snapshot) -> RegistryInfoBody<'a> {
    let counts = snapshot.counts();
    RegistryInfoBody {
        name: &info.name,
        version: snapshot.version(),
        last_updated: snapshot.last_updated(),
        server_count: counts.containers + counts.remotes,
        kind: info.kind.as_str(),
        source: &info.source,
        auth_status: info.auth_status.as_str(),
        auth_type: &info.auth_type,
        auth_config: info.auth_config.as_ref().map(|config| AuthConfigBody {
            issuer: &config.issuer,
            client_id: &config.client_id,
            audience: config.audience.as_deref(),
            scopes: &config.scopes,
        }),
    }
}
