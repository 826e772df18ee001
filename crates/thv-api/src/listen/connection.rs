//! One HTTP/1.1 connection, from its first byte to its close.

use std::convert::Infallible;
use std::pin::pin;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::head_timer;
use crate::Api;
use crate::limits;

/// Serves requests from `stream` until it closes; after `shutdown` no further one is read.
pub(super) async fn serve<S>(stream: S, api: Api, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, timer) = head_timer::watch(stream);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let api = api.clone();
        async move { Ok::<_, Infallible>(api.handle(request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(limits::HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
