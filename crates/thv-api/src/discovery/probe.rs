//! Whether the server that wrote a record still answers: `GET /health` at its address must give
//! 204 and the record's nonce. The call goes straight to the address; a proxy from the
//! environment has no say in it.

use axum::body::Body;
use http::{Request, StatusCode, header};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::endpoint::Endpoint;
use super::token::is_same;
use crate::limits;
use crate::routes::health::NONCE_HEADER;

/// Whether the server of `nonce` answers at `endpoint` within [`limits::PROBE_TIME`].
pub(super) async fn answers(endpoint: &Endpoint, nonce: &str) -> bool {
    let asked = async {
        match endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await.ok()?;
                ask(stream, &address.to_string()).await
            }
            #[cfg(unix)]
            Endpoint::Socket(path) => {
                let stream = tokio::net::UnixStream::connect(path).await.ok()?;
                ask(stream, "localhost").await
            }
            #[cfg(not(unix))]
            Endpoint::Socket(_) => None,
        }
    };
    match tokio::time::timeout(limits::PROBE_TIME, asked).await {
        Ok(Some(response)) => is_healthy(&response, nonce),
        Ok(None) | Err(_) => false,
    }
}

async fn ask<S>(stream: S, host: &str) -> Option<http::Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(limits::MAX_PROBE_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .ok()?;
    let request = Request::get("/health")
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .body(Body::empty())
        .ok()?;
    let response = sender.send_request(request);
    tokio::pin!(connection, response);
    tokio::select! {
        biased;
        response = &mut response => response.ok(),
        _ = &mut connection => response.await.ok(),
    }
}

fn is_healthy<B>(response: &http::Response<B>, nonce: &str) -> bool {
    let told = response.headers().get(NONCE_HEADER);
    response.status() == StatusCode::NO_CONTENT
        && !nonce.is_empty()
        && told.is_some_and(|told| is_same(told.as_bytes(), nonce.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_is_204_with_the_very_nonce() {
        let response = |status: u16, nonce: Option<&str>| {
            let mut builder = http::Response::builder().status(status);
            if let Some(nonce) = nonce {
                builder = builder.header(NONCE_HEADER, nonce);
            }
            builder.body(()).unwrap()
        };
        assert!(is_healthy(&response(204, Some("abc")), "abc"));
        assert!(!is_healthy(&response(204, Some("abd")), "abc"));
        assert!(!is_healthy(&response(204, Some("ab")), "abc"));
        assert!(!is_healthy(&response(204, None), "abc"));
        assert!(!is_healthy(&response(200, Some("abc")), "abc"));
        assert!(!is_healthy(&response(204, Some("")), ""));
    }
}
