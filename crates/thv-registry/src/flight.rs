//! One load at a time, however many wait for it.
//!
//! A load runs in a task of its own. Those who wait can leave at any time; when the last one
//! has left and nobody else wants the load, it is cancelled, and with it its connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::{Blame, Fault};
use crate::source::Depth;

/// The load that is under way, if one is.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    current: Mutex<Option<Arc<Flight>>>,
}

/// Decides a flight whose load ends without a word, as when it panics.
#[derive(Debug)]
pub(crate) struct Landing(pub(crate) Arc<Flight>);

/// One load.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Counts the flights of a registry, the first is 1.
    number: u64,
    depth: Depth,
    cancel: CancellationToken,
    wanted: Mutex<Demand>,
    progress: watch::Sender<Progress>,
}

/// Who still wants a flight.
#[derive(Debug, Default)]
struct Demand {
    waiters: usize,
    /// The registry itself wants it to its end.
    pinned: bool,
    /// Nobody did; it is cancelled, and takes nobody any more.
    given_up: bool,
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
        let joined = current
            .as_ref()
            .filter(|flight| flight.serves(depth) && flight.admit(wanted));
        if let Some(flight) = joined {
            return Seat {
                flight: Arc::clone(flight),
            };
        }
        let flight = Arc::new(Flight {
            number: current.as_ref().map_or(0, |flight| flight.number) + 1,
            depth,
            cancel: CancellationToken::new(),
            wanted: Mutex::default(),
            progress: watch::Sender::new(Progress::Running),
        });
        flight.admit(wanted);
        *current = Some(Arc::clone(&flight));
        start(Arc::clone(&flight));
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
        close_enough && !self.is_decided()
    }

    fn demand(&self) -> MutexGuard<'_, Demand> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one more who wants it; says whether it still takes somebody.
    fn admit(&self, wanted: Wanted) -> bool {
        let mut demand = self.demand();
        if demand.given_up {
            return false;
        }
        demand.waiters += 1;
        demand.pinned |= wanted == Wanted::ByRegistry;
        true
    }

    /// Lets one go who wanted it; the last one's leaving gives it up.
    fn release(&self) {
        let mut demand = self.demand();
        demand.waiters -= 1;
        if demand.waiters == 0 && !demand.pinned {
            demand.given_up = true;
            self.cancel.cancel();
        }
    }

    /// Flights with higher numbers began later.
    pub(crate) fn number(&self) -> u64 {
        self.number
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
        self.flight.release();
    }
}

// === impl Landing ===

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.0.is_decided() {
            self.0.decide(Some(Fault::Unavailable {
                url: None,
                cause: "the load broke off".to_owned(),
                retry_after: None,
                blame: Blame::Registry,
            }));
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

    #[tokio::test]
    async fn a_load_that_was_given_up_takes_nobody_any_more() {
        let flights = Flights::default();
        drop(flights.board(Depth::Whole, Wanted::ByWaiters, |_| ()));
        let mut started = 0;
        let seat = flights.board(Depth::Changes, Wanted::ByRegistry, |_| started += 1);
        assert_eq!(started, 1);
        assert!(!seat.flight.cancel.is_cancelled());
        assert_eq!(seat.flight.number(), 2);
    }

    #[tokio::test]
    async fn a_load_that_panics_is_decided_all_the_same() {
        let flights = Flights::default();
        let seat = flights.board(Depth::Whole, Wanted::ByRegistry, |flight| {
            let landing = Landing(flight);
            tokio::spawn(async move {
                let _landing = landing;
                panic!("a fault of ours, on purpose");
            });
        });
        assert!(seat.decided().await.is_some());
        assert!(!flights.is_loading());
    }
}
