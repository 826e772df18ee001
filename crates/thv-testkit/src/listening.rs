//! A port on loopback that a fake answers on, and that can be closed and opened again while a test runs.
//!
//! What is answered is the fake's affair; here are sockets and connections only.

use std::fmt::Debug;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use http::request::Parts;
use http::{HeaderValue, Request, Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::journal::Pen;
use crate::wait::{PATIENCE, until};

pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// An answer with its whole body, so that a fault can cut it.
pub(crate) type Whole = Response<Bytes>;

/// What stands behind a port.
pub(crate) trait Answers: Debug + Send + Sync + 'static {
    /// The answer; an error closes the connection without one.
    fn answer(
        self: Arc<Self>,
        parts: Parts,
        body: Bytes,
    ) -> BoxFuture<'static, io::Result<Response<Body>>>;
}

/// The port, open or closed.
#[derive(Debug)]
pub(crate) enum Listening {
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
    pub(crate) async fn close(self, address: SocketAddr) -> Self {
        let Listening::Open { stop, accepting } = self else {
            return self;
        };
        drop(stop);
        accepting.await.expect("the accept loop ends when told to");
        // A process that is being started holds a copy of our socket until it becomes another program.
        let socket = until("the port we just left", PATIENCE, || {
            std::future::ready(reserved(address).ok())
        })
        .await;
        Listening::Refusing(socket)
    }

    pub(crate) fn reopen(self, fake: Arc<dyn Answers>) -> Self {
        match self {
            Listening::Refusing(socket) => open(socket.listen(1024).expect("our own port"), fake),
            other => other,
        }
    }
}

fn reserved(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Binds 127.0.0.1 without answering yet.
pub(crate) async fn bind(port: u16) -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .expect("a port on loopback");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    (address, listener)
}

/// Starts to answer.
pub(crate) fn open(listener: TcpListener, fake: Arc<dyn Answers>) -> Listening {
    let stop = CancellationToken::new();
    let accepting = tokio::spawn(accept(listener, fake, stop.clone()));
    Listening::Open {
        stop: stop.drop_guard(),
        accepting,
    }
}

async fn accept(listener: TcpListener, fake: Arc<dyn Answers>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                tokio::spawn(connection(stream, Arc::clone(&fake), stop.clone()));
            }
        }
    }
}

async fn connection(stream: TcpStream, fake: Arc<dyn Answers>, stop: CancellationToken) {
    let service = service_fn(move |request: Request<Incoming>| {
        let fake = Arc::clone(&fake);
        async move {
            let (parts, body) = request.into_parts();
            // The body is read first, so that a client that still sends is not taken for one that left.
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes)
                .unwrap_or_default();
            fake.answer(parts, body).await
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

/// The whole answer; the journal learns its status.
pub(crate) fn complete(answer: Whole, pen: Pen) -> Response<Body> {
    pen.answered(answer.status().as_u16());
    answer.map(|bytes| Full::new(bytes).map_err(|never| match never {}).boxed())
}

/// How an answer that is not whole ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    Cut,
    Hang,
}

/// The headers promise the whole body; half of it comes.
pub(crate) fn partly(answer: Whole, ending: Ending, pen: Pen) -> Response<Body> {
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
