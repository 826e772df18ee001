//! Waiting for something another process will do: poll until it is so, or fail with a reason at a deadline.
//!
//! Tests never sleep for a fixed time; they say what they wait for.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a test waits for something that normally happens within milliseconds.
pub const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const PAUSE: Duration = Duration::from_millis(20);

/// Polls `probe` until it yields a value.
///
/// # Panics
/// After `patience`, naming `what`.
pub async fn until<T, F, Fut>(what: &str, patience: Duration, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "still waiting for {what} after {patience:?}"
        );
        tokio::time::sleep(PAUSE).await;
    }
}

/// Polls a plain condition for at most [`PATIENCE`].
///
/// # Panics
/// When the condition is still false then, naming `what`.
pub async fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, PATIENCE, || {
        std::future::ready(condition().then_some(()))
    })
    .await;
}

/// The `Date` header for a Unix time in seconds.
pub(crate) fn http_date(seconds: i64) -> http::HeaderValue {
    let moment = jiff::Timestamp::from_second(seconds).expect("a moment within reason");
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&moment)
        .expect("a date of our era")
        .parse()
        .expect("a header value")
}

/// Runs all futures at once and yields their results in order.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(futures).await
}
