//! One piece of work for many waiters.
//!
//! Whoever comes while the work runs joins it; each waiter can leave without disturbing the others, and when all have left
//! the work is dropped. No lock is held while anybody waits.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

/// The place where waiters meet.
pub(super) struct Flight<T: Clone> {
    running: Mutex<Option<WeakShared<BoxFuture<'static, T>>>>,
}

impl<T: Clone> Flight<T> {
    pub(super) fn new() -> Self {
        Self {
            running: Mutex::new(None),
        }
    }

    /// The result of the running work, or of `start` when none runs. `start` is asked under a lock: it makes the
    /// future and must not wait for anything itself.
    pub(super) async fn join(&self, start: impl FnOnce() -> BoxFuture<'static, T>) -> T {
        let work = self.joined(start);
        work.await
    }

    fn joined(
        &self,
        start: impl FnOnce() -> BoxFuture<'static, T>,
    ) -> Shared<BoxFuture<'static, T>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // Work that has ended is not running, even while its last waiter still holds it.
        let joined = running
            .as_ref()
            .and_then(WeakShared::upgrade)
            .filter(|work| work.peek().is_none());
        joined.unwrap_or_else(|| {
            let work = start().shared();
            *running = work.downgrade();
            work
        })
    }
}

impl<T: Clone> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn waiters_share_one_piece_of_work() {
        let flight = Flight::new();
        let started = AtomicUsize::new(0);
        let work = || {
            started.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::task::yield_now().await;
                7
            }
            .boxed()
        };
        assert_eq!(join(flight.join(work), flight.join(work)).await, (7, 7));
        assert_eq!(started.load(Ordering::SeqCst), 1);
        assert_eq!(flight.join(work).await, 7);
        assert_eq!(
            started.load(Ordering::SeqCst),
            2,
            "ended work is not joined"
        );
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_disturbs_nobody() {
        let flight = Flight::new();
        let (open, gate) = oneshot::channel::<u8>();
        let mut first = Box::pin(flight.join(|| async { gate.await.expect("open") }.boxed()));
        assert_eq!((&mut first).now_or_never(), None);
        let mut second = Box::pin(flight.join(|| unreachable!("work is running")));
        assert_eq!((&mut second).now_or_never(), None);
        drop(first);
        open.send(5).expect("work still runs");
        assert_eq!(second.await, 5);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_dropped() {
        let flight = Flight::new();
        let held = Arc::new(());
        let work = Arc::clone(&held);
        let mut only = Box::pin(flight.join(|| {
            async move {
                let result = std::future::pending::<u8>().await;
                drop(work);
                result
            }
            .boxed()
        }));
        assert_eq!((&mut only).now_or_never(), None);
        drop(only);
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(flight.join(|| async { 1 }.boxed()).await, 1);
    }
}
