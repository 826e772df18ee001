//! What a request gets: the honest answer of `routes` behind the guard, or what a fault makes of it.

use std::future::pending;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::faults::Fault;
use super::guard;
use super::routes;
use super::{SERVERS, Shared};
use crate::fixture;
use crate::journal::{Pen, query_of};
use crate::listening::{Answers, Body, Ending, Whole, complete, partly};

/// Where RFC 9728 wants the metadata of a resource that is a whole host.
const METADATA: &str = "/.well-known/oauth-protected-resource";

impl Answers for Shared {
    fn answer(
        self: Arc<Self>,
        parts: Parts,
        body: Bytes,
    ) -> BoxFuture<'static, io::Result<Response<Body>>> {
        async move { Ok(respond(&self, &parts, body).await) }.boxed()
    }
}

async fn respond(shared: &Shared, parts: &Parts, body: Bytes) -> Response<Body> {
    let pen = shared.journal.open(parts, body);
    let path = parts.uri.path();
    let fault = shared
        .rules
        .lock()
        .unwrap()
        .iter_mut()
        .find_map(|rule| rule.meet(path));
    let (seen, refusal) = shared
        .gatehouse
        .lock()
        .unwrap()
        .examine(parts, &format!("{}{METADATA}", shared.url()));
    if let Some(seen) = seen {
        pen.bearer(seen);
    }
    let honest = || honest(shared, parts, refusal);
    let Some(fault) = fault else {
        return complete(honest(), pen);
    };
    match fault {
        Fault::Hang => pending().await,
        Fault::Slow(delay) => {
            tokio::time::sleep(delay).await;
            complete(honest(), pen)
        }
        Fault::CutBody => partly(honest(), Ending::Cut, pen),
        Fault::HangInBody => partly(honest(), Ending::Hang, pen),
        Fault::EndlessBody => endless(pen),
        other => complete(whole(&other, shared, parts), pen),
    }
}

/// What an unbroken registry says.
fn honest(shared: &Shared, parts: &Parts, refusal: Option<Whole>) -> Whole {
    let (guard, described) = {
        let gatehouse = shared.gatehouse.lock().unwrap();
        (gatehouse.guard.clone(), gatehouse.described.clone())
    };
    let mut answer = match (&guard, refusal) {
        (Some(guard), _) if parts.uri.path() == METADATA => routes::json_text(
            StatusCode::OK,
            described
                .unwrap_or_else(|| guard::resource_metadata(guard, &shared.url()))
                .to_string(),
        ),
        (_, Some(refusal)) => refusal,
        _ => routes::answer(&shared.store.lock().unwrap(), parts),
    };
    if let Some(guard) = guard {
        answer
            .headers_mut()
            .insert(header::DATE, crate::wait::http_date(guard.now()));
    }
    answer
}

/// The answer of a fault that has a whole one.
fn whole(fault: &Fault, shared: &Shared, parts: &Parts) -> Whole {
    match fault {
        Fault::Status(status) => {
            let status = StatusCode::from_u16(*status).expect("a status of HTTP");
            let mut answer = routes::problem(status, "the fake was told to say this");
            if status == StatusCode::UNAUTHORIZED {
                let challenge = HeaderValue::from_static("Bearer realm=\"MCP Registry\"");
                answer
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, challenge);
            }
            answer
        }
        Fault::TooManyRequests { retry_after } => {
            let mut answer = routes::problem(StatusCode::TOO_MANY_REQUESTS, "slow down");
            answer
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
            answer
        }
        Fault::BadJson => {
            routes::json_text(StatusCode::OK, r#"{"servers":[{"server":{"na"#.to_owned())
        }
        Fault::Html => routes::typed(
            StatusCode::OK,
            "text/html",
            Bytes::from_static(b"<!doctype html><title>Sign in to the network</title>"),
        ),
        Fault::Legacy => routes::json_text(StatusCode::OK, fixture::legacy_document()),
        Fault::RedirectTo(target) => routes::redirect(target),
        Fault::RepeatedCursor => odd_cursor(shared, parts, "again".to_owned()),
        Fault::EndlessCursors => odd_cursor(
            shared,
            parts,
            format!("page-{}", shared.journal.all().len()),
        ),
        other => unreachable!("{other:?} has no whole answer"),
    }
}

/// The first page again, with a cursor of our choice.
fn odd_cursor(shared: &Shared, parts: &Parts, cursor: String) -> Whole {
    let store = shared.store.lock().unwrap();
    if parts.uri.path() != SERVERS {
        return routes::answer(&store, parts);
    }
    let mut query =
        routes::list_query(&query_of(parts.uri.query().unwrap_or_default())).unwrap_or_default();
    query.cursor = None;
    let mut page: serde_json::Value =
        serde_json::from_str(&store.page(&query).0).expect("our own JSON");
    page["metadata"]["nextCursor"] = cursor.into();
    routes::json_text(StatusCode::OK, page.to_string())
}

/// A JSON string that never ends; the pen is put down when the client stops reading.
fn endless(pen: Pen) -> Response<Body> {
    let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
    let opening = stream::once(std::future::ready(Ok(Frame::data(Bytes::from_static(
        b"{\"servers\":[\"",
    )))));
    let rest = stream::unfold(pen, move |pen| {
        let frame = Ok(Frame::data(chunk.clone()));
        async move { Some((frame, pen)) }
    });
    let answer = routes::typed(StatusCode::OK, "application/json", Bytes::new());
    answer.map(|_| BodyExt::boxed(StreamBody::new(opening.chain(rest))))
}
