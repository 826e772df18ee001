//! The sockets of a login: loopback only, bound once, kept until the end, and then gone.
//!
//! The redirect URI says `localhost`, which browsers take for either address family, so both are held where there are two:
//! whoever held the other one would be sent the code. What is answered is decided in `session`.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use thv_config::world::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::session::Session;

/// The largest request head: an authorization response is a few hundred bytes. It is also the least that hyper takes.
const HEAD_SIZE: usize = 8 * 1024;

/// How long a request head may take. Browsers open connections ahead of time and leave them silent.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// How long an answer may take to leave once the login is over.
const LAST_ANSWER_TIME: Duration = Duration::from_secs(1);

/// Connections served at a time; further ones wait in the system's queue.
const CONNECTIONS: usize = 64;

/// The pause after the system refused us a connection, e.g. because no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often another port is tried when any will do and the chosen one is taken in the other address family.
const ATTEMPTS: usize = 16;

/// The listening sockets.
#[derive(Debug)]
pub(super) struct Loopback {
    v4: TcpListener,
    v6: Option<TcpListener>,
    port: u16,
}

/// Why there are no listening sockets.
#[derive(Debug)]
pub(super) enum BindError {
    /// Somebody else listens there.
    Busy {
        /// The port.
        port: u16,
    },
    /// The system refuses.
    Refused {
        /// The port.
        port: u16,
        /// What the system says.
        cause: io::Error,
    },
}

impl Loopback {
    /// Listens on `port`, or on any port if it is 0.
    pub(super) async fn bind(port: u16) -> Result<Self, BindError> {
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match Self::bind_once(port).await {
                Err(BindError::Busy { .. }) if port == 0 && attempts > 0 => {}
                bound => return bound,
            }
        }
    }

    async fn bind_once(port: u16) -> Result<Self, BindError> {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .map_err(|cause| BindError::new(port, cause))?;
        let port = v4
            .local_addr()
            .map_err(|cause| BindError::new(port, cause))?
            .port();
        let v6 = match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            Ok(listener) => Some(listener),
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => {
                return Err(BindError::Busy { port });
            }
            // A machine without IPv6 does not take `localhost` for `::1` either.
            Err(_) => None,
        };
        Ok(Self { v4, v6, port })
    }

    /// The port that is listened on.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Serves `session` until `closing`. When this returns, every socket is closed; dropping it closes them too.
    pub(super) async fn serve(
        self,
        session: Arc<Session>,
        clock: Arc<dyn Clock>,
        closing: CancellationToken,
    ) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                Some(_) = connections.join_next() => {}
                stream = self.accept(&*clock), if connections.len() < CONNECTIONS => {
                    let connection =
                        serve_one(stream, Arc::clone(&session), Arc::clone(&clock), closing.clone());
                    connections.spawn(connection);
                }
            }
        }
        drop(self);
        while connections.join_next().await.is_some() {}
    }

    /// The next connection.
    async fn accept(&self, clock: &dyn Clock) -> TcpStream {
        loop {
            let accepted = match &self.v6 {
                None => self.v4.accept().await,
                Some(v6) => tokio::select! {
                    accepted = self.v4.accept() => accepted,
                    accepted = v6.accept() => accepted,
                },
            };
            match accepted {
                Ok((stream, _)) => return stream,
                Err(cause) => {
                    tracing::debug!(%cause, "a login callback connection was not accepted");
                    clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl BindError {
    fn new(port: u16, cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::AddrInUse {
            Self::Busy { port }
        } else {
            Self::Refused { port, cause }
        }
    }
}

/// One connection carries one request. Once the login is over, a request that is being answered gets its answer, and a
/// connection that has not asked anything is dropped.
async fn serve_one(
    stream: TcpStream,
    session: Arc<Session>,
    clock: Arc<dyn Clock>,
    closing: CancellationToken,
) {
    let asked = AtomicBool::new(false);
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let session = Arc::clone(&session);
        async move { Ok::<_, Infallible>(session.respond(&request).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let head_is_late = async {
        clock.sleep(HEAD_TIME).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = head_is_late => return,
        () = closing.cancelled() => {}
    }
    if asked.load(Ordering::Relaxed) {
        tokio::select! {
            _ = connection => {}
            () = clock.sleep(LAST_ANSWER_TIME) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use thv_config::world::ManualClock;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::callback::tests::attempt;
    use super::*;

    struct Running {
        port: u16,
        clock: ManualClock,
        closing: CancellationToken,
        task: tokio::task::JoinHandle<()>,
    }

    async fn running() -> Running {
        let loopback = Loopback::bind(0).await.expect("a port");
        let port = loopback.port();
        let (session, receiver) = Session::new(attempt("right", false), None).expect("a path");
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let closing = CancellationToken::new();
        let serving = loopback.serve(Arc::new(session), Arc::new(clock.clone()), closing.clone());
        let task = tokio::spawn(async move {
            serving.await;
            drop(receiver);
        });
        Running {
            port,
            clock,
            closing,
            task,
        }
    }

    async fn exchange(port: u16, request: &[u8]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .expect("a connection");
        stream.write_all(request).await.expect("written");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn f20_only_loopback_addresses_are_listened_on() {
        let loopback = Loopback::bind(0).await.expect("a port");
        let addresses = std::iter::once(&loopback.v4).chain(&loopback.v6);
        for listener in addresses {
            let address = listener.local_addr().expect("bound");
            assert!(address.ip().is_loopback(), "{address}");
            assert_eq!(address.port(), loopback.port());
        }
    }

    #[tokio::test]
    async fn a_port_that_is_held_in_one_address_family_is_busy() {
        let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let port = holder.local_addr().expect("bound").port();
        let refused = Loopback::bind(port).await;
        assert!(matches!(refused, Err(BindError::Busy { port: named }) if named == port));

        let Ok(holder) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else {
            return;
        };
        let port = holder.local_addr().expect("bound").port();
        let refused = Loopback::bind(port).await;
        assert!(matches!(refused, Err(BindError::Busy { port: named }) if named == port));
    }

    #[tokio::test]
    async fn a_connection_carries_one_request() {
        let running = running().await;
        let answer = exchange(
            running.port,
            b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
        )
        .await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }

    #[tokio::test]
    async fn a_request_without_end_is_refused_and_the_next_is_served() {
        let running = running().await;
        let mut endless = b"GET /callback?code=".to_vec();
        endless.resize(HEAD_SIZE + 1, b'x');
        let answer = exchange(running.port, &endless).await;
        assert!(
            answer.starts_with("HTTP/1.1 431") || answer.starts_with("HTTP/1.1 414"),
            "{answer}"
        );
        let answer = exchange(running.port, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed_when_its_time_is_over() {
        let running = running().await;
        let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, running.port))
            .await
            .expect("a connection");
        silent.write_all(b"GET / HT").await.expect("written");
        running.clock.asleep(1).await;
        running.clock.advance(HEAD_TIME);
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
    }

    #[tokio::test]
    async fn closing_drops_silent_connections_and_frees_the_port() {
        let running = running().await;
        let mut silent = TcpStream::connect((Ipv4Addr::LOCALHOST, running.port))
            .await
            .expect("a connection");
        running.clock.asleep(1).await;
        running.closing.cancel();
        running.task.await.expect("ended");
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        Loopback::bind(running.port)
            .await
            .expect("the port is free");
    }
}
