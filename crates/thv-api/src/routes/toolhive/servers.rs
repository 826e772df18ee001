//! Servers in their original form, one page at a time or one by name.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use thv_registry::{Entry, SearchIn};
use utoipa::ToSchema;

use super::{NAME, PageMetadata, SERVER_NAME};
use crate::error::{ErrorBody, Problem};
use crate::head::Head;
use crate::paging::NumberedPage;
use crate::reply;
use crate::routes::standard;
use crate::state::State;

/// A page of servers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServersResponse {
    /// Each server's original `server.json`.
    #[schema(value_type = Vec<Object>)]
    servers: Vec<Value>,
    /// Where the page lies in the list.
    metadata: PageMetadata,
}

/// List available registry servers
///
/// In name order, each as its original `server.json`. With one of the parameters of the standard
/// API (`version`, `cursor`, `search`, `updated_since`) the answer has that API's shape.
#[utoipa::path(
    get,
    path = "/registry/{registryName}/v0.1/servers",
    operation_id = "listServersByPage",
    tag = "registry-servers",
    params(
        ("registryName" = String, Path, description = "Registry name"),
        ("q" = Option<String>, Query, description = "Text to find in names and descriptions, whatever the case"),
        ("page" = Option<i64>, Query, description = "Number of the page, from 1"),
        ("limit" = Option<i64>, Query, description = "Rows on a page, 50 unless told, at most 200")
    ),
    responses(
        (status = 200, description = "The page", body = ServersResponse),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 404, description = "No registry has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn list(state: State, head: Head) -> Result<Response, Problem> {
    let served = state.catalog(head.segment(NAME)).await?;
    if super::speaks_standard(&head) {
        return standard::servers::answer_list(&head, &served).await;
    }
    let page = NumberedPage::of(&head);
    let query = head.query("q").unwrap_or_default();
    let tag = reply::quoted(served.snapshot.digest());
    let render = || {
        let rows = |rows: &mut dyn Iterator<Item = &Arc<Entry>>, total| {
            let page_rows = rows.skip(page.offset()).take(page.len());
            super::page_body("servers", page_rows.map(|entry| entry.raw()), total, page)
        };
        if query.is_empty() {
            let entries = served.snapshot.entries();
            rows(&mut entries.iter(), entries.len())
        } else {
            let found = served.snapshot.search(&query, SearchIn::NameDescription);
            rows(&mut found.iter().copied(), found.len())
        }
    };
    Ok(reply::rendered(&head, &tag, &served, render).await)
}

/// Get a registry server
///
/// By its full name, or by the part behind the slash where only one server has it.
#[utoipa::path(
    get,
    path = "/registry/{registryName}/v0.1/servers/{serverName}/versions/latest",
    operation_id = "getLatestServer",
    tag = "registry-servers",
    params(
        ("registryName" = String, Path, description = "Registry name"),
        ("serverName" = String, Path, description = "Server name, its slash written as `%2F`")
    ),
    responses(
        (status = 200, description = "The server's original `server.json`", body = Object),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 400, description = "The name holds a broken percent escape", body = ErrorBody<'static>),
        (status = 404, description = "No registry or no server has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn latest(state: State, head: Head) -> Result<Response, Problem> {
    let name = head.segment(SERVER_NAME)?;
    let served = state.catalog(head.segment(NAME)).await?;
    let entry = served.snapshot.resolve(&name)?;
    let tag = reply::quoted(served.snapshot.digest());
    Ok(reply::rendered(&head, &tag, &served, || {
        let mut body = entry.raw().to_vec();
        body.push(b'\n');
        body
    })
    .await)
}
