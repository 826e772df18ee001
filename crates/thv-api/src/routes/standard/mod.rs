//! `/v0.1/**`, the standard MCP Registry API for any client that speaks it: the configured
//! registry looks like a public one. Rows come in the registry's envelope, pages by cursor.

pub(crate) mod extensions;
pub(crate) mod servers;

use bytes::Bytes;

use crate::limits;
use crate::paging::cursor_of;
use crate::wire::json;

/// Room for one row, in bytes: what most rows of the public registry need.
const ROW_BYTES: usize = 1200;

/// Where a page lies in its list.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CursorMetadata {
    /// What to send as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_cursor: Option<String>,
    /// Rows on this page.
    count: usize,
}

/// The body of one page as far as it is written, and the key of the last row if more follow.
struct Rows {
    rendered: Vec<u8>,
    count: usize,
    last: Option<String>,
}

impl Rows {
    /// Begins a body with at most `limit` rows under `member`; `write` appends one and gives its
    /// key.
    fn take<T>(
        member: &str,
        rows: impl Iterator<Item = T>,
        limit: usize,
        write: impl Fn(T, &mut Vec<u8>) -> String,
    ) -> Self {
        let mut rendered = Vec::with_capacity(ROW_BYTES * limit.min(limits::STANDARD_PAGE_MAX));
        rendered.extend_from_slice(b"{\"");
        rendered.extend_from_slice(member.as_bytes());
        rendered.extend_from_slice(b"\":[");
        let mut taken = Self {
            rendered,
            count: 0,
            last: None,
        };
        let mut key = String::new();
        for row in rows {
            if taken.count == limit {
                taken.last = Some(key);
                return taken;
            }
            if taken.count > 0 {
                taken.rendered.push(b',');
            }
            key = write(row, &mut taken.rendered);
            taken.count += 1;
        }
        taken
    }

    /// The whole body.
    fn into_body(self) -> Vec<u8> {
        let mut body = self.rendered;
        body.extend_from_slice(b"],\"metadata\":");
        body.append(&mut json::line(&CursorMetadata {
            next_cursor: self.last.as_deref().map(cursor_of),
            count: self.count,
        }));
        body.pop();
        body.extend_from_slice(b"}\n");
        body
    }
}

/// A rendered row and the line feed that ends a body.
fn line(row: Bytes) -> Vec<u8> {
    let mut body = Vec::from(row);
    body.push(b'\n');
    body
}
