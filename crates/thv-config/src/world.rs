//! The outside world as values: what time it is, and what the environment says.
//!
//! This is the one file that asks the operating system for either; everything else takes a
//! [`World`]. [`ManualClock`] and [`MapEnv`] stand in for it in the tests of all crates. Files are
//! the business of [`crate::disk`], sockets of `thv-http`.

#![expect(
    clippy::disallowed_methods,
    reason = "the one owner of the process's clock and environment"
)]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

/// What [`Clock::sleep`] returns: resolves when the time has passed.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// Time, as far as this program is concerned.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock; may jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start; never goes back.
    fn monotonic(&self) -> Duration;

    /// Resolves once `duration` has passed, counted from this call (not from the first poll).
    fn sleep(&self, duration: Duration) -> Sleep;

    /// Blocks the calling thread for `duration`; for file work, never on an async thread.
    fn pause(&self, duration: Duration);
}

/// The environment of the process.
pub trait Env: Debug + Send + Sync + 'static {
    /// The variable's value; `None` when it is unset or no Unicode. An empty value is `Some("")`.
    fn var(&self, name: &str) -> Option<String>;

    /// The user's home directory.
    fn home_dir(&self) -> Option<PathBuf>;
}

/// The clock and the environment, passed down together.
#[derive(Clone, Debug)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What the environment says.
    pub env: Arc<dyn Env>,
}

impl World {
    /// The real world: the operating system's clock and this process's environment.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock::new()),
            env: Arc::new(ProcessEnv),
        }
    }

    /// A world made of the given parts.
    pub fn new(clock: impl Clock, env: impl Env) -> Self {
        Self {
            clock: Arc::new(clock),
            env: Arc::new(env),
        }
    }
}

// === SystemClock

