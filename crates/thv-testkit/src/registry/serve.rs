//! Connections, and what a fault does to an answer on its way out.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::faults::Fault;
use super::journal::{Pen, query_of};
use super::routes::{self, Whole};
use super::{SERVERS, Shared};
use crate::fixture;

type Body = BoxBody<Bytes, io::Error>;

/// The port, open or closed.
#[derive(Debug)]
pub(super) enum Listening {
    /// Answering until the guard drops.
    Open {
        stop: DropGuard,
        accepting: JoinHandle<()>,
    },
    /// Bound but not listening: the kernel refuses connections, and nobody else can take the port.
    Refusing(TcpSocket),
    /// Between the two.
    Moving,
}

impl Listening {
    pub(super) async fn close(self, address: SocketAddr) -> Self {
        let Listening::Open { stop, accepting } = self else {
            return self;
        };
        drop(stop);
        accepting.await.expect("the accept loop ends when told to");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .set_reuseaddr(true)
            .expect("an option of every socket");
        socket.bind(address).expect("the port we just left");
        Listening::Refusing(socket)
    }

    pub(super) fn reopen(self, shared: Arc<Shared>) -> Self {
        match self {
            Listening::Refusing(socket) => open(socket.listen(1024).expect("our own port"), shared),
            other => other,
        }
    }
}

/// Binds 127.0.0.1 and starts to answer.
pub(super) async fn listen(shared: Arc<Shared>, port: u16) -> (SocketAddr, Listening) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("a port on loopback");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    (address, open(listener, shared))
}

fn open(listener: TcpListener, shared: Arc<Shared>) -> Listening {
    let stop = CancellationToken::new();
    let accepting = tokio::spawn(accept(listener, shared, stop.clone()));
    Listening::Open {
        stop: stop.drop_guard(),
        accepting,
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                tokio::spawn(connection(stream, Arc::clone(&shared), stop.clone()));
            }
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let (parts, body) = request.into_parts();
            // The body is read first, so that a client that still sends is not taken for one that left.
            let _ = body.collect().await;
            Ok::<_, Infallible>(respond(&shared, &parts).await)
        }
    });
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stop.cancelled() => {}
        // A client that goes away is an outcome in the journal, not a failure of the fake.
        _ = serving => {}
    }
}

async fn respond(shared: &Shared, parts: &Parts) -> Response<Body> {
    let pen = shared.journal.open(parts);
    let path = parts.uri.path();
    let fault = shared
        .rules
        .lock()
        .unwrap()
        .iter_mut()
        .find_map(|rule| rule.meet(path));
    let honest = || routes::answer(&shared.store.lock().unwrap(), parts);
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

fn complete(answer: Whole, pen: Pen) -> Response<Body> {
    pen.answered(answer.status().as_u16());
    answer.map(|bytes| Full::new(bytes).map_err(|never| match never {}).boxed())
}

enum Ending {
    Cut,
    Hang,
}

/// The headers promise the whole body; half of it comes.
fn partly(answer: Whole, ending: Ending, pen: Pen) -> Response<Body> {
    let (mut parts, body) = answer.into_parts();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    let half = body.slice(..body.len() / 2);
    let rest = stream::once(async move {
        match ending {
            Ending::Cut => {
                drop(pen);
                // Long enough for the first half to leave, so that the client sees a cut body and not a cut head.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(io::Error::other("cut by the fake"))
            }
            Ending::Hang => {
                let _held = pen;
                pending().await
            }
        }
    });
    let frames = stream::once(std::future::ready(Ok(Frame::data(half)))).chain(rest);
    Response::from_parts(parts, BodyExt::boxed(StreamBody::new(frames)))
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
