//! The listener with the interface behind it, over real sockets.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use common::{CATALOG, House, house_with, options};
use thv_api::{Address, Drained, Listener, listen, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Running {
    house: House,
    url: String,
    shutdown: CancellationToken,
    serving: JoinHandle<Drained>,
}

async fn running(address: &Address) -> Running {
    let listener: Listener = listen(address).await.unwrap();
    let mut options = options();
    options.host_policy = listener.host_policy();
    let house = house_with(CATALOG, options).await;
    let shutdown = CancellationToken::new();
    let url = listener.url().to_owned();
    let serving = tokio::spawn(serve(
        listener,
        house.api.clone(),
        shutdown.clone(),
        Duration::from_secs(30),
    ));
    Running {
        house,
        url,
        shutdown,
        serving,
    }
}

fn tcp() -> Address {
    Address::Tcp {
        host: "127.0.0.1".to_owned(),
        port: 0,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.url.strip_prefix("http://").unwrap())
            .await
            .unwrap()
    }
}

/// Sends `request` and reads until the other side closes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn tcp_answers_to_its_own_name_and_to_no_other() {
    let running = running(&tcp()).await;
    let ours = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(running.connect().await, ours).await;
    assert!(
        answer.starts_with("HTTP/1.1 204 No Content\r\n"),
        "{answer}"
    );
    let foreign = b"GET /health HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n";
    let answer = exchange(running.connect().await, foreign).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
}

#[tokio::test]
async fn a_socket_takes_any_host_and_chunked_bodies() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("thv.sock");
    let running = running(&Address::Socket(path.clone())).await;
    assert_eq!(
        running.url,
        format!("unix://{}", path.canonicalize().unwrap().display())
    );
    let request = b"PUT /api/v1beta/registry/default HTTP/1.1\r\nHost: anything\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let answer = exchange(UnixStream::connect(&path).await.unwrap(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("{\"type\":\"default\"}\n"), "{answer}");
    running.shutdown.cancel();
    assert_eq!(running.serving.await.unwrap(), Drained { cut: 0 });
    assert!(!path.exists());
}

#[tokio::test]
async fn a_head_request_to_a_known_path_is_405_without_a_body() {
    let running = running(&tcp()).await;
    let request =
        b"HEAD /api/v1beta/registry HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = exchange(running.connect().await, request).await;
    assert!(
        answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"),
        "{answer}"
    );
    assert_eq!(answer.matches("allow: ").count(), 2, "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn f50_a_chunked_body_over_the_limit_gets_its_413_while_the_client_still_sends() {
    let running = running(&tcp()).await;
    let mut request = b"PUT /api/v1beta/registry/default HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..32 {
        request.extend_from_slice(b"10000\r\n");
        request.extend_from_slice(&vec![b'x'; 0x10000]);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let answer = exchange(running.connect().await, &request).await;
    assert!(
        answer.starts_with("HTTP/1.1 413 Payload Too Large\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn w40_a_request_under_way_is_answered_after_the_stop() {
    let running = running(&tcp()).await;
    let mut stream = running.connect().await;
    stream
        .write_all(b"PUT /api/v1beta/registry/default HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        .await
        .unwrap();
    // A second connection is answered only after the first one was accepted.
    let probe = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    exchange(running.connect().await, probe).await;
    tokio::task::yield_now().await;
    running.shutdown.cancel();
    let mut refused = TcpStream::connect(running.url.strip_prefix("http://").unwrap()).await;
    while refused.is_ok() {
        tokio::task::yield_now().await;
        refused = TcpStream::connect(running.url.strip_prefix("http://").unwrap()).await;
    }
    let answer = exchange(stream, b"}").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(running.serving.await.unwrap(), Drained { cut: 0 });
    drop(running.house);
}

#[tokio::test]
async fn w40_what_is_not_done_after_the_grace_is_cut() {
    let listener = listen(&tcp()).await.unwrap();
    let url = listener.url().to_owned();
    let house = house_with(CATALOG, options()).await;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(
        listener,
        house.api.clone(),
        shutdown.clone(),
        Duration::from_millis(1),
    ));
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"PUT /api/v1beta/registry/default HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n")
        .await
        .unwrap();
    let probe = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    exchange(TcpStream::connect(address).await.unwrap(), probe).await;
    shutdown.cancel();
    assert_eq!(serving.await.unwrap(), Drained { cut: 1 });
}