/// The operating system's clock. [`Clock::sleep`] must be called inside a tokio runtime.
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::monotonic`] counts from now.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(duration))
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

// === ManualClock

/// A clock that stands still until a test moves it. Clones share the same time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    start: Timestamp,
    elapsed: Arc<watch::Sender<Duration>>,
    sleepers: Arc<watch::Sender<usize>>,
}

impl ManualClock {
    /// A clock that shows `start`, with a monotonic reading of zero.
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            elapsed: Arc::new(watch::Sender::new(Duration::ZERO)),
            sleepers: Arc::new(watch::Sender::new(0)),
        }
    }

    /// Moves the time forward and wakes every sleeper whose time has come.
    pub fn advance(&self, duration: Duration) {
        self.elapsed
            .send_modify(|elapsed| *elapsed = elapsed.saturating_add(duration));
    }

    /// Resolves once at least `count` unfinished [`Clock::sleep`]s exist: a test waits with it until
    /// the code under test has gone to sleep, and advances then.
    pub async fn asleep(&self, count: usize) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self
            .sleepers
            .subscribe()
            .wait_for(|sleepers| *sleepers >= count)
            .await;
    }
}

/// Counts one sleeper for as long as it lives.
#[derive(Debug)]
struct Sleeper(Arc<watch::Sender<usize>>);

impl Sleeper {
    fn new(count: Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|sleepers| *sleepers += 1);
        Self(count)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.send_modify(|sleepers| *sleepers -= 1);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.start
            .checked_add(self.monotonic())
            .unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.borrow()
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let elapsed = Arc::clone(&self.elapsed);
        let mut time = elapsed.subscribe();
        let deadline = time.borrow().saturating_add(duration);
        let sleeper = Sleeper::new(Arc::clone(&self.sleepers));
        Box::pin(async move {
            // Holding the sender keeps the channel open even if every clock is dropped: a sleep
            // that nobody can end stays asleep instead of ending early.
            let _ = time.wait_for(|elapsed| *elapsed >= deadline).await;
            drop((elapsed, sleeper));
        })
    }

    /// Moves the time itself: a blocked thread has nobody else to do it.
    fn pause(&self, duration: Duration) {
        self.advance(duration);
        std::thread::yield_now();
    }
}

// === ProcessEnv

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn home_dir(&self) -> Option<PathBuf> {
        std::env::home_dir().filter(|home| home.is_absolute())
    }
}

// === Overlay

/// Another environment, in which some variables have other values or none: what the command line says in their place.
#[derive(Clone, Debug)]
pub struct Overlay {
    base: Arc<dyn Env>,
    variables: BTreeMap<String, Option<String>>,
}

impl Overlay {
    /// `base` with the given variables; `None` takes one away.
    pub fn new<const N: usize>(base: Arc<dyn Env>, variables: [(&str, Option<&str>); N]) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        Self {
            base,
            variables: variables.collect(),
        }
    }
}

impl Env for Overlay {
    fn var(&self, name: &str) -> Option<String> {
        match self.variables.get(name) {
            Some(value) => value.clone(),
            None => self.base.var(name),
        }
    }

    fn home_dir(&self) -> Option<PathBuf> {
        self.base.home_dir()
    }
}

// === MapEnv

/// An environment made of the given variables and nothing else.
#[derive(Clone, Debug, Default)]
pub struct MapEnv {
    variables: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

impl MapEnv {
    /// An empty environment without a home directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same environment with `home` as the home directory.
    #[must_use]
    pub fn with_home(mut self, home: impl AsRef<Path>) -> Self {
        self.home = Some(home.as_ref().to_owned());
        self
    }

    /// The same environment with one more variable.
    #[must_use]
    pub fn with_var(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }
}

impl<K: Into<String>, V: Into<String>, const N: usize> From<[(K, V); N]> for MapEnv {
    fn from(variables: [(K, V); N]) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            home: None,
        }
    }
}

impl Env for MapEnv {
    fn var(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// The directory given to [`MapEnv::with_home`], else the variable `HOME`.
    fn home_dir(&self) -> Option<PathBuf> {
        self.home
            .clone()
            .or_else(|| self.var("HOME").map(PathBuf::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> ManualClock {
        ManualClock::new(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_manual_clock_shows_the_time_it_was_moved_to() {
        let clock = clock();
        clock.advance(SECOND * 90);
        assert_eq!(clock.now().to_string(), "1970-01-01T00:01:30Z");
        assert_eq!(clock.clone().monotonic(), SECOND * 90);
    }

    #[test]
    fn a_manual_clock_moved_past_the_end_of_time_stays_there() {
        let clock = clock();
        clock.advance(Duration::MAX);
        clock.advance(SECOND);
        assert_eq!(clock.now(), Timestamp::MAX);
    }

    #[tokio::test]
    async fn a_sleep_ends_when_the_clock_passes_its_deadline_and_not_before() {
        let clock = clock();
        let mut sleep = clock.sleep(SECOND * 10);
        assert!(sleep.as_mut().now_or_never().is_none());
        clock.advance(SECOND * 9);
        assert!(sleep.as_mut().now_or_never().is_none());
        clock.advance(SECOND);
        assert!(sleep.now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_sleep_counts_from_its_call_so_that_an_advance_before_the_first_poll_is_not_lost() {
        let clock = clock();
        let sleep = clock.sleep(SECOND);
        clock.advance(SECOND);
        assert!(sleep.now_or_never().is_some());
    }

    #[tokio::test]
    async fn one_advance_wakes_every_sleeper_that_is_due() {
        let clock = clock();
        let sleepers: Vec<_> = (1..=20)
            .map(|seconds| tokio::spawn(clock.sleep(SECOND * seconds)))
            .collect();
        clock.asleep(20).await;
        clock.advance(SECOND * 20);
        for sleeper in sleepers {
            sleeper.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_sleep_outlives_the_clock_that_made_it() {
        let clock = clock();
        let mut sleep = clock.sleep(SECOND);
        drop(clock);
        assert!(sleep.as_mut().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_dropped_sleep_is_no_longer_counted() {
        let clock = clock();
        let first = clock.sleep(SECOND);
        let second = clock.sleep(SECOND);
        drop(first);
        assert!(clock.asleep(2).now_or_never().is_none());
        assert!(clock.asleep(1).now_or_never().is_some());
        drop(second);
    }

    #[test]
    fn an_overlay_gives_takes_away_and_lets_through() {
        let base = MapEnv::from([("A", "1"), ("B", "2"), ("HOME", "/home/ann")]);
        let env = Overlay::new(Arc::new(base), [("A", Some("3")), ("B", None)]);
        assert_eq!(env.var("A").as_deref(), Some("3"));
        assert_eq!(env.var("B"), None);
        assert_eq!(env.home_dir(), Some(PathBuf::from("/home/ann")));
    }

    #[test]
    fn a_map_environment_holds_what_it_was_given_and_nothing_else() {
        let env = MapEnv::from([("HOME", "/home/ann"), ("EMPTY", "")]);
        assert_eq!(env.var("EMPTY").as_deref(), Some(""));
        assert_eq!(env.var("PATH"), None);
        assert_eq!(env.home_dir(), Some(PathBuf::from("/home/ann")));
        assert_eq!(
            env.with_home("/srv").home_dir(),
            Some(PathBuf::from("/srv"))
        );
    }
}
