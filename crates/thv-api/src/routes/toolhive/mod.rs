//! `/registry/{registryName}/v0.1/**`, the door of clients that know the Go program's shapes:
//! bare rows, numbered pages. A list that is asked for with a query of the standard API is
//! answered in that API's shape, so that this address too can be given to its clients.

pub(crate) mod extensions;
pub(crate) mod servers;

use bytes::Bytes;

use crate::head::Head;
use crate::paging::NumberedPage;
use crate::wire::json;

/// Index of the path segment that names the registry.
const NAME: usize = 1;

/// Index of the path segment that names the server.
const SERVER_NAME: usize = 4;

/// Indices of the path segments that name an extension's item.
const ITEM: (usize, usize) = (6, 7);

/// Whether the query is one of the standard API.
fn speaks_standard(head: &Head) -> bool {
    ["version", "cursor", "search", "updated_since"]
        .iter()
        .any(|name| head.query(name).is_some())
}

/// Where a page lies in its list.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct PageMetadata {
    /// Rows in the whole list.
    total: usize,
    /// Number of the page, from 1.
    page: u64,
    /// The most rows on a page.
    limit: u64,
}

/// Renders a page of `rows` under `member`.
fn page_body(
    member: &str,
    rows: impl Iterator<Item = Bytes>,
    total: usize,
    page: NumberedPage,
) -> Vec<u8> {
    let mut body = format!("{{\"{member}\":[").into_bytes();
    for (index, row) in rows.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&row);
    }
    body.extend_from_slice(b"],\"metadata\":");
    body.append(&mut json::line(&PageMetadata {
        total,
        page: page.page,
        limit: page.limit,
    }));
    body.pop();
    body.extend_from_slice(b"}\n");
    body
}
