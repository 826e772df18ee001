//! The servers of a registry as the desktop client shows them: containers and remote servers.
//! A server that is neither is not in the list; asking for it by name says why.

use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use thv_registry::view::{ImageMetadata, RemoteServerMetadata};
use thv_registry::{Entry, LookupError, Snapshot, ViewRef};
use utoipa::ToSchema;

use super::{NAME, SERVER_NAME};
use crate::error::{ErrorBody, Problem};
use crate::head::Head;
use crate::reply;
use crate::state::State;

/// The servers of a registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListServersResponse {
    /// Servers that run in containers, by name.
    servers: Vec<ImageMetadata>,
    /// Servers that run elsewhere, by name; absent when there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remote_servers: Vec<RemoteServerMetadata>,
}

/// One server: `server` or `remote_server`, never both.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GetServerResponse {
    /// The server, if it runs in a container.
    #[schema(nullable = false)]
    server: Option<ImageMetadata>,
    /// The server, if it runs elsewhere.
    #[schema(nullable = false)]
    remote_server: Option<RemoteServerMetadata>,
    /// Whether it runs elsewhere.
    is_remote: bool,
}

/// List servers in a registry
///
/// In name order. Servers without a container image or a remote address are left out.
#[utoipa::path(
    get,
    path = "/api/v1beta/registry/{name}/servers",
    operation_id = "listRegistryServers",
    tag = "registry",
    params(("name" = String, Path, description = "Registry name")),
    responses(
        (status = 200, description = "The servers", body = ListServersResponse),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No registry has this name", body = String, content_type = "text/plain"),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn list(state: State, head: Head) -> Result<Response, Problem> {
    let served = state.catalog(head.segment(NAME)).await?;
    let body = served.snapshot.v1beta_servers().await;
    Ok(reply::prepared(&head, &body, &served).await)
}

/// Get a server from a registry
///
/// By its full name, or by the part behind the slash where only one server has it.
#[utoipa::path(
    get,
    path = "/api/v1beta/registry/{name}/servers/{serverName}",
    operation_id = "getRegistryServer",
    tag = "registry",
    params(
        ("name" = String, Path, description = "Registry name"),
        ("serverName" = String, Path, description = "Server name, its slash written as `%2F`")
    ),
    responses(
        (status = 200, description = "The server", body = GetServerResponse),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 400, description = "The name holds a broken percent escape", body = String, content_type = "text/plain"),
        (status = 404, description = "No registry or no server has this name", body = String, content_type = "text/plain"),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn get(state: State, head: Head) -> Result<Response, Problem> {
    let served = state.catalog(head.segment(NAME)).await?;
    let name = head.segment(SERVER_NAME)?;
    let entry = find(&served.snapshot, &name)?;
    let (member, view, is_remote): (&[u8], _, &[u8]) = match entry.view() {
        ViewRef::Container(view) => (b"{\"server\":", view, b",\"is_remote\":false}\n"),
        ViewRef::Remote(view) => (b"{\"remote_server\":", view, b",\"is_remote\":true}\n"),
        ViewRef::Omitted(why) => {
            return Err(Problem::not_found(format!(
                "Server not found: {} is in the registry, but not as a container or a remote server: {why}",
                entry.name()
            )));
        }
    };
    let tag = reply::quoted(served.snapshot.digest());
    Ok(reply::rendered(&head, &tag, &served, || [member, view, is_remote].concat()).await)
}

/// The name as it was sent first; clients that write a space as `+` get a second look.
fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a Arc<Entry>, LookupError> {
    find_shown(snapshot, name).or_else(|error| {
        if name.contains('+') {
            find_shown(snapshot, &name.replace('+', " "))
        } else {
            Err(error)
        }
    })
}

/// The server among those that these routes show; one that they cannot show only when no other
/// is meant, so that the answer can say why.
fn find_shown<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a Arc<Entry>, LookupError> {
    match snapshot.resolve_shown(name) {
        Err(LookupError::NotFound { .. }) => snapshot.resolve(name),
        found => found,
    }
}
