//! One load at a time, however many wait for it.
//!
//! A load runs in a task of its own. Those who wait can leave at any time; when the last one
//! has left and nobody else wants the load, it is cancelled, and with it its connection.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Fault;
use crate::source::Depth;

/// The load that is under way, if one is.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    current: Mutex<Option<Arc<Flight>>>,
}

/// One load.
#[derive(Debug)]
pub(crate) struct Flight {
    depth: Depth,
    cancel: CancellationToken,
    waiters: AtomicUsize,
    pinned: AtomicBool,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Debug)]
enum Progress {
    Running,
    /// The load is decided; what it brought may still be on its way to the disk.
    Decided(Option<Fault>),
}

/// A place among those who wait for a flight; leaving it gives it up.
#[derive(Debug)]
pub(crate) struct Seat {
    flight: Arc<Flight>,
}

/// Who wants a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those who wait for it.
    ByWaiters,
    /// The registry itself; it runs to its end.
    ByRegistry,
}

// === impl Flights ===

impl Flights {
    fn current(&self) -> MutexGuard<'_, Option<Arc<Flight>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat in the current flight when that serves, else in a new one that `start` begins.
    /// `start` is called with the flight to report to, under the lock, and must not wait.
    pub(crate) fn board(
        &self,
        depth: Depth,
        wanted: Wanted,
        start: impl FnOnce(Arc<Flight>),
    ) -> Seat {
        let mut current = self.current();
        let joinable = current
            .as_ref()
            .filter(|flight| flight.serves(depth))
            .cloned();
        let flight = joinable.unwrap_or_else(|| {
            let flight = Arc::new(Flight {
                depth,
                cancel: CancellationToken::new(),
                waiters: AtomicUsize::new(0),
                pinned: AtomicBool::new(false),
                progress: watch::Sender::new(Progress::Running),
            });
            *current = Some(Arc::clone(&flight));
            start(Arc::clone(&flight));
            flight
        });
        if wanted == Wanted::ByRegistry {
            flight.pinned.store(true, Ordering::Release);
        }
        flight.waiters.fetch_add(1, Ordering::AcqRel);
        Seat { flight }
    }

    /// Whether a load is under way.
    pub(crate) fn is_loading(&self) -> bool {
        self.current()
            .as_ref()
            .is_some_and(|flight| !flight.is_decided())
    }
}

// === impl Flight ===

impl Flight {
    /// Whether joining this flight gives what `depth` asks for: it must not be over, and it
    /// must look at least as closely.
    fn serves(&self, depth: Depth) -> bool {
        let close_enough = self.depth == Depth::Whole || depth == Depth::Changes;
        close_enough && !self.is_decided() && !self.cancel.is_cancelled()
    }

    fn is_decided(&self) -> bool {
        matches!(*self.progress.borrow(), Progress::Decided(_))
    }

    pub(crate) fn depth(&self) -> Depth {
        self.depth
    }

    pub(crate) fn cancelled(&self) -> impl Future<Output = ()> + Send + 'static {
        self.cancel.clone().cancelled_owned()
    }

    pub(crate) fn decide(&self, fault: Option<Fault>) {
        self.progress.send_replace(Progress::Decided(fault));
    }
}

// === impl Seat ===

impl Seat {
    /// Waits until the load is decided; `Some` fault when it failed.
    pub(crate) async fn decided(&self) -> Option<Fault> {
        let mut progress = self.flight.progress.subscribe();
        loop {
            if let Progress::Decided(fault) = &*progress.borrow_and_update() {
                return fault.clone();
            }
            if progress.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let was_last = self.flight.waiters.fetch_sub(1, Ordering::AcqRel) == 1;
        if was_last && !self.flight.pinned.load(Ordering::Acquire) {
            self.flight.cancel.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn w24_many_who_wait_share_one_load() {
        let flights = Flights::default();
        let mut started = 0;
        let mut seats = Vec::new();
        for _ in 0..50 {
            seats.push(flights.board(Depth::Changes, Wanted::ByWaiters, |_| started += 1));
        }
        assert_eq!(started, 1);
        seats[0].flight.decide(None);
        for seat in &seats {
            assert!(seat.decided().await.is_none());
        }
        drop(seats);
        let _next = flights.board(Depth::Changes, Wanted::ByWaiters, |_| started += 1);
        assert_eq!(started, 2, "a load that is over serves nobody new");
    }

    #[tokio::test]
    async fn w25_a_load_ends_when_the_last_who_waits_has_left() {
        let flights = Flights::default();
        let first = flights.board(Depth::Whole, Wanted::ByWaiters, |_| ());
        let second = flights.board(Depth::Changes, Wanted::ByWaiters, |_| ());
        let flight = Arc::clone(&first.flight);
        drop(first);
        assert!(!flight.cancel.is_cancelled());
        drop(second);
        assert!(flight.cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_load_that_the_registry_wants_runs_on() {
        let flights = Flights::default();
        let seat = flights.board(Depth::Changes, Wanted::ByRegistry, |_| ());
        let flight = Arc::clone(&seat.flight);
        drop(seat);
        assert!(!flight.cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_closer_look_is_not_served_by_a_lesser_one() {
        let flights = Flights::default();
        let mut started = 0;
        let _lesser = flights.board(Depth::Changes, Wanted::ByWaiters, |_| started += 1);
        let _closer = flights.board(Depth::Whole, Wanted::ByWaiters, |_| started += 1);
        assert_eq!(started, 2);
    }
}
