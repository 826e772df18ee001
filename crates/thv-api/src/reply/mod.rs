//! From a piece of a catalog to an answer: 304 when the client has it already, else 200 in an
//! encoding that it asked for. Which piece it is, the routes decide.

mod conditional;
mod encoding;
mod pieces;

use std::hash::{DefaultHasher, Hasher};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use thv_registry::{Prepared, Served, Snapshot};
use tokio::sync::Mutex;

use crate::head::Head;
use crate::limits;
use crate::wire::json;
pub(crate) use encoding::accepts_gzip;
use pieces::Pieces;

const STALE_SINCE: HeaderName = HeaderName::from_static("x-toolhive-stale-since");

/// The last big body that was compressed for somebody, under its entity tag. One is enough: it
/// is the item of the default registry.
#[derive(Debug, Default)]
pub(crate) struct CompressedItem(Mutex<Option<(String, Bytes)>>);

/// The parts of a JSON answer, sent one after the other.
#[derive(Debug)]
pub(crate) struct Parts<const N: usize>(pub(crate) [Bytes; N]);

/// A plain 200 with a JSON body, for what no cache should keep.
pub(crate) fn ok(body: impl Into<Body>) -> Response {
    answer(body.into())
}

/// A body that the catalog keeps rendered.
pub(crate) async fn prepared(head: &Head, prepared: &Prepared, served: &Served) -> Response {
    let tag = prepared.etag();
    if let Some(unchanged) = not_modified(head, tag) {
        return mark_stale(unchanged, served);
    }
    let response = if worth_compressing(head, prepared.identity().len()) {
        compressed(prepared.gzip().await, tag)
    } else {
        identity(Body::from(prepared.identity()), tag)
    };
    mark_stale(response, served)
}

/// A body that is rendered for this answer alone, unless the client has it already. `tag` names
/// its content: the snapshot's digest will do, since the address tells the part.
pub(crate) async fn rendered(
    head: &Head,
    tag: &str,
    served: &Served,
    render: impl FnOnce() -> Vec<u8>,
) -> Response {
    if let Some(unchanged) = not_modified(head, tag) {
        return mark_stale(unchanged, served);
    }
    let body = render();
    let response = if worth_compressing(head, body.len()) {
        compressed(encoding::gzip(vec![Bytes::from(body)]).await, tag)
    } else {
        identity(Body::from(body), tag)
    };
    mark_stale(response, served)
}

/// A body of a few parts of which one may be very large and is not copied.
pub(crate) async fn in_parts<const N: usize>(
    head: &Head,
    tag: &str,
    served: &Served,
    parts: Parts<N>,
    kept: &CompressedItem,
) -> Response {
    if let Some(unchanged) = not_modified(head, tag) {
        return mark_stale(unchanged, served);
    }
    let pieces = Pieces::new(parts.0);
    let response = if worth_compressing(head, pieces.len()) {
        compressed(kept.compress(tag, pieces).await, tag)
    } else {
        identity(Body::new(pieces), tag)
    };
    mark_stale(response, served)
}

/// The entity tag of a snapshot's digest, quoted (RFC 9110 section 8.8.3).
pub(crate) fn quoted(digest: &str) -> String {
    let mut tag = String::with_capacity(digest.len() + 2);
    tag.push('"');
    tag.push_str(digest);
    tag.push('"');
    tag
}

/// The entity tag of a body that is not made of a snapshot alone.
pub(crate) fn tag_of(body: &[u8]) -> String {
    quoted(&hash(body))
}

/// The entity tag of a snapshot's part that is sent with `beside`.
pub(crate) fn tag_within(snapshot: &Snapshot, beside: &[u8]) -> String {
    quoted(&format!("{}-{}", snapshot.digest(), hash(beside)))
}

/// Short and equal for equal bytes; nobody gains by making it collide.
fn hash(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    format!("{:016x}", hasher.finish())
}

fn worth_compressing(head: &Head, length: usize) -> bool {
    length >= limits::MIN_COMPRESSED_BYTES && accepts_gzip(head.headers())
}

fn not_modified(head: &Head, tag: &str) -> Option<Response> {
    let headers = head.headers();
    if !headers.contains_key(header::IF_NONE_MATCH) {
        return None;
    }
    let zipped = accepts_gzip(headers).then(|| encoding::gzip_tag(tag));
    let matched = std::iter::once(tag)
        .chain(zipped.as_deref())
        .find(|tag| conditional::matches(headers, tag))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    describe(response.headers_mut(), matched);
    Some(response)
}

fn answer(body: Body) -> Response {
    let mut response = Response::new(body);
    // Room for all that later steps add, so that the map grows once.
    *response.headers_mut() = HeaderMap::with_capacity(10);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(json::MEDIA_TYPE),
    );
    response
}

fn identity(body: Body, tag: &str) -> Response {
    let mut response = answer(body);
    describe(response.headers_mut(), tag);
    response
}

fn compressed(body: Bytes, tag: &str) -> Response {
    let mut response = answer(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    describe(headers, &encoding::gzip_tag(tag));
    response
}

fn describe(headers: &mut HeaderMap, tag: &str) {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    // Kept by clients, but asked for again at every use: a catalog changes when it does.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
}

fn mark_stale(mut response: Response, served: &Served) -> Response {
    if let Some(stale) = &served.stale {
        response
            .headers_mut()
            .insert(STALE_SINCE, timestamp(stale.since));
    }
    response
}

fn timestamp(time: Timestamp) -> HeaderValue {
    HeaderValue::from_str(&time.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

// === impl CompressedItem ===

impl CompressedItem {
    /// Compresses `pieces`, or gives what was made of them before. Calls meanwhile wait for the
    /// one that compresses.
    async fn compress(&self, tag: &str, pieces: Pieces) -> Bytes {
        let mut kept = self.0.lock().await;
        if let Some((of, bytes)) = kept.as_ref()
            && of == tag
        {
            return bytes.clone();
        }
        let bytes = encoding::gzip(pieces.into_inner()).await;
        *kept = Some((tag.to_owned(), bytes.clone()));
        bytes
    }
}
