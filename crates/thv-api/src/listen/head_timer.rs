//! How long a connection may take over a request's head. hyper has one timer that starts when
//! it begins to wait for a head; used as it is, it would also close connections that are quiet
//! between two requests. This timer gives such a connection the idle time, and the shorter head
//! time from the moment the first byte of a further request has come.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits;

/// A stream that notes when bytes arrive.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    heard: Arc<AtomicBool>,
}

/// The timer to give to hyper with a [`Watched`] stream.
#[derive(Debug)]
pub(super) struct HeadTimer {
    heard: Arc<AtomicBool>,
    served_one: AtomicBool,
}

struct HeadSleep {
    heard: Arc<AtomicBool>,
    idle: bool,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

/// Pairs `stream` with its timer.
pub(super) fn watch<S>(stream: S) -> (Watched<S>, HeadTimer) {
    let heard = Arc::new(AtomicBool::new(false));
    let timer = HeadTimer {
        heard: Arc::clone(&heard),
        served_one: AtomicBool::new(false),
    };
    (Watched { stream, heard }, timer)
}

// === impl HeadTimer ===

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let idle = self.served_one.swap(true, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
        let deadline = if idle {
            self.now() + limits::IDLE_TIME
        } else {
            deadline
        };
        Box::pin(HeadSleep {
            heard: Arc::clone(&self.heard),
            idle,
            sleep: Box::pin(tokio::time::sleep_until(deadline.into())),
        })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

// === impl HeadSleep ===

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.idle && self.heard.load(Ordering::Relaxed) {
            self.idle = false;
            let deadline = tokio::time::Instant::now() + limits::HEAD_TIME;
            self.sleep.as_mut().reset(deadline);
        }
        self.sleep.as_mut().poll(context)
    }
}

// === impl Watched ===

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use hyper::body::Incoming;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    fn connected() -> DuplexStream {
        let (client, server) = tokio::io::duplex(4096);
        let (server, timer) = watch(server);
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        });
        tokio::spawn(
            http1::Builder::new()
                .timer(timer)
                .header_read_timeout(limits::HEAD_TIME)
                .serve_connection(TokioIo::new(server), service),
        );
        client
    }

    async fn answered(client: &mut DuplexStream) {
        client.write_all(REQUEST).await.unwrap();
        let mut buffer = [0; 4096];
        assert!(client.read(&mut buffer).await.unwrap() > 0);
    }

    /// How long the server keeps the connection open.
    async fn closed_after(client: &mut DuplexStream) -> Duration {
        let start = tokio::time::Instant::now();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        start.elapsed()
    }

    fn about(time: Duration, expected: Duration) -> bool {
        time >= expected && time < expected + Duration::from_secs(1)
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_that_says_nothing_is_closed_after_the_head_time() {
        let took = closed_after(&mut connected()).await;
        assert!(about(took, limits::HEAD_TIME), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_is_kept_for_the_idle_time_after_a_request() {
        let mut client = connected();
        answered(&mut client).await;
        tokio::time::sleep(limits::IDLE_TIME.saturating_sub(Duration::from_secs(1))).await;
        answered(&mut client).await;
        let took = closed_after(&mut client).await;
        assert!(about(took, limits::IDLE_TIME), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_further_head_that_drips_is_cut_after_the_head_time() {
        let mut client = connected();
        answered(&mut client).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        client.write_all(b"GET / HT").await.unwrap();
        let took = closed_after(&mut client).await;
        assert!(about(took, limits::HEAD_TIME), "{took:?}");
    }
}
