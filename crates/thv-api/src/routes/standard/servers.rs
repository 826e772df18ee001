//! Servers of the standard door. The catalog keeps the latest version of each server; older ones
//! are known where the document holds them, and asked for where the source is an API.

use std::sync::Arc;

use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use thv_registry::{Entry, SearchIn, Served, Snapshot};
use utoipa::ToSchema;

use super::{CursorMetadata, Rows};
use crate::error::{ErrorBody, Problem};
use crate::head::Head;
use crate::limits;
use crate::paging::CursorPage;
use crate::reply;
use crate::state::State;

/// Index of the path segment that names the server.
const SERVER_NAME: usize = 2;

/// Index of the path segment that names the version.
const VERSION: usize = 4;

/// A server and what the registry says of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerResponse {
    /// The server's original `server.json`.
    #[schema(value_type = Object)]
    server: Value,
    /// The registry's metadata, by namespace.
    #[serde(rename = "_meta")]
    #[schema(value_type = Object)]
    meta: Value,
}

/// A page of servers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerList {
    /// The servers, by name.
    servers: Vec<ServerResponse>,
    /// Where the page lies in the list.
    metadata: CursorMetadata,
}

/// List MCP servers
///
/// The latest version of each server, in name order. An exact `version` finds each server that
/// has it, as far as the catalog knows its versions.
#[utoipa::path(
    get,
    path = "/v0.1/servers",
    operation_id = "listServers",
    tag = "standard",
    params(
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("limit" = Option<i64>, Query, description = "Rows on a page, 30 unless told, at most 100"),
        ("search" = Option<String>, Query, description = "Text to find in names and descriptions, whatever the case"),
        ("version" = Option<String>, Query, description = "`latest`, or an exact version"),
        ("updated_since" = Option<String>, Query, description = "RFC 3339 time; only what changed then or later")
    ),
    responses(
        (status = 200, description = "The page", body = ServerList),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 400, description = "A parameter cannot be read", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn list(state: State, head: Head) -> Result<Response, Problem> {
    let served = state.default_catalog().await?;
    answer_list(&head, &served).await
}

/// List the versions of an MCP server
///
/// The latest first.
#[utoipa::path(
    get,
    path = "/v0.1/servers/{serverName}/versions",
    operation_id = "listServerVersions",
    tag = "standard",
    params(("serverName" = String, Path, description = "Full server name, its slash written as `%2F`")),
    responses(
        (status = 200, description = "The versions", body = ServerList),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 400, description = "The name holds a broken percent escape", body = ErrorBody<'static>),
        (status = 404, description = "No server has this name", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn versions(state: State, head: Head) -> Result<Response, Problem> {
    let name = head.segment(SERVER_NAME)?;
    let registry = state.default_registry()?;
    let versions = registry.versions(&name, limits::CATALOG_PATIENCE).await;
    let versions = versions.map_err(Problem::of_read(&registry))?;
    let served = registry.catalog(limits::CATALOG_PATIENCE).await;
    let served = served.map_err(Problem::of_read(&registry))?;
    let body = Rows::take("servers", versions.iter(), usize::MAX, write_row).into_body();
    let tag = reply::tag_of(&body);
    Ok(reply::rendered(&head, &tag, &served, || body).await)
}

/// Get one version of an MCP server
///
/// `latest` stands for the latest one.
#[utoipa::path(
    get,
    path = "/v0.1/servers/{serverName}/versions/{version}",
    operation_id = "getServerVersion",
    tag = "standard",
    params(
        ("serverName" = String, Path, description = "Full server name, its slash written as `%2F`"),
        ("version" = String, Path, description = "Version, or `latest`")
    ),
    responses(
        (status = 200, description = "The server", body = ServerResponse),
        (status = 304, description = "Unchanged since the entity tag in `If-None-Match`"),
        (status = 400, description = "The name holds a broken percent escape", body = ErrorBody<'static>),
        (status = 404, description = "No server has this name, or it has no such version", body = ErrorBody<'static>),
        (status = 502, description = "The registry is in the legacy format", body = ErrorBody<'static>),
        (status = 503, description = "The registry needs a login, or cannot be reached", body = ErrorBody<'static>)
    )
)]
pub(crate) async fn version(state: State, head: Head) -> Result<Response, Problem> {
    let name = head.segment(SERVER_NAME)?;
    let version = head.segment(VERSION)?;
    let registry = state.default_registry()?;
    let served = registry.catalog(limits::CATALOG_PATIENCE).await;
    let served = served.map_err(Problem::of_read(&registry))?;
    let latest = served.snapshot.get(&name);
    if let Some(entry) = latest.filter(|entry| version == "latest" || entry.version() == version) {
        return Ok(answer_row(&head, &served, entry).await);
    }
    if version == "latest" {
        return Err(Problem::not_found("Server not found"));
    }
    let versions = registry.versions(&name, limits::CATALOG_PATIENCE).await;
    let versions = versions.map_err(Problem::of_read(&registry))?;
    let entry = versions
        .iter()
        .find(|entry| entry.version() == version)
        .ok_or_else(|| Problem::not_found("Server not found: it has no such version"))?;
    Ok(answer_row(&head, &served, entry).await)
}

async fn answer_row(head: &Head, served: &Served, entry: &Entry) -> Response {
    let body = super::line(entry.envelope().into());
    let tag = reply::tag_of(&body);
    reply::rendered(head, &tag, served, || body).await
}

/// The answer to a list query of the standard API.
pub(crate) async fn answer_list(head: &Head, served: &Served) -> Result<Response, Problem> {
    let page = CursorPage::of(head)?;
    let filter = Filter::of(head)?;
    let tag = reply::quoted(served.snapshot.digest());
    Ok(reply::rendered(head, &tag, served, || {
        filter.render(&served.snapshot, &page)
    })
    .await)
}

fn write_row(entry: &Arc<Entry>, body: &mut Vec<u8>) -> String {
    entry.write_envelope(body);
    entry.name().to_owned()
}

/// Which servers are asked for.
struct Filter {
    search: String,
    version: Option<String>,
    updated_since: Option<Timestamp>,
}

impl Filter {
    fn of(head: &Head) -> Result<Self, Problem> {
        let given = |name| head.query(name).filter(|value| !value.is_empty());
        let updated_since = given("updated_since")
            // A plus sign that was not escaped arrives as a space.
            .map(|time| time.replace(' ', "+").parse())
            .transpose()
            .map_err(|_| Problem::bad_request("updated_since must be an RFC 3339 time"))?;
        Ok(Self {
            search: given("search").unwrap_or_default().into_owned(),
            version: given("version")
                .filter(|version| version != "latest")
                .map(std::borrow::Cow::into_owned),
            updated_since,
        })
    }

    fn render(&self, snapshot: &Snapshot, page: &CursorPage) -> Vec<u8> {
        let all = snapshot.entries();
        if let Some(version) = &self.version {
            let rows = self.of_version(snapshot, version);
            self.take(rows.iter().copied(), rows.len(), page)
        } else if self.search.is_empty() {
            self.take(all.iter(), all.len(), page)
        } else {
            let found = snapshot.search(&self.search, SearchIn::NameDescription);
            self.take(found.iter().copied(), found.len(), page)
        }
    }

    /// Servers that have exactly `version`, each once, in name order.
    fn of_version<'a>(&self, snapshot: &'a Snapshot, version: &str) -> Vec<&'a Arc<Entry>> {
        let latest = if self.search.is_empty() {
            snapshot.entries().iter().collect()
        } else {
            snapshot.search(&self.search, SearchIn::NameDescription)
        };
        let found = |name: &str| {
            self.search.is_empty()
                || latest
                    .binary_search_by(|entry| entry.name().cmp(name))
                    .is_ok()
        };
        let older = snapshot.older().iter().filter(|entry| found(entry.name()));
        let mut rows: Vec<_> = latest
            .iter()
            .copied()
            .chain(older)
            .filter(|entry| entry.version() == version)
            .collect();
        rows.sort_by(|left, right| left.name().cmp(right.name()));
        rows.dedup_by(|later, kept| later.name() == kept.name());
        rows
    }

    fn take<'a>(
        &self,
        rows: impl Iterator<Item = &'a Arc<Entry>> + Clone,
        total: usize,
        page: &CursorPage,
    ) -> Vec<u8> {
        let first = page
            .after
            .as_deref()
            .map_or(0, |after| first_behind(&rows, total, after));
        let rows = rows.skip(first).filter(|entry| {
            self.updated_since
                .is_none_or(|since| entry.updated_at() >= since)
        });
        Rows::take("servers", rows, page.limit, write_row).into_body()
    }
}

/// How many of `total` rows, sorted by name, come before or at `after`. The iterators passed
/// here are over slices, whose `nth` takes no time.
fn first_behind<'a>(
    rows: &(impl Iterator<Item = &'a Arc<Entry>> + Clone),
    total: usize,
    after: &str,
) -> usize {
    let (mut low, mut high) = (0, total);
    while low < high {
        let middle = low.midpoint(high);
        let behind = rows
            .clone()
            .nth(middle)
            .is_none_or(|entry| entry.name() > after);
        if behind {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
