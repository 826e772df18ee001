//! Server-sent events (WHATWG HTML, section 9.2): how they are written, how a stream is kept alive, and how many clients may
//! hold one or wait for an answer at a time. What is sent is the routes' business.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Problem;
use crate::limits;

/// The media type of a stream.
const MEDIA_TYPE: &str = "text/event-stream";

/// One event. No part of it holds a line break but for one at the end of the data.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) data: Vec<u8>,
}

/// The places for clients that hold a request open for one thing.
#[derive(Clone, Debug)]
pub(crate) struct Waiting(Arc<Semaphore>);

/// One client's place, until it is dropped.
pub(crate) type Place = OwnedSemaphorePermit;

// === impl Waiting ===

impl Waiting {
    /// So many places.
    pub(crate) fn with_places(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    /// A place, if there is one.
    pub(crate) fn enter(&self) -> Result<Place, Problem> {
        let place = Arc::clone(&self.0).try_acquire_owned();
        place.map_err(|_| Problem::too_many_waiting())
    }
}

// === impl Event ===

impl Event {
    fn write(&self) -> Bytes {
        let mut text = String::with_capacity(self.data.len() + 64);
        // Writing to a String does not fail.
        let _ = write!(text, "id: {}\nevent: {}\n", self.id, self.kind);
        for line in String::from_utf8_lossy(&self.data).lines() {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        text.into()
    }
}

/// The id of the last event that the client has, when it comes back.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok()
}

/// What stops a client from coming back.
pub(crate) fn nothing_more() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A stream of what `next` gives for `state` and then for each state that it gives, until it gives none. While nothing
/// happens, a comment every [`limits::HEARTBEAT`] tells both sides that the other one is there.
pub(crate) fn response<S, F, N>(state: S, next: F, place: Place) -> Response
where
    S: Clone + Send + 'static,
    F: Fn(S) -> N + Send + 'static,
    N: Future<Output = Option<(Event, S)>> + Send + 'static,
{
    let first = stream::iter([Bytes::from(format!(
        "retry: {}\n\n",
        limits::RECONNECT_TIME.as_millis()
    ))]);
    let events = stream::unfold((state, next, place), |(state, next, place)| async move {
        match tokio::time::timeout(limits::HEARTBEAT, next(state.clone())).await {
            Ok(None) => None,
            Ok(Some((event, state))) => Some((event.write(), (state, next, place))),
            Err(_) => Some((Bytes::from_static(b":\n\n"), (state, next, place))),
        }
    });
    let pieces = futures_util::StreamExt::chain(first, events);
    let pieces = futures_util::StreamExt::map(pieces, Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather bytes would hold events back; nginx and those like it are told not to.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;

    use super::*;

    fn event(number: u32) -> Event {
        Event {
            id: number.to_string(),
            kind: "login",
            data: format!("{{\"n\":{number}}}\n").into_bytes(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_has_a_heartbeat_and_ends_with_its_last_event() {
        let next = |number: u32| async move {
            if number == 2 {
                return None;
            }
            tokio::time::sleep(limits::HEARTBEAT * number * 2 + Duration::from_millis(1)).await;
            Some((event(number), number + 1))
        };
        let waiting = Waiting::with_places(limits::MAX_WAITING);
        let place = waiting.enter().unwrap();
        let response = response(0, next, place);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        let mut pieces = Vec::new();
        for _ in 0..4 {
            let frame = body.frame().await.unwrap().unwrap();
            let data = frame.into_data().unwrap();
            pieces.push(String::from_utf8(data.to_vec()).unwrap());
        }
        assert_eq!(
            pieces,
            [
                "retry: 2000\n\n",
                "id: 0\nevent: login\ndata: {\"n\":0}\n\n",
                ":\n\n",
                ":\n\n",
            ],
            "the second event is far away"
        );
    }

    #[tokio::test]
    async fn case_71_only_so_many_clients_wait_and_each_leaves_its_place() {
        let waiting = Waiting::with_places(limits::MAX_WAITING);
        let mut places: Vec<_> = (0..limits::MAX_WAITING)
            .map(|_| waiting.enter().unwrap())
            .collect();
        assert_eq!(waiting.enter().unwrap_err().status(), 429);
        places.pop();
        let stream = response(
            (),
            |()| async { Some((event(1), ())) },
            waiting.enter().unwrap(),
        );
        assert!(waiting.enter().is_err());
        drop(stream);
        assert!(waiting.enter().is_ok());
    }
}
